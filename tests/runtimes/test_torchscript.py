"""The three torch runtimes: they say what ran, keep to the declared tensors, and refuse broken files in words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.records import Artifact, TensorSpec, Tower
from converter.runtimes import pytorch, torchscript, torchscript_lite
from converter.stages import to_torchscript, to_torchscript_lite

Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]
RUNTIMES = {"pytorch": pytorch, "torchscript": torchscript, "torchscript_lite": torchscript_lite}


@pytest.fixture(scope="module")
def artifacts(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The toy image tower in the three formats."""
    folder = tmp_path_factory.mktemp("torchscript")
    parent = tiny_parents["image"]
    full = to_torchscript.convert(parent, to_torchscript.Options(), None, folder)
    lite = to_torchscript_lite.convert(full, to_torchscript_lite.Options(), None, folder)
    return {"pytorch": parent, "torchscript": full, "torchscript_lite": lite}


@pytest.fixture(params=sorted(RUNTIMES))
def opened(request: pytest.FixtureRequest, artifacts: dict[str, Artifact]) -> tuple[ModuleType, Artifact]:
    """(a runtime, an artifact of its format)."""
    return RUNTIMES[request.param], artifacts[request.param]


def test_it_says_what_executed_the_file(opened: tuple[ModuleType, Artifact]) -> None:
    """`executed_by` names the engine, its version and the processor; nothing prevents it from running here."""
    import torch

    runtime, artifact = opened
    with runtime.open_runner(artifact, threads=1) as runner:
        said = runner.executed_by

    assert torch.__version__ in said
    assert said.endswith("CPU")


def test_threads_are_set_and_given_back(opened: tuple[ModuleType, Artifact]) -> None:
    """The runner computes on the threads it was given; afterwards torch has what it had."""
    import torch

    runtime, artifact = opened
    before = torch.get_num_threads()
    with runtime.open_runner(artifact, threads=before + 1):
        inside = torch.get_num_threads()

    assert (inside, torch.get_num_threads()) == (before + 1, before)


def test_no_warning_of_ours_reaches_the_user(opened: tuple[ModuleType, Artifact], tiny_inputs: Inputs) -> None:
    """Torch's advice to leave TorchScript is silenced; it is the format that was asked for."""
    runtime, artifact = opened
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with runtime.open_runner(artifact, threads=1) as runner:
            runner.infer({"image": tiny_inputs["image"]["image"][:1]})


def test_another_output_than_declared_is_refused(opened: tuple[ModuleType, Artifact], tiny_inputs: Inputs) -> None:
    """The file declares nothing, so each result is held to the artifact's declaration."""
    runtime, artifact = opened
    wide = TensorSpec(name="embedding", shape=(1, 512), dtype="float32", layout="NC")

    with (
        runtime.open_runner(replace(artifact, outputs=(wide,)), threads=1) as runner,
        pytest.raises(ConversionError, match=r"came back as float32\[1, 32\], declared is float32\[1, 512\]"),
    ):
        runner.infer({"image": tiny_inputs["image"]["image"][:1]})


def test_a_missing_input_is_named(opened: tuple[ModuleType, Artifact]) -> None:
    """Names are checked before torch sees anything."""
    runtime, artifact = opened

    with (
        runtime.open_runner(artifact, threads=1) as runner,
        pytest.raises(ConversionError, match="input 'image' is missing; given were picture"),
    ):
        runner.infer({"picture": np.zeros((1, 3, 64, 64), np.float32)})


def test_an_input_that_the_graph_refuses_is_reported_with_its_shape(opened: tuple[ModuleType, Artifact]) -> None:
    """Torch's own message comes with the file and what was given."""
    runtime, artifact = opened

    with (
        runtime.open_runner(artifact, threads=1) as runner,
        pytest.raises(ConversionError, match=r"could not run it on image float32\[1, 5, 64, 64\]"),
    ):
        runner.infer({"image": np.zeros((1, 5, 64, 64), np.float32)})


def _truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _empty(whole: bytes) -> bytes:
    return whole[:0]


def _foreign(_whole: bytes) -> bytes:
    return b"this is no archive at all" * 100


@pytest.mark.parametrize("broken", [_truncated, _empty, _foreign])
def test_a_broken_file_is_refused(
    opened: tuple[ModuleType, Artifact], broken: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Half a file, an empty one and one of another kind end in a message, not in a traceback of torch."""
    runtime, artifact = opened
    path = tmp_path / "broken.pt"
    path.write_bytes(broken(Path(artifact.path).read_bytes()))

    with pytest.raises(ConversionError, match=r"broken\.pt: not a whole .*bytes"):
        runtime.open_runner(replace(artifact, path=str(path)), threads=1).__enter__()


def test_a_missing_file_is_named(opened: tuple[ModuleType, Artifact], tmp_path: Path) -> None:
    """A path that leads nowhere is said to."""
    runtime, artifact = opened

    with pytest.raises(ConversionError, match=r"gone\.pt: no such file"):
        runtime.open_runner(replace(artifact, path=str(tmp_path / "gone.pt")), threads=1).__enter__()


def test_the_lite_interpreter_refuses_a_plain_file(artifacts: dict[str, Artifact]) -> None:
    """A .pt has no bytecode; renamed to .ptl it does not pass."""
    with pytest.raises(ConversionError, match="not a whole file of the TorchScript lite interpreter"):
        torchscript_lite.open_runner(artifacts["torchscript"], threads=1).__enter__()
