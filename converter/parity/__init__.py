"""Parity: how far a file lies from the reference, by numbers and by ranking, and whether that is within bounds.

Measuring (`compare`) and judging (`judge`) are apart: figures are stored, bounds may change. Runners come as arguments;
this room opens no file.
"""
