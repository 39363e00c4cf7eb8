"""Core ML files are executed everywhere: by Core ML on a Mac, by the interpreter elsewhere, and it is said by which."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converter.errors import ConversionError
from converter.records import TOWERS, Artifact, Recipe, Tower
from converter.runtimes import coreml
from converter.stages import to_coreml
from tests.conftest import run_each, save_tower
from tests.converted import centred_cosines, patchwork
from tests.runtimes.coreml_breaking import copied, cut
from tests.tiny import tiny_clip

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

Arrays = Mapping[str, np.ndarray[Any, Any]]
Precisions = dict[tuple[Tower, str], Artifact]
FP16 = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)
on_a_mac = pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on macOS only")


@pytest.fixture(scope="module")
def samples(tiny_inputs: dict[Tower, Arrays]) -> dict[Tower, Arrays]:
    """Inputs that the toy towers tell apart."""
    return {"image": patchwork(8, seed=3), "text": tiny_inputs["text"]}


@pytest.fixture(scope="module")
def expected(tiny_parents: dict[Tower, Artifact], samples: dict[Tower, Arrays]) -> dict[Tower, Any]:
    """The parents' embeddings of them."""
    from converter.runtimes import pytorch

    found = {}
    for tower in TOWERS:
        with pytorch.open_runner(tiny_parents[tower], threads=1) as runner:
            found[tower] = run_each(runner, samples[tower])
    return found


@pytest.mark.parametrize("tower", TOWERS)
def test_the_interpreter_computes_what_the_parent_computes(
    tower: Tower, tiny_coreml: Precisions, samples: dict[Tower, Arrays], expected: dict[Tower, Any]
) -> None:
    """Float32 up to the order of sums; float16 within its rounding, and not as if it were float32."""
    with coreml.open_interpreter(tiny_coreml[tower, "fp32"], threads=1) as runner:
        single = run_each(runner, samples[tower])
    with coreml.open_interpreter(tiny_coreml[tower, "fp16"], threads=1) as runner:
        half = run_each(runner, samples[tower])

    assert np.abs(single - expected[tower]).max() <= 1e-5
    assert centred_cosines(expected[tower], half).min() >= 0.999
    assert np.abs(half - expected[tower]).max() > 1e-5


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_off_a_mac_the_interpreter_is_what_runs(tiny_coreml: Precisions) -> None:
    """Its name begins what the report says, and Core ML is not in it."""
    with coreml.open_runner(tiny_coreml["image", "fp32"], threads=1) as runner:
        assert runner.executed_by == f"mcconvert reference interpreter, torch {torch.__version__}, CPU"


