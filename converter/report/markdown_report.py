"""The report in Markdown, for a comment on a pull request: verdict first, one table, what differs, what is missing.

Strings of manifests are a stranger's: what Markdown or HTML would read as its own is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from converter.agreement import Agreement
from converter.report import html_words as words
from converter.report.answers import five, percent
from converter.report.html_parts import latency, picks
from converter.report.matrix import least_alike, ranking_of
from converter.report.summary import size_words, three_figures
from converter.reported import Reported, ReportedFile

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~@$&])")
ICONS = {"PASSED": "✅", "BLOCKED": "⏸️"}


def lines(reported: Reported) -> Iterator[str]:
    """All of it, a line each."""
    model = reported.model
    yield f"### {'✅' if words.all_passed(reported) else '❌'} {plain(model.id)}: {words.headline(reported)}"
    yield ""
    yield _weights(reported)
    for step, verdict, why in words.not_passed(reported):
        yield f"- **{plain(step)}** {verdict}" + (f": {plain(why)}" if why else "")
    yield from ("", *(f"- {pick.what}: **{plain(words.row_name(pick.step_id))}** {pick.figure}" for pick in
                      picks(reported)), "")  # fmt: skip
    yield from folded(f"All {len(reported.files)} files", _table(reported))
    if reported.agreement is not None:
        yield from folded("Which files agree least with each other", _least(reported.agreement))
    if reported.depths:
        yield from folded("SQNR along the depth", _depths(reported))
    for caution, steps in words.cautions(reported.files).items():
        yield f"- caution, {plain(', '.join(steps))}: {plain(caution)}"
    for gap in reported.gaps:
        yield f"- not in this report, {gap.part}: {plain(gap.why)}. `{gap.command}` adds it."
    yield ""
    yield f"Written by {plain(reported.created_by)}; weights sha256 `{plain(model.weights.sha256)}`."


def plain(text: str) -> str:
    """Text as it reads, in one line, whatever is in it."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split())).replace(r"\<", "&lt;").replace(r"\>", "&gt;")


def folded(title: str, inside: Iterable[str]) -> Iterator[str]:
    """A block that opens on a click."""
    yield from (f"<details><summary>{title}</summary>", "", *inside, "", "</details>", "")


def _weights(reported: Reported) -> str:
    hashed = "every byte was hashed again" if reported.hashed else "verdicts are the manifest's, nothing was hashed"
    if reported.model.trained:
        return f"Weights are trained; {hashed}."
    return f"**Weights are NOT TRAINED**: agreement between files is real, what they find is not; {hashed}."


def _table(reported: Reported) -> Iterator[str]:
    heads = ["file", "verdict", "size", *(f"ms, {plain(one.name)}" for one in reported.machines)]
    heads += ["centred cosine min / mean", "SQNR dB", "top-5 %", "Kendall's tau"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|---|" + "---:|" * (len(heads) - 2)
    for file in reported.files:
        yield f"| {' | '.join(_cells(reported, file))} |"


def _cells(reported: Reported, file: ReportedFile) -> Iterator[str]:
    yield plain(file.entry.step_id)
    yield f"{ICONS.get(file.verdict, '❌')} {file.verdict}" + ("" if file.entry.required else " (not required)")
    yield size_words(file.entry.size_bytes)
    for machine in reported.machines:
        found = latency(file, machine)
        yield "-" if found is None else three_figures(found)
    parity = file.entry.parity
    output = parity.outputs[0] if parity and parity.outputs else None
    yield f"{output.centred_cosine_min:.6f} / {output.centred_cosine_mean:.6f}" if output else "-"
    yield words.decibels(output.sqnr_db if output else None)
    ranking = parity.ranking if parity else None
    yield words.share(ranking.top_k, ranking.top_k_interval) if ranking else "-"
    yield f"{ranking.kendall_tau:.4f}" if ranking else "-"


def _least(agreement: Agreement) -> Iterator[str]:
    yield f"Share of the {five(agreement.k)} best that both return, in %."
    yield ""
    yield "| tower | pair | shared | tau |"
    yield "|---|---|---:|---:|"
    for matrix in agreement.towers:
        for pair, more in least_alike(matrix.pairs):
            also = f" and {more} more pairs alike" if more else ""
            ranking = ranking_of(pair)
            yield (
                f"| {matrix.tower} | {plain(pair.one)} and {plain(pair.other)}{also} | "
                f"{percent(ranking.top_k_strict)} | {ranking.kendall_tau:.4f} |"
            )


def _depths(reported: Reported) -> Iterator[str]:
    yield "| file | at the end, dB | lowest, dB | there | bound, dB | layer to look at |"
    yield "|---|---:|---:|---|---:|---|"
    for one in reported.depths:
        if one.places:
            lowest = min(one.places, key=lambda place: place.sqnr_db)
            yield (
                f"| {plain(one.step_id)} | {words.decibels(one.end_db)} | {lowest.sqnr_db:.1f} | "
                f"{plain(lowest.module)} | {one.bound_db:.1f} | {plain(one.suspect) or '-'} |"
            )
