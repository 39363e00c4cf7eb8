"""Operations that put values in order: sorting, the largest, the boxes that stand out.

Among equal values the one that comes first counts first; the specification promises no order of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {"argsort": lambda a: _order(a), "topk": _topk, "non_maximum_suppression": _non_maximum_suppression}


def _order(a: Arguments) -> torch.Tensor:
    """MIL `argsort` (iOS15): the places of the values along `axis`, by default the last one, largest value first.

    With `ascending`, false by default, smallest value first.
    """
    import torch

    return torch.sort(a["x"], dim=int(a.get("axis", -1)), descending=not a.get("ascending", False), stable=True).indices


def _topk(a: Arguments) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """MIL `topk` (iOS15, iOS16, iOS17): the `k` largest values along `axis`, and their places.

    By default `k` is 1, the axis the last one; -1 takes all values. With `ascending` it gives the smallest ones. They
    come in order, whatever `sort` says; the places come unless `return_indices`, true by default, is false.
    """
    x: torch.Tensor = a["x"]
    axis, count = int(a.get("axis", -1)), int(a.get("k", 1))
    places = _order(a).narrow(axis, 0, x.shape[axis] if count == -1 else count)
    values = x.gather(axis, places)
    return (values, places) if a.get("return_indices", True) else values


@dataclass(frozen=True, kw_only=True)
class _Suppression:
    max_boxes: int
    iou_threshold: float
    score_threshold: float | None
    by_class: bool


def _non_maximum_suppression(a: Arguments) -> tuple[torch.Tensor, ...]:
    """MIL `non_maximum_suppression` (iOS15, iOS17): the boxes by score, without those that overlap a better one.

    A box is (x, y, width, height) around its centre; its score is the best of its classes', its class the one that has
    it. A box falls when its intersection with a chosen box is more than `iou_threshold` of their union; with
    `per_class_suppression`, false by default, only when both have one class. Boxes, scores and places of at most
    `max_boxes` come out, padded with 0, 0 and -1.

    Before iOS17 the boxes lie on the second axis, boxes that score below `score_threshold` are left out, and the count
    of chosen boxes is a fourth result. From iOS17 on the boxes lie on the last axis.
    """
    import torch

    threshold = a.get("score_threshold")
    rule = _Suppression(
        max_boxes=int(a["max_boxes"]),
        iou_threshold=float(a["iou_threshold"]),
        score_threshold=None if threshold is None else float(threshold),
        by_class=bool(a.get("per_class_suppression", False)),
    )
    last = threshold is None
    boxes, scores = (a[key].transpose(1, 2) if last else a[key] for key in ("boxes", "scores"))
    chosen = [_chosen(*one, rule) for one in zip(boxes, scores, strict=True)]
    places = torch.stack([_padded(one, rule.max_boxes, -1) for one in chosen])
    kept = [
        torch.stack([_padded(one[at], rule.max_boxes, 0) for one, at in zip(values, chosen, strict=True)])
        for values in (boxes, scores)
    ]
    if last:
        return kept[0].transpose(1, 2), kept[1].transpose(1, 2), places
    return kept[0], kept[1], places, torch.tensor([len(one) for one in chosen])


def _chosen(boxes: torch.Tensor, scores: torch.Tensor, rule: _Suppression) -> torch.Tensor:
    """The places of the chosen boxes of one picture, best score first."""
    import torch

    best, kinds = scores.max(dim=-1)
    overlaps = _overlaps(boxes) > rule.iou_threshold
    if rule.by_class:
        overlaps &= kinds == kinds.unsqueeze(1)
    chosen: list[int] = []
    for place in torch.sort(best, descending=True, stable=True).indices.tolist():
        scored = rule.score_threshold is None or best[place] >= rule.score_threshold
        if scored and len(chosen) < rule.max_boxes and not overlaps[place, chosen].any():
            chosen.append(place)
    return torch.tensor(chosen, dtype=torch.long)


def _overlaps(boxes: torch.Tensor) -> torch.Tensor:
    """Intersection over union of all pairs of boxes; 0 where both are empty."""
    import torch

    centre, size = boxes[:, :2], boxes[:, 2:]
    low, high = centre - size / 2, centre + size / 2
    shared = (torch.minimum(high, high.unsqueeze(1)) - torch.maximum(low, low.unsqueeze(1))).clamp(min=0).prod(-1)
    area = size.prod(-1)
    union = area + area.unsqueeze(1) - shared
    return torch.where(union > 0, shared / union, 0.0)


def _padded(values: torch.Tensor, count: int, filling: int) -> torch.Tensor:
    import torch

    rest = torch.full((count - len(values), *values.shape[1:]), filling, dtype=values.dtype)
    return torch.cat([values, rest])
