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

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converter.errors import ConversionError
from converter.records import Artifact, Precision, Recipe
from converter.stages.coreml_conversion import convert_tower, describe, inputs_of, save_package

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
    model = convert_tower(parent, options.deployment_target, None if precision == "fp32" else options.keep_float32)
    describe(model, parent, options.deployment_target, precision)
    path = save_package(model, (out_dir / f"{parent.tower}.mlpackage").resolve())
    return Artifact(
        path=str(path),
        format=FORMAT,
        target="coreml",
        tower=parent.tower,
        precision=precision,
        inputs=inputs_of(parent),
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


def _notes(options: Options, precision: Precision) -> tuple[str, ...]:
    notes = [f"ML Program for {options.deployment_target} and later, batch 1"]
    if precision == "fp16":
        notes.append("weights and arithmetic float16, inputs and output as declared")
        if options.keep_float32:
            notes.append(f"kept in float32: {', '.join(options.keep_float32)}")
    return tuple(notes)
