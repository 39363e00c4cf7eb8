"""The ONNX runtime: it says what ran, reads specs from the file, and refuses broken files in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converter.errors import ConversionError
from converter.records import Artifact, Tower
from converter.runtimes import onnx
from tests.converted import onnx_of

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra mcconvert[onnx]")


@pytest.fixture(scope="module")
def artifact(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The toy text tower with a dynamic batch."""
    return onnx_of(tiny_parents["text"], tmp_path_factory.mktemp("onnx"), batch="dynamic")


def test_it_says_what_executed_the_file(artifact: Artifact) -> None:
    """The engine, its version and the processor, which is the CPU alone."""
    with onnx.open_runner(artifact, threads=1) as runner:
        said = runner.executed_by
        providers = runner._session.get_providers()

    assert said == f"ONNX Runtime {onnxruntime.__version__}, CPU"
    assert providers == ["CPUExecutionProvider"]


def test_threads_are_those_that_were_given(artifact: Artifact) -> None:
    """The session is told, so that two steps at a time do not fight for cores."""
    with onnx.open_runner(artifact, threads=3) as runner:
        assert runner._session.get_session_options().intra_op_num_threads == 3


def test_specs_are_read_from_the_file(artifact: Artifact) -> None:
    """Names, open sizes by name, and numpy's names of types."""
    with onnx.open_runner(artifact, threads=1) as runner:
        (tokens,), (embedding,) = runner.inputs, runner.outputs

    assert (tokens.name, tokens.shape, tokens.dtype) == ("tokens", ("batch", 77), "int32")
    assert (embedding.name, embedding.shape, embedding.dtype) == ("embedding", ("batch", 32), "float32")


@pytest.mark.parametrize("given", [{}, {"tokens": np.zeros((1, 77), np.int64)}, {"tokens": np.zeros((1, 5), np.int32)}])
def test_wrong_inputs_are_named(artifact: Artifact, given: dict[str, np.ndarray]) -> None:
    """A missing input, another type and another shape each end in a message with what was given."""
    expected = r"could not run it on (no input|tokens int(64|32)\[1, (77|5)\])"

    with onnx.open_runner(artifact, threads=1) as runner, pytest.raises(ConversionError, match=expected):
        runner.infer(given)


@pytest.mark.parametrize("broken", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no model" * 99])
def test_a_broken_file_is_refused(broken: Callable[[bytes], bytes], artifact: Artifact, tmp_path: Path) -> None:
    """Half a file, an empty one and one of another kind."""
    path = tmp_path / "broken.onnx"
    path.write_bytes(broken(Path(artifact.path).read_bytes()))

    with pytest.raises(ConversionError, match=r"broken\.onnx: not a whole ONNX file of \d+ bytes"):
        onnx.open_runner(replace(artifact, path=str(path)), threads=1).__enter__()


def test_a_missing_file_is_named(artifact: Artifact, tmp_path: Path) -> None:
    """Also the one inside an empty folder."""
    for path in (tmp_path / "gone.onnx", tmp_path):
        with pytest.raises(ConversionError, match=r"\.onnx: no such file"):
            onnx.open_runner(replace(artifact, path=str(path)), threads=1).__enter__()
