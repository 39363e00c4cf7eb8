"""Image search over a folder of photographs, with several exported files side by side.

`ledger` keeps what is known of each photograph, durable at every moment; `scanning` says what changed, `indexing`
brings an index up to date, `vectors` is faiss, `searching` asks, `comparing` says where the files differ, `serving` is
the local page. Opening files and embedding are left to `converter.inference`.
"""
