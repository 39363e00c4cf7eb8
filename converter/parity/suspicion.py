"""Judge what was measured along the depth: the first layer under the bound, and the layer to look at.

A layer is at fault if it loses by itself more than a healthy layer of its precision does (`own_db` under the floor);
what came in worn already is not held against it. Where no layer is at fault and the bound is crossed all the same, the
losses have added up, and the layer that adds most of them at or before the crossing is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from converter.explained import Layer
from converter.parity.metrics import SQNR_CAP_DB
from converter.parity.sketches import Sketch
from converter.records import Precision, Tolerance

OWN_FLOOR_DB: dict[Precision, float] = {"fp32": 105.0, "fp16": 45.0, "int8": 12.0}
"""Below this an operation does something else than its PyTorch twin.

Measured on every healthy file of MobileCLIP nano (trained) and S1 (seeded), both towers: the layer that loses most by
itself keeps 120 dB in float32 files, 60 dB in float16 files and 14 dB among those of INT8 files that compute with
integers: the layers in front of a GELU, whose ranges of W8A8 end where GELU has become zero; the others keep 20 dB.
"""
WEIGHTS_FLOOR_DB: dict[Precision, float] = {"int8": 30.0, "int6": 18.0, "int4": 6.0}
"""For layers of INT8 files that read integer weights and compute in float; the healthy one that loses most keeps 40 dB.
Six and four bits are those of palettes: the worst healthy layer of nano's, the convolution behind the pixels, keeps 24
and 10 dB. The other layers of these files keep 69 dB or more and are held to float16."""
WEIGHTED = ("conv", "product", "lookup")
DEFAULT_BOUND_DB: dict[Precision, float] = {"fp32": 47.0, "fp16": 27.0, "int8": 12.2, "int6": 12.2, "int4": 12.2}
"""Where a row has no tolerance: what `bound_of` makes of a centred cosine of 0.99999, 0.999 and 0.97, the shipped
tolerances of trained weights."""


def bound_of(tolerances: Sequence[Tolerance], precision: Precision) -> tuple[float, str]:
    """(the SQNR in dB that a row's own tolerance asks for, where it comes from).

    For embeddings x of length 1 (about their mean, of like length) and y at cosine c, |x - y|^2 = |x|^2 + |y|^2 -
    2 c |x| |y| = 2 (1 - c) |x|^2, so that a tolerance of c is an SQNR of 10 log10(|x|^2 / |x - y|^2), which is
    -10 log10(2 (1 - c)).
    """
    for metric in ("centred_cosine_min", "centred_cosine_mean"):
        for one in tolerances:
            if one.metric == metric and one.limit < 1:
                return -10 * math.log10(2 * (1 - one.limit)), f"{metric} {one.limit:g} of this row"
    return DEFAULT_BOUND_DB[precision], f"what {precision} rows are held to"


def floor_of(precision: Precision, layer: Sketch, file: Sequence[Sketch], *, stands_in: bool = False) -> float:
    """What a healthy layer of that file keeps at least.

    Of an INT8 file only what computes with integers is held to INT8. A file that brings no value to integers leaves
    that to the kernels of layers with weights. A value that stands in the place of another (`converter.parity.wiring`)
    is held to float: what it lacks is not rounding.
    """
    if precision not in WEIGHTS_FLOOR_DB:
        return OWN_FLOOR_DB[precision]
    if stands_in:
        return OWN_FLOOR_DB["fp16"]
    has_weights = layer.family in WEIGHTED and bool(layer.constants)
    if precision != "int8":
        return WEIGHTS_FLOOR_DB[precision] if has_weights else OWN_FLOOR_DB["fp16"]
    if layer.rounded or (has_weights and not any(one.rounded for one in file)):
        return OWN_FLOOR_DB["int8"]
    return WEIGHTS_FLOOR_DB["int8"] if has_weights else OWN_FLOOR_DB["fp16"]


def judge_layers(
    layers: Sequence[Layer], bound_db: float, end_db: float | None
) -> tuple[int | None, int | None, tuple[int, ...]]:
    """(the first layer under the bound, the layer to look at, further layers at fault).

    A layer that dips under the bound counts if the last one is under it too (`end_db`, about the mean, where it is
    known) or if a layer is at fault: a gate or a branch may be worn more than what it is added to, and do no harm.
    """
    faulty = [index for index, layer in enumerate(layers) if own(layer) < layer.own_floor_db]
    below = [index for index, layer in enumerate(layers) if layer.sqnr_db < bound_db]
    ends_below = min(layers[-1].sqnr_db, layers[-1].sqnr_db if end_db is None else end_db) < bound_db
    crossed = None
    if ends_below:
        crossed = below[0] if below else len(layers) - 1
    elif faulty and below:
        crossed = below[0]
    if not faulty and crossed is None:
        return None, None, ()
    before = [index for index in faulty if crossed is None or index <= crossed]
    pool = before or faulty or range((crossed or 0) + 1)
    suspect = min(pool, key=lambda index: own(layers[index]))
    return crossed, suspect, tuple(index for index in faulty if index != suspect)


def own(layer: Layer) -> float:
    """What the layer keeps by itself; where that could not be had, what it keeps of the worst of its inputs."""
    if layer.own_db is not None:
        return layer.own_db
    fall = max(0.0, layer.in_db - layer.sqnr_db)
    return layer.sqnr_db if fall else SQNR_CAP_DB
