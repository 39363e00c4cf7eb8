"""Write the result table of a real run into README.md: `python -m converter.report.readme MANIFEST README`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from converter.manifest import Manifest, ManifestEntry
from converter.records import from_json
from converter.report.marks import replace_between_marks
from converter.report.summary import executed_words, share_words, size_words


def main(manifest_path: Path, readme: Path) -> None:
    """Replace what stands between the two marks.

    Raises:
        SystemExit: the marks are missing.
    """
    replace_between_marks(readme, "make readme", table(from_json(manifest_path.read_bytes(), Manifest)))


def table(manifest: Manifest) -> Iterable[str]:
    """The lines of a Markdown table, a row a file."""
    weights = "trained" if manifest.model.trained else f"{manifest.model.weights.kind}, not trained"
    yield f"`{manifest.model.id}`, {weights} weights; every file against PyTorch float32."
    yield ""
    yield "| file | size | centred cosine, min / mean | SQNR, dB | top-5 kept, 95 % interval | run by | verdict |"
    yield "|---|---:|---:|---:|---:|---|---|"
    yield from (_row(entry) for entry in manifest.artifacts)


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
    main(Path(sys.argv[1]), Path(sys.argv[2]))
