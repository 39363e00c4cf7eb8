"""The image towers that timm defines: a trunk without its classifier, whose pooled features are the embedding.

There is no text tower, hence no `text` and no `logit_scale`. Parameters are named as timm names them, behind
`visual.trunk.`, so that timm's own checkpoints load once their classifier is left out (`from_checkpoint_names`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from converter.errors import ConfigError, nearest
from converter.records import ModelSpec

if TYPE_CHECKING:
    from torch import nn

PREFIX = "visual.trunk."


def construct(name: str, spec: ModelSpec) -> nn.Module:
    """The trunk of that name in timm's list, "resnet18" or "resnet18.a1_in1k", as the `visual` of a CLIP.

    `encode_image` pools as the model itself does and gives (batch, embed_dim) float32; `visual.image_size` is the
    size that the weights expect.

    Raises:
        ConfigError: timm has none of that name.
    """
    from converter.models.image_only import ImageOnly, TrunkTower

    return ImageOnly(TrunkTower(create_trunk(name, f"models.{spec.id}.source"), spec.preprocessing.size))


def create_trunk(name: str, breadcrumb: str) -> Any:
    """A model of timm's without classifier and without weights.

    Raises:
        ConfigError: timm has none of that name, or no such weights for it.
    """
    import timm

    check_name(name, breadcrumb)
    return timm.create_model(name, pretrained=False, num_classes=0)


def check_name(name: str, breadcrumb: str) -> None:
    """Refuse what timm does not know.

    Raises:
        ConfigError: timm has none of that name, or no such weights for it.
    """
    import timm

    if not timm.is_model(name):
        raise ConfigError([f"{breadcrumb}: timm has no '{name}'; {nearest(name, timm.list_models())}"])
    known = timm.models.get_arch_pretrained_cfgs(name.partition(".")[0])
    if "." in name and name not in known:
        raise ConfigError([f"{breadcrumb}: timm has no weights '{name}'; {nearest(name, known)}"])


def measure(name: str, size: int, breadcrumb: str) -> tuple[int, int]:
    """Width of the embedding and count of parameters, found without allocating any weight where the model allows it.

    The width is that of a real forward pass: `num_features` leaves out what some models have behind their pooling.

    Raises:
        ConfigError: timm has none of that name, or its output is not one vector an image.
    """
    import torch

    def forward() -> tuple[tuple[int, ...], int]:
        trunk = create_trunk(name, breadcrumb).eval()
        return tuple(trunk(torch.zeros(1, 3, size, size)).shape), sum(one.numel() for one in trunk.parameters())

    with torch.no_grad():
        try:
            with torch.device("meta"):
                shape, count = forward()
        except (RuntimeError, NotImplementedError):  # a model that reads values while it is built
            shape, count = forward()
    if len(shape) != 2:
        raise ConfigError([f"{breadcrumb}: its output is {shape}; expected one vector an image, (1, width)"])
    return shape[1], count


def from_checkpoint_names(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Our name of each tensor of a checkpoint of timm's that the model has; its classifier's are left out."""
    have = set(wanted)
    return {name: PREFIX + name for name in names if PREFIX + name in have}
