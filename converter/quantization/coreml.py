"""Apply a recipe to a Core ML program, with coremltools' own builder.

    before: conv(x, weight)
    after:  conv(x, constexpr_affine_dequantize(int8, scale))          int8 weights: rule 1
            conv(x, constexpr_lut_to_dense(places, table))             palettes: rule 2
            conv(dequantize(quantize(x)), constexpr_affine_...)        int8 activations: rule 3

Rules:

1. int8 weights have a scale a channel (a row of the embedding) and no zero point.
2. A palette is one table for a tensor: that is all that Core ML knows before iOS 18.
3. With int8 activations a pair of `quantize` and `dequantize` stands before each convolution and linear layer, once for
   layers that read the same value. On such a pair before a layer with int8 weights Core ML multiplies in int8 where
   the chip can (A17 Pro, M4), and in float16 elsewhere. The pairs need iOS 17.
4. Depthwise convolutions keep float activations: one scale cannot serve channels whose ranges lie far apart.
5. What lies between layers, biases and norms stay in float.
6. With `round_weights: gptq` int8 weights of linear layers and of convolutions over one place are rounded by what the
   layer computes on calibration data (converter/quantization/gptq.py); the embedding and wider convolutions are not.
7. `float_stem` leaves out the layers before the graph first branches, as long as they hold less than `STEM_SHARE` of
   the multiplications: what rounding does there, every later layer amplifies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.coreml_codes import Array, grid, packed, scaled, tabled
from converter.quantization.coreml_ranges import Measured
from converter.quantization.estimators import Range
from converter.quantization.gptq import round_by_output
from converter.quantization.recipes import layer_name
from converter.records import Recipe

WEIGHT_ARGUMENTS = {"conv": "weight", "linear": "weight", "gather": "x", "matmul": "y"}
"""Where each kind of layer has its weight; a gather is the embedding."""
WITH_ACTIVATIONS = ("conv", "linear")
STEM_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Layer:
    """An operation with a weight. `operation` is the program's name of it, `source` of the activation that it reads."""

    name: str
    operation: str
    kind: str
    depthwise: bool
    source: str
    multiplications: int
    pointwise: bool
    """Whether it multiplies a matrix with the channels of one place."""
    in_chain: bool
    """Whether all that lies before it is one chain of operations."""


def layers_of(model: Any) -> tuple[Layer, ...]:
    """The layers of a model that coremltools has just converted: later it forgets which module was which."""
    function = model._mil_program.functions["main"]
    chain = set(_chain(function))
    return tuple(_layer(one, chain) for one in function.operations if _weight(one) is not None)


def stem_of(layers: Iterable[Layer]) -> set[str]:
    """Names of the layers that rule 7 leaves out."""
    counted = [one for one in layers if one.kind in WITH_ACTIVATIONS]
    most, total, found = STEM_SHARE * sum(one.multiplications for one in counted), 0, set()
    for one in counted:
        total += one.multiplications
        if not one.in_chain or total > most:
            break
        found.add(one.name)
    return found


def quantize(model: Any, recipe: Recipe, layers: Iterable[Layer], measured: Measured, *, depthwise: bool) -> Any:
    """The model with the weights of `layers` in few bits, and those of their sources that have a range in int8.

    Weights of depthwise convolutions stay as they are unless `depthwise` is set.
    """
    chosen = {one.operation: one for one in layers if depthwise or not one.depthwise}

    def edit(block: Any) -> None:
        pairs: dict[str, Any] = {}
        for operation in [one for one in block.operations if one.name in chosen]:
            layer = chosen[operation.name]
            products = measured.products.get(layer.source) if layer.pointwise else None
            _compress(operation, recipe, products)
            if layer.source in measured.ranges and not layer.depthwise:
                pairs[layer.source] = pairs.get(layer.source) or _pair(operation, measured.ranges[layer.source])
                operation.set_inputs(x=pairs[layer.source])

    return _edited(model, edit)


def quantized_sources(layers: Iterable[Layer]) -> set[str]:
    """Names of the values that rule 3 quantizes."""
    return {one.source for one in layers if one.kind in WITH_ACTIVATIONS and not one.depthwise}


def multiplied_sources(layers: Iterable[Layer]) -> dict[str, int]:
    """Names of the values whose products rule 6 needs, with the axis of their channels."""
    return {one.source: 1 if one.kind == "conv" else -1 for one in layers if one.pointwise}


def _chain(function: Any) -> Iterator[str]:
    """Names of the operations from the input on, each reading what the one before computed and nothing else."""
    (current,) = function.inputs.values()
    while len(current.child_ops) == 1:
        operation = current.child_ops[0]
        if sum(one.op is None or one.val is None for one in operation.get_flattened_inputs()) != 1:
            return
        yield str(operation.name)
        current = operation.outputs[0]


