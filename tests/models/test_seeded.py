"""Seeded weights are repeatable and awake, and what is asleep is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from converter.errors import ParityError
from converter.models.building import build
from converter.models.captions import parity_captions
from converter.models.catalog import find
from converter.models.photographs import calibration_views, parity_views
from converter.models.preprocessing import normalise, prepare
from converter.models.seeded import MINIMUM_SPREAD, awaken, require_spread, spread
from converter.models.tokenizer import tokenize
from converter.records import ModelSpec, Preprocessing
from tests.models.test_building import MODELS
from tests.tiny import TINY_IMAGE_SIZE, tiny_clip

TINY = Preprocessing(
    size=TINY_IMAGE_SIZE,
    interpolation="bilinear",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    value_range=(0.0, 1.0),
)


def photographs(views: Any, preprocessing: Preprocessing) -> np.ndarray[Any, Any]:
    """The views as an image tower takes them."""
    pixels = prepare([image for _, image in views], preprocessing)
    return normalise(pixels, preprocessing.mean, preprocessing.std)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    """Sixteen calibration photographs at toy size."""
    return photographs(calibration_views(16), TINY)


def same(first: Any, second: Any) -> bool:
    """Whether two models hold the same bits."""
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def test_the_same_seed_gives_the_same_weights_whatever_was_there(pixels: np.ndarray[Any, Any]) -> None:
    """Two differently initialised models become one; another seed gives another."""
    first, second, third = tiny_clip(seed=1), tiny_clip(seed=2), tiny_clip(seed=1)

    awaken(first, pixels, None, seed=0)
    awaken(second, pixels, None, seed=0)
    awaken(third, pixels, None, seed=1)

    assert same(first, second)
    assert not same(first, third)


def test_parameters_do_not_depend_on_the_number_of_threads() -> None:
    """One thread draws what two draw."""
    before, models = torch.get_num_threads(), [tiny_clip(), tiny_clip()]
    for threads, model in zip((1, 2), models, strict=True):
        torch.set_num_threads(threads)
        awaken(model, None, None, seed=0)
    torch.set_num_threads(before)

    assert same(*models)


def test_a_parameter_is_drawn_by_its_name_not_by_its_place() -> None:
    """The text tower is the same beside another image tower."""
    first, second = tiny_clip(), tiny_clip()
    second.visual = torch.nn.Linear(3, 3)
    for model in (first, second):
        awaken(model, None, None, seed=0)

    assert same(first.text, second.text)


def test_batch_norms_keep_the_statistics_that_they_normalised_by(pixels: np.ndarray[Any, Any]) -> None:
    """The embeddings in eval mode are those of the pass that set the statistics; wrong statistics would show."""
    clip = tiny_clip()
    awaken(clip, pixels, None, seed=0)
    norms = [module for module in clip.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    images = torch.from_numpy(pixels)
    with torch.no_grad():
        settled = clip.encode_image(images)
        for norm in norms:
            norm.train()
            norm.momentum = 0.0
        training = clip.encode_image(images)
        for norm in norms:
            norm.eval()
        norms[0].running_mean += 0.5
        disturbed = clip.encode_image(images)

    assert len(norms) > 10
    # A running variance divides by n - 1, normalising by n: the smallest norm here sees 64 values a channel.
    assert (settled - training).norm() / training.norm() < 0.05
    assert (disturbed - training).norm() / training.norm() > 0.5


def test_the_model_is_left_in_eval_mode_with_its_momenta(pixels: np.ndarray[Any, Any]) -> None:
    """Nothing but weights and statistics has changed."""
    clip = tiny_clip()
    norms = [module for module in clip.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for index, norm in enumerate(norms):
        norm.momentum = 0.1 + index / 1000

    awaken(clip, pixels, None, seed=0)

    assert not any(module.training for module in clip.modules())
    assert [norm.momentum for norm in norms] == [0.1 + index / 1000 for index in range(len(norms))]
    assert float(clip.logit_scale.detach().exp()) == pytest.approx(100.0, rel=1e-5)


def test_every_value_is_finite_and_of_a_trained_size(spec: ModelSpec, pixels: np.ndarray[Any, Any]) -> None:
    """No outlier that would spoil INT8: no weight beyond a few deviations, no dead layer scale."""
    clip = tiny_clip()

    awaken(clip, pixels, tokenize(parity_captions()[2:40], spec), seed=0)

    for name, parameter in clip.named_parameters():
        assert parameter.isfinite().all(), name
        assert parameter.abs().max() < 8.0, name
    assert all(value.min() >= 0.2 for name, value in clip.named_parameters() if name.endswith("gamma"))


def test_the_last_norm_of_a_residual_branch_is_small() -> None:
    """A ResNet has no layer scale; at full size its branches would magnify rounding from block to block."""
    from timm.models.resnet import Bottleneck

    model = torch.nn.Module()
    model.visual = Bottleneck(64, 16)
    awaken(model, None, None, seed=0)

    last, first = model.visual.bn3.weight, model.visual.bn1.weight
    assert 0.2 <= last.min() <= last.max() <= 0.4
    assert first.min() >= 0.5


def test_photographs_that_all_look_alike_are_refused() -> None:
    """Sixteen times the same picture proves nothing."""
    one = photographs(calibration_views(1), TINY)

    with pytest.raises(ParityError, match=r"image tower maps 16 samples to nearly one point: spread 0\.000"):
        awaken(tiny_clip(), np.repeat(one, 16, axis=0), None, seed=0)


def test_captions_that_all_look_alike_are_refused(spec: ModelSpec) -> None:
    """So does the same caption."""
    with pytest.raises(ParityError, match="text tower maps 9 samples"):
        awaken(tiny_clip(), None, tokenize(["a cat"] * 9, spec), seed=0)


def test_spread_is_the_mean_distance_from_the_mean_at_unit_length() -> None:
    """Two opposite directions are 1 apart from their mean, equal ones 0, whatever their length."""
    opposite = np.array([[2.0, 0.0], [-5.0, 0.0]])
    equal = np.array([[2.0, 0.0], [7.0, 0.0]])

    assert spread(opposite) == pytest.approx(1.0)
    assert spread(equal) == pytest.approx(0.0)
    assert require_spread(opposite, "image") == pytest.approx(1.0)


def test_nan_is_no_spread() -> None:
    """A broken tower does not pass for an awake one."""
    with pytest.raises(ParityError, match="spread nan"):
        require_spread(np.full((4, 2), np.nan), "image")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_awake_on_the_parity_sets(specs: Mapping[str, ModelSpec], name: str) -> None:
    """Statistics from calibration photographs; 64 parity photographs and all captions then lie apart in both towers."""
    spec = specs[name]
    model: Any = build(spec)
    tokens = torch.from_numpy(tokenize(parity_captions(), spec))
    awaken(model, photographs(calibration_views(32), spec.preprocessing), tokens, seed=0)
    images = torch.from_numpy(photographs(parity_views(), spec.preprocessing))

    with torch.no_grad():
        embeddings = torch.cat([model.encode_image(rows) for rows in images.split(8)]).numpy()

    assert spread(embeddings) >= MINIMUM_SPREAD


@pytest.mark.slow
def test_the_model_as_initialised_is_asleep(spec: ModelSpec) -> None:
    """The check would notice weights that a library initialised."""
    model: Any = build(spec)
    images = torch.from_numpy(photographs(calibration_views(8), spec.preprocessing))

    with torch.no_grad():
        embeddings = model.encode_image(images).numpy()

    with pytest.raises(ParityError):
        require_spread(embeddings, "image")


def test_a_text_tower_with_batch_norms_takes_their_statistics_from_captions(spec: ModelSpec) -> None:
    """The mct text tower of MobileCLIP-S0 mixes with batch norms; each ends with what the captions gave it."""
    clip = tiny_clip()
    clip.text.ln_final = _TokenNorm(clip.text.width)
    tokens = tokenize(parity_captions()[:24], spec)

    awaken(clip, None, tokens, seed=0)

    norm = clip.text.ln_final.norm
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        clip.encode_text(torch.as_tensor(tokens))
    plain = (seen[0] - norm.bias.reshape(1, -1, 1)) / norm.weight.reshape(1, -1, 1)
    assert not norm.training
    assert plain.mean((0, 2)).abs().max() < 0.01
    assert (plain.std((0, 2)) - 1).abs().max() < 0.01


class _TokenNorm(torch.nn.Module):
    """A batch norm over the channels of (batch, length, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


FAMILIES = ("timm:resnet18", "timm:mobilenetv3_small_100", "timm:convnext_atto", "timm:vit_tiny_patch16_224")
LARGE_FAMILIES = ("clip_vit_b_32", "clip_rn50", "openclip_convnext_base_w", "mobileclip_s0", "timm:efficientnet_b0")


@pytest.mark.parametrize(
    "name", [*FAMILIES[:1], *(pytest.param(one, marks=pytest.mark.slow) for one in FAMILIES[1:] + LARGE_FAMILIES)]
)
def test_every_family_is_awake(name: str) -> None:
    """On photographs and captions that gave no statistics, each tower spreads by 0.2 and more."""
    spec = find(name)
    model: Any = build(spec)
    captions = parity_captions()
    awaken(model, photographs(calibration_views(16), spec.preprocessing), None, seed=0)
    with torch.no_grad():
        images = model.encode_image(
            torch.as_tensor(photographs(islice(parity_views(), 0, None, 5), spec.preprocessing))
        )

    assert spread(images.numpy()) > MINIMUM_SPREAD
    if "text" in spec.towers:
        awaken(model, None, tokenize(captions[:32], spec), seed=0)
        with torch.no_grad():
            texts = model.encode_text(torch.as_tensor(tokenize(captions[32:96], spec)))
        assert spread(texts.numpy()) > MINIMUM_SPREAD
