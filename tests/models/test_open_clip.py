"""Any CLIP of open_clip's is built as open_clip builds it, and its YAML says what open_clip's tables say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from converter.config import configs_dir
from converter.errors import ConfigError
from converter.models.building import build, source_of
from converter.models.open_clip import construct, pretrained, read_settings, split_name, why_no_text
from converter.records import ModelSpec

CLIPS = (
    "clip_vit_b_32", "clip_vit_b_16", "clip_vit_l_14", "clip_rn50", "clip_rn101", "openclip_vit_b_32",
    "openclip_vit_b_16", "openclip_vit_l_14", "openclip_vit_h_14", "openclip_convnext_base_w",
    "openclip_convnext_large_d",
)  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "transformer": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64},
    "resnet": {"layers": [1, 1, 1, 1], "width": 16, "patch_size": None, "image_size": 64},
    "convnext": {"timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear", "image_size": 64},
}
"""Vision settings of each kind of image tower, small enough for a test."""
SMALL_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}


@pytest.mark.parametrize("name", CLIPS)
def test_a_yaml_says_what_open_clip_says(specs: Mapping[str, ModelSpec], name: str) -> None:
    """Repository, mean, std, interpolation, size, widths and context length agree with open_clip's tables."""
    spec = specs[name]
    architecture, tag = split_name(source_of(spec)[1])
    settings, said = read_settings(f"{architecture}@{tag}", name), pretrained(architecture, tag, name)

    assert f"{spec.hub_repo}/" == said["hf_hub"]
    assert spec.hub_file == "open_clip_model.safetensors"
    assert spec.preprocessing.mean == tuple(said["mean"])
    assert spec.preprocessing.std == tuple(said["std"])
    assert spec.preprocessing.interpolation == said["interpolation"]
    assert spec.preprocessing.resize == said["resize_mode"]
    assert spec.preprocessing.size == settings["vision_cfg"]["image_size"]
    assert spec.embed_dim == settings["embed_dim"]
    assert spec.context_length == settings["text_cfg"]["context_length"]


@pytest.mark.parametrize("name", CLIPS)
def test_a_yaml_keeps_the_form_of_all(specs: Mapping[str, ModelSpec], name: str) -> None:
    """Purpose and command come first, and `value_range` spans what normalising can give."""
    first, second = (configs_dir() / "models" / f"{name}.yaml").read_text().splitlines()[:2]
    preprocessing = specs[name].preprocessing
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)

    assert first.startswith("# ")
    assert second == f"# Use: mcconvert --model {name}"
    low, high = (-mean / std).min(), ((1 - mean) / std).max()
    assert preprocessing.value_range == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


LARGE = ("clip_vit_l_14", "openclip_vit_l_14", "openclip_vit_h_14", "openclip_convnext_large_d", "clip_rn101")


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow if one in LARGE else ()) for one in CLIPS])
def test_a_yaml_says_how_many_parameters_each_tower_has(specs: Mapping[str, ModelSpec], name: str) -> None:
    """`parameters` is counted without allocating any."""
    assert specs[name].parameters == _counted(specs[name])


@pytest.mark.slow
def test_mobileclip_s_yamls_say_it_too(specs: Mapping[str, ModelSpec]) -> None:
    """Every other model that open_clip defines."""
    others = [spec for spec in specs.values() if spec.source.startswith("open_clip:") and spec.id not in CLIPS]

    assert {spec.id: spec.parameters for spec in others} == {spec.id: _counted(spec) for spec in others}


def test_openai_s_weights_bring_quick_gelu(specs: Mapping[str, ModelSpec]) -> None:
    """The tag says it where the list of models does not; OpenCLIP's own weights go without."""
    from open_clip.transformer import QuickGELU

    with torch.device("meta"):
        openai = construct("ViT-B-32@openai", specs["clip_vit_b_32"])
        named = construct("ViT-B-32-quickgelu", specs["clip_vit_b_32"])
        laion = construct("ViT-B-32@laion2b_s34b_b79k", specs["openclip_vit_b_32"])

    kinds = [sum(isinstance(one, QuickGELU) for one in model.modules()) for model in (openai, named, laion)]
    assert kinds == [24, 24, 0]


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_a_model_is_the_one_that_open_clip_creates(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, kind: str, quick_gelu: bool
) -> None:
    """With equal weights, open_clip's factory gives equal embeddings, bit for bit; twin: with the other GELU not."""
    import open_clip
    from open_clip import factory

    settings = {"embed_dim": 32, "vision_cfg": SMALL[kind], "text_cfg": SMALL_TEXT, "quick_gelu": quick_gelu}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "small", settings)
    ours = build(dataclasses.replace(spec, source="open_clip:small")).eval()
    theirs = open_clip.create_model("small", pretrained=None, force_custom_text=True).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    other = open_clip.create_model("small", force_custom_text=True, force_quick_gelu=not quick_gelu).eval()
    other.load_state_dict(ours.state_dict(), strict=True)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[49406, 320, 1929, 49407, *[0] * 73]])

    with torch.no_grad():
        assert torch.equal(ours.encode_image(image), theirs.encode_image(image))
        assert torch.equal(ours.encode_text(tokens), theirs.encode_text(tokens))
        if not quick_gelu:
            assert not torch.equal(ours.encode_text(tokens), other.encode_text(tokens))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ViT-B-16-SigLIP", "tokenizer of timm/ViT-B-16-SigLIP"),
        ("xlm-roberta-base-ViT-B-32", "Hugging Face model xlm-roberta-base"),
        ("coca_ViT-B-32", "CoCa"),
    ],
)
def test_a_text_tower_that_is_not_clip_s_is_left_out(spec: ModelSpec, name: str, why: str) -> None:
    """The image tower is built alone, without a network, and the reason is known."""
    with torch.device("meta"):
        model: Any = construct(name, spec)
        embedding = model.encode_image(torch.zeros(2, 3, 224, 224), normalize=True)

    assert why in why_no_text(read_settings(name, name))
    assert embedding.ndim == 2
    assert not hasattr(model, "text")
    assert not hasattr(model, "logit_scale")


def test_an_unknown_tag_is_refused_with_the_nearest(spec: ModelSpec) -> None:
    """The breadcrumb and the tag that was probably meant are named."""
    with pytest.raises(ConfigError, match=r"models\.mobileclip_s1\.source.*'opena' for 'ViT-B-32'.*'openai'"):
        build(dataclasses.replace(spec, source="open_clip:ViT-B-32@opena"))


def _counted(spec: ModelSpec) -> dict[str, int]:
    with torch.device("meta"):
        model: Any = construct(source_of(spec)[1], spec)
    return {"image": _count(model.visual), "text": _count(model.text)}


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
