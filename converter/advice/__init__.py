"""Which file to ship: chosen among the files that PASSED by the figures that were measured, never by opinion.

What runs where is in configs/platforms.yaml; what is better comes from the manifest and from benchmarks.
"""
