"""From a model's source to the unmodified PyTorch model: eval mode, float32, no weights loaded, no network.

A source is `<family>:<name>`, and a family is a module of this room with `construct` (see `Family`). Weights come from
`converter.models.checkpoint` or `converter.models.seeded`.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

from converter.errors import ConfigError, nearest
from converter.records import ModelSpec

if TYPE_CHECKING:
    from torch import nn

FAMILIES = {
    "open_clip": "converter.models.open_clip",
    "timm": "converter.models.timm",
    "mcconvert": "converter.models.mobileclip",
    "mobileclip": "converter.models.apple",
}
"""Modules by the first word of a source: the libraries that define models, and what no library has."""

type Signature = frozenset[tuple[str, tuple[int, ...]]]
"""Name and shape of every tensor in a model's state."""


class Family(Protocol):
    """The contract of a family's module."""

    def construct(self, name: str, spec: ModelSpec) -> nn.Module:
        """The model of that name, freshly initialised; it must also work under `torch.device("meta")`.

        What comes back behaves like open_clip's `CustomTextCLIP`: `encode_image(images, normalize=...)` over
        (batch, 3, size, size) float32 and `encode_text(tokens, normalize=...)` over (batch, length) integers, the
        towers as modules `visual` (with `image_size`) and `text` (with `context_length`), and `logit_scale`. A model
        without a text tower has neither `text` nor `logit_scale`.

        Raises:
            ConfigError: the family has no model of that name; the nearest ones are offered.
        """
        ...


def build(spec: ModelSpec) -> nn.Module:
    """The model with its library's initial values, which are the same on every call.

    Raises:
        ConfigError: `spec.source` names no model.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _construct(spec)
    return model.float().eval()


def signature(spec: ModelSpec) -> Signature:
    """The names and shapes that a checkpoint of this model has, found without allocating any weight.

    Raises:
        ConfigError: `spec.source` names no model.
    """
    import torch

    with torch.device("meta"):
        state = _construct(spec).state_dict()
    return frozenset((name, tuple(tensor.shape)) for name, tensor in state.items())


def source_of(spec: ModelSpec) -> tuple[str, str]:
    """Family and name of a model's source: ("open_clip", "MobileCLIP-S1").

    Raises:
        ConfigError: the source has another form, or no such family is known.
    """
    family, colon, name = spec.source.partition(":")
    if not colon or not name or family not in FAMILIES:
        expected = f"expected <family>:<name>; {nearest(family, FAMILIES)}"
        raise ConfigError([f"models.{spec.id}.source: '{spec.source}' names no source; {expected}"])
    return family, name


def _construct(spec: ModelSpec) -> nn.Module:
    family, name = source_of(spec)
    with _quiet():
        return cast("Family", importlib.import_module(FAMILIES[family])).construct(name, spec)


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
