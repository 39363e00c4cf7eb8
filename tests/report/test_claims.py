"""The page of claims takes the worst file of each row and marks what does not hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from converter.manifest import Manifest, ManifestEntry
from converter.publishing.manifest import merge, write_manifest
from converter.records import ParityReport, Precision
from converter.report.claims import main, table
from tests.publishing.test_manifest import entry, model
from tests.report.test_models_page import parity


def report(*, max_abs: float = 0.0, top_k: float = 1.0, moved: float = 0.0, plain: float = 1.0) -> ParityReport:
    base = parity()
    assert base.ranking is not None
    output = dataclasses.replace(base.outputs[0], max_abs=max_abs, centred_cosine_min=1.0, cosine_min=plain)
    ranking = dataclasses.replace(base.ranking, top_k_strict=top_k, score_diff_max=moved)
    return dataclasses.replace(base, outputs=(output,), ranking=ranking)


def row(folder: Path, row_id: str, precision: Precision, measured: ParityReport) -> ManifestEntry:
    target, _, name = row_id.partition("/")
    base = entry(folder, f"{target}_{name}")
    return dataclasses.replace(base, step_id=f"image/{row_id}", target=target, precision=precision, parity=measured)


def manifest(folder: Path, entries: Sequence[ManifestEntry]) -> Manifest:
    made = merge(folder, model(), [], entries, {})
    write_manifest(folder / "manifest.json", made)
    return made


def line(lines: Sequence[str], files: str) -> list[str]:
    return [cell.strip() for cell in next(one for one in lines if f"| {files} |" in one).split("|")]


def test_the_worst_file_of_a_row_speaks_for_it(tmp_path: Path) -> None:
    """A dynamic or scripted twin counts with its row; int8_dynamic is a row of its own."""
    entries = [
        row(tmp_path, "torchscript/fp32", "fp32", report(max_abs=1e-7)),
        row(tmp_path, "torchscript/fp32_script", "fp32", report(max_abs=5e-7)),
        row(tmp_path, "tflite/int8", "int8", report(top_k=0.96)),
        row(tmp_path, "tflite/int8_dynamic", "int8", report(top_k=0.90)),
    ]

    lines = list(table([manifest(tmp_path, entries)]))

    assert line(lines, "torchscript/fp32")[4] == "5.0e-07"
    assert line(lines, "tflite/int8")[4].endswith("0.960")
    assert line(lines, "tflite/int8_dynamic")[4] == "**1.000; 0.971; 0.900**"
    assert line(lines, "coreml/fp32")[4] == "-"


@pytest.mark.parametrize(
    ("files", "precision", "measured"),
    [
        ("torchscript/fp32", "fp32", report(max_abs=1e-6)),
        ("onnx/fp32", "fp32", report(top_k=0.97)),
        ("onnx/fp16", "fp16", report(moved=3.1e-4)),
        ("coreml/fp16", "fp16", report(top_k=0.999)),
        ("tflite/int8", "int8", report(top_k=0.949)),
    ],
)
def test_a_claim_that_does_not_hold_is_bold(
    tmp_path: Path, files: str, precision: Precision, measured: ParityReport
) -> None:
    """Each claim has its own bound; a file just beyond it breaks the claim, a perfect one keeps it."""
    broken = list(table([manifest(tmp_path, [row(tmp_path, files, precision, measured)])]))
    kept = list(table([manifest(tmp_path, [row(tmp_path, files, precision, report())])]))

    assert line(broken, files)[4].startswith("**")
    assert not line(kept, files)[4].startswith("**")


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    """The rest of the page stays; without a manifest nothing is written."""
    page = tmp_path / "parity.md"
    page.write_text("before\n<!-- results: begin, written by `make claims` -->\n<!-- results: end -->\nafter\n")
    with pytest.raises(SystemExit, match="no manifest below"):
        main(tmp_path, page)
    manifest(tmp_path / "m", [row(tmp_path / "m", "onnx/fp32", "fp32", report())])

    main(tmp_path, page)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| onnx/fp32 |" in text
