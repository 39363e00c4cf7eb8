"""The search on real files of the toy tower: halves of samples, points stored and found again, deaths survived."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError, McconvertError, UsageError
from converter.pipeline import points, quantize
from converter.pipeline.halves import halve
from converter.pipeline.job import OUTCOME, Job, Outcome
from converter.pipeline.process import Ended
from converter.pipeline.quantize import search_recipe, work
from converter.quantization.budget import parse_budget
from converter.records import Artifact, Step, Tower
from converter.searched import Found, SearchOrder
from tests.converted import patchwork, recipe, tflite_of

pytest.importorskip("ai_edge_quantizer", reason="needs the extra mcconvert[tflite]")

COUNT = 32


@pytest.fixture(scope="module")
def parent(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The toy image tower as a float32 TFLite file."""
    made = tflite_of(tiny_parents["image"], tmp_path_factory.mktemp("float32"))
    return dataclasses.replace(made, sha256="1" * 64)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of sixteen photographs, two views each."""
    path = tmp_path_factory.mktemp("calibration") / "calibration.npz"
    _write(path, patchwork(COUNT, seed=3)["image"], [f"{number // 2}#{number % 2}" for number in range(COUNT)])
    return path


def _write(path: Path, images: np.ndarray[Any, Any], names: list[str]) -> None:
    pixels = np.rint(images.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    np.savez(path, pixels=pixels, mean=np.zeros(3), std=np.ones(3), names=np.asarray(names))


def _job(parent: Artifact, calibration: Path, folder: Path, budget: str, **order: Any) -> Job:
    step = Step(
        id="image/tflite/static_w8a8", stage="to_tflite_quantized", tower="image", target="tflite", row="static_w8a8",
        precision="int8", parent="image/tflite/fp32", file_name="image_int8.tflite",
        recipe=dataclasses.replace(recipe("static_w8a8"), calibration_path=str(calibration)),
    )  # fmt: skip
    wanted = SearchOrder(
        budget=parse_budget(budget), cache=str(folder / "cache" / "search"), **{"techniques": False, **order}
    )
    (folder / "job").mkdir(exist_ok=True)
    return Job(kind="search", step=step, folder=str(folder / "job"), threads=1, parent=parent, search=wanted)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency of two turns: what it is does not matter here."""
    monkeypatch.delenv("MCCONVERT_RANGES", raising=False)
    for name in ("TURNS", "CAREFUL_TURNS"):
        monkeypatch.setattr(points, name, 2)
    for name in ("LEAST_SECONDS", "CAREFUL_SECONDS"):
        monkeypatch.setattr(points, name, 0.0)


def _found(job: Job) -> Found:
    outcome = work(job)
    assert outcome.found is not None
    return outcome.found


def test_views_of_one_photograph_are_in_one_half(calibration: Path, tmp_path: Path) -> None:
    """A file is not judged on other views of what its ranges came from."""
    halves = halve(calibration, tmp_path)
    photographs = [{str(name).partition("#")[0] for name in np.load(path)["names"]} for path in
                   (halves.ranges, halves.judged)]  # fmt: skip

    assert not photographs[0] & photographs[1]
    assert [len(np.load(path)["pixels"]) for path in (halves.ranges, halves.judged)] == [16, 16]
    assert halves.words == "16 calibration samples for ranges, 16 others to judge on"


def test_too_few_samples_cannot_be_halved(tmp_path: Path) -> None:
    """The message says how many there are and how many it takes; many views of one photograph are one."""
    _write(tmp_path / "few.npz", patchwork(10, seed=1)["image"], [str(number) for number in range(10)])
    _write(tmp_path / "one.npz", patchwork(40, seed=1)["image"], [f"cat#{number}" for number in range(40)])

    for name in ("few.npz", "one.npz"):
        with pytest.raises(ConversionError, match="need at least 7 in each half"):
            halve(tmp_path / name, tmp_path)
    with pytest.raises(ConversionError, match="not a whole sample file"):
        halve(tmp_path / "absent.npz", tmp_path)


@pytest.mark.usefixtures("quick")
def test_layers_left_in_float_take_noise_away(parent: Artifact, calibration: Path, tmp_path: Path) -> None:
    """A budget that the plain file misses and that all layers in float meet: some of them are chosen."""
    plain = _found(_job(parent, calibration, tmp_path, "sqnr_db>=-100")).chosen
    assert plain is not None
    assert plain.figures is not None
    wanted = plain.figures.sqnr_db + 1.0

    found = _found(_job(parent, calibration, tmp_path, f"sqnr_db>={wanted}"))

    assert found.chosen is not None
    assert found.chosen.figures is not None
    assert found.chosen.figures.sqnr_db >= wanted
    assert 0 < len(found.chosen.groups) < len(found.groups)
    assert found.chosen.recipe.float_layers
    assert found.chosen.recipe.calibration_path is None


