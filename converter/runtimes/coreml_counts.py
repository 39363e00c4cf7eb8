"""Which operations of a Core ML program stand for which of a TorchScript graph, and how many there must be.

Reshapes, sums and casts are not counted: coremltools merges and adds them freely.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from converter.mil.program import Program


@dataclass(frozen=True, kw_only=True)
class Family:
    """Operations that mean the same in both graphs; each counts as often as the number says."""

    name: str
    torch: Mapping[str, int]
    mil: Mapping[str, int]
    least: bool = False
    """Other torch operations become these too: the program may have more of them than the parent, but not fewer."""


FAMILIES = (
    Family(name="convolution", torch={"aten::_convolution": 1, "aten::conv1d": 1, "aten::conv2d": 1}, mil={"conv": 1}),
    Family(  # attention is two products; a product with a constant becomes a linear
        name="matrix product",
        torch={
            "aten::linear": 1, "aten::matmul": 1, "aten::mm": 1, "aten::bmm": 1, "aten::addmm": 1,
            "aten::scaled_dot_product_attention": 2,
        },
        mil={"linear": 1, "matmul": 1, "scaled_dot_product_attention": 2},
    ),
    Family(name="layer norm", torch={"aten::layer_norm": 1}, mil={"layer_norm": 1}),
    Family(name="batch norm", torch={"aten::batch_norm": 1}, mil={"batch_norm": 1}),
    Family(
        name="softmax",
        torch={"aten::softmax": 1, "aten::scaled_dot_product_attention": 1},
        mil={"softmax": 1, "scaled_dot_product_attention": 1},
    ),
    Family(name="gelu", torch={"aten::gelu": 1}, mil={"gelu": 1}),
    Family(name="relu", torch={"aten::relu": 1, "aten::relu_": 1}, mil={"relu": 1}),
    Family(name="sigmoid", torch={"aten::sigmoid": 1, "aten::sigmoid_": 1}, mil={"sigmoid": 1}),
    Family(name="embedding", torch={"aten::embedding": 1}, mil={"gather": 1}),
    Family(name="absolute value", torch={"aten::abs": 1}, mil={"abs": 1}, least=True),
    Family(name="largest value", torch={"aten::amax": 1}, mil={"reduce_max": 1}, least=True),
)  # fmt: skip


def count_problems(program: Program, graph: Any) -> Iterator[str]:
    """Families that the program has more or fewer of than the torch graph."""
    ours = Counter(operation.kind for operation in program.operations)
    theirs = Counter(node.kind() for node in graph.nodes())
    for family in FAMILIES:
        seen = sum(ours[kind] * times for kind, times in family.mil.items())
        expected = sum(theirs[kind] * times for kind, times in family.torch.items())
        if seen < expected or (seen > expected and not family.least):
            yield f"{family.name}: the program has {seen} ({', '.join(family.mil)}), the parent {expected}"
