"""What people say of converted CLIP models beside what was measured: `python -m converter.report.claims OUT PAGE`.

From the manifests below the output folder OUT: a table in PAGE (docs/parity.md) with a line for each claim and format,
a column for each model. A cell takes the worst of its files, both towers; where the claim does not hold it is bold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.manifest import Manifest
from converter.records import OutputParity, RankingParity, from_json
from converter.report.marks import replace_between_marks

COMMAND = "make claims"
Measured = tuple[OutputParity, RankingParity]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence that is often repeated, which files it is about, what is shown of them, and when it holds.

    `rows` names rows of the pipeline.
    """

    words: str
    rows: Sequence[str]
    shown: str
    figure: Callable[[Sequence[Measured]], str]
    holds: Callable[[Sequence[Measured]], bool]


def main(out: Path, page: Path) -> None:
    """Write the table from every manifest below `out`.

    Raises:
        SystemExit: there is no manifest, or the page lacks its marks.
    """
    manifests = [from_json(path.read_bytes(), Manifest) for path in sorted(out.glob("*/manifest.json"))]
    if not manifests:
        sys.exit(f"no manifest below {out}; 'make export-all' writes one")
    replace_between_marks(page, COMMAND, table(manifests))


def table(manifests: Sequence[Manifest]) -> Iterator[str]:
    """The lines of a Markdown table."""
    names = [f"`{manifest.model.id}`, {manifest.model.weights.kind}" for manifest in manifests]
    yield f"| claim | files | shown | {' | '.join(names)} | repeat with `mcconvert -m MODEL` |"
    yield f"|---|---|---|{'---|' * len(names)}---|"
    for claim in CLAIMS:
        for row in claim.rows:
            cells = [_cell(claim, row, manifest) for manifest in manifests]
            target, _, quant = row.partition("/")
            yield f"| {claim.words} | {row} | {claim.shown} | {' | '.join(cells)} | `-t {target} -q {quant}` |"


def _cell(claim: Claim, row: str, manifest: Manifest) -> str:
    measured = list(_measured(row, manifest))
    if not measured:
        return "-"
    figure = claim.figure(measured)
    return figure if claim.holds(measured) else f"**{figure}**"


def _measured(row: str, manifest: Manifest) -> Iterator[Measured]:
    """Both towers' figures of a row and of its variants, such as fp32_dynamic of fp32; int8_dynamic is a row itself."""
    target, _, quant = row.partition("/")
    for entry in manifest.artifacts:
        name, parity = entry.step_id.rpartition("/")[2], entry.parity
        same = name == quant or (entry.precision == quant and entry.precision != "int8")
        if entry.target == target and same and parity is not None and parity.outputs and parity.ranking is not None:
            yield parity.outputs[0], parity.ranking


def _largest_difference(measured: Sequence[Measured]) -> float:
    return max(output.max_abs for output, _ in measured)


def _least_alike(measured: Sequence[Measured]) -> float:
    return min(output.centred_cosine_min for output, _ in measured)


def _kept(measured: Sequence[Measured]) -> float:
    """Strict: no tie is forgiven."""
    return min(ranking.top_k_strict for _, ranking in measured)


def _scores_moved(measured: Sequence[Measured]) -> float:
    return max(ranking.score_diff_max for _, ranking in measured)


def _int8_figure(measured: Sequence[Measured]) -> str:
    plain = min(output.cosine_min for output, _ in measured)
    centred = min(output.centred_cosine_mean for output, _ in measured)
    return f"{plain:.3f}; {centred:.3f}; {_kept(measured):.3f}"


CLAIMS = (
    Claim(
        words="the same framework agrees below 1e-6",
        rows=("torchscript/fp32",),
        shown="largest difference",
        figure=lambda measured: f"{_largest_difference(measured):.1e}",
        holds=lambda measured: _largest_difference(measured) < 1e-6,
    ),
    Claim(
        words="FP32 in another framework is 98-99 % the same",
        rows=("onnx/fp32", "tflite/fp32", "coreml/fp32"),
        shown="centred cosine; top-5 kept",
        figure=lambda measured: f"{_least_alike(measured):.7f}; {_kept(measured):.3f}",
        holds=lambda measured: _least_alike(measured) >= 0.98 and _kept(measured) >= 0.98,
    ),
    Claim(
        words="TFLite FP32 loses under 0.1 %",
        rows=("tflite/fp32",),
        shown="centred cosine lost; top-5 lost",
        figure=lambda measured: f"{100 * (1 - _least_alike(measured)):.0e} %; {100 * (1 - _kept(measured)):.1f} %",
        holds=lambda measured: _least_alike(measured) > 0.999 and _kept(measured) > 0.999,
    ),
    Claim(
        words="FP16 keeps top-k identical, scores within 0.0003",
        rows=("onnx/fp16", "tflite/fp16", "coreml/fp16"),
        shown="top-5 kept, no tie forgiven; scores moved",
        figure=lambda measured: f"{_kept(measured):.3f}; {_scores_moved(measured):.4f}",
        holds=lambda measured: _kept(measured) == 1.0 and _scores_moved(measured) <= 3e-4,
    ),
    Claim(
        words="INT8 keeps 95-98 %",
        rows=("tflite/int8", "tflite/int8_dynamic"),
        shown="plain cosine, min; centred, mean; top-5 kept",
        figure=_int8_figure,
        holds=lambda measured: _kept(measured) >= 0.95,
    ),
)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
