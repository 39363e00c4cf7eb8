# mypy: allow-subclassing-any
"""MobileCLIP models that no library defines: S0 of the first generation, and a small one for trying out.

The image tower is timm's FastViT and the text tower is `converter.models.mct`; see decision 6 for why FastViT is not
written a second time. Every size is in `SIZES`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from timm.models.fastvit import FastVit, RepConditionalPosEnc
from torch import nn
from torch.nn import functional

from converter.errors import ConfigError, nearest
from converter.models.image_only import TrunkTower
from converter.models.mct import MctText
from converter.records import ModelSpec

INITIAL_TEMPERATURE = 0.07
"""Of the contrastive loss at the start of training, as in CLIP."""


@dataclass(frozen=True, kw_only=True)
class ImageSizes:
    """A FastViT of four stages; one entry a stage."""

    image_size: int
    layers: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    mlp_ratios: tuple[float, float, float, float] = (3, 3, 3, 3)
    token_mixers: tuple[str, str, str, str] = ("repmixer", "repmixer", "repmixer", "attention")
    squeeze_excite: tuple[bool, bool, bool, bool] = (False, False, True, True)
    downsamples: tuple[bool, bool, bool, bool] = (False, True, True, True)
    layer_scale: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class TextSizes:
    """An `mct` tower."""

    width: int
    heads: int
    layers: int
    ffn_ratio: float = 4.0
    kernel_size: int = 11
    context_length: int = 77
    vocab_size: int = 49408


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All that tells one model from another."""

    embed_dim: int
    image: ImageSizes
    text: TextSizes


SIZES: Mapping[str, Sizes] = {
    "mobileclip_s0": Sizes(
        embed_dim=512,
        image=ImageSizes(image_size=256, layers=(2, 6, 10, 2), widths=(64, 128, 256, 512)),
        text=TextSizes(width=512, heads=8, layers=4),
    ),
    "mobileclip_nano": Sizes(
        embed_dim=128,
        image=ImageSizes(
            image_size=64,
            layers=(1, 1, 2, 1),
            widths=(32, 64, 128, 128),
            squeeze_excite=(False, True, True, False),
            downsamples=(False, True, True, False),
            layer_scale=0.1,
        ),
        text=TextSizes(width=96, heads=3, layers=2),
    ),
}


class MobileClip(nn.Module):
    """Both towers and the learned scale of their similarities, with the interface of open_clip's CustomTextCLIP."""

    def __init__(self, visual: TrunkTower, text: MctText) -> None:
        super().__init__()
        self.visual, self.text = visual, text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1.0 / INITIAL_TEMPERATURE)))

    def encode_image(self, images: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """(batch, 3, size, size) float32 to (batch, embed_dim)."""
        return _scaled(self.visual(images), normalize)

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """(batch, length) integers to (batch, embed_dim)."""
        return _scaled(self.text(tokens), normalize)

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unit-length embeddings of both, and the scale: what the contrastive loss needs."""
        return self.encode_image(images, True), self.encode_text(tokens, True), self.logit_scale.exp()


def construct(name: str, spec: ModelSpec) -> nn.Module:
    """The model of that name in `SIZES`.

    Raises:
        ConfigError: there is none of that name.
    """
    sizes = SIZES.get(name)
    if sizes is None:
        raise ConfigError([f"models.{spec.id}.source: mcconvert defines no '{name}'; {nearest(name, SIZES)}"])
    return MobileClip(_image_tower(sizes), MctText(embed_dim=sizes.embed_dim, **dataclasses.asdict(sizes.text)))


def _image_tower(sizes: Sizes) -> TrunkTower:
    image = sizes.image
    grid = partial(RepConditionalPosEnc, spatial_shape=(7, 7))
    trunk = FastVit(
        layers=image.layers,
        embed_dims=image.widths,
        mlp_ratios=image.mlp_ratios,
        token_mixers=image.token_mixers,
        se_downsamples=image.squeeze_excite,
        downsamples=image.downsamples,
        layer_scale_init_value=image.layer_scale,
        pos_embs=(None, None, None, grid),
        lkc_use_act=True,
        global_pool="avg",
        num_classes=sizes.embed_dim,
    )
    return TrunkTower(trunk, image.image_size)


def _scaled(embeddings: torch.Tensor, normalize: bool) -> torch.Tensor:
    return functional.normalize(embeddings, dim=-1) if normalize else embeddings
