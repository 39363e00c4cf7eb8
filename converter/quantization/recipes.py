"""What a recipe asks for, in words that every format shares, and which layers it leaves in float.

A layer has one name in all formats: the path of its PyTorch module below the tower, such as
`trunk.0.blocks.1.mlp.fc1` or `blocks.3.attn.q`. Converters spell it in tensor and node names, each in its own way
(`/tower/trunk/0/blocks/1/mlp/fc1/Conv_output_nhwc`); `layer_name` reads it out of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

from converter.errors import ConversionError, nearest
from converter.records import Recipe

type Mode = Literal["float16", "weights", "dynamic", "static"]

_ENDING = re.compile(
    r"/(Conv|Gemm|MatMul|Gather|ConvTranspose)(_\d+)?"
    r"(_output_0|_output_nhwc|_quant|_dequant|_bias_correction|_rows|_float16|_float32)*$"
)
_TOWER = re.compile(r"^/?tower/")


def mode_of(recipe: Recipe) -> Mode:
    """How a recipe computes: float16 weights, low-bit weights unpacked, or integers with dynamic or static ranges."""
    if recipe.weight_bits == 16:
        return "float16"
    if recipe.activation_bits is None:
        return "weights"
    return "static" if recipe.sample_set and recipe.ranges != "dynamic" else "dynamic"


def layer_name(name: str) -> str:
    """The layer that a node or an output tensor belongs to: /tower/trunk/0/blocks/1/mlp/fc1/Conv_output_nhwc is
    trunk.0.blocks.1.mlp.fc1. Blocks that carry their container's name are written once (blocks/blocks.3 is blocks.3).
    """
    path = _ENDING.sub("", _TOWER.sub("", name)).strip("/")
    return re.sub(r"\b([a-z_]\w*)\.\1\.", r"\1.", path.replace("/", "."))


def layers_left_in_float(recipe: Recipe, layers: Iterable[str]) -> set[str]:
    """Those of the file's layers that the recipe names.

    Raises:
        ConversionError: a name of the recipe fits no layer of the file; the nearest ones are offered.
    """
    known = tuple(dict.fromkeys(layers))
    found: set[str] = set()
    for pattern in recipe.float_layers:
        named = {layer for layer in known if fnmatchcase(layer, pattern)}
        if not named:
            message = (
                f"recipe '{recipe.name}' leaves '{pattern}' in float, but the file has no such layer; "
                f"{nearest(pattern, known)}"
            )
            raise ConversionError(message)
        found |= named
    return found
