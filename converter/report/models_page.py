"""Which models were exported, and what each file came to: `python -m converter.report.models_page OUT PAGE PROVEN`.

From the manifests below the output folder OUT: a table in PAGE (docs/models.md) with a line a tower, and PROVEN
(configs/proven.yaml), the verdicts that `mcconvert models` shows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from converter.files import write_atomically
from converter.manifest import Manifest, ManifestEntry
from converter.records import TOWERS, from_json
from converter.report.marks import replace_between_marks

COMMAND = "make prove-models"
HEADER = f"""\
# The verdict on every file of every model that was exported as a whole, for `mcconvert models`.
# Written by `{COMMAND}`, which exports them and takes about an hour.
"""


def main(out: Path, page: Path, proven: Path) -> None:
    """Write both from every manifest below `out`.

    Raises:
        SystemExit: there is no manifest, or the page lacks its marks.
    """
    manifests = [from_json(path.read_bytes(), Manifest) for path in sorted(out.glob("*/manifest.json"))]
    if not manifests:
        sys.exit(f"no manifest below {out}; {COMMAND} writes them")
    replace_between_marks(page, COMMAND, table(manifests))
    verdicts = yaml.safe_dump({manifest.model.id: _verdicts(manifest) for manifest in manifests}, sort_keys=False)
    write_atomically(proven, (HEADER + verdicts).encode())


def table(manifests: Sequence[Manifest]) -> Iterator[str]:
    """The lines of a Markdown table: a line a tower, a column a row of the pipeline."""
    rows = list(dict.fromkeys(_row_id(entry) for manifest in manifests for entry in manifest.artifacts))
    yield f"| model | tower | weights | {' | '.join(rows)} |"
    yield f"|---|---|---|{'---|' * len(rows)}"
    for manifest in manifests:
        weights = manifest.model.weights.kind
        for tower in TOWERS:
            entries = {_row_id(entry): entry for entry in manifest.artifacts if entry.tower == tower}
            if entries:
                yield f"| `{manifest.model.id}` | {tower} | {weights} | {' | '.join(_cells(rows, entries))} |"


def _cells(rows: Iterable[str], entries: Mapping[str, ManifestEntry]) -> Iterator[str]:
    for row in rows:
        yield _cell(entries[row]) if row in entries else "-"


def _cell(entry: ManifestEntry) -> str:
    """The figure that says most: largest difference in float32, centred cosine and top-5 elsewhere."""
    parity, figure = entry.parity, ""
    if parity is not None and parity.outputs:
        output, ranking = parity.outputs[0], parity.ranking
        figure = f"{output.max_abs:.0e}"
        if entry.precision == "fp16":
            figure = f"{output.centred_cosine_min:.5f}"
        elif entry.precision == "int8":
            figure = f"{output.centred_cosine_mean:.3f} / {ranking.top_k:.3f}" if ranking else ""
    return figure if entry.status == "PASSED" else f"**{entry.status}** {figure}".strip()


def _row_id(entry: ManifestEntry) -> str:
    return entry.step_id.partition("/")[2]


def _verdicts(manifest: Manifest) -> dict[str, object]:
    rows = {entry.step_id: entry.status for entry in manifest.artifacts}
    return {"weights": manifest.model.weights.kind, "rows": rows}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
