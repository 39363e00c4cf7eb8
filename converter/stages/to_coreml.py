"""PyTorch -> Core ML: an ML Program in an `.mlpackage`, for iOS, macOS and Apple's Neural Engine.

    before: traced module, float32, input "image" or "tokens"
    after:  MIL program of the same blocks; convolutions keep their weights, constants that depend on nothing are folded

Rules:

1. Without a recipe weights and arithmetic are float32; a recipe of precision fp16 makes both float16.
2. Inputs and output keep their types in either case: float32 pixels or int32 tokens in, a float32 embedding out. The
   program casts; a float16 multi-array is awkward in Swift and unknown before iOS 16. A tower that takes uint8 pixels
   gets Core ML's own image type, RGB with a scale of 1: Core ML orders the channels, the graph normalises.
3. The batch is 1: a flexible one takes the text tower off the Neural Engine (coremltools issue 2022).
4. The package's bytes depend on the parent, the options and the versions of torch and coremltools alone; the latter
   two are named inside, as Xcode shows them.
5. Operations in `keep_float32` stay in float32 in a float16 program: layer norms and softmaxes can overflow float16
   on real activations, at the price of leaving the Neural Engine.
6. Pixels are normalised in float32 in a float16 program too: 1/255 has no exact float16, and Core ML converts the
   picture outside of the Neural Engine in any case.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
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
from converter.records import Artifact, Precision, Recipe, TensorSpec
from converter.torchscript_file import deprecation_known, load_module

FORMAT = "coreml"
ACCEPTS = ("pytorch",)
REQUIRES = ("coremltools", "torch")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the Core ML package is made."""

    deployment_target: Literal["iOS16", "iOS17", "iOS18"] = "iOS16"
    """Oldest system that can load it (iOS16 stands for macOS 13 too, iOS17 for 14, iOS18 for 15)."""
    keep_float32: tuple[str, ...] = ()
    """MIL operations that a float16 program computes in float32, e.g. `layer_norm`, `softmax`, `reduce_l2_norm`."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>.mlpackage` into `out_dir`.

    Raises:
        ConversionError: a recipe that this stage cannot keep, or coremltools cannot convert the parent.
    """
    precision = _precision(recipe)
    module = load_module(parent.path)
    model = _convert(module, parent, options, precision)
    _describe(model, parent, options, precision)
    path = (out_dir / f"{parent.tower}.mlpackage").resolve()
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))
    normalise(path)
    return Artifact(
        path=str(path),
        format=FORMAT,
        target="coreml",
        tower=parent.tower,
        precision=precision,
        inputs=tuple(replace(spec, layout=IMAGE_LAYOUT) if _is_image(spec) else spec for spec in parent.inputs),
        outputs=parent.outputs,
        notes=_notes(options, precision),
    )


def _precision(recipe: Recipe | None) -> Precision:
    """Rule 1."""
    if recipe is None or recipe.precision == "fp32":
        return "fp32"
    if recipe.precision == "fp16":
        return "fp16"
    message = (
        f"recipe '{recipe.name}' asks for {recipe.precision}; this stage writes fp32 and fp16, "
        "choose one of them in the target's row"
    )
    raise ConversionError(message)


def _convert(module: Any, parent: Artifact, options: Options, precision: Precision) -> Any:
    """Rules 1, 2 and 3."""
    ct = import_coremltools()
    try:
        with deprecation_known():
            return ct.convert(
                module,
                inputs=[_input_type(ct, spec) for spec in parent.inputs],
                outputs=[_tensor_type(ct, spec, sized=False) for spec in parent.outputs],
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, options.deployment_target),
                compute_precision=_compute_precision(ct, parent, options, precision),
                skip_model_load=True,
            )
    except (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError) as error:
        message = (
            f"{parent.path}: coremltools {ct.__version__} cannot convert the {parent.tower} tower: {error}. "
            "If it names an operation, rewrite that part of the module; the log holds the whole report"
        )
        raise ConversionError(message) from error


def _is_image(spec: TensorSpec) -> bool:
    return spec.dtype == "uint8"


def _input_type(ct: Any, spec: TensorSpec) -> Any:
    """Rule 2."""
    if _is_image(spec):
        return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=ct.colorlayout.RGB, scale=1.0)
    return _tensor_type(ct, spec, sized=True)


def _tensor_type(ct: Any, spec: TensorSpec, *, sized: bool) -> Any:
    shape = spec.shape if sized else None  # coremltools derives the shapes of outputs and refuses given ones
    return ct.TensorType(name=spec.name, shape=shape, dtype=np.dtype(spec.dtype).type)


def _compute_precision(ct: Any, parent: Artifact, options: Options, precision: Precision) -> Any:
    """Rules 1, 5 and 6."""
    if precision == "fp32":
        return ct.precision.FLOAT32
    kept = frozenset(options.keep_float32)
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


def _describe(model: Any, parent: Artifact, options: Options, precision: Precision) -> None:
    """What Xcode shows of the model. The licence belongs to the weights: it is in the manifest, not here."""
    model.short_description = f"CLIP {parent.tower} tower: one {_subject(parent)} to a unit-length embedding"
    model.user_defined_metadata[TOWER_KEY] = parent.tower
    model.user_defined_metadata[PRECISION_KEY] = precision
    model.user_defined_metadata[TARGET_KEY] = options.deployment_target
    for spec in parent.inputs:
        model.input_description[spec.name] = _input_words(spec)
    for spec in parent.outputs:
        model.output_description[spec.name] = f"{spec.dtype} {spec.layout}, unit length"


def _subject(parent: Artifact) -> str:
    return "preprocessed image" if parent.tower == "image" else "row of tokens"


def _input_words(spec: TensorSpec) -> str:
    if _is_image(spec):
        return f"RGB image, {spec.shape[3]} x {spec.shape[2]} pixels, resized and cropped"
    bounds = f", values {spec.value_range[0]:g} to {spec.value_range[1]:g}" if spec.value_range else ""
    return f"{spec.dtype} {spec.layout}{bounds}"


def _notes(options: Options, precision: Precision) -> tuple[str, ...]:
    notes = [f"ML Program for {options.deployment_target} and later, batch 1"]
    if precision == "fp16":
        notes.append("weights and arithmetic float16, inputs and output as declared")
        if options.keep_float32:
            notes.append(f"kept in float32: {', '.join(options.keep_float32)}")
    return tuple(notes)
