"""`mcconvert advise`: from the manifest and the benchmarks beside it to one file a tower, and what that rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from converter.advice.basis import choose_basis, stale_steps
from converter.advice.candidates import candidates_of, described, why_changed
from converter.advice.choosing import Cut, figure_of, rank
from converter.advice.together import tell_together
from converter.advised import Advice, Candidate, LeftOut, Platform, PlatformName, Preference, TowerAdvice
from converter.bench.history import Run
from converter.manifest import Manifest
from converter.records import TOWERS, Tower

WORDS = {
    "speed": "time a call", "size": "size", "fidelity": "the worst centred cosine", "ease": "the number of facts that "
    "make it easy",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: a platform with its facts, and what matters there."""

    name: PlatformName
    platform: Platform
    preference: Preference
    towers: tuple[Tower, ...] = TOWERS


def advise(folder: Path, manifest: Manifest, runs: Sequence[Run], question: Question) -> Advice:
    """The file of each tower to ship; a tower without one has no winner."""
    asked = [tower for tower in question.towers if any(one.tower == tower for one in manifest.artifacts)]
    towers = tuple(_advise_tower(folder, manifest, runs, question, tower) for tower in asked)
    winners = [one.winner for one in towers if one.winner]
    return Advice(
        model=manifest.model.id, trained=manifest.model.trained, platform=question.name,
        preference=question.preference, towers=towers,
        together=(*_one_runtime(folder, manifest, runs, question, towers), *tell_together(folder, towers)),
        caveats=tuple(dict.fromkeys(_caveats(manifest, question, towers))),
        measure=tuple(dict.fromkeys(_measuring(folder, question, towers))),
        runtimes={one.format: question.platform.formats[one.format].runtime for one in winners},
    )  # fmt: skip


def _advise_tower(
    folder: Path, manifest: Manifest, runs: Sequence[Run], question: Question, tower: Tower
) -> TowerAdvice:
    entries = [entry for entry in manifest.artifacts if entry.tower == tower]
    fit, left_out = candidates_of(entries, question.platform)
    basis, rows = choose_basis(runs, question.platform, fit)
    candidates = [described(entry, question.platform, rows) for entry in fit]
    if basis is not None:  # times of single calls during the proof are not compared with a benchmark's
        candidates = [replace(one, proof_ms=None) for one in candidates]
    best, decided, changed = _rank_unchanged(folder, candidates, question.preference)
    winner, runner_up = (*best, None, None)[:2]
    return TowerAdvice(
        tower=tower, winner=winner, runner_up=runner_up, basis=basis, left_out=(*left_out, *changed),
        decided_by=_decided(decided, best, len(candidates) - len(changed)),
        not_measured=tuple(_not_measured(candidates, stale_steps(runs, fit), winner, question.preference)),
    )  # fmt: skip


def _one_runtime(
    folder: Path, manifest: Manifest, runs: Sequence[Run], question: Question, towers: Sequence[TowerAdvice]
) -> Iterator[str]:
    """Two formats are two runtimes in one app: what each of them would be alone, with the files that are best then."""
    platform = question.platform
    formats = list(dict.fromkeys(one.winner.format for one in towers if one.winner))
    if len(formats) < 2:
        return
    yield f"an app needs {' and '.join(platform.formats[one].runtime for one in formats)} for these two files"
    for one in formats:
        alone = replace(question, platform=replace(platform, formats={one: platform.formats[one]}))
        best = [_advise_tower(folder, manifest, runs, alone, tower.tower).winner for tower in towers]
        if all(best):
            files = " and ".join(f"{file.step_id} ({_words(file, question.preference)})" for file in best if file)
            yield f"with {platform.formats[one].runtime} alone: {files}"


def _words(candidate: Candidate, preference: Preference) -> str:
    """The preferred figure, as a text."""
    figure = figure_of(candidate, preference)
    if figure is None:
        return "not measured"
    if preference == "ease":
        return f"{-figure:.0f} facts"
    if preference == "fidelity":
        return f"worst centred cosine {candidate.centred_cosine_min:.6f}"
    return f"{figure:.3g} ms" if preference == "speed" else f"{figure / 1e6:.1f} MB"


