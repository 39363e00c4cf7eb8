"""An image tower of timm's is timm's own model without its classifier."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import timm as library
import torch
from torch.nn import functional

from converter.errors import ConfigError
from converter.models.building import build
from converter.models.catalog import find
from converter.models.timm import PREFIX, from_checkpoint_names, measure
from converter.records import ModelSpec


@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "convnext_atto"])
def test_a_tower_gives_timm_s_own_pooled_features(name: str) -> None:
    """With timm's weights of the same names, bit for bit and of unit length; the classifier is left out."""
    theirs = library.create_model(name, pretrained=False).eval()
    spec = find(f"timm:{name}")
    model: Any = build(spec)
    state = theirs.state_dict()
    named = from_checkpoint_names(state, model.state_dict())
    model.load_state_dict({ours: state[their] for their, ours in named.items()}, strict=True)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        features = theirs.forward_head(theirs.forward_features(image), pre_logits=True)
        assert torch.equal(model.encode_image(image), features)
        assert torch.equal(model.encode_image(image, normalize=True), functional.normalize(features, dim=-1))
    assert {their for their in state if their not in named} == {
        their for their in state if their.startswith(("classifier.", "head.fc."))
    }
    assert spec.embed_dim == features.shape[1]
    assert spec.parameters == {"image": sum(one.numel() for one in model.parameters())}


def test_it_has_no_text_tower() -> None:
    """Nothing that a text tower would need is there, and the image size is the weights'."""
    model: Any = build(find("timm:resnet18"))

    assert model.visual.image_size == (224, 224)
    assert not hasattr(model, "text")
    assert not hasattr(model, "logit_scale")
    assert all(name.startswith(PREFIX) for name in model.state_dict())


def test_the_width_is_that_of_a_forward_pass() -> None:
    """`num_features` of MobileNetV3 leaves out the layer behind its pooling."""
    assert measure("mobilenetv3_small_100", 224, "timm") == (1024, 1517856)


def test_an_unknown_name_is_refused(spec: ModelSpec) -> None:
    """The breadcrumb and the nearest name are given."""
    with pytest.raises(ConfigError, match=r"models\.mobileclip_s1\.source: timm has no 'resnet188'; .*'resnet18'"):
        build(dataclasses.replace(spec, source="timm:resnet188"))
