"""A model with its weights, ready to run: built, then loaded from a checkpoint or awakened from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from converter.config import load_models
from converter.models.building import build
from converter.models.checkpoint import load_weights
from converter.models.samples import load_model_inputs, write_samples
from converter.models.seeded import awaken
from converter.records import ModelSpec, Tower, Weights

STATISTICS_SAMPLES = 32
STATISTICS_THREADS = 2
"""The same for every caller: seeded norm statistics depend, in their last bits, on how many threads sum them up."""


def load_model(spec: ModelSpec, weights: Weights, towers: Iterable[Tower], scratch: Path) -> Any:
    """The unmodified model in eval mode, float32, on the CPU.

    Seeded weights take the norm statistics of `towers` from the shipped photographs, whatever else a user judges or
    calibrates with, so that a seed means the same weights; the samples are left in `scratch`, a folder.

    Raises:
        ConfigError: `spec.source` names no model.
        WeightsError: the weights are not this model's.
        ParityError: seeded weights cannot tell the shipped samples apart.
    """
    clip = build(spec)
    if weights.kind != "seeded":
        load_weights(clip, weights, spec, list(load_models().values()))
        return clip.eval()
    inputs: dict[str, Any] = {}
    for tower in towers:
        shipped = scratch / f"{tower}_shipped.npz"
        write_samples(spec, tower, "calibration", shipped, count=STATISTICS_SAMPLES)
        inputs |= load_model_inputs(shipped)
    with _statistics_threads():
        _awaken(clip, inputs, weights.seed or 0)
    return clip.eval()


def _awaken(clip: Any, inputs: Mapping[str, Any], seed: int) -> None:
    """Weights are drawn by open_clip's names; a model that has others takes them from its equal."""
    ours = clip.converted() if hasattr(clip, "converted") else clip
    awaken(ours, inputs.get("image"), inputs.get("tokens"), seed)
    if ours is not clip:
        clip.adopt(ours)


@contextmanager
def _statistics_threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(STATISTICS_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
