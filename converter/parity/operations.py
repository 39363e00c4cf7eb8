"""What operations of all formats have in common: families of kinds, and kinds that only move values about."""

from __future__ import annotations

from functools import cache

FAMILIES = {
    "conv": ("convolution", "conv", "conv1d", "conv2d", "depthwiseconv2d", "conv3d", "convtranspose",
             "convtranspose2d", "transposeconv", "convolutionmode"),
    "product": ("linear", "matmul", "gemm", "addmm", "mm", "bmm", "baddbmm", "fullyconnected", "batchmatmul", "einsum",
                "matmulinteger", "scaleddotproductattention"),
    "norm": ("layernorm", "layernormalization", "nativelayernorm", "batchnorm", "batchnormalization", "groupnorm",
             "groupnormalization", "instancenorm", "instancenormalization", "l2norm", "l2normalization",
             "simplifiedlayernormalization"),
    "softmax": ("softmax", "logsoftmax"),
    "gelu": ("gelu",),
    "sigmoid": ("sigmoid", "logistic"),
    "relu": ("relu", "relu6", "clippedrelu"),
    "silu": ("silu", "swish"),
    "hardswish": ("hardswish",),
    "add": ("add", "addn"),
    "sub": ("sub", "rsub", "subtract"),
    "mul": ("mul", "multiply"),
    "div": ("div", "realdiv", "truedivide"),
    "mean": ("mean", "reducemean", "sum", "reducesum", "avgpool", "avgpool2d", "averagepool", "averagepool2d",
             "globalaveragepool", "adaptiveavgpool2d"),
    "max": ("amax", "reducemax", "max", "maxpool", "maxpool2d"),
    "clamp": ("clamp", "clampmin", "clampmax", "clip", "maximum", "minimum"),
    "lookup": ("embedding", "gather", "gathernd", "indexselect", "index", "embeddinglookup", "gatheralongaxis"),
    "concat": ("cat", "concat", "concatenation", "stack"),
    "resize": ("upsample", "upsamplebicubic2d", "upsamplebilinear2d", "resize", "resizebilinear"),
    "sqrt": ("sqrt",),
    "rsqrt": ("rsqrt",),
    "abs": ("abs",),
    "pow": ("pow", "square"),
}  # fmt: skip
"""Kinds as `_word` spells them, by family; a kind that is not listed is a family of its own."""

KIN = {
    frozenset(pair): likeness
    for *pair, likeness in (
        ("conv", "product", 0.8), ("conv", "add", 0.4), ("product", "add", 0.4), ("norm", "add", 0.5),
        ("norm", "mul", 0.4), ("gelu", "mul", 0.5), ("silu", "mul", 0.5), ("hardswish", "mul", 0.5),
        ("softmax", "div", 0.3), ("softmax", "mul", 0.3), ("div", "mul", 0.6), ("sub", "add", 0.5),
        ("clamp", "relu", 0.4), ("lookup", "concat", 0.2),
    )
}  # fmt: skip
"""What an operation of one family may have become in another format: a norm that was taken apart ends in an addition,
a bias may be an addition of its own, a GELU ends in a product."""

LAYOUT = frozenset((
    "permute", "transpose", "t", "reshape", "view", "flatten", "squeeze", "unsqueeze", "expanddims", "contiguous",
    "clone", "dropout", "featuredropout", "identity", "to", "typeas", "cast", "alias", "detach", "copy", "expand",
    "expandas", "repeat", "tile", "broadcastto", "slice", "slicebyindex", "slicebysize", "stridedslice", "select",
    "chunk", "split", "splitv", "splitwithsizes", "unbind", "narrow", "unpack", "unstack", "unsafechunk", "pad",
    "padv2", "mirrorpad", "constantpadnd", "quantize", "dequantize", "quantizelinear", "dequantizelinear",
    "dynamicquantizelinear", "castlike", "unsafeview", "spacetodepth", "depthtospace", "pixelshuffle",
))  # fmt: skip
"""Kinds whose results hold the values that they were given, elsewhere or rounded: what reads them reads their input."""


@cache
def family(kind: str) -> str:
    """The family of a kind as a format spells it: aten::_convolution, CONV_2D, Conv and conv are all "conv"."""
    word = _word(kind)
    return _FAMILY_OF.get(word, word)


@cache
def moves_only(kind: str) -> bool:
    """Whether the operation computes nothing new."""
    return _word(kind) in LAYOUT


@cache
def is_quantize(kind: str) -> bool:
    """Whether the operation brings numbers to integers with a scale."""
    return _word(kind) in ("quantize", "quantizelinear", "dynamicquantizelinear")


@cache
def is_dequantize(kind: str) -> bool:
    """Whether the operation brings integers with a scale back to numbers."""
    return _word(kind) in ("dequantize", "dequantizelinear")


@cache
def likeness(one: str, other: str) -> float:
    """How well two families answer to each other, 1 for the same and 0 for strangers."""
    return 1.0 if one == other else KIN.get(frozenset((one, other)), 0.0)


def _word(kind: str) -> str:
    return kind.rpartition("::")[2].replace("_", "").lower()


_FAMILY_OF = {word: name for name, words in FAMILIES.items() for word in words}
