"""Core ML packages in few bits: as small as they say, still the model, and number by number what the tower gives."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converter.coreml_package import TARGET_KEY
from converter.errors import ConversionError
from converter.files import hash_path
from converter.mil.program import Operation, Program, read_program
from converter.records import TOWERS, Artifact, Recipe, Tower, to_json
from converter.runtimes import coreml as runtime
from converter.stages import to_coreml_quantized
from tests.conftest import run_each
from tests.converted import calibrated, centred_cosines, patchwork, recipe, write_calibration

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Artifacts = dict[Tower, Artifact]
Made = dict[tuple[Tower, str], Artifact]
CLOSENESS = {"weight_only_w8": 0.95, "static_w8a8": 0.85, "palette_w8": 0.95, "palette_w6": 0.85, "palette_w4": 0.3}
"""Bounds on the median centred cosine, against the float32 package, on the toy's awake weights."""
SHARES = {"weight_only_w8": 0.27, "static_w8a8": 0.27, "palette_w8": 0.27, "palette_w6": 0.21, "palette_w4": 0.15}
"""Bounds on the text tower's size against the float32 package; the toy's embedding has rows of 32 numbers."""


@pytest.fixture(scope="module")
def inputs(tiny_inputs: Inputs) -> Inputs:
    """What the files are judged on."""
    return {"image": patchwork(16, seed=2), "text": tiny_inputs["text"]}


