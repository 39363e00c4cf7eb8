"""What each side finds for a few queries: the queries on which the files differ most from the reference, and some more.

Embeddings come in, records go out; a query is compared with all samples but itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.agreement import REFERENCE
from converter.parity.matrix import rank
from converter.parity.scores import gallery, scores_of
from converter.records import Tower
from converter.reported import Answer, Shown, Strip

Rows = npt.NDArray[Any]
Best = npt.NDArray[np.intp]


def strips(tower: Tower, rows: Mapping[str, Rows], names: Sequence[str], k: int, count: int) -> tuple[Strip, ...]:
    """`count` queries, given each side's (n, d) unit-length embeddings of the same samples, the reference among them.

    Queries come in the order of how many results, over all sides, the reference has not among its own; of equal ones
    the first. Where fewer differ, queries spread over the set follow, on which all agree.
    """
    best = {side: best_of(one, k) for side, one in rows.items()}
    reference = best[REFERENCE]
    wrong = np.zeros(len(reference), np.intp)
    for one in best.values():
        wrong += (~(one[:, :, None] == reference[:, None, :]).any(axis=2)).sum(axis=1)
    return tuple(_strip(tower, query, best, names) for query in _picked(wrong, count))


def best_of(rows: Rows, k: int) -> Best:
    """(n, k) samples nearest to each sample, itself left out, the nearest first."""
    one = gallery(rows)
    scores = scores_of(one.rows, one)
    np.fill_diagonal(scores, -np.inf)
    return rank(scores, k).best


def _picked(wrong: npt.NDArray[np.intp], count: int) -> list[int]:
    order = [int(one) for one in np.argsort(-wrong, kind="stable") if wrong[one] > 0][:count]
    spread = (round(index * (len(wrong) - 1) / max(1, count - 1)) for index in range(count))
    return [*order, *(one for one in dict.fromkeys(spread) if one not in order)][: min(count, len(wrong))]


def _strip(tower: Tower, query: int, best: Mapping[str, Best], names: Sequence[str]) -> Strip:
    reference = [int(one) for one in best[REFERENCE][query]]
    return Strip(tower=tower, sample=query, name=names[query], answers=tuple(_answers(query, reference, best, names)))


def _answers(query: int, reference: Sequence[int], best: Mapping[str, Best], names: Sequence[str]) -> Iterator[Answer]:
    """One for each list of results that differs, with the sides that give it."""
    sides: dict[tuple[int, ...], list[str]] = {tuple(reference): [REFERENCE]}
    for side, found in best.items():
        if side != REFERENCE:
            sides.setdefault(tuple(int(one) for one in found[query]), []).append(side)
    for shown, who in sides.items():
        places = [reference.index(one) + 1 if one in reference else 0 for one in shown]
        yield Answer(
            sides=tuple(who),
            shown=tuple(
                Shown(sample=one, name=names[one], in_reference=place) for one, place in zip(shown, places, strict=True)
            ),
        )
