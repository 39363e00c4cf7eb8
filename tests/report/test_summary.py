"""The closing table and its last line."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from converter.manifest import Manifest
from converter.publishing.manifest import merge
from converter.records import OutputParity, ParityReport, RankingParity, StageResult, StressParity, StructureCheck
from converter.report.readme import table
from converter.report.summary import closing_line, print_summary, size_words
from tests.publishing.test_manifest import entry, model

OUTPUT = OutputParity(
    name="embedding", shape=(64, 512), max_abs=4.2e-7, cosine_min=1.0, centred_cosine_min=0.99994,
    centred_cosine_mean=0.971, sqnr_db=40.0, spread=0.3, worst_index=0, nonfinite=0,
)  # fmt: skip
RANKING = RankingParity(
    queries=64, k=5, top1=1.0, top_k=0.991, top_k_strict=0.99, kendall_tau=0.9, score_diff_max=0.0, tie_margin=0.0,
    groups=64, top_k_interval=(0.978, 0.998),
)  # fmt: skip
CORE_ML = ParityReport(
    reference="r", candidate="c", sample_set="s", executed_by="mcconvert reference interpreter, torch 2.14.1, CPU",
    outputs=(OUTPUT,), ranking=RANKING, structure=StructureCheck(ops=374, tensors=385, max_abs=0.0),
    stress=StressParity(samples=7, max_abs=1e-6, cosine_min=0.99987, worst="stress/noise", nonfinite=0),
    values_executed=1_900_000_000, cautions=("8 photographs are too few",), passed=True,
)  # fmt: skip


def result(step_id: str, status: str, *, required: bool = True, **more: object) -> StageResult:
    return StageResult(step_id=step_id, status=status, action="run", reason="first time", required=required, **more)  # type: ignore[arg-type]


def printed(rows: Sequence[StageResult], width: int = 160) -> str:
    text = io.StringIO()
    print_summary(Console(file=text, width=width), rows, "t")
    return text.getvalue()


def test_the_last_line_names_every_row_that_did_not_pass() -> None:
    """Required and excused rows are told apart, and each is named."""
    rows = [
        result("image/onnx/fp32", "PASSED"),
        result("image/onnx/fp16", "FAILED"),
        result("image/tflite/int8", "FAILED", required=False),
        result("text/coreml/fp32", "ERROR"),
    ]

    assert closing_line(rows) == (
        "1 of 3 required rows PASSED; not passed: image/onnx/fp16 FAILED, text/coreml/fp32 ERROR; "
        "not passed, not required: image/tflite/int8 FAILED"
    )


def test_all_passed_says_no_more() -> None:
    """Nothing to name."""
    assert closing_line([result("a", "PASSED"), result("b", "PASSED", required=False)]) == "1 of 1 required rows PASSED"


def test_the_table_says_what_ran_core_ml() -> None:
    """Each file: the interpreter by its own name, how many values it computed, and what was read beside."""
    text = printed([result(f"{tower}/coreml/fp32", "PASSED", vs_reference=CORE_ML) for tower in ("image", "text")])

    by = "run by mcconvert reference interpreter, torch 2.14.1, CPU; 1.9e9 values executed; 385 tensors compared"
    assert f"image/coreml/fp32: {by}" in text
    assert f"text/coreml/fp32: {by}" in text
    assert "not run" not in text


def test_engines_are_told_apart() -> None:
    """A verdict of Core ML itself stands in a line of its own."""
    mac = dataclasses.replace(CORE_ML, executed_by="Core ML on macOS 15.1, CPU", values_executed=0, structure=None)

    text = printed([result("a/coreml/x", "PASSED", vs_reference=one) for one in (CORE_ML, mac)])

    assert "a/coreml/x: run by mcconvert reference interpreter" in text
    assert "coreml: 1 run by Core ML on macOS 15.1, CPU\n" in text


def test_shares_stand_with_their_interval_where_there_is_room() -> None:
    """And the figure alone on a narrow screen, where the file's name must stay readable."""
    rows = [result("image/coreml/fp32", "PASSED", vs_reference=CORE_ML)]

    assert "0.991 [0.978, 0.998]" in printed(rows)
    assert "0.999870" in printed(rows)
    assert "0.991 " in printed(rows, width=80)
    assert "[0.978" not in printed(rows, width=80)
    assert "image/coreml/fp32" in printed(rows, width=80)


def test_cautions_stand_under_the_table_once() -> None:
    """With all files that share them; they change neither verdict nor closing line."""
    rows = [result(f"image/tflite/{name}", "PASSED", vs_reference=CORE_ML) for name in ("int8", "int8_dynamic")]

    text = printed(rows)

    assert text.count("CAUTION") == 1
    assert "CAUTION image/tflite/int8, image/tflite/int8_dynamic: 8 photographs are too few" in text
    assert text.rstrip().endswith("2 of 2 required rows PASSED")


def test_the_readme_says_the_same(tmp_path: Path) -> None:
    """Interval and engine; a report of an earlier version without outputs says what was done then."""
    old = dataclasses.replace(CORE_ML, outputs=(), ranking=None, executed_by="nothing: needs macOS", values_executed=0)
    entries = [dataclasses.replace(entry(tmp_path, name), parity=one) for name, one in (("a", CORE_ML), ("b", old))]
    manifest: Manifest = merge(tmp_path, model(), [], entries, {})

    text = "\n".join(table(manifest))

    by = "mcconvert reference interpreter; 1.9e9 values executed; 385 tensors compared"
    assert f"| 0.991 [0.978, 0.998] | {by} | PASSED" in text
    assert "| - | - | - | nothing: needs macOS; 385 tensors compared |" in text


def test_errors_name_their_log() -> None:
    """Where third-party noise went is said beside the error."""
    broken = result("image/onnx/fp32", "ERROR", log="artifacts/m/logs/image.onnx.fp32.log")

    assert "log: artifacts/m/logs/image.onnx.fp32.log" in printed([broken])


def test_sizes_are_written_as_people_do() -> None:
    """Megabytes from a hundred kilobytes on."""
    assert size_words(85_900_000) == "85.9 MB"
    assert size_words(12_300) == "12.3 kB"
