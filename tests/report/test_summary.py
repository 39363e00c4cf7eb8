"""The closing table and its last line."""

from __future__ import annotations

import io

from rich.console import Console

from converter.records import ParityReport, StageResult, StructureCheck
from converter.report.summary import closing_line, print_summary, size_words


def result(step_id: str, status: str, *, required: bool = True, **more: object) -> StageResult:
    return StageResult(step_id=step_id, status=status, action="run", reason="first time", required=required, **more)  # type: ignore[arg-type]


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


def test_a_file_that_was_not_run_is_not_plainly_passed() -> None:
    """The verdict of a structure check says what it is."""
    report = ParityReport(
        reference="r", candidate="c", sample_set="none", executed_by="nothing: Core ML runs on macOS only",
        structure=StructureCheck(ops=374, tensors=385, max_abs=0.0), passed=True,
    )  # fmt: skip
    text = io.StringIO()

    print_summary(Console(file=text, width=160), [result("image/coreml/fp32", "PASSED", vs_reference=report)], "t")

    assert "PASSED, not run" in text.getvalue()
    assert "385 tensors" in text.getvalue()


def test_errors_name_their_log() -> None:
    """Where third-party noise went is said beside the error."""
    text = io.StringIO()
    broken = result("image/onnx/fp32", "ERROR", log="artifacts/m/logs/image.onnx.fp32.log")

    print_summary(Console(file=text, width=160), [broken], "t")

    assert "log: artifacts/m/logs/image.onnx.fp32.log" in text.getvalue()


def test_sizes_are_written_as_people_do() -> None:
    """Megabytes from a hundred kilobytes on."""
    assert size_words(85_900_000) == "85.9 MB"
    assert size_words(12_300) == "12.3 kB"