def test_on_a_mac_core_ml_is_what_runs(tiny_coreml: Precisions, monkeypatch: pytest.MonkeyPatch) -> None:
    """No interpreter in its place: where Core ML does not load a file, neither do we."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(coreml, "_load", lambda path: object())
    with coreml.open_runner(tiny_coreml["image", "fp32"], threads=1) as runner:
        assert runner.executed_by == f"Core ML on macOS {platform.mac_ver()[0]}, CPU"


def test_threads_are_set_and_given_back(tiny_coreml: Precisions) -> None:
    """The interpreter computes on the threads it was given; afterwards torch has what it had."""
    before = torch.get_num_threads()

    with coreml.open_interpreter(tiny_coreml["text", "fp32"], threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_executed_values_are_counted(tiny_coreml: Precisions, samples: dict[Tower, Arrays]) -> None:
    """As many elements as observing shows, every run anew."""
    one = {name: rows[:1] for name, rows in samples["text"].items()}

    with coreml.open_interpreter(tiny_coreml["text", "fp16"], threads=1) as runner:
        runner.infer(one)
        once = runner.values_executed
        seen = sum(value.value.size for value in runner.observe(one))

    assert once == seen > 10_000
    assert runner.values_executed == 2 * once


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "given were nothing"),
        ({"picture": np.zeros((1, 3, 64, 64), np.float32)}, "given were picture float32[1, 3, 64, 64]"),
        ({"image": np.zeros((1, 3, 64, 64), np.float64)}, "given were image float64[1, 3, 64, 64]"),
        ({"image": np.zeros((1, 64, 64, 3), np.float32)}, "given were image float32[1, 64, 64, 3]"),
        ({"image": np.zeros((2, 3, 64, 64), np.float32)}, "given were image float32[2, 3, 64, 64]"),
    ],
)
def test_other_inputs_are_refused(given: dict[str, Any], said: str, tiny_coreml: Precisions) -> None:
    """In name, type, layout and batch: what was given, and what the file takes."""
    with coreml.open_runner(tiny_coreml["image", "fp32"], threads=1) as runner:
        with pytest.raises(ConversionError) as refused:
            runner.infer(given)
        with pytest.raises(ConversionError):
            next(coreml.InterpretedRunner(tiny_coreml["image", "fp32"].path).observe(given))

    assert said in str(refused.value)
    assert "the file takes image float32[1, 3, 64, 64]" in str(refused.value)


def test_every_value_is_shown_with_where_it_comes_from(
    tiny_coreml: Precisions, samples: dict[Tower, Arrays], expected: dict[Tower, Any]
) -> None:
    """In order of execution: what a value is computed from is there before it, weights apart."""
    package = tiny_coreml["image", "fp16"]
    one = {"image": samples["image"]["image"][:1]}

    with coreml.open_observer(package, threads=1) as observer:
        values = list(observer.observe(one))

    known = {"image"}
    for value in values:
        assert set(value.inputs) <= known
        known.add(value.name)
    conv = next(value for value in values if value.kind == "conv")
    assert observer.executed_by.startswith("mcconvert reference interpreter")
    assert any("weight" in name for name in conv.constants)
    assert {value.value.dtype for value in values} == {np.dtype(np.float32)}
    assert values[-1].name == "embedding"
    assert np.abs(values[-1].value - expected["image"][0]).max() < 5e-3


def test_observing_executes_no_further_than_asked(tiny_coreml: Precisions, samples: dict[Tower, Arrays]) -> None:
    """Values come one by one, and nothing is computed for those who stop."""
    one = {name: rows[:1] for name, rows in samples["image"].items()}

    with coreml.open_interpreter(tiny_coreml["image", "fp32"], threads=1) as runner:
        first = next(runner.observe(one))

    assert runner.values_executed == first.value.size


@pytest.mark.parametrize("part", ["Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"])
def test_a_cut_off_package_does_not_open(part: str, tiny_coreml: Precisions, tmp_path: Path) -> None:
    """Half a specification, half the weights: the message names the package."""
    package = copied(tiny_coreml["text", "fp32"], tmp_path)
    cut(Path(package.path), Path(part))

    with pytest.raises(ConversionError, match="copy.mlpackage"), coreml.open_runner(package, threads=1):
        pass


def test_a_package_without_weights_does_not_open(tiny_coreml: Precisions, tmp_path: Path) -> None:
    """The missing file is named."""
    package = copied(tiny_coreml["text", "fp32"], tmp_path)
    (Path(package.path) / "Data/com.apple.CoreML/weights/weight.bin").unlink()

    with pytest.raises(ConversionError, match=r"weight\.bin"), coreml.open_runner(package, threads=1):
        pass


def test_float16_overflow_shows_in_what_comes_out(tmp_path: Path, samples: dict[Tower, Arrays]) -> None:
    """A float16 program whose values pass 65504 gives no finite embedding; its float32 twin does."""
    clip = tiny_clip()
    head = clip.visual.trunk.head.fc.weight.data
    head *= 6e4 / head.abs().max()
    parent = save_tower(clip, "image", tmp_path)
    found = []
    for name, recipe in (("half", FP16), ("full", None)):
        (tmp_path / name).mkdir()
        made = to_coreml.convert(parent, to_coreml.Options(), recipe, tmp_path / name)
        with coreml.open_interpreter(made, threads=1) as runner:
            found.append(bool(np.isfinite(run_each(runner, samples["image"])).all()))
        assert coreml.check_structure(made, parent).problems == ()

    assert found == [False, True]


@pytest.mark.mac
@on_a_mac
@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_core_ml_and_the_interpreter_agree(
    tower: Tower, precision: str, tiny_coreml: Precisions, samples: dict[Tower, Arrays], expected: dict[Tower, Any]
) -> None:
    """The same package by both: float32 within 1e-4, float16 in the direction of its embeddings."""
    package = tiny_coreml[tower, precision]
    with coreml.open_runner(package, threads=1) as runner:
        theirs = run_each(runner, samples[tower])
    with coreml.open_interpreter(package, threads=1) as runner:
        ours = run_each(runner, samples[tower])

    if precision == "fp32":
        assert np.abs(ours - theirs).max() <= 1e-4
        assert np.abs(theirs - expected[tower]).max() <= 1e-4
    else:
        assert centred_cosines(theirs, ours).min() >= 0.999
