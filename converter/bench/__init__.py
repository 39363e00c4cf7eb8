"""Benchmarks: of the files that an export left (`mcconvert bench`), and of mcconvert itself (`make bench`).

They measure rooms; `advice` reads what they kept, and no other room uses them.
"""
