"""Ranges kept by content: measured once for the same facts, again for others, again when an entry is broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from converter.quantization.convergence import Calibration
from converter.quantization.range_store import RANGES_VARIABLE, facts_of, known_or_measured
from converter.records import Recipe
from tests.converted import recipe


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder named by the variable."""
    monkeypatch.setenv(RANGES_VARIABLE, str(tmp_path / "ranges"))
    return tmp_path / "ranges"


@pytest.fixture
def static(tmp_path: Path) -> Recipe:
    """A recipe with calibration samples."""
    (tmp_path / "calibration.npz").write_bytes(b"samples")
    (tmp_path / "model.tflite").write_bytes(b"model")
    path = str(tmp_path / "calibration.npz")
    return replace(recipe("static_w8a8"), calibration_path=path, ranges="min_max", samples=64)


class Measuring:
    """Counts how often it was asked."""

    count = 0

    def __call__(self) -> Calibration:
        self.count += 1
        return Calibration(ranges={"t": (-0.1, 1 / 3)}, method="min_max", samples=64, asked=64, moved=0.01)


def facts(tmp_path: Path, wanted: Recipe, runtime: str = "LiteRT 1") -> dict[str, str]:
    """Of the model in that folder."""
    return facts_of(tmp_path / "model.tflite", wanted, None, runtime, 2)


def test_the_same_facts_are_measured_once(store: Path, static: Recipe, tmp_path: Path) -> None:
    """Recipes that differ in anything else share; what is found is what was measured, to the last bit."""
    measure = Measuring()
    first = known_or_measured(facts(tmp_path, static), measure)
    second = known_or_measured(facts(tmp_path, replace(static, name="other", float_layers=("a",))), measure)

    assert measure.count == 1
    assert first == second
    assert len(list(store.iterdir())) == 1


@pytest.mark.parametrize("change", ["model", "samples", "rule", "count", "runtime"])
def test_other_facts_are_measured_again(store: Path, static: Recipe, tmp_path: Path, change: str) -> None:
    """Whatever ranges depend on."""
    measure = Measuring()
    known_or_measured(facts(tmp_path, static), measure)
    if change in ("model", "samples"):
        (tmp_path / {"model": "model.tflite", "samples": "calibration.npz"}[change]).write_bytes(b"other")
    wanted = {"rule": replace(static, ranges="mse"), "count": replace(static, samples=5)}.get(change, static)
    known_or_measured(facts(tmp_path, wanted, "LiteRT 2" if change == "runtime" else "LiteRT 1"), measure)

    assert measure.count == 2
    assert len(list(store.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"ranges": {}}', b"\xff"])
def test_a_broken_entry_is_measured_again(store: Path, static: Recipe, tmp_path: Path, content: bytes) -> None:
    """And mended."""
    measure = Measuring()
    known_or_measured(facts(tmp_path, static), measure)
    (entry,) = store.iterdir()
    entry.write_bytes(content)

    for _ in range(2):
        known_or_measured(facts(tmp_path, static), measure)

    assert measure.count == 2


def test_without_a_store_or_with_one_that_cannot_be_written_ranges_are_measured(
    static: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is kept, nothing fails."""
    measure = Measuring()
    monkeypatch.delenv(RANGES_VARIABLE, raising=False)
    known_or_measured(facts(tmp_path, static), measure)
    monkeypatch.setenv(RANGES_VARIABLE, str(tmp_path / "model.tflite"))
    known_or_measured(facts(tmp_path, static), measure)

    assert measure.count == 2
    assert "ranges were not stored" in capsys.readouterr().out
