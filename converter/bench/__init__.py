"""Benchmarks, `make bench`: each prints both sides of a ratio from one run.

They measure rooms and are used by none.
"""
