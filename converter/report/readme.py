"""Write the results of a real run: `python -m converter.report.readme MANIFEST README RESULTS`, or `make readme`.

Into README a line for each precision and a column for each target, which a newcomer takes in at a glance; into RESULTS
(docs/results.md) a line for each file with all of its figures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from converter.manifest import Manifest, ManifestEntry
from converter.records import TOWERS, from_json
from converter.report.marks import replace_between_marks
from converter.report.summary import executed_words, share_words, size_words

COMMAND = "make readme"
SHOWN_ROWS = ("fp32", "fp16", "int8_weights", "int8_dynamic", "int8")
"""What README shows, largest files first. Others are the same weights in another wrapping, or rare: see RESULTS."""


def main(manifest_path: Path, readme: Path, results: Path) -> None:
    """Replace what stands between the two marks of each page.

    Raises:
        SystemExit: the marks are missing.
    """
    manifest = from_json(manifest_path.read_bytes(), Manifest)
    replace_between_marks(readme, COMMAND, overview(manifest))
    replace_between_marks(results, COMMAND, table(manifest))


def table(manifest: Manifest) -> Iterable[str]:
    """The lines of a Markdown table, a row a file."""
    yield f"{_about(manifest)}; every file against PyTorch float32."
    yield ""
    yield "| file | size | centred cosine, min / mean | SQNR, dB | top-5 kept, 95 % interval | run by | verdict |"
    yield "|---|---:|---:|---:|---:|---|---|"
    yield from (_row(entry) for entry in manifest.artifacts)


def overview(manifest: Manifest) -> Iterator[str]:
    """The lines of a Markdown table, a row a precision: top-5 kept of each tower, and the size of all its files."""
    targets = list(dict.fromkeys(entry.target for entry in manifest.artifacts))
    towers = [tower for tower in TOWERS if any(entry.tower == tower for entry in manifest.artifacts)]
    yield f"{_about(manifest)}; top-5 kept, {' / '.join(towers)} tower, and the size of both files."
    yield ""
    yield f"| | {' | '.join(targets)} |"
    yield f"|---|{'---|' * len(targets)}"
    for row in SHOWN_ROWS:
        found = [[one for one in manifest.artifacts if step_row(one) == (target, row)] for target in targets]
        if any(found):
            yield f"| `{row}` | {' | '.join(_cell(entries) for entries in found)} |"


def step_row(entry: ManifestEntry) -> tuple[str, str]:
    """Target and row of a file: ("tflite", "int8_dynamic")."""
    return entry.target, entry.step_id.rpartition("/")[2]


def weights_words(manifest: Manifest) -> str:
    """What kind of weights: "trained", or "seeded, not trained"."""
    return "trained" if manifest.model.trained else f"{manifest.model.weights.kind}, not trained"


def _about(manifest: Manifest) -> str:
    return f"`{manifest.model.id}`, {weights_words(manifest)} weights"


def _cell(entries: list[ManifestEntry]) -> str:
    if not entries:
        return "-"
    shares = [f"{one.parity.ranking.top_k:.3f}" if one.parity and one.parity.ranking else "-" for one in entries]
    failed = sorted({one.status for one in entries} - {"PASSED"})
    words = [" / ".join(shares), size_words(sum(one.size_bytes for one in entries)), *(f"**{one}**" for one in failed)]
    return ", ".join(words)


def _row(entry: ManifestEntry) -> str:
    parity, figures, by = entry.parity, ["-", "-", "-"], "-"
    if parity is not None and parity.outputs:
        output, ranking = parity.outputs[0], parity.ranking
        kept = share_words(ranking.top_k, ranking.top_k_interval) if ranking else "-"
        figures = [f"{output.centred_cosine_min:.6f} / {output.centred_cosine_mean:.6f}", f"{output.sqnr_db:.1f}", kept]
    if parity is not None:
        by = executed_words(parity.executed_by.partition(",")[0], [parity])
    verdict = entry.status if entry.required else f"{entry.status}, not required"
    return f"| `{entry.path}` | {size_words(entry.size_bytes)} | {' | '.join(figures)} | {by} | {verdict} |"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
