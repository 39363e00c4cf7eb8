"""Lists of tensors: what a loop fills one element at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments

MAX_LENGTH = 1 << 20
"""Where a dynamic list stops growing: an index beyond it is a defect of the program, not a wish for memory."""


@dataclass(frozen=True, kw_only=True)
class TensorList:
    """A list as a value of the program: each operation makes a new one."""

    elements: tuple[torch.Tensor, ...]
    blank: torch.Tensor
    """What stands where nothing was written: zeros of the declared shape and type."""
    grows: bool
    """Whether a write beyond the end makes the list longer."""


def kernels() -> dict[str, Any]:
    """Kernels by operation; they take and give lists beside tensors."""
    return {
        "make_list": _make_list,
        "list_gather": _list_gather,
        "list_length": _list_length,
        "list_read": _list_read,
        "list_scatter": _list_scatter,
        "list_write": lambda a: _written(a["ls"], int(a["index"]), a["value"]),
    }


def _make_list(a: Arguments) -> TensorList:
    """MIL `make_list` (iOS15): `init_length` elements, by default 1, of `elem_shape` and `dtype`, by default fp32.

    With `dynamic_length`, true by default, it grows when it is written beyond its end. An axis of the shape that has a
    name stands for a size that the first write tells; it is 1 until then.
    """
    import torch

    sizes = a["elem_shape"] if isinstance(a["elem_shape"], list) else [a["elem_shape"]]
    kind = {"bool": torch.bool, "int32": torch.int32}.get(a.get("dtype", "fp32"), torch.float32)
    blank = torch.zeros([1 if isinstance(one, str) else int(one) for one in sizes], dtype=kind)
    elements = (blank,) * int(a.get("init_length", 1))
    return TensorList(elements=elements, blank=blank, grows=bool(a.get("dynamic_length", True)))


def _list_gather(a: Arguments) -> torch.Tensor:
    """MIL `list_gather` (iOS15): the elements at `indices`, stacked on a new first axis."""
    import torch

    return torch.stack([_element(a["ls"], index) for index in a["indices"].tolist()])


def _list_length(a: Arguments) -> torch.Tensor:
    """MIL `list_length` (iOS15): how many elements the list has."""
    import torch

    return torch.tensor(len(a["ls"].elements), dtype=torch.int32)


def _list_read(a: Arguments) -> torch.Tensor:
    """MIL `list_read` (iOS15): the element at `index`."""
    return _element(a["ls"], int(a["index"]))


def _list_scatter(a: Arguments) -> TensorList:
    """MIL `list_scatter` (iOS15): the list with the parts of `value` along its first axis written at `indices`."""
    held: TensorList = a["ls"]
    for index, value in zip(a["indices"].tolist(), a["value"], strict=True):
        held = _written(held, index, value)
    return held


def _element(held: TensorList, index: int) -> torch.Tensor:
    if not 0 <= index < len(held.elements):
        message = f"index {index} lies outside a list of {len(held.elements)}"
        raise ValueError(message)
    return held.elements[index]


def _written(held: TensorList, index: int, value: torch.Tensor) -> TensorList:
    """MIL `list_write` (iOS15): the list with `value` at `index`."""
    length = len(held.elements)
    if not 0 <= index < (MAX_LENGTH if held.grows else length):
        message = f"index {index} lies outside a list of {length}{', which may grow' if held.grows else ''}"
        raise ValueError(message)
    elements = [*held.elements, *[held.blank] * (index + 1 - length)]
    elements[index] = value
    return TensorList(elements=tuple(elements), blank=held.blank, grows=held.grows)
