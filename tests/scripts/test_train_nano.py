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
    """Two threads add up gradients in any order, and Adam makes a whole step of the sign of the smallest of them."""
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
    """To the same weights as one that was not stopped, and from its checkpoint."""
    _train(tmp_path / "stopped", steps=2, minutes=1000.0)
    resumed = _train(tmp_path / "stopped", steps=2)

    assert "going on from step 2" in capsys.readouterr().err
    assert _same(resumed, _train(tmp_path / "whole", steps=2))
    assert not _same(resumed, _train(tmp_path / "longer", steps=3))


def _train(work: Path, *, steps: int, learning_rate: float = 2e-3, minutes: float = 1000.0) -> Any:
    plan = train_nano().Plan(
        spec=SPEC, work=work, device="cpu", steps=steps, minutes=minutes, batch=32, scenes=64,
        learning_rate=learning_rate, seed=0,
    )  # fmt: skip
    return train_nano().train(plan)


def _losses(capsys: pytest.CaptureFixture[str]) -> list[float]:
    return [float(loss) for loss in re.findall(r"loss ([\d.]+)", capsys.readouterr().err)]


def _same(first: Any, second: Any) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)