def _rank_unchanged(
    folder: Path, candidates: Sequence[Candidate], preference: Preference
) -> tuple[list[Candidate], list[Cut], list[LeftOut]]:
    """The best two whose bytes on the disk are the proven ones."""
    left = list(candidates)
    changed: list[LeftOut] = []
    while True:
        best, decided = rank(left, preference)
        wrong = {one.step_id: why for one in best if (why := why_changed(folder, one))}
        if not wrong:
            return best, decided, changed
        changed += [LeftOut(step_id=step, why=why) for step, why in wrong.items()]
        left = [one for one in left if one.step_id not in wrong]


def _decided(decided: Sequence[Cut], best: Sequence[Candidate], candidates: int) -> str:
    if not best:
        return "nothing that PASSED fits"
    if candidates == 1:
        return "the only file that PASSED and runs there"
    cuts = [
        f"by {WORDS[cut.preference]} {cut.left} of {cut.before} are left" for cut in decided if cut.left < cut.before
    ]
    alike = decided[-1].left if decided else candidates
    last = f"; these {alike} are alike in all that was asked, the first by name is taken" if alike > 1 else ""
    return f"{', then '.join(cuts) or 'nothing tells them apart'}{last}"


def _not_measured(
    candidates: Sequence[Candidate], stale: Sequence[str], winner: Candidate | None, preference: Preference
) -> Iterator[str]:
    """Names what no figure exists for, of the files that could have won."""
    any_timed = any(one.latency_ms for one in candidates)
    untimed = [one.step_id for one in candidates if not one.latency_ms]
    if untimed and any_timed:
        yield f"time a call of {', '.join(untimed)}"
    if candidates and not any_timed:
        yield "time a call, of any file, by a benchmark"
    if stale:
        yield f"today's bytes of {', '.join(stale)}: benchmarks are of earlier ones, and are not used"
    blank = [one.step_id for one in candidates if figure_of(one, preference) is None and preference != "speed"]
    if blank:
        yield f"{WORDS[preference]} of {', '.join(blank)}"
    unrun = [one.step_id for one in candidates if one is winner and one.format == "coreml" and not one.latency_ms]
    if unrun:
        yield f"{unrun[0]} in Core ML itself: what ran it in the proof was not a Mac"


def _caveats(manifest: Manifest, question: Question, towers: Sequence[TowerAdvice]) -> Iterator[str]:
    if not manifest.model.trained:
        yield "the weights are NOT TRAINED: times and sizes hold for trained ones, answers mean nothing; do not ship"
    for tower in towers:
        basis, winner = tower.basis, tower.winner
        if question.preference == "speed" and winner and figure_of(winner, "speed") is None:
            yield f"{tower.tower} tower: no time was measured for any file, so the next preference decided"
        elif question.preference == "speed" and basis is None and winner:
            yield (
                f"{tower.tower} tower: there is no benchmark; times are those of single calls during the proof, each "
                "file at another moment"
            )
        if basis is not None and basis.kind != "own":
            nearness = "near, but another kind of machine" if basis.kind == "near" else "another kind of machine"
            yield (
                f"times are from {nearness} than {question.platform.title}: {basis.machine}; the order may differ there"
            )


def _measuring(folder: Path, question: Question, towers: Sequence[TowerAdvice]) -> Iterator[str]:
    """The commands that would measure what was not."""
    towers = [tower for tower in towers if tower.winner is not None]
    if any(tower.basis is None or tower.basis.kind != "own" for tower in towers):
        yield question.platform.measure.replace("FOLDER", str(folder))
    elif any(tower.not_measured for tower in towers):
        yield f"mcconvert bench {folder}"


def failed_towers(advice: Advice) -> Mapping[Tower, tuple[LeftOut, ...]]:
    """The towers for which nothing that PASSED fits, with why each file was left out."""
    return {one.tower: one.left_out for one in advice.towers if one.winner is None}