def _layer(operation: Any, chain: Collection[str]) -> Layer:
    weight = _weight(operation).val
    groups = int(operation.groups.val) if operation.op_type == "conv" else 1
    source = operation.inputs["indices" if operation.op_type == "gather" else "x"]
    return Layer(
        name=_module(operation),
        operation=operation.name,
        kind=operation.op_type,
        depthwise=groups > 1 and weight.shape[1] == 1,
        source=source.name,
        multiplications=int(np.prod(operation.outputs[0].shape) * np.prod(weight.shape[1:])),
        pointwise=operation.op_type == "linear"
        or (operation.op_type == "conv" and weight[0].size == weight.shape[1] and groups == 1),
        in_chain=operation.name in chain,
    )


def _weight(operation: Any) -> Any:
    """The variable that holds an operation's weight; None where there is none, or it is computed."""
    found = operation.inputs.get(WEIGHT_ARGUMENTS.get(operation.op_type, ""))
    return found if found is not None and found.val is not None and found.rank > 1 else None


def _module(operation: Any) -> str:
    """The path of the PyTorch module; the scope's last name is the value's.

    A list of modules that is named `blocks` is not in the scope, but it is in other formats' names and in the weight's.
    """
    from coremltools.converters.mil.mil.scope import ScopeSource

    path = (operation.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME) or [operation.name, ""])[:-1]
    weight = _weight(operation).op.name
    for place, part in enumerate(path):
        longer = [*path[:place], "blocks", *path[place:]]
        if part.isdigit() and weight.startswith("_".join(longer)):
            return layer_name("/".join(longer))
    return layer_name("/".join(path))


def _compress(operation: Any, recipe: Recipe, products: Array | None) -> None:
    """Rules 1, 2 and 6."""
    from coremltools.converters.mil.mil import Builder

    key = WEIGHT_ARGUMENTS[operation.op_type]
    weight = operation.inputs[key]
    name = f"{weight.op.name}_{'palettized' if recipe.weight_coding == 'palette' else 'quantized'}"
    if recipe.weight_coding == "palette":
        made = _looked_up(Builder, operation, weight.val, recipe.weight_bits, name)
    else:
        values = weight.val if products is None else _by_output(weight.val, products)
        code = scaled(values, _channels(operation) if recipe.granularity == "channel" else None)
        made = Builder.constexpr_affine_dequantize(
            quantized_data=code.numbers, zero_point=code.numbers.dtype.type(0), scale=code.scale, axis=code.axis,
            name=name, before_op=operation,
        )  # fmt: skip
    operation.set_inputs(**{key: made})
    if not weight.child_ops:
        weight.op.enclosing_block.remove_ops([weight.op])


def _by_output(weight: Array, products: Array) -> Array:
    """Rule 6."""
    rounded = round_by_output(weight.reshape(len(weight), -1).astype(np.float32), products)
    return rounded.reshape(weight.shape).astype(weight.dtype)


def _looked_up(builder: Any, operation: Any, weight: Array, bits: int, name: str) -> Any:
    code = tabled(weight, bits)
    return builder.constexpr_lut_to_dense(
        indices=packed(code.places, bits),
        lut=code.table,
        shape=np.asarray(weight.shape, np.uint32),
        name=name,
        before_op=operation,
    )


def _channels(operation: Any) -> int:
    """The axis of the weight along which scales differ."""
    return 1 if operation.op_type == "matmul" and not operation.transpose_y.val else 0


def _pair(operation: Any, ends: Range) -> Any:
    """Rule 3."""
    from coremltools.converters.mil.mil import Builder, types

    value = operation.inputs["x"]
    code = grid(*ends, types.nptype_from_builtin(value.dtype))
    told = {"scale": code.scale, "zero_point": np.int8(code.zero_point), "before_op": operation}
    quantized = Builder.quantize(input=value, output_dtype="int8", name=f"{value.name}_int8", **told)
    return Builder.dequantize(input=quantized, name=f"{value.name}_from_int8", **told)


def _edited(model: Any, edit: Callable[[Any], None]) -> Any:
    """The model with its main function changed; coremltools' own optimizers go the same way."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.models.utils import _apply_graph_pass

    class Edit(AbstractGraphPass):  # type: ignore[misc]  # coremltools has no types
        def apply(self, prog: Any) -> None:
            with prog.functions["main"] as block:
                edit(block)

    return _apply_graph_pass(model, Edit(), skip_model_load=True)
