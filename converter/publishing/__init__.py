"""Publishing: the manifest, which says of every file what it is, what it was made from and what was proven of it."""
