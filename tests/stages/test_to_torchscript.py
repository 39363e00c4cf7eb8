"""TorchScript files: equal to their parent, the same bytes every time, and nothing of this machine inside."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.records import TOWERS, Artifact, Recipe, Tower
from converter.runtimes import pytorch, torchscript, torchscript_lite
from converter.stages import to_torchscript, to_torchscript_lite
from converter.torchscript_file import load_module
from tests.conftest import run_each
from tests.converted import recipe

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
FP16 = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("freeze", [True, False])
def test_a_traced_file_is_bit_equal_to_its_parent(
    tower: Tower, freeze: bool, tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """Freezing changes no bit: torch's own numeric folding stays off."""
    parent = tiny_parents[tower]

    artifact = _convert(parent, tmp_path, freeze=freeze)

    assert np.array_equal(_embed(torchscript, artifact, tiny_inputs), _embed(pytorch, parent, tiny_inputs))


def test_a_file_of_slightly_other_weights_is_not_bit_equal(
    tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """Broken twin: the comparison above sees a change of one part in a thousand in one tensor."""
    import torch

    module = load_module(tiny_parents["image"].path)
    with torch.no_grad():
        next(module.parameters()).mul_(1.001)
    module.save(str(tmp_path / "other.pt"))
    artifact = _convert(replace(tiny_parents["image"], path=str(tmp_path / "other.pt")), tmp_path)

    parent = _embed(pytorch, tiny_parents["image"], tiny_inputs)
    assert not np.array_equal(_embed(torchscript, artifact, tiny_inputs), parent)


@pytest.mark.parametrize("tower", TOWERS)
def test_one_file_serves_any_batch(
    tower: Tower, tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """A trace made with one sample gives the same embeddings for eight at once, up to the order of float sums."""
    artifact = _convert(tiny_parents[tower], tmp_path)

    with torchscript.open_runner(artifact, threads=1) as runner:
        together = runner.infer(tiny_inputs[tower])["embedding"]

    np.testing.assert_allclose(together, _embed(torchscript, artifact, tiny_inputs), atol=1e-5)


def test_frozen_means_without_parameters(tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """Frozen weights are constants of the graph; unfrozen ones keep their names. The notes say which."""
    frozen = _convert(tiny_parents["image"], tmp_path)
    thawed = _convert(tiny_parents["text"], tmp_path, freeze=False)

    assert list(load_module(frozen.path).parameters()) == []
    assert list(load_module(thawed.path).parameters()) != []
    assert any(note.startswith("frozen") for note in frozen.notes)
    assert any(note.startswith("not frozen") for note in thawed.notes)


def test_a_scripted_file_is_equal_up_to_rounding(
    tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """`method: script` takes the twin beside the parent, which computes the same."""
    parent = tiny_parents["image"]

    artifact = _convert(parent, tmp_path, method="script")

    assert "scripted (torch.jit.script)" in artifact.notes
    scripted, traced = _embed(torchscript, artifact, tiny_inputs), _embed(pytorch, parent, tiny_inputs)
    np.testing.assert_allclose(scripted, traced, atol=1e-5)


def test_a_tower_that_does_not_script_is_refused_in_words(tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """Without the scripted twin the message names the file, the tower and the way out."""
    lonely = tmp_path / "lonely.pt"
    lonely.write_bytes(Path(tiny_parents["image"].path).read_bytes())

    with pytest.raises(ConversionError, match=r"tower\.scripted\.pt.*image tower does not script.*method: trace"):
        _convert(replace(tiny_parents["image"], path=str(lonely)), tmp_path, method="script")


@pytest.mark.parametrize("tower", TOWERS)
def test_two_processes_write_the_same_bytes(tower: Tower, tiny_parents: dict[Tower, Artifact], tmp_path: Path) -> None:
    """Neither the process nor the folder shows in the file, in both formats."""
    first = _convert_in_a_process(tiny_parents[tower], tmp_path / "one")
    second = _convert_in_a_process(tiny_parents[tower], tmp_path / "another" / "folder")

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("tower", TOWERS)
def test_no_path_of_this_machine_is_in_the_file(
    tower: Tower, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """The parent's archive holds the folders of the tracing machine; ours hold none."""
    artifact = _convert(tiny_parents[tower], tmp_path)
    lite = to_torchscript_lite.convert(artifact, to_torchscript_lite.Options(), None, tmp_path)

    assert b"site-packages" in _unpacked(tiny_parents[tower].path)
    assert b"site-packages" not in _unpacked(artifact.path) + _unpacked(lite.path)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("optimize", [True, False])
def test_the_lite_interpreter_computes_the_same(
    tower: Tower, optimize: bool, tiny_parents: dict[Tower, Artifact], tiny_inputs: Inputs, tmp_path: Path
) -> None:
    """Bit-equal where nothing was packed for XNNPACK, equal up to rounding where it was; the notes say which."""
    import torch.backends.xnnpack

    frozen = _convert(tiny_parents[tower], tmp_path)
    options = to_torchscript_lite.Options(optimize_for_mobile=optimize)
    artifact = to_torchscript_lite.convert(frozen, options, None, tmp_path)

    packed = optimize and torch.backends.xnnpack.enabled  # type: ignore[attr-defined]
    lite, parent = _embed(torchscript_lite, artifact, tiny_inputs), _embed(torchscript, frozen, tiny_inputs)
    np.testing.assert_allclose(lite, parent, rtol=0, atol=1e-5 if packed else 0.0)
    assert artifact.notes[-1].startswith("optimize_for_mobile applied" if packed else "optimize_for_mobile not")


@pytest.mark.parametrize("stage", [to_torchscript, to_torchscript_lite])
def test_a_recipe_that_cannot_be_kept_is_refused(
    stage: ModuleType, tiny_parents: dict[Tower, Artifact], tmp_path: Path
) -> None:
    """These stages write float32; asking for another precision must not pass in silence."""
    with pytest.raises(ConversionError, match="recipe 'fp16' asks for fp16"):
        stage.convert(tiny_parents["image"], stage.Options(), FP16, tmp_path)


def _convert(parent: Artifact, folder: Path, **options: Any) -> Artifact:
    return to_torchscript.convert(parent, to_torchscript.Options(**options), None, folder)


def _embed(runtime: ModuleType, artifact: Artifact, inputs: Inputs) -> np.ndarray[Any, Any]:
    with runtime.open_runner(artifact, threads=1) as runner:
        return run_each(runner, inputs[artifact.tower])


def _unpacked(path: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def _convert_in_a_process(parent: Artifact, folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path\n"
        "from converter.records import Artifact, from_json\n"
        "from converter.stages import to_torchscript as full, to_torchscript_lite as lite\n"
        "parent, folder = from_json(sys.argv[1].encode(), Artifact), Path(sys.argv[2])\n"
        "artifact = full.convert(parent, full.Options(), None, folder)\n"
        "lite.convert(artifact, lite.Options(), None, folder)\n"
    )
    from converter.records import to_json

    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, to_json(parent).decode(), str(folder)], check=True, cwd=root)
    return [folder / f"{parent.tower}.pt", folder / f"{parent.tower}.ptl"]


def test_recipes_are_not_supported_and_the_reason_is_said() -> None:
    """Lists of recipes say why no row is int8, without converting anything."""
    assert "neither convolutions nor the embedding" in to_torchscript.unsupported(recipe("dynamic_w8"))
    assert to_torchscript.unsupported(replace(recipe("dynamic_w8"), precision="fp32")) == ""
