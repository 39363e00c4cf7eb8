"""Which layers stay in float together, and how a recipe names them."""

from __future__ import annotations

import pytest

from converter.errors import UsageError
from converter.quantization.groups import groups_of_layers, only_these
from converter.quantization.recipes import layers_left_in_float
from converter.records import Recipe

LAYERS = (
    "trunk.stem.0.reparam_conv", "trunk.stem.1.reparam_conv", "trunk.1.downsample.proj.0.reparam_conv",
    "trunk.1.downsample.proj.0.se.fc2", "trunk.1.blocks.0.token_mixer.reparam_conv", "trunk.1.blocks.0.mlp.conv",
    "trunk.1.blocks.0.mlp.fc1", "trunk.1.blocks.1.mlp.fc1", "trunk.1.blocks.10.mlp.fc1",
    "trunk.3.blocks.0.token_mixer.core.q", "trunk.3.blocks.0.token_mixer.core", "trunk.3.blocks.0.token_mixer.core.out",
    "trunk.head.fc", "embedding", "blocks.first.mlp.fc1", "blocks.middle.blocks.0.attn.q",
    "blocks.middle.blocks.0.attn",
    "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1",
)  # fmt: skip


def test_what_lies_between_two_residual_sums_is_one_group() -> None:
    """An MLP with its folded mixer, an attention, a stem, a downsampling with its squeeze-excite; any other module."""
    groups = {group.name: len(group.layers) for group in groups_of_layers(LAYERS)}

    assert groups == {
        "trunk.stem": 2, "trunk.1.downsample": 2, "trunk.1.blocks.0": 3,
        "trunk.1.blocks.1.mlp": 1, "trunk.1.blocks.10.mlp": 1, "trunk.3.blocks.0.token_mixer": 3, "trunk.head": 1,
        "embedding": 1, "blocks.first.mlp": 1, "blocks.middle.blocks.0.attn": 2, "layer1.0": 2, "layer1.1": 1,
    }  # fmt: skip


def test_patterns_name_the_group_and_nothing_else() -> None:
    """blocks.1 does not take blocks.10 along; a layer that bears its group's name is there too."""
    for group in groups_of_layers(LAYERS):
        recipe = Recipe(name="r", summary="", precision="int8", weight_bits=8, float_layers=group.patterns)

        assert layers_left_in_float(recipe, LAYERS) == set(group.layers)


def test_only_takes_groups_by_name_or_by_layer() -> None:
    """A pattern on the group, or on one of its layers."""
    groups = groups_of_layers(LAYERS)

    assert [one.name for one in only_these(groups, ["trunk.stem", "*.core.q"])] == [
        "trunk.stem", "trunk.3.blocks.0.token_mixer",
    ]  # fmt: skip
    assert only_these(groups, []) == groups


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    """The nearest group is offered."""
    with pytest.raises(UsageError, match=r"no group of layers fits 'trunk.stm'; did you mean 'trunk.stem'"):
        only_these(groups_of_layers(LAYERS), ["trunk.stm"])
