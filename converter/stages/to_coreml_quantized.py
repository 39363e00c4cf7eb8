"""PyTorch -> Core ML in few bits: int8 weights, palettes of 8, 6 or 4 bits, int8 weights and activations.

    before: traced module, float32
    after:  an ML Program that computes in float16; weights decode from int8 or from tables, see the graphs in
            converter/quantization/coreml.py, whose rules are not repeated here

Rules:

1. The tower is converted to float16 first, as the fp16 row does it: that is what the Neural Engine takes. Operations in
   `keep_float32` compute in float32.
2. Fixed ranges, and what weights are rounded by, are measured on that float16 program, executed by this project's
   interpreter: the values that are quantized are those that were seen.
3. Weights and palettes load from iOS 16 on, int8 activations from iOS 17 on; an older `deployment_target` is refused.
4. The bytes depend on the parent, the options, the recipe, its calibration data and the versions of torch and
   coremltools alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converter.coreml_package import ROUNDING_KEY
from converter.errors import ConversionError
from converter.quantization.calibration import calibration_of
from converter.quantization.coreml import (
    Layer,
    layers_of,
    multiplied_sources,
    quantize,
    quantized_sources,
    stem_of,
)
from converter.quantization.coreml_ranges import Measured, measure
from converter.quantization.recipes import layers_left_in_float, mode_of
from converter.records import Artifact, Recipe
from converter.stages.coreml_conversion import DeploymentTarget, convert_tower, describe, inputs_of, save_package

FORMAT = "coreml"
ACCEPTS = ("pytorch",)
REQUIRES = ("coremltools", "torch")

PALETTE_BITS = (1, 2, 4, 6, 8)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the Core ML package is made, and what the recipe is not applied to."""

    deployment_target: Literal["auto", "iOS16", "iOS17"] = "auto"
    """Oldest system that can load it (iOS16 stands for macOS 13 too, iOS17 for 14). `auto` takes the oldest that knows
    what the recipe needs."""
    depthwise: Literal["float16", "compressed"] = "float16"
    """Weights of depthwise convolutions; their activations are float16 in any case. `compressed` saves about 1 % of the
    float32 size and costs accuracy."""
    keep_float32: tuple[str, ...] = ()
    """MIL operations that compute in float32, e.g. `layer_norm`, `softmax`, `reduce_l2_norm`."""


def unsupported(recipe: Recipe) -> str:
    """Why Core ML cannot do what the recipe asks; empty where it can."""
    mode = mode_of(recipe)
    if mode == "float16":
        return "float16 weights are the fp16 row's, by to_coreml"
    if mode == "dynamic":
        return "Core ML quantizes activations by fixed ranges only; give a sample_set, or leave activation_bits out"
    if recipe.activation_bits not in (None, 8):
        return f"Core ML quantizes activations to 8 bits, not to {recipe.activation_bits}"
    if recipe.weight_coding == "palette":
        return _palette_unsupported(recipe)
    if recipe.weight_bits != 8:
        return f"before iOS 18 Core ML has linear weights of 8 bits, not of {recipe.weight_bits}; take a palette"
    return _changes_unsupported(recipe)


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>_<recipe>.mlpackage` into `out_dir`.

    Raises:
        ConversionError: no recipe was given, Core ML cannot do what it asks for, its calibration data is missing, or
            coremltools cannot convert the parent.
    """
    recipe = _required(recipe)
    target = _target(options, recipe)
    model = convert_tower(parent, target, options.keep_float32)
    every = layers_of(model)
    left = layers_left_in_float(recipe, (one.name for one in every)) | (stem_of(every) if recipe.float_stem else set())
    layers = tuple(one for one in every if one.name not in left)
    measured = _measured(model, layers, parent, recipe, out_dir)
    model = quantize(model, recipe, layers, measured, depthwise=options.depthwise == "compressed")
    model.user_defined_metadata[ROUNDING_KEY] = recipe.round_weights
    describe(model, parent, target, recipe.precision)
    path = save_package(model, (out_dir / f"{parent.tower}_{recipe.name}.mlpackage").resolve())
    return Artifact(
        path=str(path),
        format=FORMAT,
        target="coreml",
        tower=parent.tower,
        precision=recipe.precision,
        inputs=inputs_of(parent),
        outputs=parent.outputs,
        notes=_notes(recipe, options, target, left),
    )


def _palette_unsupported(recipe: Recipe) -> str:
    if recipe.activation_bits is not None:
        return "before iOS 18 Core ML has no tables of int8: weights are a palette, or meet int8 activations"
    if recipe.weight_bits not in PALETTE_BITS:
        return f"a palette has 1, 2, 4, 6 or 8 bits, not {recipe.weight_bits}"
    return _changes_unsupported(recipe)


def _changes_unsupported(recipe: Recipe) -> str:
    asked = [
        name
        for name, wanted in (
            ("smooth", recipe.smooth > 0),
            ("round_weights: gptq for a palette", recipe.round_weights == "gptq" and recipe.weight_coding == "palette"),
        )
        if wanted
    ]
    if not asked:
        return ""
    return f"{', '.join(asked)}: here weights and biases stay the tower's but for rounding, and are compared with them"


def _required(recipe: Recipe | None) -> Recipe:
    if recipe is None:
        message = "to_coreml_quantized needs a recipe, such as weight_only_w8; name one in the target's row"
        raise ConversionError(message)
    why = unsupported(recipe)
    if why:
        message = f"recipe '{recipe.name}': {why}"
        raise ConversionError(message)
    return recipe


def _target(options: Options, recipe: Recipe) -> DeploymentTarget:
    """Rule 3."""
    needed: DeploymentTarget = "iOS17" if recipe.activation_bits else "iOS16"
    if options.deployment_target == "auto":
        return needed
    if options.deployment_target < needed:
        message = (
            f"recipe '{recipe.name}' quantizes activations, which Core ML knows from {needed} on; "
            f"deployment_target is {options.deployment_target}, set it to auto or {needed}"
        )
        raise ConversionError(message)
    return options.deployment_target


def _measured(model: Any, layers: tuple[Layer, ...], parent: Artifact, recipe: Recipe, out_dir: Path) -> Measured:
    """Rule 2."""
    ranged = quantized_sources(layers) if recipe.activation_bits else set()
    multiplied = multiplied_sources(layers) if recipe.round_weights == "gptq" else {}
    if not ranged and not multiplied:
        return Measured()
    with tempfile.TemporaryDirectory(dir=out_dir, prefix="float16-") as folder:
        package = save_package(model, Path(folder) / "float16.mlpackage")
        return measure(package, ranged, multiplied, parent.inputs, calibration_of(recipe), recipe)


def _notes(recipe: Recipe, options: Options, target: DeploymentTarget, left: set[str]) -> tuple[str, ...]:
    notes = [f"ML Program for {target} and later, batch 1", recipe.summary, "float16 between layers"]
    weights = "float16" if options.depthwise == "float16" else "compressed"
    notes.append(f"depthwise convolutions: {weights} weights, float16 activations")
    if left:
        notes.append(f"left in float16: {', '.join(sorted(left))}")
    if options.keep_float32:
        notes.append(f"kept in float32: {', '.join(options.keep_float32)}")
    return tuple(notes)
