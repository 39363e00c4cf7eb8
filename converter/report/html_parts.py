"""What the parts of a page show: rows of the heat maps, plots, figures along the depth. Records in, records out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from converter.agreement import Agreement
from converter.records import TOWERS, Tower
from converter.report.answers import five
from converter.report.html_plots import along_depth, scatter
from converter.report.html_words import row_name
from converter.report.matrix import least_alike
from converter.report.pareto import Point, front
from converter.report.summary import size_words, three_figures
from converter.reported import Depth, Machine, Reported, ReportedFile

LEVELS = ((1.0, 6), (0.99, 5), (0.95, 4), (0.85, 3), (0.7, 2), (0.5, 1))
"""From which share on a cell of a heat map has which of its colours, 0 below."""
TENTHS = tuple(range(0, 101, 10))


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A square of shares: `shares[i][j]` of the k best that side i and side j both return; None on the diagonal."""

    title: str
    name: str
    sides: tuple[str, ...]
    shares: tuple[tuple[float | None, ...], ...]
    least: tuple[str, ...]
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture as SVG, with its caption."""

    title: str
    words: str
    svg: str


@dataclass(frozen=True, kw_only=True)
class Profile:
    """SQNR in dB of one file at each tenth of its way, and the lowest place on it."""

    depth: Depth
    tenths: tuple[float | None, ...]
    lowest_db: float
    lowest_at: str


@dataclass(frozen=True, kw_only=True)
class Along:
    """The files of one target and tower along their depth."""

    plot: Plot
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The file that is best in something, of those that passed."""

    what: str
    step_id: str
    figure: str


def level(share: float) -> int:
    """The colour of a cell, 0 to 6."""
    return next((number for least, number in LEVELS if share >= least), 0)


def heat_maps(agreement: Agreement | None) -> list[HeatMap]:
    """One for each tower, and one for images against captions."""
    if agreement is None:
        return []
    k = five(agreement.k)
    maps = [
        _map(f"{one.tower} tower, {one.sample_set}: the {k} best that both return",
             f"heat-{one.tower}", [side.name for side in one.sides],
             {(pair.one, pair.other): pair.ranking.top_k_strict for pair in one.pairs},
             [f"{pair.one} and {pair.other}" for pair, _ in least_alike(one.pairs)],
             frozenset(side.name for side in one.sides if side.status not in ("", "PASSED")))
        for one in agreement.towers
    ]  # fmt: skip
    both = agreement.zero_shot
    if both is not None and len(both.sides) > 1:
        maps.append(
            _map(f"{both.images} images against {both.captions} captions: an image's {k} best captions", "heat-both",
                 [side.name for side in both.sides],
                 {(pair.one, pair.other): pair.captions.top_k_strict for pair in both.pairs},
                 [f"{pair.one} and {pair.other}" for pair, _ in least_alike(both.pairs)])
        )  # fmt: skip
    return maps


def plots(reported: Reported) -> list[Plot]:
    """Accuracy against size and against the latency on each machine, for each tower."""
    return [plot for tower in TOWERS for plot in _plots(reported, tower)]


def along(depths: Sequence[Depth]) -> list[Along]:
    """A plot for each tower and target."""
    groups: dict[tuple[str, str], list[Depth]] = {}
    for one in depths:
        if one.places:
            groups.setdefault((one.tower, one.target), []).append(one)
    return [_along(tower, target, group, number) for number, ((tower, target), group) in enumerate(groups.items())]


def picks(reported: Reported) -> list[Pick]:
    """For each tower the smallest and the fastest file that passed."""
    return [pick for tower in TOWERS for pick in _picks(reported, tower)]


def latency(file: ReportedFile, machine: Machine) -> float | None:
    """Its median on that machine, in milliseconds."""
    return next((one.median_ms for one in file.latencies if one.machine == machine.name), None)


def _map(
    title: str,
    name: str,
    sides: Sequence[str],
    shares: dict[tuple[str, str], float],
    least: Sequence[str],
    failed: frozenset[str] = frozenset(),
) -> HeatMap:
    both = shares | {(other, one): share for (one, other), share in shares.items()}
    square = tuple(tuple(both.get((one, other)) for other in sides) for one in sides)
    return HeatMap(title=title, name=name, sides=tuple(sides), shares=square, least=tuple(least), failed=failed)


def _plots(reported: Reported, tower: Tower) -> Iterator[Plot]:
    points = [_point(one, one.entry.size_bytes / 1e6) for one in reported.files if one.entry.tower == tower]
    yield from _plot([one for one in points if one], f"{tower} files: accuracy against size", "size, MB",
                     f"plot-{tower}-size")  # fmt: skip
    for number, machine in enumerate(reported.machines):
        timed = [
            _point(one, found)
            for one in reported.files
            if one.entry.tower == tower and (found := latency(one, machine)) is not None and found > 0
        ]
        title = f"{tower} files: accuracy against latency, {machine.name}"
        yield from _plot([one for one in timed if one], title, "latency, ms", f"plot-{tower}-latency-{number}")


def _plot(points: Sequence[Point], title: str, across: str, name: str) -> Iterator[Plot]:
    if len(points) < 2:
        return
    chosen = ", ".join(one.name for one in front(points)) or "none passed"
    words = f"{len(points)} files. On the Pareto front, cheapest first: {chosen}."
    yield Plot(title=title, words=words, svg=scatter(points, across=across, name=name, title=title, words=words))


def _point(file: ReportedFile, cost: float) -> Point | None:
    report = file.entry.parity
    if report is None or not report.outputs:
        return None
    return Point(
        name=row_name(file.entry.step_id), target=file.entry.target, precision=file.entry.precision,
        passed=file.verdict == "PASSED", cost=cost, accuracy=report.outputs[0].centred_cosine_mean,
    )  # fmt: skip


def _along(tower: str, target: str, depths: Sequence[Depth], number: int) -> Along:
    profiles = tuple(_profile(one) for one in depths)
    title = f"{tower} tower, {target}: SQNR along the depth"
    lowest = min(profiles, key=lambda one: one.lowest_db)
    words = (
        f"{len(depths)} files. The lowest point is {lowest.lowest_db:.1f} dB, of {row_name(lowest.depth.step_id)} at "
        f"{lowest.lowest_at}."
    )
    svg = along_depth(depths, name=f"depth-{number}", title=title, words=words)
    return Along(plot=Plot(title=title, words=words, svg=svg), profiles=profiles)


def _profile(depth: Depth) -> Profile:
    last = len(depth.places) - 1
    lowest = min(depth.places, key=lambda place: place.sqnr_db)
    return Profile(
        depth=depth, tenths=tuple(depth.places[round(last * tenth / 100)].sqnr_db for tenth in TENTHS),
        lowest_db=lowest.sqnr_db, lowest_at=lowest.module,
    )  # fmt: skip


def _picks(reported: Reported, tower: Tower) -> Iterator[Pick]:
    passed = [one for one in reported.files if one.entry.tower == tower and one.verdict == "PASSED"]
    if not passed:
        return
    smallest = min(passed, key=lambda one: one.entry.size_bytes)
    yield Pick(
        what=f"smallest {tower} file", step_id=smallest.entry.step_id, figure=size_words(smallest.entry.size_bytes)
    )
    for machine in reported.machines:
        timed = [(found, one) for one in passed if (found := latency(one, machine)) is not None]
        if timed:
            ms, fastest = min(timed, key=lambda one: one[0])
            yield Pick(what=f"fastest {tower} file, {machine.name}", step_id=fastest.entry.step_id,
                       figure=f"{three_figures(ms)} ms")  # fmt: skip