@pytest.fixture(scope="module")
def samples(tiny_inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[Tower, Path]:
    """Calibration files: other pictures; the same eight texts in another order."""
    folder = tmp_path_factory.mktemp("calibration")
    texts = {"tokens": tiny_inputs["text"]["tokens"][::-1].copy()}
    given: Inputs = {"image": patchwork(16, seed=1), "text": texts}
    return {tower: write_calibration(tower, given[tower], folder / f"{tower}.npz") for tower in TOWERS}


@pytest.fixture(scope="module")
def made(tiny_parents: Artifacts, samples: dict[Tower, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Both towers by every recipe that Core ML can keep. Tests must not change them."""
    folder = tmp_path_factory.mktemp("quantized")
    return {
        (tower, name): _convert(parent, calibrated(recipe(name), samples[tower]), folder)
        for tower, parent in tiny_parents.items()
        for name in CLOSENESS
    }


def _convert(parent: Artifact, wanted: Recipe | None, folder: Path, **options: Any) -> Artifact:
    return to_coreml_quantized.convert(parent, to_coreml_quantized.Options(**options), wanted, folder)


def _embed(artifact: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    with runtime.open_interpreter(artifact, threads=1) as runner:
        return run_each(runner, inputs)


def _size(artifact: Artifact) -> int:
    return sum(path.stat().st_size for path in Path(artifact.path).rglob("*") if path.is_file())


def _of_kind(program: Program, *kinds: str) -> list[Operation]:
    return [one for one in program.operations if one.kind in kinds]


def _depthwise(program: Program, operation: Operation) -> bool:
    return bool(operation.kind == "conv" and np.asarray(program.constants[operation.inputs["groups"][0]]) > 1)


@pytest.mark.parametrize("name", CLOSENESS)
@pytest.mark.parametrize("tower", TOWERS)
def test_it_is_still_the_model(
    tower: Tower, name: str, made: Made, tiny_coreml: Made, inputs: Inputs, tiny_parents: Artifacts
) -> None:
    """The interpreter runs it, what tells inputs apart survives, and the structure check has no complaint."""
    artifact = made[tower, name]

    cosines = centred_cosines(_embed(tiny_coreml[tower, "fp32"], inputs[tower]), _embed(artifact, inputs[tower]))

    assert np.median(cosines) > CLOSENESS[name]
    assert runtime.check_structure(artifact, tiny_parents[tower]).problems == ()
    assert (artifact.inputs, artifact.outputs) == (tiny_parents[tower].inputs, tiny_parents[tower].outputs)


def test_ranges_from_other_data_are_seen(
    tiny_parents: Artifacts, tiny_coreml: Made, inputs: Inputs, tmp_path: Path
) -> None:
    """The twin: calibrated on dark pictures, the file fails the comparison above."""
    dark = {"image": patchwork(8, seed=1)["image"] / 20}
    wanted = calibrated(recipe("static_w8a8"), write_calibration("image", dark, tmp_path / "dark.npz"))
    artifact = _convert(tiny_parents["image"], wanted, tmp_path)

    cosines = centred_cosines(_embed(tiny_coreml["image", "fp32"], inputs["image"]), _embed(artifact, inputs["image"]))

    assert np.median(cosines) < CLOSENESS["static_w8a8"]


@pytest.mark.parametrize("name", SHARES)
def test_the_text_tower_is_as_small_as_promised(name: str, made: Made, tiny_coreml: Made) -> None:
    """The embedding's table shrinks as every other weight does; a float16 scale a row is what comes on top."""
    scales = 2 / (32 * 4) if recipe(name).weight_coding == "linear" else 0.0

    assert _size(made["text", name]) / _size(tiny_coreml["text", "fp32"]) < SHARES[name] + scales


@pytest.mark.parametrize("name", CLOSENESS)
@pytest.mark.parametrize("tower", TOWERS)
def test_every_layer_but_the_depthwise_ones_is_compressed(tower: Tower, name: str, made: Made) -> None:
    """Weights of convolutions, linear layers and the embedding decode from few bits."""
    program = read_program(Path(made[tower, name].path))
    coded = {one.outputs[0] for one in program.operations if one.kind.startswith("constexpr_")}
    layers = _of_kind(program, "conv", "linear", "gather")

    plain = [one for one in layers if not coded & set(one.inputs["x" if one.kind == "gather" else "weight"])]

    assert coded
    assert all(_depthwise(program, one) for one in plain)


@pytest.mark.parametrize("tower", TOWERS)
def test_activations_are_int8_before_layers_and_nowhere_else(tower: Tower, made: Made) -> None:
    """Each convolution and linear layer but depthwise ones reads what was int8; nothing else does."""
    program = read_program(Path(made[tower, "static_w8a8"].path))
    unpacked = {one.outputs[0] for one in _of_kind(program, "dequantize")}

    readers = [one for one in program.operations if unpacked & {name for read in one.inputs.values() for name in read}]
    layers = [one for one in _of_kind(program, "conv", "linear") if not _depthwise(program, one)]

    assert [one.outputs for one in readers] == [one.outputs for one in layers]
    assert len(_of_kind(program, "quantize")) == len(unpacked)


def test_the_deployment_target_is_the_oldest_that_knows_the_recipe(made: Made) -> None:
    """It is iOS 16 for weights, iOS 17 for activations; the notes and the package say so."""
    for name, target in (("weight_only_w8", "iOS16"), ("palette_w4", "iOS16"), ("static_w8a8", "iOS17")):
        artifact = made["image", name]

        assert read_program(Path(artifact.path)).metadata[TARGET_KEY] == target
        assert f"ML Program for {target} and later, batch 1" in artifact.notes


def test_a_target_that_is_too_old_is_refused(
    tiny_parents: Artifacts, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """On iOS 16 there is no quantize operation."""
    with pytest.raises(ConversionError, match="knows from iOS17 on; deployment_target is iOS16"):
        wanted = calibrated(recipe("static_w8a8"), samples["text"])
        _convert(tiny_parents["text"], wanted, tmp_path, deployment_target="iOS16")


def test_layers_are_left_in_float_by_the_names_of_all_formats(tiny_parents: Artifacts, tmp_path: Path) -> None:
    """A name with a star leaves those layers, and only those, in float16; a name of no layer offers the nearest."""
    named = replace(recipe("weight_only_w8"), round_weights="nearest", float_layers=("blocks.*.mlp.c_fc", "embedding"))

    artifact = _convert(tiny_parents["text"], named, tmp_path)

    program = read_program(Path(artifact.path))
    assert "left in float16: blocks.0.mlp.c_fc, blocks.1.mlp.c_fc, embedding" in artifact.notes
    assert len(_of_kind(program, "linear")) - len(_of_kind(program, "constexpr_affine_dequantize")) == 2
    with pytest.raises(ConversionError, match=r"'blocks.0.mlp.c_fx' in float.*blocks.0.mlp.c_fc"):
        _convert(tiny_parents["text"], replace(named, float_layers=("blocks.0.mlp.c_fx",)), tmp_path)


@pytest.mark.parametrize("name", ["static_w8a8", "palette_w4"])
def test_two_processes_write_the_same_bytes(
    name: str, made: Made, tiny_parents: Artifacts, samples: dict[Tower, Path], tmp_path: Path
) -> None:
    """Parent, options, recipe and calibration data decide every byte, however many threads each process has."""
    code = (
        "import sys; from pathlib import Path\n"
        "from converter.records import Artifact, Recipe, from_json\n"
        "from converter.stages import to_coreml_quantized as stage\n"
        "parent, recipe = from_json(sys.argv[1].encode(), Artifact), from_json(sys.argv[2].encode(), Recipe)\n"
        "stage.convert(parent, stage.Options(), recipe, Path(sys.argv[3]))\n"
    )
    wanted = calibrated(recipe(name), samples["image"])
    given = [to_json(tiny_parents["image"]).decode(), to_json(wanted).decode(), str(tmp_path)]
    root, threads = Path(__file__).parents[2], {"OMP_NUM_THREADS": str(torch.get_num_threads() % 3 + 1)}

    subprocess.run([sys.executable, "-c", code, *given], check=True, cwd=root, env=os.environ | threads)

    assert hash_path(tmp_path / f"image_{name}.mlpackage") == hash_path(Path(made["image", name].path))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"activation_bits": 8, "ranges": "dynamic"}, "by fixed ranges only; give a sample_set"),
        ({"activation_bits": 16, "sample_set": "calibration"}, "to 8 bits, not to 16"),
        ({"weight_bits": 4}, "linear weights of 8 bits, not of 4; take a palette"),
        ({"weight_bits": 5, "weight_coding": "palette"}, "a palette has 1, 2, 4, 6 or 8 bits, not 5"),
        ({"weight_coding": "palette", "activation_bits": 8, "sample_set": "calibration"}, "no tables of int8"),
        ({"weight_bits": 16}, "the fp16 row's"),
        ({"smooth": 0.5}, "smooth: here weights and biases stay"),
    ],
)
def test_what_core_ml_cannot_do_is_said(
    changes: dict[str, Any], why: str, tiny_parents: Artifacts, tmp_path: Path
) -> None:
    """One sentence, the same from a list of recipes and from a conversion."""
    wanted = replace(recipe("weight_only_w8"), name="odd", **changes)

    assert why in to_coreml_quantized.unsupported(wanted)
    with pytest.raises(ConversionError, match="recipe 'odd': "):
        _convert(tiny_parents["text"], wanted, tmp_path)


def test_what_core_ml_can_do_is_not_refused(tiny_parents: Artifacts, tmp_path: Path) -> None:
    """The recipes of its rows; and no recipe at all is a mistake."""
    assert not any(to_coreml_quantized.unsupported(recipe(name)) for name in CLOSENESS)
    assert to_coreml_quantized.unsupported(recipe("dynamic_w8"))
    assert to_coreml_quantized.unsupported(recipe("w8a16"))
    with pytest.raises(ConversionError, match="needs a recipe"):
        _convert(tiny_parents["text"], None, tmp_path)


def test_fixed_ranges_need_calibration_data(tiny_parents: Artifacts, tmp_path: Path) -> None:
    """A recipe that names a sample set but was given no file is refused."""
    with pytest.raises(ConversionError, match="'static_w8a8' needs calibration data.*names none"):
        _convert(tiny_parents["text"], recipe("static_w8a8"), tmp_path)