@pytest.mark.usefixtures("quick")
def test_what_was_measured_is_not_measured_again(parent: Artifact, calibration: Path, tmp_path: Path) -> None:
    """The same order finds every point stored; other calibration samples find none."""
    job = _job(parent, calibration, tmp_path, "sqnr_db>=100", only=("trunk.stem", "trunk.head"))
    first, again = _found(job), _found(job)
    _write(tmp_path / "other.npz", patchwork(COUNT, seed=4)["image"], [str(number) for number in range(COUNT)])
    other = _found(_job(parent, tmp_path / "other.npz", tmp_path, "sqnr_db>=100", only=("trunk.stem", "trunk.head")))

    assert (first.reused, other.reused) == (0, 0)
    assert again.reused >= len(first.tried)
    assert again.tried == first.tried
    assert first.chosen is None
    assert first.best is not None


@pytest.mark.usefixtures("quick")
def test_a_point_that_killed_its_process_is_left_out(parent: Artifact, calibration: Path, tmp_path: Path) -> None:
    """Named in the folder by the process before; the search goes on with the others."""
    job = _job(parent, calibration, tmp_path, "sqnr_db>=100", only=("trunk.stem",))
    last = _found(job).tried[-1]
    key = (tmp_path / "job" / points.RUNNING).read_text()
    (tmp_path / "job" / quantize.DEADLY).write_text(f"{key}\n")
    fresh = dataclasses.replace(job, search=dataclasses.replace(job.search, cache=str(tmp_path / "fresh")))  # type: ignore[type-var]

    tried = {one.recipe: one for one in _found(fresh).tried}

    assert tried[last.recipe].failed == "making or running it ended the process"
    assert [one.figures is None for one in tried.values()].count(True) == 1


def test_a_death_is_survived_and_three_are_enough(
    parent: Artifact, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies in a point is started again; one that refuses, or dies too often, ends the search."""
    job, said = _job(parent, calibration, tmp_path, "top_k>=0.9"), list[str]()
    assert job.search is not None
    order, ended = job.search, Ended(returncode=0, seconds=0.0, peak_rss_bytes=0)
    found = Found(
        budget=order.budget, chosen=None, best=None, tried=(), groups=(), judged_on="", executed_by="", seconds=0.0
    )

    def dying(deaths: int, *, outcome: bool = False) -> Any:
        left = iter(range(deaths))

        def dispatch(job: Job, log: Path, stop: threading.Event, meter: object) -> tuple[Outcome, Ended]:
            (Path(job.folder) / points.RUNNING).write_text("point")
            if next(left, None) is None:
                return Outcome(found=found), ended
            if outcome:
                (Path(job.folder) / OUTCOME).write_text("{}")
            message = "its process crashed natively"
            raise ConversionError(message)

        return dispatch

    monkeypatch.setattr(quantize, "dispatch", dying(quantize.DEATHS))
    assert search_recipe(job.step, parent, order, said.append, threads=1) == found
    assert len(said) == quantize.DEATHS
    for fake in (dying(quantize.DEATHS + 1), dying(1, outcome=True)):
        monkeypatch.setattr(quantize, "dispatch", fake)
        with pytest.raises(ConversionError, match="crashed natively"):
            search_recipe(job.step, parent, order, said.append, threads=1)


def test_a_process_of_its_own_brings_the_result_and_its_progress(
    parent: Artifact, calibration: Path, tmp_path: Path
) -> None:
    """As the command runs it; a pattern that fits no layer comes back as a refusal with the nearest name."""
    job, said = _job(parent, calibration, tmp_path, "sqnr_db>=-100"), list[str]()
    assert job.search is not None

    found = search_recipe(job.step, parent, job.search, said.append, threads=1)

    assert found.chosen is not None
    assert found.chosen.label == "every layer quantized"
    assert any("every layer quantized: cosine" in line for line in said)
    with pytest.raises(McconvertError, match="did you mean 'trunk.stem'") as refused:
        search_recipe(job.step, parent, dataclasses.replace(job.search, only=("trunk.stm",)), said.append, threads=1)
    assert refused.value.exit_code == UsageError.exit_code
