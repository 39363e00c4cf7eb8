"""ONNX files: the same model for any batch, readable inside, the same bytes every time, halved on request."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.onnx_file import DATA_NAME, MODEL_NAME, load_model, weight_bytes
from converter.records import TOWERS, Artifact, Tower, to_json
from converter.runtimes import onnx as runtime
from converter.runtimes import pytorch
from converter.stages import to_onnx, to_onnx_fp16
from tests.conftest import run_each
from tests.converted import centred_cosines, onnx_of, recipe

pytest.importorskip("onnxslim", reason="needs the extra mcconvert[onnx]")

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Parents = dict[Tower, Artifact]
CLOSE = 1e-5


@pytest.fixture(scope="module")
def references(tiny_parents: Parents, tiny_inputs: Inputs) -> dict[Tower, np.ndarray[Any, Any]]:
    """What the traced towers themselves compute."""
    found = {}
    for tower, parent in tiny_parents.items():
        with pytorch.open_runner(parent, threads=1) as runner:
            found[tower] = run_each(runner, tiny_inputs[tower])
    return found


@pytest.fixture(scope="module")
def files(tiny_parents: Parents, tmp_path_factory: pytest.TempPathFactory) -> dict[Tower, Artifact]:
    """Both towers as static ONNX files."""
    return {tower: onnx_of(parent, tmp_path_factory.mktemp(tower)) for tower, parent in tiny_parents.items()}


def _embed(artifact: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    with runtime.open_runner(artifact, threads=1) as runner:
        return run_each(runner, inputs)


@pytest.mark.parametrize("tower", TOWERS)
def test_it_is_the_same_model(tower: Tower, files: Parents, references: Any, tiny_inputs: Inputs) -> None:
    """ONNX Runtime computes what the trace computes."""
    assert np.abs(_embed(files[tower], tiny_inputs[tower]) - references[tower]).max() < CLOSE


@pytest.mark.parametrize("tower", TOWERS)
def test_a_changed_weight_is_another_model(
    tower: Tower, files: Parents, references: Any, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """The twin: one bias of the middle off by a half, and the comparison above fails."""
    import onnx

    model = load_model(files[tower].path)
    biases = [one for one in model.graph.initializer if one.name.endswith("bias")]
    target = biases[len(biases) // 2]
    target.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(target) + 0.5, target.name))
    onnx.save(model, tmp_path / "changed.onnx")

    changed = replace(files[tower], path=str(tmp_path / "changed.onnx"))
    assert np.abs(_embed(changed, tiny_inputs[tower]) - references[tower]).max() > CLOSE


@pytest.mark.parametrize("tower", TOWERS)
def test_a_dynamic_batch_takes_any_number(
    tower: Tower, tiny_parents: Parents, references: Any, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """Eight at once, or one, give the same rows; the open size is called "batch" in specs and file alike."""
    artifact = onnx_of(tiny_parents[tower], tmp_path, batch="dynamic")

    with runtime.open_runner(artifact, threads=1) as runner:
        together = runner.infer(tiny_inputs[tower])["embedding"]
        sizes = [spec.shape[0] for spec in (*runner.inputs, *runner.outputs, *artifact.inputs, *artifact.outputs)]
    assert sizes == ["batch"] * 4
    assert np.abs(together - references[tower]).max() < CLOSE


def test_a_static_batch_refuses_two(files: Parents, tiny_inputs: Inputs) -> None:
    """One sample a call is what the file says and keeps."""
    with (
        runtime.open_runner(files["image"], threads=1) as runner,
        pytest.raises(ConversionError, match="could not run it on image float32"),
    ):
        runner.infer({"image": tiny_inputs["image"]["image"][:2]})


@pytest.mark.parametrize("tower", TOWERS)
def test_simplifying_removes_noise_and_changes_no_output(
    tower: Tower, files: Parents, tiny_parents: Parents, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """No Constant or Identity node is left, and the outputs are those of the raw export."""
    raw = onnx_of(tiny_parents[tower], tmp_path, simplify=False)
    kinds = {node.op_type for node in load_model(files[tower].path).graph.node}

    assert "Constant" in {node.op_type for node in load_model(raw.path).graph.node}
    assert not kinds & {"Constant", "Identity"}
    assert np.abs(_embed(raw, tiny_inputs[tower]) - _embed(files[tower], tiny_inputs[tower])).max() < 1e-6


def test_gelu_is_one_operator_from_opset_20(files: Parents, tiny_parents: Parents, tmp_path: Path) -> None:
    """The default opset has it; an older one spells it out and still runs."""
    older = onnx_of(tiny_parents["text"], tmp_path, opset=17)

    assert "Gelu" in {node.op_type for node in load_model(files["text"].path).graph.node}
    assert "Erf" in {node.op_type for node in load_model(older.path).graph.node}


@pytest.mark.parametrize("tower", TOWERS)
def test_weights_are_named_after_their_modules(tower: Tower, files: Parents) -> None:
    """No weight carries a number of the exporter."""
    names = [one.name for one in load_model(files[tower].path).graph.initializer if len(one.raw_data) > 1024]

    assert names
    assert not [name for name in names if "::" in name or not name.startswith("tower.")]


def test_two_processes_write_the_same_bytes(tiny_parents: Parents, tmp_path: Path) -> None:
    """No time, path or counter enters the file."""
    parent = tmp_path / "parent.json"
    parent.write_bytes(to_json(tiny_parents["text"]))
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        subprocess.run([sys.executable, "-c", _CONVERT, str(parent), str(tmp_path / name)], check=True)
        written.append((tmp_path / name / "text.onnx").read_bytes())

    assert written[0] == written[1]


_CONVERT = """
import sys
from pathlib import Path
from converter.records import Artifact, from_json
from converter.stages import to_onnx
parent = from_json(Path(sys.argv[1]).read_bytes(), Artifact)
to_onnx.convert(parent, to_onnx.Options(), None, Path(sys.argv[2]))
"""


def test_large_weights_lie_beside_the_graph(
    tiny_parents: Parents, references: Any, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """Past the limit the artifact is a folder of graph and weights, which is moved and opened as one."""
    limit = 1_000_000
    artifact = onnx_of(tiny_parents["text"], tmp_path / "made", external_data_bytes=limit)
    moved = Path(artifact.path).rename(tmp_path / "moved.onnx")

    assert sorted(file.name for file in moved.iterdir()) == [MODEL_NAME, DATA_NAME]
    assert (moved / MODEL_NAME).stat().st_size < limit < weight_bytes(load_model(moved))
    assert np.abs(_embed(replace(artifact, path=str(moved)), tiny_inputs["text"]) - references["text"]).max() < CLOSE


def test_an_unknown_opset_is_refused(tiny_parents: Parents, tmp_path: Path) -> None:
    """The message names the opsets that work; nothing is left behind."""
    with pytest.raises(ConversionError, match="opset 99.*opsets 17 to 20"):
        onnx_of(tiny_parents["text"], tmp_path, opset=99)
    assert not list(tmp_path.iterdir())


def test_a_quantizing_recipe_is_refused(tiny_parents: Parents, tmp_path: Path) -> None:
    """The stage writes float32, and says which one does not."""
    with pytest.raises(ConversionError, match="to_onnx writes float32"):
        to_onnx.convert(tiny_parents["text"], to_onnx.Options(), recipe("fp16"), tmp_path)


def test_a_broken_parent_is_refused(tiny_parents: Parents, tmp_path: Path) -> None:
    """Half a TorchScript file is named as such."""
    half = tmp_path / "half.pt"
    half.write_bytes(Path(tiny_parents["text"].path).read_bytes()[:5000])

    with pytest.raises(ConversionError, match=r"half\.pt: not a whole TorchScript file"):
        onnx_of(replace(tiny_parents["text"], path=str(half)), tmp_path)


@pytest.mark.parametrize("batch", ["static", "dynamic"])
@pytest.mark.parametrize("tower", TOWERS)
def test_float16_halves_the_file_and_keeps_the_model(
    tower: Tower, batch: str, tiny_parents: Parents, references: Any, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """Every pair of inputs is told apart as before; callers pass and get what they did."""
    whole = onnx_of(tiny_parents[tower], tmp_path / "fp32", batch=batch)
    half = to_onnx_fp16.convert(whole, to_onnx_fp16.Options(), recipe("fp16"), tmp_path)

    embeddings = _embed(half, tiny_inputs[tower])
    assert weight_bytes(load_model(half.path)) < 0.55 * weight_bytes(load_model(whole.path))
    assert (half.inputs, half.outputs, half.precision) == (whole.inputs, whole.outputs, "fp16")
    assert centred_cosines(references[tower], embeddings).min() > 0.999
    assert np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() < 1e-6


def test_norms_and_softmax_stay_in_float32(files: Parents, tmp_path: Path) -> None:
    """They read float32 in the float16 file, so that no sum of squares or exponentials overflows; options decide."""
    kept = _input_types(to_onnx_fp16.convert(files["text"], to_onnx_fp16.Options(), None, tmp_path))
    options = to_onnx_fp16.Options(keep_float32=())
    cast = _input_types(to_onnx_fp16.convert(files["text"], options, None, tmp_path))

    assert (kept["LayerNormalization"], kept["Softmax"], kept["Gelu"]) == ({"float32"}, {"float32"}, {"float16"})
    assert cast["Softmax"] == {"float16"}


def _input_types(artifact: Artifact) -> dict[str, set[str]]:
    """Type of the first input of every kind of op, as ONNX infers it."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(load_model(artifact.path), strict_mode=True)
    types = {one.name: one.type.tensor_type.elem_type for one in inferred.graph.value_info}
    found: dict[str, set[str]] = {}
    for node in inferred.graph.node:
        if node.input[0] in types:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(types[node.input[0]])
            found.setdefault(node.op_type, set()).add(str(dtype))
    return found


def test_float16_refuses_an_int8_recipe(files: Parents, tmp_path: Path) -> None:
    """Int8 goes to another stage."""
    with pytest.raises(ConversionError, match="int8 with 8-bit weights.*writes float16"):
        to_onnx_fp16.convert(files["text"], to_onnx_fp16.Options(), recipe("dynamic_w8"), tmp_path)
