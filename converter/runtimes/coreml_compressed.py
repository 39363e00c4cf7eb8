"""Find every compressed weight of a Core ML program among the weights of the module that it was made from.

    before: constexpr_affine_dequantize(numbers, scale), constexpr_lut_to_dense(places, table)
    after:  a match for each, with how many of its numbers are not what the parent's weight gives

A weight is looked for as in `coreml_weights`, then encoded once more: numbers, scales and tables must come out the
same, so that one flipped bit of any of them is seen. Activations have no parent to compare with; of them it is held
that what is quantized is unpacked by the same scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.coreml_codes import Scaled, Tabled, nearest_places, scaled, tabled, unpacked
from converter.coreml_package import ROUNDING_KEY
from converter.mil.program import Operation, Program
from converter.runtimes.coreml_weights import ALIKE, PROBES, Array, Match, orders

COMPRESSED = "constexpr_"
CODING = ("quantize", "dequantize")
STEPS_AWAY = 24
"""Of 127: what making up for other weights' rounding can move a number by."""
LINEAR, PALETTE = "constexpr_affine_dequantize", "constexpr_lut_to_dense"


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A compressed weight of the program. `values` are what it decodes to, of the type that the program declares."""

    name: str
    code: Scaled | Tabled
    values: Array


def code_constants(program: Program) -> set[str]:
    """Constants that belong to a compressed weight or to a quantized activation: they are no weights by themselves."""
    return {
        name
        for operation in program.operations
        if operation.kind.startswith(COMPRESSED) or operation.kind in CODING
        for names in operation.inputs.values()
        for name in names
    }


def coded_weights(program: Program) -> tuple[Coded, ...]:
    """The compressed weights that can be read: linear ones and palettes."""
    return tuple(_read(one, program) for one in program.operations if one.kind in (LINEAR, PALETTE))


def match_coded(program: Program, parents: Mapping[str, Array]) -> tuple[Match, ...]:
    """A match for every compressed weight; 0 differing means that it is what the parent's weight gives.

    Where weights were rounded by what their layer computes, a number may lie up to `STEPS_AWAY` from the nearest.
    """
    away = STEPS_AWAY if program.metadata.get(ROUNDING_KEY) == "gptq" else 0
    return tuple(_match(one, parents, away) for one in coded_weights(program))


def code_problems(program: Program) -> Iterator[str]:
    """Compressed weights that cannot be compared, and activations that are unpacked by another scale than they have."""
    for operation in program.operations:
        if operation.kind.startswith(COMPRESSED) and operation.kind not in (LINEAR, PALETTE):
            yield f"weight {operation.outputs[0]} is compressed by {operation.kind}, which is compared with no parent"
    grids = {one.outputs[0]: _grid(one, program) for one in program.operations if one.kind == "quantize"}
    for operation in program.operations:
        names = [name for read in operation.inputs.values() for name in read if name in grids]
        if operation.kind != "dequantize":
            yield from (f"{operation.outputs[0]} reads {name}, which is quantized" for name in names)
        elif not names or _grid(operation, program) != grids[names[0]]:
            seen = f"{grids[names[0]]}" if names else "not"
            told = f"scale and zero point {_grid(operation, program)}"
            yield f"{operation.outputs[0]} is unpacked by {told}, but what it reads is quantized by {seen}"
    unusable = {name: scale for name, (scale, _) in grids.items() if not 0 < scale < np.inf}
    yield from (f"{name} is quantized by scale {scale:g}" for name, scale in unusable.items())


def _grid(operation: Operation, program: Program) -> tuple[float, int]:
    """Scale and zero point; coremltools leaves a zero point of 0 out of the file."""
    scale, zero_point = (
        np.asarray(program.constants[operation.inputs[key][0]] if key in operation.inputs else 0)
        for key in ("scale", "zero_point")
    )
    return float(scale), int(zero_point)


def _read(operation: Operation, program: Program) -> Coded:
    told: Mapping[str, Any] = {key: program.constants[names[0]] for key, names in operation.inputs.items()}
    name, dtype = operation.outputs[0], np.float16 if operation.types[0] == "FLOAT16" else np.float32
    if operation.kind == PALETTE:
        table, shape = told["lut"], tuple(int(size) for size in told["shape"])
        places = unpacked(told["indices"], int(np.log2(table.size)), shape)
        return Coded(name=name, code=Tabled(places=places, table=table), values=table[places].astype(dtype))
    numbers, scale, axis = told["quantized_data"], np.asarray(told["scale"]), int(told["axis"])
    values = (numbers.astype(np.float32) - told["zero_point"]) * _along(scale, numbers.ndim, axis)
    return Coded(name=name, code=Scaled(numbers=numbers, scale=scale, axis=axis), values=values.astype(dtype))


def _along(scale: Array, axes: int, axis: int) -> Array:
    return scale.reshape([-1 if one == axis else 1 for one in range(axes)]) if scale.ndim else scale


def _match(one: Coded, parents: Mapping[str, Array], away: int) -> Match:
    alike = []
    for name, values in parents.items():
        if values.size == one.values.size:
            for view in orders(values, one.values.shape):
                share = _share(one, view.astype(one.values.dtype), away)
                if share >= ALIKE:
                    alike.append((share, name, view))
    if not alike:
        return Match(constant=one.name, parent=None)
    found = [_compared(one, name, view, away) for _, name, view in sorted(alike, key=lambda each: -each[0])]
    return min(found, key=lambda match: match.differing)


def _share(one: Coded, view: Array, away: int) -> float:
    """Of a few numbers, those that this weight would give too."""
    places = np.unravel_index(np.unique(np.linspace(0, view.size - 1, PROBES, dtype=np.int64)), view.shape)
    if isinstance(one.code, Tabled):
        return float(np.mean(nearest_places(view[places], np.sort(one.code.table)) == one.code.places[places]))
    steps = np.broadcast_to(_along(one.code.scale, view.ndim, one.code.axis).astype(np.float64), view.shape)[places]
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(np.abs(np.rint(view[places] / steps) - one.code.numbers[places]) <= away))


def _compared(one: Coded, name: str, view: Array, away: int) -> Match:
    expected, seen = _expected(one, view.astype(one.values.dtype)), one.code
    if isinstance(seen, Tabled) and isinstance(expected, Tabled):
        values, wrong = expected.table[expected.places], _unlike(expected.table, seen.table)
        wrong += _unlike(expected.places, seen.places)
    elif isinstance(seen, Scaled) and isinstance(expected, Scaled):
        values = expected.numbers * _along(expected.scale, view.ndim, expected.axis)
        wrong = _unlike(expected.scale, seen.scale) + _apart(expected.numbers, seen.numbers, away)
    off = np.abs(one.values.astype(np.float64) - values)
    return Match(
        constant=one.name,
        parent=name,
        differing=wrong,
        max_abs=float(off[np.isfinite(off)].max(initial=0.0)) if wrong else 0.0,
    )


def _expected(one: Coded, view: Array) -> Scaled | Tabled:
    if isinstance(one.code, Tabled):
        return tabled(view, int(np.log2(one.code.table.size)))
    return scaled(view, one.code.axis if one.code.scale.ndim else None)


def _apart(one: Array, other: Array, steps: int) -> int:
    return int(np.count_nonzero(np.abs(one.astype(np.int32) - other.astype(np.int32)) > steps))


def _unlike(one: Array, other: Array) -> int:
    """Values that differ in a bit; 0 and -0 do."""
    return int(np.count_nonzero((one != other) | (np.signbit(one) != np.signbit(other))))
