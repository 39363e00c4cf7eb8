"""Torch files shown node by node: bit for bit what the file computes, each value with the module that it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.records import TOWERS, Artifact, TensorSpec, Tower
from converter.runtimes import Observed, pytorch, torchscript, torchscript_lite
from converter.stages import to_torchscript, to_torchscript_lite
from converter.torchscript_file import load_module

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
Files = dict[tuple[str, Tower], tuple[ModuleType, Artifact]]
KINDS = ("reference", "frozen", "unfrozen", "scripted", "lite")
BROKEN = "tower.trunk.stages.1.blocks.0.mlp.fc1"


@pytest.fixture(scope="module")
def files(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Both toy towers in every kind of torch file, with the runtime of each."""
    made: Files = {}
    options = to_torchscript.Options
    for tower, parent in tiny_parents.items():
        folders = {kind: tmp_path_factory.mktemp(f"{kind}-{tower}") for kind in KINDS}
        frozen = to_torchscript.convert(parent, options(), None, folders["frozen"])
        unfrozen = to_torchscript.convert(parent, options(freeze=False), None, folders["unfrozen"])
        scripted = to_torchscript.convert(parent, options(method="script"), None, folders["scripted"])
        lite = to_torchscript_lite.convert(frozen, to_torchscript_lite.Options(), None, folders["lite"])
        made["reference", tower] = (pytorch, parent)
        made |= {("frozen", tower): (torchscript, frozen), ("unfrozen", tower): (torchscript, unfrozen)}
        made |= {("scripted", tower): (torchscript, scripted), ("lite", tower): (torchscript_lite, lite)}
    return made


def _first(inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: values[:1] for name, values in inputs.items()}


def _observed(runtime: ModuleType, artifact: Artifact, inputs: dict[str, np.ndarray[Any, Any]]) -> list[Observed]:
    with runtime.open_observer(artifact, threads=1) as observer:
        return list(observer.observe(_first(inputs)))


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_value_is_the_files_own_output(kind: str, tower: Tower, files: Files, tiny_inputs: Inputs) -> None:
    """Bit for bit, and every name is new and reads only the input and what was shown before."""
    runtime, artifact = files[kind, tower]
    with runtime.open_runner(artifact, threads=1) as runner:
        expected = runner.infer(_first(tiny_inputs[tower]))["embedding"]
    seen = _observed(runtime, artifact, tiny_inputs[tower])

    assert np.array_equal(seen[-1].value, expected)
    known = [artifact.inputs[0].name]
    for one in seen:
        assert one.inputs and set(one.inputs) <= set(known), one.name
        assert one.name not in known
        known.append(one.name)


@pytest.mark.parametrize("kind", ["reference", "unfrozen"])
def test_every_convolution_belongs_to_its_module(kind: str, files: Files, tiny_inputs: Inputs) -> None:
    """One value for each Conv2d, under its path, computed from the weights of that path."""
    runtime, artifact = files[kind, "image"]
    modules = dict(load_module(artifact.path).named_modules())
    seen = _observed(runtime, artifact, tiny_inputs["image"])

    convolutions = [one for one in seen if one.kind == "aten::_convolution"]
    assert {one.module for one in seen} <= modules.keys()
    assert sorted(one.module for one in convolutions) == sorted(
        path for path, module in modules.items() if module.original_name == "Conv2d"
    )
    for one in convolutions:
        assert one.name == f"{one.module}._convolution"
        assert one.constants[0] == f"{one.module}.weight"


@pytest.mark.parametrize("kind", ["frozen", "scripted", "lite"])
def test_a_frozen_file_shows_the_same_layers_without_modules(kind: str, files: Files, tiny_inputs: Inputs) -> None:
    """As many convolutions as the reference, in its order, each with a constant; no module is made up."""
    reference = _observed(*files["reference", "image"], tiny_inputs["image"])
    seen = _observed(*files[kind, "image"], tiny_inputs["image"])

    expected = [one.value for one in reference if "conv" in one.kind]
    convolutions = [one for one in seen if "conv" in one.kind]
    assert all(np.array_equal(one.value, value) for one, value in zip(convolutions, expected, strict=True))
    assert all(one.constants for one in convolutions)
    assert {one.module for one in seen} == {""}


