# mypy: allow-subclassing-any
"""Apple's own implementation of MobileCLIP, from its package `mobileclip` where that is installed.

It is a reference, not a source of files: `converted` gives the equal model of `open_clip` or `mobileclip` (ours) with
the same weights, and that one is rewritten and traced. Its files are then judged against Apple's own code.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from converter.errors import ConfigError, MissingDependencyError, nearest
from converter.models import mobileclip, open_clip
from converter.models.apple_vit import as_apple_computes
from converter.models.layout_rules import to_ours, to_theirs
from converter.models.layouts import recognize
from converter.records import ModelSpec

INSTALL = "pip install git+https://github.com/apple/ml-mobileclip"
MODELS: Mapping[str, str] = {
    "mobileclip_s0": "",
    "mobileclip_s1": "MobileCLIP-S1",
    "mobileclip_s2": "MobileCLIP-S2",
    "mobileclip_b": "MobileCLIP-B",
}
"""Apple's names, and open_clip's of the same model; S0 is in none but ours."""


class AppleClip(nn.Module):
    """Apple's model with the interface of open_clip's CustomTextCLIP; its state has Apple's names."""

    def __init__(self, clip: Any, equal: nn.Module) -> None:
        super().__init__()
        self.image_encoder, self.text_encoder = clip.image_encoder, clip.text_encoder
        self.logit_scale = clip.logit_scale
        self.image_encoder.image_size = equal.visual.image_size
        self.text_encoder.context_length = equal.text.context_length
        self.__dict__["_equal"] = equal  # not a child: it has no weights of its own

    @property
    def visual(self) -> nn.Module:
        """Apple's image tower."""
        return self.image_encoder

    @property
    def text(self) -> nn.Module:
        """Apple's text tower."""
        return self.text_encoder

    def encode_image(self, images: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """(batch, 3, size, size) float32 to (batch, embed_dim)."""
        features: torch.Tensor = self.image_encoder(images)
        return functional.normalize(features, dim=-1) if normalize else features

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """(batch, length) integers to (batch, embed_dim)."""
        features: torch.Tensor = self.text_encoder(tokens)
        return functional.normalize(features, dim=-1) if normalize else features

    def converted(self) -> nn.Module:
        """The equal model under open_clip's names with the weights of this one, in eval mode."""
        state = self.state_dict()
        layout = recognize(state)
        assert layout is not None  # the models of `MODELS` are what the layouts are made from
        self._equal.load_state_dict(to_ours(layout, state), strict=True)
        return self._equal.float().eval()

    def adopt(self, ours: nn.Module) -> None:
        """Take the weights of an equal model under open_clip's names; the bias of its head, which Apple's lacks, is
        set to zero in both.
        """
        layout = recognize(self.state_dict())
        assert layout is not None
        state = ours.state_dict()
        for name in {rule.ours for rule in layout.rules if rule.zeros_like} & state.keys():
            state[name].zero_()
        self.load_state_dict(to_theirs(layout, state), strict=True)


def construct(name: str, spec: ModelSpec) -> nn.Module:
    """Apple's model of that name, "mobileclip_s0", with its training branches.

    Raises:
        ConfigError: there is none of that name.
        MissingDependencyError: the package `mobileclip` is not installed, or it is not Apple's.
    """
    if name not in MODELS:
        raise ConfigError([f"models.{spec.id}.source: Apple's package has no '{name}'; {nearest(name, MODELS)}"])
    create = load_package().create_model_and_transforms
    clip, _, _ = create(name, reparameterize=False, device=torch.get_default_device())
    return AppleClip(clip, _equal(name, spec))


def load_package() -> ModuleType:
    """Apple's package.

    Raises:
        MissingDependencyError: it cannot be imported, or another project's package has its name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package = importlib.import_module("mobileclip")
    except ImportError as error:
        message = (
            f"models of the source 'mobileclip:' need Apple's package, which cannot be imported ({error}); {INSTALL}"
        )
        raise MissingDependencyError(message) from error
    if not hasattr(package, "create_model_and_transforms"):
        message = (
            f"the installed package mobileclip is not Apple's: it has no create_model_and_transforms; "
            f"pip uninstall mobileclip, then {INSTALL}"
        )
        raise MissingDependencyError(message)
    return package


def _equal(name: str, spec: ModelSpec) -> Any:
    known = MODELS[name]
    if not known:
        return mobileclip.construct(name, spec)
    model = open_clip.construct(known, spec)
    as_apple_computes(model)
    return model
