"""A traced tower as a Core ML program in memory, and a program as a package on disk, for the stages that write one.

Precision, recipe and options are theirs; what a package takes, returns and says of itself is the same for all of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converter.coreml_package import (
    IMAGE_LAYOUT,
    PRECISION_KEY,
    TARGET_KEY,
    TOWER_KEY,
    import_coremltools,
    normalise,
)
from converter.errors import ConversionError
from converter.records import Artifact, Precision, TensorSpec
from converter.torchscript_file import deprecation_known, load_module

type DeploymentTarget = Literal["iOS16", "iOS17", "iOS18"]


def convert_tower(parent: Artifact, target: DeploymentTarget, keep_float32: Sequence[str] | None) -> Any:
    """The coremltools model of the TorchScript file at `parent.path`, for `target` and later.

    It computes in float16 but for the MIL operations named in `keep_float32`; in float32 where that is None.

    Raises:
        ConversionError: the parent does not load, or coremltools cannot convert it.
    """
    ct = import_coremltools()
    module = load_module(parent.path)
    try:
        with deprecation_known():
            return ct.convert(
                module,
                inputs=[_input_type(ct, spec) for spec in parent.inputs],
                outputs=[_tensor_type(ct, spec, sized=False) for spec in parent.outputs],
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, target),
                compute_precision=_compute_precision(ct, parent, keep_float32),
                skip_model_load=True,
            )
    except (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError) as error:
        message = (
            f"{parent.path}: coremltools {ct.__version__} cannot convert the {parent.tower} tower: {error}. "
            "If it names an operation, rewrite that part of the module; the log holds the whole report"
        )
        raise ConversionError(message) from error


def save_package(model: Any, path: Path) -> Path:
    """Write the model in the place of whatever lies at `path`, with bytes that depend on the model alone."""
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))
    normalise(path)
    return path


def inputs_of(parent: Artifact) -> tuple[TensorSpec, ...]:
    """What the package takes: the parent's inputs, pixels as Core ML's image type."""
    return tuple(replace(spec, layout=IMAGE_LAYOUT) if _is_image(spec) else spec for spec in parent.inputs)


def describe(model: Any, parent: Artifact, target: DeploymentTarget, precision: Precision) -> None:
    """What Xcode shows of the model. The licence belongs to the weights: it is in the manifest, not here."""
    model.short_description = f"CLIP {parent.tower} tower: one {_subject(parent)} to a unit-length embedding"
    model.user_defined_metadata[TOWER_KEY] = parent.tower
    model.user_defined_metadata[PRECISION_KEY] = precision
    model.user_defined_metadata[TARGET_KEY] = target
    for spec in parent.inputs:
        model.input_description[spec.name] = _input_words(spec)
    for spec in parent.outputs:
        model.output_description[spec.name] = f"{spec.dtype} {spec.layout}, unit length"


def _is_image(spec: TensorSpec) -> bool:
    return spec.dtype == "uint8"


def _input_type(ct: Any, spec: TensorSpec) -> Any:
    if _is_image(spec):
        return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=ct.colorlayout.RGB, scale=1.0)
    return _tensor_type(ct, spec, sized=True)


def _tensor_type(ct: Any, spec: TensorSpec, *, sized: bool) -> Any:
    shape = spec.shape if sized else None  # coremltools derives the shapes of outputs and refuses given ones
    return ct.TensorType(name=spec.name, shape=shape, dtype=np.dtype(spec.dtype).type)


def _compute_precision(ct: Any, parent: Artifact, keep_float32: Sequence[str] | None) -> Any:
    """Float32, or float16 but for the operations that are kept, and for the normalisation of pixels."""
    if keep_float32 is None:
        return ct.precision.FLOAT32
    kept = frozenset(keep_float32)
    takes_pixels = any(map(_is_image, parent.inputs))
    return ct.transform.FP16ComputePrecision(
        op_selector=lambda op: op.op_type not in kept and not (takes_pixels and _normalises(op))
    )


def _normalises(op: Any) -> bool:
    """Whether nothing but arithmetic with constants lies between the program's input and this operation."""
    source = op.inputs.get("x")
    if op.op_type not in ("mul", "sub") or source is None:
        return False
    return source.op is None or bool(_normalises(source.op))


def _subject(parent: Artifact) -> str:
    return "preprocessed image" if parent.tower == "image" else "row of tokens"


def _input_words(spec: TensorSpec) -> str:
    if _is_image(spec):
        return f"RGB image, {spec.shape[3]} x {spec.shape[2]} pixels, resized and cropped"
    bounds = f", values {spec.value_range[0]:g} to {spec.value_range[1]:g}" if spec.value_range else ""
    return f"{spec.dtype} {spec.layout}{bounds}"
