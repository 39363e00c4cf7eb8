"""Quantization: how a recipe is applied to a model, and the calibration data that it needs."""
