"""The page of models says what the manifests say, and nothing else of it changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from converter.manifest import Manifest, ManifestEntry
from converter.publishing.manifest import merge, write_manifest
from converter.records import OutputParity, ParityReport, Precision, RankingParity, Status
from converter.report.models_page import main
from tests.publishing.test_manifest import entry, model

PAGE = "before\n<!-- results: begin, written by `make prove-models` -->\nold\n<!-- results: end -->\nafter\n"


def parity() -> ParityReport:
    output = OutputParity(
        name="embedding", shape=(64, 512), max_abs=4.2e-7, cosine_min=1.0, centred_cosine_min=0.99994,
        centred_cosine_mean=0.971, sqnr_db=40.0, spread=0.3, worst_index=0, nonfinite=0,
    )  # fmt: skip
    ranking = RankingParity(
        queries=64, k=5, top1=1.0, top_k=0.838, top_k_strict=0.83, kendall_tau=0.9, score_diff_max=0.0, tie_margin=0.0
    )
    return ParityReport(
        reference="r", candidate="c", sample_set="s", executed_by="b", outputs=(output,), ranking=ranking
    )


def row(folder: Path, name: str, precision: Precision, status: Status = "PASSED") -> ManifestEntry:
    return dataclasses.replace(entry(folder, name), precision=precision, status=status, parity=parity())


def written(out: Path, *entries: ManifestEntry) -> Manifest:
    manifest = merge(out / "mobileclip_s1", model(), [], entries, {})
    write_manifest(out / "mobileclip_s1" / "manifest.json", manifest)
    return manifest


def test_each_precision_shows_the_figure_that_says_most(tmp_path: Path) -> None:
    """Largest difference in float32, centred cosine in float16, its mean and top-5 in int8; a failure stands out."""
    folder = tmp_path / "mobileclip_s1"
    written(tmp_path, row(folder, "fp32", "fp32"), row(folder, "fp16", "fp16"), row(folder, "int8", "int8", "FAILED"))
    page, proven = tmp_path / "models.md", tmp_path / "proven.yaml"
    page.write_text(PAGE)

    main(tmp_path, page, proven)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| model | tower | weights | onnx/fp16 | onnx/fp32 | onnx/int8 |" in text
    assert "| `mobileclip_s1` | image | seeded | 0.99994 | 4e-07 | **FAILED** 0.971 / 0.838 |" in text
    rows = {"image/onnx/fp16": "PASSED", "image/onnx/fp32": "PASSED", "image/onnx/int8": "FAILED"}
    assert yaml.safe_load(proven.read_text()) == {"mobileclip_s1": {"weights": "seeded", "rows": rows}}


def test_without_manifests_or_marks_nothing_is_written(tmp_path: Path) -> None:
    """The page stays as it is."""
    page = tmp_path / "models.md"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="no manifest"):
        main(tmp_path, page, tmp_path / "proven.yaml")
    written(tmp_path, row(tmp_path / "mobileclip_s1", "fp32", "fp32"))

    with pytest.raises(SystemExit, match="lacks the marks"):
        main(tmp_path, page, tmp_path / "proven.yaml")
    assert page.read_text() == "no marks"
    assert not (tmp_path / "proven.yaml").exists()
