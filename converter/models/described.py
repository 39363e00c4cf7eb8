"""From what a library says of a model to its spec: repository, preprocessing, widths, licence.

Preprocessing is taken as the library's tables give it, never guessed: a model is refused where they say nothing, or
something that cannot be kept (an input that is not square, a channel too many or too few).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from converter.errors import UsageError
from converter.records import ModelSpec, Preprocessing

OPEN_CLIP_FILE = "open_clip_model.safetensors"
TIMM_FILE = "model.safetensors"
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
UNKNOWN_LICENSE = "see the model card"
RESIZES = {"center": "shortest", "squash": "squash", "border": "longest"}
"""Our word for timm's `crop_mode`."""


def from_open_clip(name: str) -> ModelSpec:
    """The spec of "ViT-B-32" (with the first weights of open_clip's table) or "ViT-B-32@openai".

    Raises:
        UsageError: open_clip has no weights of that model on the hub, or its preprocessing cannot be kept.
        ConfigError: open_clip has no model, or no weights, of that name.
    """
    from converter.models import open_clip as family

    breadcrumb = f"open_clip:{name}"
    settings = family.read_settings(name, breadcrumb)
    architecture, tag = family.split_name(name)
    tag = tag or _first_tag(architecture)
    said = family.pretrained(architecture, tag, breadcrumb)
    settings = family.read_settings(f"{architecture}@{tag}", breadcrumb)
    repo, file = on_the_hub(said)
    return _with_parameters(
        ModelSpec(
            id=folder_name(f"open_clip_{name}"), family="open_clip", title=f"{architecture} ({tag})",
            source=f"open_clip:{architecture}@{tag}", hub_repo=repo, hub_file=file, license=UNKNOWN_LICENSE,
            license_url=_model_card(repo), towers=("image",) if family.why_no_text(settings) else ("image", "text"),
            preprocessing=_preprocessing_of_open_clip(settings, said, breadcrumb),
            context_length=settings["text_cfg"].get("context_length", 77), embed_dim=settings["embed_dim"],
        )
    )  # fmt: skip


def from_timm(name: str) -> ModelSpec:
    """The spec of "resnet18" or "resnet18.a1_in1k", an image tower.

    Raises:
        UsageError: its preprocessing is not known, or cannot be kept.
        ConfigError: timm has no model, or no weights, of that name, or its output is not one vector an image.
    """
    import timm

    from converter.models import timm as family

    breadcrumb = f"timm:{name}"
    family.check_name(name, breadcrumb)
    said = timm.get_pretrained_cfg(name)
    if said is None:
        message = f"{breadcrumb}: timm says nothing about its preprocessing, and mean and std are not guessed"
        raise UsageError(message)
    full = f"{said.architecture}.{said.tag}" if said.tag else said.architecture
    preprocessing = _preprocessing_of_timm(said, breadcrumb)
    width, count = family.measure(full, preprocessing.size, breadcrumb)
    return ModelSpec(
        id=folder_name(f"timm_{full}"), family="timm", title=full, source=f"timm:{full}", hub_repo=said.hf_hub_id or "",
        hub_file=(said.hf_hub_filename or TIMM_FILE) if said.hf_hub_id else "",
        license=said.license or UNKNOWN_LICENSE, license_url=_model_card(said.hf_hub_id or ""), towers=("image",),
        preprocessing=preprocessing, embed_dim=width, parameters={"image": count},
    )  # fmt: skip


def on_the_hub(said: Mapping[str, Any]) -> tuple[str, str]:
    """Repository and file: the table holds "owner/name/" or "owner/name/file"."""
    owner, _, rest = said.get("hf_hub", "").partition("/")
    name, _, file = rest.partition("/")
    return (f"{owner}/{name}", file or OPEN_CLIP_FILE) if name else ("", "")


def _first_tag(architecture: str) -> str:
    """The first weights of the table that lie on the hub; without weights there is no preprocessing either."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(architecture)
    found = next((tag for tag in tags if get_pretrained_cfg(architecture, tag).get("hf_hub")), "")
    if not found:
        message = (
            f"open_clip:{architecture}: open_clip has no weights for it on the hub, hence no preprocessing, and mean "
            "and std are not guessed; write a YAML like those in configs/models, which says them"
        )
        raise UsageError(message)
    return found


def _preprocessing_of_open_clip(settings: Mapping[str, Any], said: Mapping[str, Any], name: str) -> Preprocessing:
    size = settings["vision_cfg"]["image_size"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return _preprocessing(
        name, sides=sides, resize=said.get("resize_mode"), resize_size=None,
        interpolation=said.get("interpolation"), mean=said.get("mean"), std=said.get("std"),
    )  # fmt: skip


def _preprocessing_of_timm(said: Any, name: str) -> Preprocessing:
    from timm.data import resolve_data_config

    data = resolve_data_config(pretrained_cfg=said.to_dict())
    channels, height, width = data["input_size"]
    if channels != 3:
        message = f"{name}: it takes {channels} channels; expected photographs with 3"
        raise UsageError(message)
    return _preprocessing(
        name, sides=(height, width), resize=RESIZES.get(data["crop_mode"]),
        resize_size=math.floor(height / data["crop_pct"]), interpolation=data["interpolation"],
        mean=data["mean"], std=data["std"],
    )  # fmt: skip


def _preprocessing(
    name: str, *, sides: tuple[int, ...], resize: Any, resize_size: int | None, interpolation: Any,
    mean: Sequence[float] | None, std: Sequence[float] | None,
) -> Preprocessing:  # fmt: skip
    wrong = {
        f"its input is {' x '.join(map(str, sides))}, not square": len(set(sides)) != 1,
        f"its resize is '{resize}'": resize not in RESIZES.values(),
        f"its interpolation is '{interpolation}'": interpolation not in INTERPOLATIONS,
        f"its mean and std are {mean} and {std}": not mean or not std or len(mean) != 3 or len(std) != 3,
    }
    seen = [what for what, is_so in wrong.items() if is_so]
    if seen or mean is None or std is None:
        message = f"{name} cannot be prepared for here: {'; '.join(seen)}"
        raise UsageError(message)
    low = min(-offset / scale for offset, scale in zip(mean, std, strict=True))
    high = max((1 - offset) / scale for offset, scale in zip(mean, std, strict=True))
    return Preprocessing(
        size=sides[0], resize=resize, resize_size=None if resize_size == sides[0] else resize_size,
        interpolation=interpolation, mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]),
        value_range=(round(low, 6) + 0.0, round(high, 6)),
    )  # fmt: skip


def _with_parameters(spec: ModelSpec) -> ModelSpec:
    import torch

    from converter.models.open_clip import construct

    with torch.device("meta"):
        model: Any = construct(spec.source.partition(":")[2], spec)
    towers = {"image": model.visual, "text": getattr(model, "text", None)}
    counts: dict[str, int] = {tower: sum(one.numel() for one in towers[tower].parameters()) for tower in spec.towers}
    return dataclasses.replace(spec, parameters=counts)


def _model_card(repo: str) -> str:
    return f"https://huggingface.co/{repo}" if repo else ""


def folder_name(name: str) -> str:
    """A folder's name: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "_", name)
