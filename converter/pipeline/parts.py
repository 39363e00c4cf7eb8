"""The parts that a run can be divided into, one for each target and tower, so that other machines may share the work.

A part makes the rows that were asked for of one target and tower, and whatever they are made from; what two parts
share, each makes for itself. Parts meet in the cache of finished steps: it goes by content, so that a whole run on
the merged caches finds every step done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from converter.errors import UsageError, nearest
from converter.pipeline.steps import REFERENCE_STAGE, chain
from converter.records import Step


def parts_of(steps: Sequence[Step]) -> list[str]:
    """The names of a run's parts, TARGET/TOWER, in the order of its steps."""
    return list(dict.fromkeys(_part(step) for step in steps if step.requested and step.stage != REFERENCE_STAGE))


def only(steps: Sequence[Step], part: str) -> list[Step]:
    """The steps of one part; those of other parts that it needs are made, not asked for.

    Raises:
        UsageError: the run has no such part.
    """
    names = parts_of(steps)
    if part not in names:
        message = f"no part '{part}'; {nearest(part, names)}; this run has {', '.join(names)}"
        raise UsageError(message)
    needs, by_id = chain(steps), {step.id: step for step in steps}
    wanted, kept = [step.id for step in steps if step.requested and _part(step) == part], set[str]()
    while wanted:
        name = wanted.pop()
        kept.add(name)
        wanted += [one for one in needs[name] if one not in kept]
    return [
        step if _part(step) == part or step.stage == REFERENCE_STAGE else dataclasses.replace(step, requested=False)
        for step in by_id.values()
        if step.id in kept
    ]


def _part(step: Step) -> str:
    return f"{step.target}/{step.tower}"
