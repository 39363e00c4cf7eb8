"""The layer at which a file parts from PyTorch is named, and no healthy layer is.

Every case breaks a real file of the toy towers on purpose; the module that the broken weight belongs to is the answer.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ParityError
from converter.explained import Layer
from converter.parity.depth import first_lost, layers_of, unmatched
from converter.parity.drilldown import Measured, Side, measure
from converter.parity.suspicion import bound_of, judge_layers
from converter.pipeline.plugins import load_runtime
from converter.records import Artifact, Tolerance, Tower
from converter.runtimes.pytorch import open_observer as open_reference
from converter.stages import to_tflite_quantized, to_torchscript
from tests.breaking import (
    break_scale,
    break_transpose,
    break_weight,
    cut_result,
    noisy,
    quantized_values,
    scale_result,
    scale_value,
    skip_sum,
    turned,
    weights,
)
from tests.converted import onnx_of, recipe, tflite_of, write_calibration

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Files = dict[str, Artifact]
Explain = Callable[[Artifact], "Seen"]
SAMPLES = 2
NAMES = ("first", "second")
FORMATS = ("onnx", "tflite", "int8", "coreml fp32", "coreml fp16", "torchscript")
BLOCK = "tower.trunk.stages.{}.blocks.0"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What an explanation comes to."""

    layers: list[Layer]
    measured: Measured
    suspect: Layer | None
    crossed: Layer | None
    also: tuple[int, ...]


