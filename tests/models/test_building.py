"""The models are open_clip's own, and their YAML says what open_clip says."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from converter.config import configs_dir, find_model
from converter.errors import ConfigError
from converter.models.building import build, signature, source_of
from converter.records import ModelSpec

MODELS = (
    "mobileclip_s1", "mobileclip_s2", "mobileclip_b", "mobileclip_b_lt", "mobileclip2_s0", "mobileclip2_s2",
    "mobileclip2_b", "mobileclip2_s3", "mobileclip2_s4", "mobileclip2_l_14",
)  # fmt: skip


def test_every_model_of_the_family_has_a_yaml(specs: Mapping[str, ModelSpec]) -> None:
    """The ten models that open_clip has weights for are there."""
    ours = [
        name for name, spec in specs.items() if spec.family == "mobileclip" and spec.source.startswith("open_clip:")
    ]

    assert sorted(ours) == sorted(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_yaml_says_what_open_clip_says(specs: Mapping[str, ModelSpec], name: str) -> None:
    """Repository, mean, std, interpolation, size, embedding width and context length agree with open_clip's tables."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    spec = specs[name]
    _, architecture = source_of(spec)
    tag = "datacompdr_lt" if name == "mobileclip_b_lt" else list_pretrained_tags_by_model(architecture)[0]
    theirs = get_pretrained_cfg(architecture, tag)
    config = open_clip.get_model_config(architecture)

    assert spec.hub_repo == theirs["hf_hub"].rstrip("/")
    assert spec.preprocessing.mean == tuple(theirs["mean"])
    assert spec.preprocessing.std == tuple(theirs["std"])
    assert spec.preprocessing.interpolation == theirs["interpolation"]
    assert spec.preprocessing.resize == theirs["resize_mode"]
    assert spec.preprocessing.size == config["vision_cfg"]["image_size"]
    assert spec.embed_dim == config["embed_dim"]
    assert spec.context_length == config["text_cfg"]["context_length"]


@pytest.mark.parametrize("name", MODELS)
def test_the_value_range_is_that_of_black_and_white(specs: Mapping[str, ModelSpec], name: str) -> None:
    """`value_range` spans what normalising can give."""
    preprocessing = specs[name].preprocessing
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)

    low, high = preprocessing.value_range

    assert low == pytest.approx((-mean / std).min(), abs=1e-5)
    assert high == pytest.approx(((1 - mean) / std).max(), abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_yaml_opens_with_its_purpose_and_command(name: str) -> None:
    """Two comment lines come first, the second with the command that uses the file."""
    first, second = (configs_dir() / "models" / f"{name}.yaml").read_text().splitlines()[:2]

    assert first.startswith("# ")
    assert second == f"# Use: mcconvert --model {name}"


@pytest.mark.parametrize("name", MODELS)
def test_pins_are_whole_hashes_or_absent(specs: Mapping[str, ModelSpec], name: str) -> None:
    """A revision is a full commit or `main`, a sha256 is whole or null."""
    spec = specs[name]

    assert spec.revision == "main" or re.fullmatch(r"[0-9a-f]{40}", spec.revision)
    assert spec.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", spec.sha256)


def test_aliases_find_their_model_and_no_other(specs: Mapping[str, ModelSpec]) -> None:
    """Open_clip's spelling works, and no alias belongs to two models."""
    names = [alias.lower() for spec in specs.values() for alias in {spec.id, *map(str.lower, spec.aliases)}]

    assert find_model("MobileCLIP-S1", specs).id == "mobileclip_s1"
    assert find_model("mobileclip-b-lt", specs).id == "mobileclip_b_lt"
    assert len(names) == len(set(names))


def test_a_signature_is_found_without_weights_and_tells_models_apart(specs: Mapping[str, ModelSpec]) -> None:
    """S1 and S0 differ; MobileCLIP2-S2 has the shapes of MobileCLIP-S2."""
    assert signature(specs["mobileclip_s1"]) != signature(specs["mobileclip2_s0"])
    assert signature(specs["mobileclip_s2"]) == signature(specs["mobileclip2_s2"])


def test_build_is_repeatable_and_leaves_the_global_generator_alone(
    specs: Mapping[str, ModelSpec], caplog: pytest.LogCaptureFixture
) -> None:
    """Two builds are equal tensor for tensor, in eval mode and float32, and nothing is logged."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with caplog.at_level(logging.INFO):
        first, second = build(specs["mobileclip2_s0"]), build(specs["mobileclip2_s0"])

    assert torch.equal(torch.get_rng_state(), before)
    assert not first.training
    assert all(value.dtype in (torch.float32, torch.int64) for value in first.state_dict().values())
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert not caplog.records
    assert logging.root.manager.disable == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_build_is_the_model_that_open_clip_creates(specs: Mapping[str, ModelSpec], name: str) -> None:
    """With the same weights, open_clip's factory gives the same embeddings, bit for bit."""
    import open_clip

    spec = specs[name]
    ours = build(spec)
    theirs = open_clip.create_model(source_of(spec)[1], pretrained=None).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    size = spec.preprocessing.size
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[49406, 320, 1929, 49407, *[0] * 73]])

    with torch.no_grad():
        assert torch.equal(ours.encode_image(image), theirs.encode_image(image))
        assert torch.equal(ours.encode_text(tokens), theirs.encode_text(tokens))


def test_an_unknown_source_is_refused_with_the_nearest_name(spec: ModelSpec) -> None:
    """A typo in `source` names the breadcrumb and what was probably meant."""
    with pytest.raises(ConfigError, match=r"models\.mobileclip_s1\.source.*MobileCLIP-S1"):
        build(dataclasses.replace(spec, source="open_clip:MobileCLIP-S11"))
    with pytest.raises(ConfigError, match="did you mean 'open_clip'"):
        source_of(dataclasses.replace(spec, source="openclip:MobileCLIP-S1"))
