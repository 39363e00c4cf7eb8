"""Training learns, goes on where it was stopped, and writes weights that load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from converter.config import load_models
from tests.training import train_nano

SPEC = load_models()["mobileclip_nano"]
STEPS = 20


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the script does by default: beside other work, two threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_few_steps_lower_the_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From that of a guess among 32; what is written gives the same embeddings up to float16."""
    model = _train(tmp_path, steps=STEPS)
    losses = _losses(capsys)
    train_nano().save(model, SPEC, tmp_path / "weights.safetensors")

    loaded = train_nano().load(tmp_path / "weights.safetensors", SPEC)

    images = torch.rand(4, 3, 64, 64)
    assert losses[-1] < losses[0] - 0.3
    assert torch.allclose(loaded.encode_image(images, True), model.encode_image(images, True), atol=0.02)


def test_without_a_learning_rate_nothing_is_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The twin: the same steps, none of which changes a weight."""
    _train(tmp_path, steps=STEPS, learning_rate=0.0)
    losses = _losses(capsys)

    assert losses[-1] > losses[0] - 0.3


def test_a_stopped_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the very weights of its checkpoint: no step is done twice, and those that are missing are done."""
    stopped = _train(tmp_path, steps=2)
    again = _train(tmp_path, steps=2)
    further = _train(tmp_path, steps=3)

    assert capsys.readouterr().err.count("going on from step 2") == 2
    assert _same(again, stopped)
    assert not _same(further, stopped)


def _train(work: Path, *, steps: int, learning_rate: float = 2e-3) -> Any:
    plan = train_nano().Plan(
        spec=SPEC, work=work, device="cpu", steps=steps, minutes=1000.0, batch=32, scenes=64,
        learning_rate=learning_rate, seed=0,
    )  # fmt: skip
    return train_nano().train(plan)


def _losses(capsys: pytest.CaptureFixture[str]) -> list[float]:
    return [float(loss) for loss in re.findall(r"loss ([\d.]+)", capsys.readouterr().err)]


def _same(first: Any, second: Any) -> bool:
    """Bit for bit. Norm statistics are left out: both runs took them anew from the same weights."""
    return all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