@pytest.fixture(scope="module")
def files(
    tiny_parents: dict[Tower, Artifact],
    tiny_coreml: dict[tuple[Tower, str], Artifact],
    tiny_inputs: Inputs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Files:
    """The toy image tower in every format."""
    folder, parent = tmp_path_factory.mktemp("image"), tiny_parents["image"]
    lite = tflite_of(parent, folder / "lite")
    calibration = write_calibration("image", tiny_inputs["image"], folder / "calibration.npz")
    static = dataclasses.replace(recipe("static_w8a8"), calibration_path=str(calibration), samples=8)
    (folder / "int8").mkdir()
    return {
        "onnx": onnx_of(parent, folder),
        "tflite": lite,
        "int8": to_tflite_quantized.convert(lite, to_tflite_quantized.Options(), static, folder / "int8"),
        "coreml fp32": tiny_coreml["image", "fp32"],
        "coreml fp16": tiny_coreml["image", "fp16"],
        "torchscript": to_torchscript.convert(parent, to_torchscript.Options(), None, folder),
    }


@pytest.fixture(scope="module")
def explain(tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs) -> Explain:
    """Look into a file of the toy image tower."""

    def look(artifact: Artifact) -> Seen:
        return _explained(artifact, tiny_parents[artifact.tower], tiny_inputs[artifact.tower])

    return look


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_healthy_file_is_not_accused(fmt: str, files: Files, explain: Explain) -> None:
    """Rounding, at the file's own precision, is no fault of any layer."""
    seen = explain(files[fmt])

    assert seen.suspect is seen.crossed is None
    assert not seen.also
    assert len(seen.layers) >= 0.9 * len(seen.measured.reference)


def test_a_convolution_fused_with_its_relu_has_no_value(files: Files, explain: Explain) -> None:
    """What the file gives is the ReLU's; the convolution is said to have none, where it has one it is matched."""
    fused, whole = unmatched(explain(files["tflite"]).measured), unmatched(explain(files["onnx"]).measured)

    assert len(fused) == 3
    assert all(name.endswith("se.fc1.0._convolution") for name in fused)
    assert whole == ()


@pytest.mark.parametrize("module", ["stem.0.reparam_conv", "stages.2.blocks.0.mlp.conv", "stages.3.blocks.0.mlp.fc2"])
@pytest.mark.parametrize("fmt", FORMATS)
def test_the_layer_with_a_changed_weight_is_named(
    fmt: str, module: str, files: Files, explain: Explain, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """Early, in the middle (depthwise) and late; half of the weight's own spread is noise."""
    wanted = f"tower.trunk.{module}"
    broken = _broken(files[fmt], tmp_path, lambda path: _name_of(path, wanted, tiny_parents["image"]), noisy(0.5))

    seen = explain(broken)

    assert seen.suspect is not None
    assert seen.suspect.module == wanted
    assert seen.suspect.in_db > seen.suspect.sqnr_db + 6


@pytest.mark.parametrize("fmt", ["onnx", "torchscript"])
def test_one_percent_is_seen_where_the_precision_allows_it(
    fmt: str, files: Files, explain: Explain, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """Float32 rounding is a thousand times smaller."""
    wanted = f"{BLOCK.format(1)}.mlp.fc1"
    broken = _broken(files[fmt], tmp_path, lambda path: _name_of(path, wanted, tiny_parents["image"]), noisy(0.01))

    seen = explain(broken)

    assert seen.suspect is not None
    assert seen.suspect.module == wanted
    assert seen.suspect.own_db == pytest.approx(40, abs=6)


def test_what_comes_in_worn_is_not_held_against_a_layer(
    files: Files, explain: Explain, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """Behind the break every layer is far off, and by itself each is as good as in the healthy file."""
    wanted = "tower.trunk.stem.0.reparam_conv"
    broken = _broken(files["onnx"], tmp_path, lambda path: _name_of(path, wanted, tiny_parents["image"]), noisy(1.0))

    seen = explain(broken)

    behind = [layer for layer in seen.layers if layer.module != wanted]
    assert max(layer.sqnr_db for layer in behind) < 40
    assert min(layer.own_db or 0 for layer in behind) > 105


@pytest.mark.parametrize("fmt", ["onnx", "coreml fp32", "torchscript"])
def test_a_square_weight_that_was_transposed_is_named(
    fmt: str, files: Files, explain: Explain, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """Its numbers are all there, only elsewhere."""
    wanted = f"{BLOCK.format(3)}.token_mixer.core.out"
    broken = _broken(files[fmt], tmp_path, lambda path: _name_of(path, wanted, tiny_parents["image"]), turned)

    seen = explain(broken)

    assert seen.suspect is not None
    assert seen.suspect.module == wanted


def test_a_value_scaled_wrongly_is_named(files: Files, explain: Explain, tmp_path: Path) -> None:
    """A factor slipped in behind an activation is the activation's fault, not of what reads it."""
    path = Path(files["onnx"].path)
    name = next(name for name in _values(path) if name.endswith("/1/blocks/0/mlp/act/Gelu_output_0"))
    scale_value(path, tmp_path / path.name, name, 1.5)

    seen = explain(dataclasses.replace(files["onnx"], path=str(tmp_path / path.name)))

    assert seen.suspect is not None
    assert seen.suspect.module == f"{BLOCK.format(1)}.mlp.act"
    assert seen.suspect.candidate == f"{name}_broken"
    assert seen.suspect.remark == f"the file goes on with Mul '{name}_broken'"
    assert seen.also == ()


def test_a_layer_that_is_left_out_is_named(files: Files, explain: Explain, tmp_path: Path) -> None:
    """A residual sum of which only the branch is left: what reads it does right by what it is given."""
    path = Path(files["onnx"].path)
    name = next(name for name in _values(path) if name.endswith("/1/blocks/0/Add_output_0"))
    skip_sum(path, tmp_path / path.name, name)

    seen = explain(dataclasses.replace(files["onnx"], path=str(tmp_path / path.name)))

    assert seen.suspect is not None
    assert seen.suspect.module == BLOCK.format(1)
    assert seen.suspect.remark.endswith(f"its value of {BLOCK.format(1)}.mlp.fc2")
    assert seen.also == ()


def test_what_changes_the_result_at_the_very_end_is_seen(files: Files, explain: Explain, tmp_path: Path) -> None:
    """The unchanged embedding is still in the file; it is not what the file gives."""
    path = Path(files["onnx"].path)
    scale_result(path, tmp_path / path.name, -1.0)

    seen = explain(dataclasses.replace(files["onnx"], path=str(tmp_path / path.name)))

    assert seen.suspect is not None
    assert seen.crossed == seen.suspect == seen.layers[-1]
    assert "embedding" in seen.suspect.remark


def test_a_wrong_transpose_is_named_before_what_reads_it(files: Files, explain: Explain, tmp_path: Path) -> None:
    """Height and width exchanged: the layer behind it has the right numbers in the wrong places."""
    path = Path(files["onnx"].path)
    name = next(name for name in _values(path) if name.endswith("/3/blocks/0/token_mixer/Transpose_output_0"))
    break_transpose(path, tmp_path / path.name, name, [0, 3, 2, 1])

    seen = explain(dataclasses.replace(files["onnx"], path=str(tmp_path / path.name)))

    assert seen.suspect is not None
    assert seen.suspect.module == f"{BLOCK.format(3)}.token_mixer.core.q"
    assert seen.suspect.remark == "it holds the reference's numbers in other places"
    assert name in seen.suspect.by_way_of


def test_a_quantized_value_with_a_wrong_scale_is_named(files: Files, explain: Explain, tmp_path: Path) -> None:
    """An eighth of the scale cuts the values off."""
    path = Path(files["int8"].path)
    name = next(name for name in quantized_values(path) if "/2/blocks/0/mlp/fc1/" in name)
    break_scale(path, tmp_path / path.name, name, 1 / 8)

    seen = explain(dataclasses.replace(files["int8"], path=str(tmp_path / path.name)))

    assert seen.suspect is not None
    assert seen.suspect.module == f"{BLOCK.format(2)}.mlp.fc1"


def test_the_first_operation_that_loses_a_number_is_named(
    files: Files, explain: Explain, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """NaN spreads to the end; the layer that made the first one is told from those that pass it on."""
    wanted = f"{BLOCK.format(1)}.mlp.fc2"

    def hole(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        holed = weight.copy()
        holed.flat[0] = np.nan
        return holed

    broken = _broken(files["onnx"], tmp_path, lambda path: _name_of(path, wanted, tiny_parents["image"]), hole)

    seen = explain(broken)

    lost = first_lost(seen.measured, NAMES)
    assert lost is not None
    assert (lost.module, lost.kind, lost.sample) == (wanted, "Conv", "first")
    assert seen.suspect is not None
    assert seen.suspect.module == wanted


def test_another_towers_file_is_refused(files: Files, tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs) -> None:
    """It takes what the samples do not have."""
    with pytest.raises(ParityError, match="the file takes 'image', the samples are tokens"):
        _explained(files["onnx"], tiny_parents["text"], tiny_inputs["text"])


def test_another_models_file_is_refused(files: Files, explain: Explain, tmp_path: Path) -> None:
    """A few values may look alike; without the embedding among them there is no saying that the file holds."""
    path = Path(files["onnx"].path)
    cut_result(path, tmp_path / path.name, 3)

    with pytest.raises(ParityError, match=r"answers to the reference's embedding of \d+ numbers .*another model's"):
        explain(dataclasses.replace(files["onnx"], path=str(tmp_path / path.name)))


def test_the_bound_comes_from_the_rows_tolerance() -> None:
    """A cosine of 0.99999 is 47 dB; a row without one has its precision's."""
    tolerances = [Tolerance(metric=name, limit=0.99999, why="") for name in ("top_k", "centred_cosine_min")]

    bound_db, why = bound_of(tolerances, "fp16")

    assert bound_db == pytest.approx(46.99, abs=0.01)
    assert why == "centred_cosine_min 0.99999 of this row"
    assert bound_of([], "fp16") == (27.0, "what fp16 rows are held to")


def test_a_dip_that_does_no_harm_is_no_parting() -> None:
    """A worn gate under the bound counts only if the end is under it, or a layer is at fault."""
    fine, worn, faulty = _layer(sqnr_db=60, own_db=60), _layer(sqnr_db=20, own_db=60), _layer(sqnr_db=20, own_db=21)

    assert judge_layers([fine, worn, fine], 27.0, 60.0) == (None, None, ())
    assert judge_layers([fine, worn, fine], 27.0, 20.0) == (1, 0, ())
    assert judge_layers([fine, faulty, fine], 27.0, 60.0) == (1, 1, ())
    assert judge_layers([fine, fine, fine], 27.0, 20.0) == (2, 0, ())


def _explained(artifact: Artifact, parent: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> Seen:
    runtime: Any = load_runtime(artifact.format)
    few = {name: value[:SAMPLES] for name, value in inputs.items()}
    with open_reference(parent, 1) as reference, runtime.open_observer(artifact, 1) as observer:
        ours, theirs = Side(observer=reference, specs=parent.inputs), Side(observer=observer, specs=artifact.inputs)
        measured = measure(ours, theirs, few)
    layers = layers_of(measured, artifact.precision, NAMES)
    crossed, suspect, also = judge_layers(layers, bound_of((), artifact.precision)[0], None)
    return Seen(
        layers=layers, measured=measured, also=also,
        suspect=None if suspect is None else layers[suspect], crossed=None if crossed is None else layers[crossed],
    )  # fmt: skip


def _broken(artifact: Artifact, folder: Path, name_of: Callable[[Path], str], change: Any) -> Artifact:
    path = Path(artifact.path)
    target = folder / path.name
    shutil.rmtree(target, ignore_errors=True)
    break_weight(path, target, name_of(path), change)
    return dataclasses.replace(artifact, path=str(target))


def _name_of(path: Path, module: str, parent: Artifact) -> str:
    """What the file calls the module's weight: told by its numbers, since not every format keeps names."""
    import torch

    weight = torch.jit.load(parent.path).state_dict()[f"{module}.weight"].numpy()
    middle = [weight[..., 1:-1, 1:-1]] if weight.shape[-2:] == (7, 7) else []  # a part of its own in TFLite files
    apart = {
        name: float(np.abs(np.sort(value.ravel()) - np.sort(wanted.ravel())).max())
        for name, value in weights(path).items()
        for wanted in (weight, *middle)
        if value.size == wanted.size
    }
    return min(apart, key=lambda name: apart[name])


def _values(path: Path) -> list[str]:
    import onnx

    return [name for node in onnx.load(path).graph.node for name in node.output]


def _layer(*, sqnr_db: float, own_db: float) -> Layer:
    return Layer(
        module="", kind="", name="", candidate="", candidate_kind="", how="name", confidence=1.0, sqnr_db=sqnr_db,
        worst_db=sqnr_db, worst_sample="", in_db=60.0, own_db=own_db, own_floor_db=45.0,
    )  # fmt: skip
