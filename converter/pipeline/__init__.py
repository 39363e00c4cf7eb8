"""The pipeline: configuration -> steps -> plan -> one process a step -> results.

It is the only room that knows stages, runtimes and parity at once. Nothing here imports torch or a converter outside
the worker process.
"""
