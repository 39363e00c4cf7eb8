"""The range of every value that an ONNX file quantizes, over the calibration samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from converter.errors import ConversionError
from converter.quantization.calibration import Sample
from converter.quantization.estimators import Range, RangeEstimator
from converter.quantization.onnx_graph import Array
from converter.records import Recipe

CALIBRATION_THREADS = 2
_ERRORS_ONLY = 3


def measure_ranges(
    model: Any, values: Iterable[str], samples: Iterable[Sample], layouts: Mapping[str, str], recipe: Recipe
) -> dict[str, Range]:
    """The range of each of `values` by the recipe's rule; `layouts` are those of the model's inputs.

    ONNX Runtime's own calibrators (1.26) are not used: they write the model with its weights to disk, and all but the
    one for extremes keep the values of every sample until the last was run.

    Raises:
        ConversionError: there are no samples, ONNX Runtime cannot run one, or a value is NaN or infinite on one.
    """
    names = sorted(set(values))
    session = open_session(model, names)
    estimator = RangeEstimator(recipe)
    for sample in samples:
        for name, value in zip(names, run_sample(session, names, sample, layouts), strict=True):
            estimator.update(name, value)
    ranges = estimator.ranges()
    _refuse_unusable(names, ranges)
    return ranges


def open_session(model: Any, names: list[str]) -> Any:
    """A session that returns these values; they become outputs of a copy, whose type ONNX Runtime infers."""
    import onnx
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {output.name for output in shown.graph.output} | {entry.name for entry in shown.graph.input}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CALIBRATION_THREADS
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_sample(session: Any, names: list[str], sample: Sample, layouts: Mapping[str, str]) -> list[Array]:
    """The values of `names` on one sample, in their order.

    Raises:
        ConversionError: ONNX Runtime cannot run it.
    """
    fed = {name: _laid_out(value, layouts.get(name, "")) for name, value in sample.items()}
    computed = [name for name in names if name not in fed]
    try:
        values = dict(zip(computed, session.run(computed, fed) if computed else (), strict=True)) | fed
    except Exception as error:  # ONNX Runtime raises a class for each of its status codes, with no common one
        given = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in fed.items())
        message = f"ONNX Runtime cannot run the float32 graph on the calibration sample {given}: {error}"
        raise ConversionError(message) from error
    return [values[name] for name in names]


def _laid_out(value: Array, layout: str) -> Array:
    """Samples come as NHWC."""
    return np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if layout == "NCHW" and value.ndim == 4 else value


def _refuse_unusable(names: list[str], ranges: Mapping[str, Range]) -> None:
    if len(ranges) < len(names):
        message = "there is not one calibration sample to measure activations with; give the recipe a sample set"
        raise ConversionError(message)
    wild = [name for name in names if not all(map(math.isfinite, ranges[name]))]
    if wild:
        message = (
            f"{len(wild)} values are NaN or infinite on the calibration samples, first '{wild[0]}'; nothing can be "
            "quantized from that: look at the float32 file's parity first"
        )
        raise ConversionError(message)
