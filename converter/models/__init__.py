"""Models: what a MobileCLIP is before anything is converted.

This room builds the unmodified PyTorch model from its YAML, finds and loads its weights (or makes untrained ones that
are fit for comparing), and prepares the named sample sets: photographs as pixels, captions as tokens. Rewriting a
model for export, converting it and judging the result are left to others.

Only `mobileclip`, `checkpoint` and `seeded` need torch; `weights` and `samples` can be imported without it.
"""
