"""The tables of a benchmark: all figures where there is room, the reasons of rows without figures, notes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from converter.benchmarked import Benchmark, Change, Comparison, Ratio, Throughput, Together
from converter.report.benchmark import closing_line, print_benchmark, print_comparison, print_history
from tests.advice.made_up import around, benchmark, entry, measured


@pytest.fixture
def run(tmp_path: Path) -> Benchmark:
    """A measured file, and one that could not be."""
    one, other = entry(tmp_path, "image/onnx/fp32", "onnx"), entry(tmp_path, "image/coreml/fp16", "mlpackage")
    ratio = Ratio(value=0.524, interval=(0.511, 0.538))
    throughput = (Throughput(batch=1, per_second=24.3), Throughput(batch=16, per_second=61.8))
    rows = [
        measured(one, around(41.2), vs_pytorch=ratio, throughput=throughput),
        replace(measured(other, around(1.0)), latency_ms=None, rounds_ms=(), executed_by="", why_not="needs a Mac"),
    ]
    made = benchmark(rows)
    return replace(made, machine=replace(made.machine, load_before=3.2, notes=("the machine was busy",)))


def test_all_figures_are_there_where_there_is_room(run: Benchmark) -> None:
    """Interval of the ratio, throughput by batch, machine, note; a row without figures and its reason."""
    text = _printed(lambda console: print_benchmark(console, run, "costs"), 200)

    for words in (
        "0.52 [0.51, 0.54]", "16: 61.8", "processor of Linux", "load before 3.20", "note: the machine was busy",
        "not measured: image/coreml/fp16: needs a Mac", "run by a runtime 1.0, CPU",
    ):  # fmt: skip
        assert words in text
    assert "41." in text


def test_a_narrow_screen_keeps_the_times(run: Benchmark) -> None:
    """Throughput and the ratio's interval give way."""
    text = _printed(lambda console: print_benchmark(console, run, "costs"), 110)

    assert "16: 61.8" not in text and "[0.51, 0.54]" not in text
    assert "0.52" in text and "image/onnx/fp32" in text


def test_what_changed_is_named_last() -> None:
    """Slower and faster files by name, the others by number."""
    found = _compared()

    text = _printed(lambda console: print_comparison(console, found), 160)

    assert closing_line(found) == "1 faster: b; 1 slower: a; 1 no difference within noise"
    assert closing_line(found) in text
    assert "all files of the image tower together: 1.80 [1.70, 1.90] of before" in text
    assert "not the same: torch 1 -> 2" in text
    assert "the file is another one" in text


def test_the_history_names_the_fastest(run: Benchmark) -> None:
    """And what could not be read."""
    text = _printed(lambda console: print_history(console, [("a.json", run)], ["b.json: broken"]), 200)

    assert "onnx/fp32, 41." in text
    assert "not read: b.json: broken" in text


def _compared() -> Comparison:
    unchanged = Ratio(value=1.0, interval=(0.9, 1.1))
    changes = [
        Change(step_id=step, old_ms=1.0, new_ms=1.0, ratio=unchanged, raw=unchanged, verdict=verdict, same_file=same)
        for step, verdict, same in (
            ("a", "slower", True), ("b", "faster", False), ("c", "no difference within noise", True)
        )
    ]  # fmt: skip
    together = Together(tower="image", ratio=Ratio(value=1.8, interval=(1.7, 1.9)), scatter=1.12)
    return Comparison(
        old="then.json", new="now", together=(together,), changes=tuple(changes), only_old=(),
        only_new=(), differences=("torch 1 -> 2",),
    )  # fmt: skip


def _printed(show: Callable[[Console], None], width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    show(console)
    return console.export_text()
