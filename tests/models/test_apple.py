"""Apple's own implementation, where it is installed, and what is said where it is not."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from converter.errors import ConfigError, MissingDependencyError
from converter.models.apple import INSTALL, MODELS, load_package
from converter.models.building import build
from converter.models.layouts import recognize
from converter.models.seeded import awaken
from converter.records import ModelSpec
from tests.rewrites.measuring import run, texts

BOUND = 1e-5
"""Of unit-length embeddings in float32; 2e-7 was measured."""


def is_installed() -> bool:
    """Whether the package of that name is there and is Apple's."""
    try:
        load_package()
    except MissingDependencyError:
        return False
    return True


needs_apple = pytest.mark.skipif(not is_installed(), reason=f"needs Apple's package: {INSTALL}")


def source(spec: ModelSpec, name: str) -> ModelSpec:
    """A spec of Apple's model of that name."""
    return dataclasses.replace(spec, source=f"mobileclip:{name}")


def pictures(size: int) -> torch.Tensor:
    """Coloured squares and noise: what even random towers tell apart."""
    generator = torch.Generator().manual_seed(2)
    squares = torch.rand(4, 3, 8, 8, generator=generator).repeat_interleave(size // 8, 2)
    noise = torch.rand(2, 3, size, size, generator=generator)
    return torch.cat([squares.repeat_interleave(size // 8, 3), noise])


@pytest.fixture
def awake(spec: ModelSpec) -> Any:
    """Makes a pair with the same awake weights: Apple's model and the one that is converted."""

    def make(name: str) -> tuple[Any, Any]:
        apple: Any = build(source(spec, name))
        ours = apple.converted()
        awaken(ours, None, None, seed=0)
        apple.adopt(ours)
        return apple.eval(), apple.converted()

    return make


@needs_apple
@pytest.mark.parametrize("name", MODELS)
def test_ours_is_apples_model(awake: Any, name: str) -> None:
    """Both towers give the same embeddings from the same weights."""
    apple, ours = awake(name)
    images, tokens = pictures(apple.visual.image_size[0]), texts(4, 9, 30, 60, 76)

    for encode, inputs in (("encode_image", images), ("encode_text", tokens)):
        theirs, found = (run(getattr(model, encode), inputs, True) for model in (apple, ours))
        assert (theirs - found).abs().max() < BOUND
        assert (theirs - theirs.mean(0)).norm(dim=1).mean() > 0.05
    assert recognize(apple.state_dict()) is not None


@needs_apple
def test_twin_open_clips_b_is_not_apples(awake: Any) -> None:
    """The stem's padding is why `converted` changes open_clip's model: without it, embeddings differ."""
    apple, ours = awake("mobileclip_b")
    images = pictures(224)

    ours.visual.trunk.patch_embed.backbone[0].conv.padding = (0, 0)

    assert (run(apple.encode_image, images, True) - run(ours.encode_image, images, True)).abs().max() > 1e-3


@needs_apple
def test_adopting_takes_away_the_bias_that_apples_head_lacks(spec: ModelSpec) -> None:
    """In both, so that they stay one model."""
    apple: Any = build(source(spec, "mobileclip_s0"))
    ours = apple.converted()
    ours.visual.trunk.head.fc.bias.data.fill_(0.1)

    apple.adopt(ours)

    assert not ours.visual.trunk.head.fc.bias.any()


def test_without_the_package_one_line_says_how_to_get_it(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, as for every missing extra."""
    monkeypatch.setitem(sys.modules, "mobileclip", None)

    with pytest.raises(MissingDependencyError, match="pip install git") as refusal:
        build(source(spec, "mobileclip_s0"))

    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 3


def test_another_package_of_that_name_is_not_taken_for_apples(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """PyPI has one."""
    (tmp_path / "mobileclip").mkdir()
    (tmp_path / "mobileclip" / "__init__.py").write_text("__version__ = '0.0.1'\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "mobileclip"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(MissingDependencyError, match="is not Apple's"):
        build(source(spec, "mobileclip_s0"))

    monkeypatch.delitem(sys.modules, "mobileclip")


def test_an_unknown_name_is_refused_before_anything_is_imported(spec: ModelSpec) -> None:
    """With the nearest known one."""
    with pytest.raises(ConfigError, match="did you mean 'mobileclip_s1'"):
        build(source(spec, "MobileCLIP-S1"))
