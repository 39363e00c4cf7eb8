"""The models that no library defines behave like open_clip's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from converter.errors import ConfigError
from converter.models.building import build, signature
from converter.models.mobileclip import SIZES
from converter.records import ModelSpec
from tests.rewrites.measuring import run, texts


def source(spec: ModelSpec, name: str) -> ModelSpec:
    """A spec of one of ours."""
    return dataclasses.replace(spec, source=f"mcconvert:{name}")


def test_s0_has_the_image_tower_of_timm(spec: ModelSpec) -> None:
    """The same modules with the same settings and shapes as timm's `fastvit_mci0` with a head of 512."""
    import timm

    with torch.device("meta"):
        theirs = timm.create_model("fastvit_mci0", num_classes=512, global_pool="avg", drop_path_rate=0.0)
        ours: Any = source_model(spec)

    assert str(ours.visual.trunk) == str(theirs)
    assert shapes(ours.visual.trunk) == shapes(theirs)


def test_s0_is_named_as_open_clips_models_are(spec: ModelSpec) -> None:
    """Towers, scale and sizes have the places that the rest of mcconvert looks at."""
    found = signature(source(spec, "mobileclip_s0"))

    names = {name.split(".")[0] for name, _ in found}
    assert names == {"visual", "text", "logit_scale"}
    assert len(found) == 894


def test_both_towers_give_embeddings_of_one_width(spec: ModelSpec) -> None:
    """The small one, end to end: raw and of unit length; its forward pass gives what a loss needs."""
    clip: Any = build(source(spec, "mobileclip_nano"))
    sizes = SIZES["mobileclip_nano"]
    images = torch.rand(2, 3, *clip.visual.image_size, generator=torch.Generator().manual_seed(0))
    tokens = texts(5, 9, length=clip.text.context_length)

    raw, unit = run(clip.encode_image, images), run(clip.encode_text, tokens, True)

    assert raw.shape == unit.shape == (2, sizes.embed_dim)
    assert torch.allclose(unit.norm(dim=1), torch.ones(2), atol=1e-6)
    with torch.no_grad():
        first, second, scale = clip(images, tokens)
    assert torch.allclose(first, torch.nn.functional.normalize(raw, dim=-1), atol=1e-6)
    assert torch.equal(second, unit)
    assert float(scale) == pytest.approx(1 / 0.07, rel=1e-5)


def test_an_unknown_name_is_refused_with_the_nearest(spec: ModelSpec) -> None:
    """As everywhere."""
    with pytest.raises(ConfigError, match="did you mean 'mobileclip_s0'"):
        build(source(spec, "mobileclip-s0"))


def source_model(spec: ModelSpec) -> Any:
    """S0, where the caller's device is."""
    from converter.models.mobileclip import construct

    return construct("mobileclip_s0", spec)


def shapes(module: Any) -> dict[str, tuple[int, ...]]:
    """Names with shapes."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
