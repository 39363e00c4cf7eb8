"""Models: what a CLIP is before anything is converted.

This room builds the unmodified PyTorch model from its YAML, finds and loads its weights (or makes untrained ones that
are fit for comparing), and prepares the named sample sets: photographs as pixels, captions as tokens. Rewriting a
model for export, converting it and judging the result are left to others.

A family of models is a file (`open_clip`, `timm`, `mobileclip`, `apple`), found through `building`. These, `checkpoint`
and `seeded` need torch; `weights`, `catalog` and `samples` can be imported without it.
"""
