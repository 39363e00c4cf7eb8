"""Running an artifact over samples: layouts, types, batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.errors import ParityError
from converter.parity.compare import compare, embed
from converter.records import TensorSpec
from converter.runtimes import Arrays
from tests.parity.test_metrics import unit_rows


class Recorder:
    """A runner that sums each sample and remembers what it was given."""

    executed_by = "test"
    outputs = ()

    def __init__(self, *inputs: TensorSpec) -> None:
        self.inputs = inputs
        self.seen: list[np.ndarray[Any, Any]] = []

    def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        (array,) = arrays.values()
        self.seen.append(array)
        return {"embedding": array.reshape(len(array), -1)[:, :2]}


def spec(layout: str = "NCHW", batch: int | str = 1, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name="image", shape=(batch, 3, 4, 5), dtype=dtype, layout=layout)


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (2, [2, 2, 2]), ("batch", [5])])
def test_batches_are_what_the_file_declares(batch: int | str, sizes: list[int]) -> None:
    """A fixed batch is filled up and cut again, a dynamic one is not padded; no sample is lost or doubled."""
    images = np.arange(5 * 60, dtype=np.float32).reshape(5, 3, 4, 5)
    runner = Recorder(spec(batch=batch))

    found = embed(runner, {"image": images}, specs=runner.inputs)

    assert [len(array) for array in runner.seen] == sizes
    assert np.array_equal(found["embedding"], images.reshape(5, -1)[:, :2])


def test_images_reach_an_nhwc_file_as_nhwc() -> None:
    """Channels move last, in the declared type, contiguous."""
    images = np.random.default_rng(0).random((2, 3, 4, 5))
    runner = Recorder(spec("NHWC"))

    embed(runner, {"image": images}, specs=runner.inputs)

    assert runner.seen[0].shape == (1, 4, 5, 3)
    assert runner.seen[0].dtype == np.float32
    assert runner.seen[0].flags.c_contiguous
    assert np.allclose(runner.seen[0][0].transpose(2, 0, 1), images[0])


def test_missing_inputs_and_empty_sets_are_refused() -> None:
    """No samples, or samples of another tower: an error, not an empty success."""
    runner = Recorder(spec())

    for inputs in ({"tokens": np.ones((4, 77))}, {"image": np.ones((0, 3, 4, 5))}):
        with pytest.raises(ParityError, match="no samples"):
            embed(runner, inputs, specs=runner.inputs)


def test_outputs_are_compared_by_name() -> None:
    """Another name is another output; equal names give a report with both kinds of figures."""
    rows = unit_rows()
    names = {"reference_name": "r", "candidate_name": "c", "sample_set": "s", "executed_by": "e"}

    report = compare({"embedding": rows}, {"embedding": rows}, **names, k=5, tie_margin=0.0)

    assert report.outputs[0].name == "embedding"
    assert report.ranking is not None
    for reference, candidate in (({}, {}), ({"embedding": rows}, {"other": rows})):
        with pytest.raises(ParityError, match="outputs to compare"):
            compare(reference, candidate, **names, k=5, tie_margin=0.0)


def test_samples_that_do_not_fit_the_type_are_refused() -> None:
    """Pixels must not become integers silently."""
    runner = Recorder(spec(dtype="int8"))

    with pytest.raises(ParityError, match="lose their values"):
        embed(runner, {"image": np.full((2, 3, 4, 5), 0.7, np.float32)}, specs=runner.inputs)


def test_inputs_of_different_length_are_refused() -> None:
    """No sample is cut off because another input has fewer."""
    specs = (spec(batch="batch"), TensorSpec(name="tokens", shape=("batch", 7), dtype="int32", layout="NL"))
    inputs = {"image": np.zeros((4, 3, 4, 5), np.float32), "tokens": np.zeros((3, 7), np.int32)}

    with pytest.raises(ParityError, match="different numbers"):
        embed(Recorder(*specs), inputs, specs=specs)


def test_a_runner_that_answers_for_one_sample_only_is_refused() -> None:
    """A batch that came out as one row is no embedding of all."""

    class First(Recorder):
        def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
            return {name: rows[:1] for name, rows in super().infer(arrays).items()}

    runner = First(spec(batch="batch"))

    with pytest.raises(ParityError, match="one row a sample"):
        embed(runner, {"image": np.zeros((4, 3, 4, 5), np.float32)}, specs=runner.inputs)


def test_a_buffer_that_the_runner_fills_again_is_copied() -> None:
    """Every sample keeps its own output."""

    class Reusing(Recorder):
        buffer = np.zeros((1, 2), np.float32)

        def infer(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
            self.buffer[:] = super().infer(arrays)["embedding"]
            return {"embedding": self.buffer}

    images = np.arange(3 * 60, dtype=np.float32).reshape(3, 3, 4, 5)
    runner = Reusing(spec(batch=1))

    found = embed(runner, {"image": images}, specs=runner.inputs)

    assert found["embedding"][:, 0].tolist() == [0.0, 60.0, 120.0]
