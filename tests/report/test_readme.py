"""What `make readme` and `make picture` make of a manifest."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from converter.manifest import Manifest, ManifestEntry
from converter.records import ParityReport, RankingParity, to_json
from converter.report.readme import main, overview
from converter.report.results_plot import draw
from tests.publishing.folders import make_manifest

MARKS = "# Page\n<!-- results: begin, written by `make readme` -->\nold\n<!-- results: end -->\nafter\n"
RANKING = RankingParity(
    queries=64, k=5, top1=1.0, top_k=0.987, top_k_strict=0.987, kendall_tau=1.0, score_diff_max=0.0, tie_margin=0.0
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A row of two targets for a tower, one of which failed, and one that the overview leaves out."""
    made = make_manifest(tmp_path)
    one = made.artifacts[0]
    entries = (
        _entry(one, "onnx", "fp32"), _entry(one, "tflite", "int8", status="FAILED"),
        _entry(one, "onnx", "fp32_dynamic"),
    )  # fmt: skip
    return dataclasses.replace(made, artifacts=entries)


def _entry(one: ManifestEntry, target: str, row: str, *, status: str = "PASSED") -> ManifestEntry:
    step_id = f"{one.tower}/{target}/{row}"
    parity = ParityReport(reference="r", candidate="c", sample_set="s", executed_by="a test", ranking=RANKING)
    return dataclasses.replace(
        one, target=target, step_id=step_id, path=f"{target}/{row}", status=status, parity=parity
    )  # type: ignore[arg-type]


def test_the_overview_has_a_line_a_precision(manifest: Manifest) -> None:
    """A column a target; a file that failed says so; what is not there is a dash."""
    lines = list(overview(manifest))

    assert lines[2] == "| | onnx | tflite |"
    assert len(lines) == 6
    assert lines[4].startswith("| `fp32` | 0.987, ")
    assert lines[4].endswith(" | - |")
    assert lines[5].startswith("| `int8` | - | ")
    assert lines[5].endswith("**FAILED** |")


def test_both_pages_are_written(manifest: Manifest, tmp_path: Path) -> None:
    """The short table into the one, every file into the other, and nothing else is touched."""
    pages = [tmp_path / "a.md", tmp_path / "b.md"]
    for page in pages:
        page.write_text(MARKS)
    (tmp_path / "m.json").write_bytes(to_json(manifest))

    main(tmp_path / "m.json", *pages)

    readme, results = (page.read_text() for page in pages)
    assert "fp32_dynamic" not in readme
    assert "`onnx/fp32_dynamic`" in results
    assert all(
        text.startswith("# Page\n") and text.endswith("after\n") and "old" not in text for text in (readme, results)
    )


def test_the_picture_needs_nothing_from_elsewhere(manifest: Manifest) -> None:
    """The same bytes again; text stays text; no script, no address that a browser would ask."""
    svg = draw(manifest)

    assert svg == draw(manifest)
    assert all(word.encode() in svg for word in (manifest.model.id, "int8", "tflite"))
    assert b"fp32_dynamic" not in svg
    assert all(word not in svg for word in (b"<script", b'href="http', b"url(http", b"@import"))


def test_without_matplotlib_one_line_says_so(manifest: Manifest, tmp_path: Path) -> None:
    """And the exit code is that of a missing library."""
    (tmp_path / "m.json").write_bytes(to_json(manifest))
    hidden = "import sys; sys.modules['matplotlib'] = None; sys.argv = ['', *sys.argv[1:]]; import runpy; "
    code = f"{hidden}runpy.run_module('converter.report.results_plot', run_name='__main__')"

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.json"), str(tmp_path / "p.svg")], capture_output=True, text=True
    )

    assert done.returncode == 3
    assert done.stderr == "the picture of results needs matplotlib: pip install 'mcconvert[report]'\n"
