"""A real benchmark of real files: every row measured in its own process, compared, and robust against what dies."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from converter.bench.comparing import compare_runs
from converter.bench.history import read_history
from converter.benchmarked import Benchmark, Measured
from converter.errors import ParityError, UsageError
from converter.records import from_json
from tests.bench.material import TROUBLE, install_trouble, make_nano
from tests.inference.conftest import use

pytest.importorskip("onnxruntime", reason="needs the extra mcconvert[onnx]")
QUICK = ("--threads", "1", "--calls", "2", "--loads", "1", "--tower", "image")


@dataclass(frozen=True, kw_only=True)
class Two:
    """A folder with two runs: one as it is, and one in which a file was slowed and another one's process died."""

    folder: Path
    plain: Benchmark
    troubled: Benchmark
    said: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Both runs by the command."""
    base = tmp_path_factory.mktemp("bench")
    make_nano(base / "nano")
    plain = use("bench", base / "nano", *QUICK, "--rounds", "8", "--batch", "1,4", "--json")
    assert plain.code == 0, plain.err
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(install_trouble(base / "troubled")))
        patch.setenv(TROUBLE, "image_fp32_dynamic.onnx=sleep,image_fp32.pt=crash")
        troubled = use("bench", base / "nano", *QUICK, "--rounds", "4", "--batch", "1")
    assert troubled.code == 0, troubled.err
    runs, unread = read_history(base / "nano")
    assert not unread
    return Two(folder=base / "nano", plain=_run(plain.out), troubled=runs[-1].benchmark, said=troubled.out)


def test_every_file_and_pytorch_is_measured(two: Two) -> None:
    """Latency with its interval, ratios to both yardsticks, loading, memory; PyTorch eager is a row with no path."""
    rows = _rows(two.plain)

    assert list(rows) == ["image/pytorch/eager", "image/onnx/fp32", "image/onnx/fp32_dynamic", "image/torchscript/fp32"]
    for row in rows.values():
        assert row.latency_ms is not None and row.vs_pytorch is not None and row.vs_onnxruntime is not None
        low, high = row.latency_ms.interval
        assert 0 < low <= row.latency_ms.median <= high
        assert (row.latency_ms.calls, len(row.rounds_ms)) == (16, 8)
        assert row.load_ms is not None and row.load_ms > 0
        assert row.peak_rss_bytes is not None and 2**20 < row.peak_rss_bytes < 2**30
    assert rows["image/pytorch/eager"].path == ""
    assert rows["image/pytorch/eager"].executed_by.endswith("eager, the unmodified model, CPU")
    assert rows["image/pytorch/eager"].vs_pytorch.value == 1.0  # type: ignore[union-attr]
    assert rows["image/onnx/fp32"].vs_onnxruntime.value == 1.0  # type: ignore[union-attr]


def test_throughput_is_taken_where_the_batch_is_open(two: Two) -> None:
    """A file of batch 1 has the rate of its calls only."""
    batches = {step: [one.batch for one in row.throughput] for step, row in _rows(two.plain).items()}

    assert batches["image/onnx/fp32_dynamic"] == batches["image/pytorch/eager"] == [1, 4]
    assert batches["image/onnx/fp32"] == [1]


def test_a_slowed_file_is_found(two: Two) -> None:
    """500 ms were added to one file's calls; the file beside it is no slower."""
    found = {change.step_id: change for change in compare_runs(two.plain, two.troubled, "then", "now").changes}

    assert found["image/onnx/fp32_dynamic"].verdict == "slower"
    assert found["image/onnx/fp32_dynamic"].ratio.interval[0] > 2
    assert "slower: image/onnx/fp32_dynamic" in " ".join(two.said.split())


def test_two_halves_of_one_run_are_no_different(two: Two) -> None:
    """The twin: even and odd rounds of one run saw the same machine, so nothing became slower or faster."""
    halves = [
        replace(two.plain, rows=tuple(replace(row, rounds_ms=row.rounds_ms[start::2]) for row in two.plain.rows))
        for start in (0, 1)
    ]

    assert {one.verdict for one in compare_runs(*halves, "even", "odd").changes} == {"no difference within noise"}


def test_a_process_that_dies_costs_its_row(two: Two) -> None:
    """The file's runtime died of SIGSEGV in mid-run: its row says so, all others are measured."""
    rows = _rows(two.troubled)

    assert "SIGSEGV" in rows["image/torchscript/fp32"].why_not
    assert rows["image/torchscript/fp32"].latency_ms is None
    assert all(row.latency_ms for step, row in rows.items() if step != "image/torchscript/fp32")
    assert "not measured: image/torchscript/fp32" in two.said


def test_the_history_lists_both_runs(two: Two) -> None:
    """As a table and as JSON; each file is called by its time and its content."""
    listed = json.loads(use("bench", two.folder, "--history", "--json").out)["runs"]

    assert len(listed) == 2
    assert Path(listed[0]["file"]).name.startswith(two.plain.created.replace("-", "").replace(":", ""))
    assert use("bench", two.folder, "--history").out.count(two.plain.machine.name) == 2


def test_a_changed_file_is_refused_before_anything_runs(two: Two, tmp_path: Path) -> None:
    """One byte more: exit code 6, both hashes named; nothing is added to the history."""
    copy = Path(shutil.copytree(two.folder, tmp_path / "copy"))
    with (copy / "onnx" / "image_fp32.onnx").open("ab") as stream:
        stream.write(b"!")
    (copy / "torchscript" / "image_fp32.pt").unlink()

    used = use("bench", copy, *QUICK)

    assert used.code == ParityError.exit_code
    assert "onnx/image_fp32.onnx: its sha256 is" in used.err
    assert "torchscript/image_fp32.pt: is missing" in used.err
    assert len(list((copy / "benchmarks").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "onx/fp32"], "did you mean 'onnx/fp32'"),
        (["--batch", "1,none"], "numbers from 1 to 4096"),
        (["--threads", "200"], "threads that share a core"),
        (["--tower", "text"], "no file of the text tower"),
        (["--against", "yesterday.json"], "yesterday.json: No such file"),
    ],
)
def test_wrong_arguments_are_refused(two: Two, arguments: list[str], words: str) -> None:
    """Before any process is started."""
    used = use("bench", two.folder, *arguments)

    assert used.code == UsageError.exit_code
    assert words in used.err


def _run(text: str) -> Benchmark:
    return from_json(json.dumps(json.loads(text)["run"]).encode(), Benchmark)


def _rows(run: Benchmark) -> dict[str, Measured]:
    return {row.step_id: row for row in run.rows}
