"""The rewrites on the models as they are published, with awake weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from converter.records import TOWERS, Tower
from converter.rewrites.tower import rewrite_tower
from tests.rewrites.measuring import pictures, run, texts
from tests.tiny import _awaken

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["MobileCLIP-S1", "MobileCLIP-B"])
def clip(request: pytest.FixtureRequest) -> Any:
    import open_clip

    model = open_clip.create_model(request.param)
    _awaken(model, torch.Generator().manual_seed(0))
    return model.eval()


@pytest.mark.parametrize("tower", TOWERS)
def test_a_full_size_tower_is_the_same_model(clip: Any, tower: Tower) -> None:
    """Eager, traced from one sample and scripted, within 1e-6 on three samples."""
    samples = texts(3, 20, 76) if tower == "text" else pictures(3, clip.visual.image_size[0])
    encode = clip.encode_image if tower == "image" else clip.encode_text
    reference = functional.normalize(run(encode, samples), dim=-1)

    rewritten = rewrite_tower(clip, tower)
    traced = torch.jit.trace(rewritten, (samples[:1],), check_trace=False)
    scripted = torch.jit.script(rewritten)

    for module in (rewritten, traced, scripted):
        assert (run(module, samples) - reference).abs().max() < 1e-6
