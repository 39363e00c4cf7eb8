"""Other packages' names become ours and ours theirs, tensor by tensor, without loss."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from converter.errors import WeightsError
from converter.models import mobileclip, open_clip
from converter.models.layout_rules import Layout, to_ours, to_theirs
from converter.models.layouts import LAYOUTS, PLAIN_CLIP, recognize
from converter.records import ModelSpec
from tests.tiny import tiny_clip

type State = dict[str, torch.Tensor]

APPLES: Mapping[str, tuple[str, int, int, int, str]] = {
    "s0": ("", 893, 783, 109, "fd6c01f5a72ada77f2729ab4274a007b604ae26687a79c7c3d788b938edecb1e"),
    "s1": ("MobileCLIP-S1", 1585, 1435, 149, "426928fcdb39cc49195658d645d227c77afb7843d840571c63804bab6c1d0b68"),
    "s2": ("MobileCLIP-S2", 1721, 1571, 149, "3695a27e2589e4e41d4abc811dc7622024f9629fb054d080bb39a9150320a3d2"),
    "b": ("MobileCLIP-B", 313, 163, 149, "4da845001dd59ffd0fb7716a1e9af70d81f8fa23e6d3a6b71ae1305ddf50538d"),
}
"""Of the models of github.com/apple/ml-mobileclip before reparameterizing: open_clip's name, how many tensors there
are, in the image tower, in the text tower, and the sha256 of their sorted lines `name shape`."""
BIASES = ("visual.trunk.head.fc.bias", "visual.trunk.head.bias")
"""What Apple's heads lack."""


def layout_of(name: str) -> Layout:
    """Apple's layout of a model; they differ in both towers."""
    return LAYOUTS[{"s0": 1, "s1": 0, "s2": 0, "b": 2}[name]]


@pytest.fixture(scope="module")
def states(spec: ModelSpec) -> Mapping[str, State]:
    """States of the full-size models under our names, without numbers."""
    with torch.device("meta"):
        models: dict[str, Any] = {"s0": mobileclip.construct("mobileclip_s0", spec)}
        models |= {name: open_clip.construct(apple[0], spec) for name, apple in APPLES.items() if apple[0]}
    return {name: dict(model.state_dict()) for name, model in models.items()}


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    """Names with shapes."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("name", APPLES)
def test_our_state_becomes_exactly_apples(states: Mapping[str, State], name: str) -> None:
    """Every name and shape of Apple's own model, none missing and none more."""
    _, count, image, text, digest = APPLES[name]

    theirs = shapes(to_theirs(layout_of(name), states[name]))

    lines = "\n".join(sorted(f"{key} {shape}" for key, shape in theirs.items()))
    assert len(theirs) == count
    towers = Counter(key.split(".")[0] for key in theirs)
    assert towers == {"image_encoder": image, "text_encoder": text, "logit_scale": 1}
    assert hashlib.sha256(lines.encode()).hexdigest() == digest


@pytest.mark.parametrize("name", APPLES)
def test_there_and_back_is_the_same(states: Mapping[str, State], name: str) -> None:
    """Apple's names lead back to all of ours."""
    assert shapes(to_ours(layout_of(name), to_theirs(layout_of(name), states[name]))) == shapes(states[name])


@pytest.mark.parametrize("name", APPLES)
def test_layouts_are_told_apart(states: Mapping[str, State], name: str) -> None:
    """By their names, in both towers; ours are no foreign layout."""
    assert recognize(to_theirs(layout_of(name), states[name])) is layout_of(name)
    assert recognize(states[name]) is None


@pytest.mark.parametrize("name", ["s1", "b"])
def test_values_arrive_where_open_clip_puts_them(spec: ModelSpec, name: str) -> None:
    """The table agrees with open_clip's own converter, bit by bit, on a state of random numbers."""
    from open_clip.convert import convert_mobile_clip_state_dict

    model = open_clip.construct(APPLES[name][0], spec)
    state = random_state(model)
    theirs = to_theirs(layout_of(name), state)

    converted = convert_mobile_clip_state_dict(model, dict(theirs), fastvit=name != "b")

    assert equal(converted, to_ours(layout_of(name), theirs))
    assert equal(converted, state)


def test_a_swapped_pair_of_tensors_shows(spec: ModelSpec) -> None:
    """Twin: names alone would not tell that two tensors of one shape changed places."""
    state = random_state(tiny_clip())
    theirs = to_theirs(LAYOUTS[0], state)
    one, other = (f"text_encoder.transformer.0.pre_norm_{part}.0.weight" for part in ("mha", "ffn"))

    theirs[one], theirs[other] = theirs[other], theirs[one]

    assert shapes(to_ours(LAYOUTS[0], theirs)) == shapes(state)
    assert not equal(to_ours(LAYOUTS[0], theirs), state)


def test_a_head_with_a_bias_has_no_place_in_apples_layout() -> None:
    """Dropping it would be another model."""
    state = random_state(tiny_clip())
    state[BIASES[0]][3] = 0.5

    with pytest.raises(WeightsError, match=r"head\.fc\.bias is not zero, and the checkpoints of Apple's package"):
        to_theirs(LAYOUTS[0], state)


def test_openais_names_lose_their_numbers_that_are_no_weights() -> None:
    """Text names gain our prefix, image names stay, and three settings are dropped."""
    state = random_state(tiny_clip())
    theirs = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    settings = {name: torch.tensor(77) for name in ("input_resolution", "context_length", "vocab_size")}

    assert recognize(theirs) is PLAIN_CLIP
    assert equal(to_ours(PLAIN_CLIP, theirs | settings), state)
    assert equal(to_theirs(PLAIN_CLIP, state), theirs)


def test_what_no_rule_knows_keeps_its_name() -> None:
    """So that it can be named as unknown."""
    theirs = to_theirs(LAYOUTS[0], random_state(tiny_clip())) | {"image_encoder.model.extra": torch.zeros(3)}

    assert "image_encoder.model.extra" in to_ours(LAYOUTS[0], theirs)


@pytest.mark.parametrize("names", [(), ("bert.embeddings.weight",), ("visual.proj", "text.ln_final.weight")])
def test_strangers_are_not_recognized(names: tuple[str, ...]) -> None:
    """Nothing, another kind of model, and our own names."""
    assert recognize(names) is None


def random_state(model: Any) -> State:
    """The model's state with numbers of their own everywhere, and no bias in its head."""
    generator = torch.Generator().manual_seed(11)
    return {
        name: tensor
        if not tensor.is_floating_point() or name in BIASES
        else torch.rand(tensor.shape, generator=generator)
        for name, tensor in model.state_dict().items()
    } | {name: torch.zeros_like(model.state_dict()[name]) for name in BIASES if name in model.state_dict()}


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether both hold the same bits under the same names."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
