"""Gzipped ONNX as a target of mcconvert, from a package of its own."""
