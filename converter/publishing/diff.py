"""What changed between two manifests of one model: pure comparison of records, nothing is read or run.

A figure of parity got better or worse by its own sense; whether that means anything is said by its 95 % intervals: a
change is significant when they do not overlap. Figures without an interval are not called significant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from converter.difference import Change, Difference, Figure, FileChange, Sense
from converter.manifest import Manifest, ManifestEntry
from converter.parity.judge import METRICS
from converter.records import Interval, ParityReport, Tolerance

FIGURES = ("centred_cosine_min", "centred_cosine_mean", "cosine_min", "max_abs", "sqnr_db")
RANKING_FIGURES = ("top1", "top_k", "kendall_tau")
STRESS_FIGURES = {"stress_cosine_min": "cosine_min", "stress_max_abs": "max_abs"}


def compare_manifests(old: Manifest, new: Manifest) -> Difference:
    """All differences, files in the order of their steps."""
    before, after = ({one.step_id: one for one in side.artifacts} for side in (old, new))
    files = tuple(_file(before.get(step), after.get(step)) for step in sorted({*before, *after}))
    changes = tuple(_of_the_whole(old, new))
    broken = [f"{file.step_id}: {file.broken}" for file in files if file.broken]
    broken += [f"{one.name}: {one.old} -> {one.new}" for one in changes if one.worse]
    return Difference(model=new.model.id, files=files, changes=changes, broken=tuple(broken))


def _file(old: ManifestEntry | None, new: ManifestEntry | None) -> FileChange:
    one = new or old
    if one is None:
        message = "a file of neither side"
        raise ValueError(message)
    if old is None or new is None:
        gone = "a required file is gone" if new is None and one.required and one.status == "PASSED" else ""
        return FileChange(
            step_id=one.step_id, path=one.path, kind="added" if old is None else "removed",
            old_bytes=old.size_bytes if old else None, new_bytes=new.size_bytes if new else None, broken=gone,
        )  # fmt: skip
    broken = f"{old.status} -> {new.status}" if old.status == "PASSED" != new.status else ""
    return FileChange(
        step_id=new.step_id, path=new.path, kind="same" if old.sha256 == new.sha256 else "changed",
        old_bytes=old.size_bytes, new_bytes=new.size_bytes, figures=tuple(_figures(old.parity, new.parity)),
        changes=tuple(_facts(old, new)), broken=broken,
    )  # fmt: skip


def _figures(old: ParityReport | None, new: ParityReport | None) -> Iterator[Figure]:
    before, after = _measured(old), _measured(new)
    for name in [one for one in before if one in after]:
        (was, was_interval), (now, now_interval) = before[name], after[name]
        if was != now:
            yield Figure(
                name=name, old=was, new=now, sense=_sense(name, was, now),
                significant=_apart(was_interval, now_interval),
            )  # fmt: skip


def _measured(report: ParityReport | None) -> dict[str, tuple[float, Interval | None]]:
    found: dict[str, tuple[float, Interval | None]] = {}
    if report is None or not report.outputs:
        return found
    found |= {name: (getattr(report.outputs[0], name), None) for name in FIGURES}
    if report.ranking is not None:
        for name in RANKING_FIGURES:
            found[name] = (getattr(report.ranking, name), getattr(report.ranking, f"{name}_interval"))
    if report.stress is not None:
        found |= {name: (getattr(report.stress, field), None) for name, field in STRESS_FIGURES.items()}
    if report.latency_ms is not None:
        found["latency_ms"] = (report.latency_ms, None)
    return found


def _sense(name: str, old: float, new: float) -> Sense:
    """A time of proving says too little to be better or worse."""
    if name not in METRICS or old != old or new != new:
        return "neither"
    higher_is_better = METRICS[name] == "at least"
    return "better" if (new > old) == higher_is_better else "worse"


def _apart(old: Interval | None, new: Interval | None) -> bool:
    """An interval without width comes of samples that all agree, and says nothing."""
    if old is None or new is None or old[0] == old[1] or new[0] == new[1]:
        return False
    return old[1] < new[0] or new[1] < old[0]


def _facts(old: ManifestEntry, new: ManifestEntry) -> Iterator[Change]:
    yield from _changed({"verdict": (old.status, new.status), "path": (old.path, new.path)})
    yield from _changed({"required": (_yes(old.required), _yes(new.required))})
    yield from _recipes(old, new)
    yield from _bounds(old.tolerances, new.tolerances)
    ran = [one.parity.executed_by if one.parity else "nothing" for one in (old, new)]
    sets = [one.parity.sample_set if one.parity else "nothing" for one in (old, new)]
    yield from _changed({"run by": (ran[0], ran[1]), "samples": (sets[0], sets[1])})
    yield from _changed({"notes": ("; ".join(old.notes), "; ".join(new.notes))})


def _recipes(old: ManifestEntry, new: ManifestEntry) -> Iterator[Change]:
    before, after = ({} if one.recipe is None else vars(one.recipe) for one in (old, new))
    for name in [*before, *(one for one in after if one not in before)]:
        was, now = before.get(name, "none"), after.get(name, "none")
        yield from _changed({f"recipe.{name}": (str(was), str(now))})


def _bounds(old: Sequence[Tolerance], new: Sequence[Tolerance]) -> Iterator[Change]:
    before, after = ({one.metric: one.limit for one in side} for side in (old, new))
    for metric in sorted({*before, *after}):
        was, now = before.get(metric), after.get(metric)
        if was != now:
            yield Change(name=f"bound {metric} {_moved(metric, was, now)}", old=_limit(was), new=_limit(now))


def _moved(metric: str, old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return "added" if old is None else "dropped"
    looser = new < old if METRICS.get(metric) == "at least" else new > old
    return "loosened" if looser else "tightened"


def _limit(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:.12g}"


def _of_the_whole(old: Manifest, new: Manifest) -> Iterator[Change]:
    yield from _changed({"model": (old.model.id, new.model.id), "made by": (old.created_by, new.created_by)})
    yield from _changed({"weights": (_weights(old), _weights(new)), "licence": (old.model.license, new.model.license)})
    if old.model.trained != new.model.trained:
        worse = not new.model.trained
        yield Change(name="trained", old=_yes(old.model.trained), new=_yes(new.model.trained), worse=worse)
    for name in ("embed_dim", "logit_scale", "normalized", "preprocessing", "tokenizer"):
        yield from _changed({name: (str(getattr(old.model, name)), str(getattr(new.model, name)))})
    waived = [", ".join(one.name for one in side.waivers) or "none" for side in (old, new)]
    yield from _changed({"waivers": (waived[0], waived[1])})
    references = [{one.tower: one.embeddings.sha256[:12] for one in side.references} for side in (old, new)]
    for tower in sorted({*references[0], *references[1]}):
        was, now = (side.get(tower, "none") for side in references)
        yield from _changed({f"reference of the {tower} tower": (was, now)})
    yield from _versions(old.environment, new.environment)


def _versions(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        yield from _changed({name: (old.get(name, "none"), new.get(name, "none"))})


def _weights(manifest: Manifest) -> str:
    return f"{manifest.model.weights.kind} {manifest.model.weights.sha256[:12]}"


def _changed(facts: Mapping[str, tuple[str, str]]) -> Iterator[Change]:
    yield from (Change(name=name, old=old, new=new) for name, (old, new) in facts.items() if old != new)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
