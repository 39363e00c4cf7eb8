"""The frozen records of `mcconvert explain`: where a file parts from the reference, layer by layer.

Beside `converter.records`, whose rules hold here too. All SQNR figures are in dB, 10 log10 of the reference's energy
over the energy of the difference; `None` stands for a figure that cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from converter.records import Precision, Tower

How = Literal["name", "value", "order"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked of a file: how many samples to run, and the bound in dB with the words for where it comes from."""

    samples: int
    bound_db: float
    bound_why: str


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One value of the reference and the value of the file that answers to it.

    `sqnr_db` compares the file with the PyTorch model, each run from the input on, over all samples; `worst_db` is that
    of the one sample where it is lowest. `in_db` is the lowest `sqnr_db` of what the layer was computed from. `own_db`
    is what the layer loses by itself: the PyTorch operation is fed with what the file computed before, so that nothing
    that came in counts. `own_floor_db` is what a healthy layer of this kind keeps in this precision.

    `inside` names modules whose values the file does not show, because it computes them in the same operation: the
    convolution before a ReLU that was fused with it. `by_way_of` are values that only the file has between its inputs
    and this one: what moves them, what a norm was taken apart into, what does not belong there.

    `confidence` is the chance that the match is right if each witness (name, value, order) is believed as far as it
    goes and one that is right is enough; `how` is the strongest of them.
    """

    module: str
    kind: str
    name: str
    candidate: str
    candidate_kind: str
    how: How
    confidence: float
    sqnr_db: float
    worst_db: float
    worst_sample: str
    in_db: float
    own_db: float | None
    own_floor_db: float
    nonfinite: int = 0
    ends_module: bool = True
    inside: tuple[str, ...] = ()
    by_way_of: tuple[str, ...] = ()
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class NonFinite:
    """The first operation whose result is NaN or infinite though what it reads is finite."""

    name: str
    kind: str
    module: str
    sample: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What was seen along the depth of one file.

    `first_below` and `suspect` index `layers`: the first layer under the bound, and the layer to look at; None where
    there is none. `also` lists further layers that lose more by themselves than a healthy layer does. `unmatched` names
    the reference's values that the file does not have.
    """

    file: str
    entry: str
    chosen_by: str
    tower: Tower
    precision: Precision
    executed_by: str
    reference: str
    samples: tuple[str, ...]
    bound_db: float
    bound_why: str
    layers: tuple[Layer, ...]
    reference_values: int
    candidate_values: int
    unmatched: tuple[str, ...] = ()
    first_below: int | None = None
    suspect: int | None = None
    also: tuple[int, ...] = ()
    nonfinite: NonFinite | None = None
    end_db: float | None = None

    @property
    def parts(self) -> bool:
        """Whether the file is not the reference: it ends under the bound, a layer at fault is, or a number is lost."""
        return self.first_below is not None or self.nonfinite is not None