def test_it_says_how_it_ran_the_file(files: Files) -> None:
    """Node by node; and that a lite file was not run by the lite interpreter."""
    said = {}
    for kind in KINDS:
        runtime, artifact = files[kind, "image"]
        with runtime.open_observer(artifact, threads=1) as observer:
            said[kind] = observer.executed_by

    assert all("node by node" in words for words in said.values())
    assert [kind for kind in KINDS if "without the lite interpreter" in said[kind]] == ["lite"]


def test_nan_is_first_seen_in_the_module_that_makes_it(files: Files, tiny_inputs: Inputs, tmp_path: Path) -> None:
    """One weight that is NaN: everything before its module is finite, that module's value is not."""
    runtime, artifact = files["reference", "image"]
    module = load_module(artifact.path)
    dict(module.named_parameters())[f"{BROKEN}.weight"].data[0, 0] = np.nan
    module.save(str(tmp_path / "broken.pt"))

    healthy = _observed(runtime, artifact, tiny_inputs["image"])
    broken = _observed(runtime, replace(artifact, path=str(tmp_path / "broken.pt")), tiny_inputs["image"])

    assert all(np.isfinite(one.value).all() for one in healthy)
    assert next(one for one in broken if not np.isfinite(one.value).all()).module == BROKEN


def _scripted(module: Any, folder: Path) -> Artifact:
    import torch

    path = str(folder / "scripted.pt")
    torch.jit.script(module.eval()).save(path)
    spec = TensorSpec(name="x", shape=(2, 4), dtype="float32", layout="NC")
    return Artifact(
        path=path,
        format="torchscript",
        target="torchscript",
        tower="text",
        precision="fp32",
        inputs=(spec,),
        outputs=(replace(spec, name="embedding"),),
    )


def _branching() -> Any:
    import torch

    class Branching(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Linear(4, 4).to(torch.float64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for step in range(3):
                x = x - x.mean() - float(step) if bool(x.sum() > 0) else x * 2.0 + x.size(0)
            first, second = x.chunk(2, dim=1)
            parts = [second.relu_()]
            parts.append(first)
            x = torch.cat([parts[0], parts[-1]] if len(parts) == 2 else parts, dim=1)
            return self.last(x.double()).float().reshape(x.shape[0], -1)

    return Branching()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_branches_loops_and_writes_in_place_are_followed(sign: float, tmp_path: Path) -> None:
    """Bit-equal on both branches; rounds of a loop have names of their own, and what was shown stays as it was."""
    artifact = _scripted(_branching(), tmp_path)
    inputs = {"x": sign * np.arange(8, dtype=np.float32).reshape(2, 4)}
    with torchscript.open_runner(artifact, threads=1) as runner:
        expected = runner.infer(inputs)["embedding"]
    with torchscript.open_observer(artifact, threads=1) as observer:
        seen = list(observer.observe(inputs))

    assert np.array_equal(seen[-1].value, expected)
    assert len({one.name for one in seen}) == len(seen)
    assert any(one.name.endswith("#2") for one in seen)
    assert ("aten::sub" in {one.kind for one in seen}) == (sign > 0)
    before = next(one for one in seen if one.kind == "aten::relu_").inputs[0]
    assert next(one for one in seen if one.name == before).value.min() < 0.0
    assert {str(one.value.dtype) for one in seen} == {"float32"}


def test_a_node_that_is_not_known_is_named(tmp_path: Path) -> None:
    """A dictionary inside a scripted module ends in a message, not in wrong values."""
    import torch

    class Keyed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return {0: x, 1: x + 1.0}[int(x.sum())]

    artifact = _scripted(Keyed(), tmp_path)

    with (
        torchscript.open_observer(artifact, threads=1) as observer,
        pytest.raises(ConversionError, match=r"scripted\.pt: .* has prim::DictConstruct"),
    ):
        list(observer.observe({"x": np.zeros((2, 4), np.float32)}))


def test_a_wrong_input_is_named(files: Files) -> None:
    """A missing input, and one of a shape that the first operator refuses."""
    runtime, artifact = files["reference", "image"]

    with runtime.open_observer(artifact, threads=1) as observer:
        with pytest.raises(ConversionError, match="input 'image' is missing; given were none"):
            list(observer.observe({}))
        with pytest.raises(ConversionError, match=r"could not run aten::_convolution .* of 'tower\.trunk\.stem\.0"):
            list(observer.observe({"image": np.zeros((1, 5, 64, 64), np.float32)}))
