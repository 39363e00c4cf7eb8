"""The models that open_clip defines: MobileCLIP and MobileCLIP2, OpenAI's CLIP, OpenCLIP's own, and their kin.

A name is open_clip's ("ViT-B-32"), with a tag of its table of weights behind an @ where that matters
("ViT-B-32@openai"): weights that were trained with QuickGELU say so in the table, not in the list of models.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from converter.errors import ConfigError, nearest
from converter.records import ModelSpec

if TYPE_CHECKING:
    from torch import nn

VOCABULARY = 49408
"""Tokens of CLIP's own byte-pair tokenizer."""
PLAIN_POOLS = ("argmax", "eos")
END_TOKEN = VOCABULARY - 1


def construct(name: str, spec: ModelSpec) -> nn.Module:
    """The model of that name in open_clip's list, "MobileCLIP-S1" or "ViT-B-32@openai".

    open_clip.create_model does no more than this for a custom text tower, but it copies tensors between devices, which
    the meta device refuses, and it warns that no weights were loaded. All models get the same form, `CustomTextCLIP`,
    also those for which open_clip keeps the text tower's parts at the top. A text tower that needs another tokenizer
    or a network to be built is left out, and with it `text` and `logit_scale`.

    Raises:
        ConfigError: open_clip has none of that name, or no such tag for it.
    """
    from open_clip.model import CustomTextCLIP

    settings = read_settings(name, f"models.{spec.id}.source")
    if why_no_text(settings):
        return _image_tower(settings)
    return CustomTextCLIP(**settings)


def read_settings(name: str, breadcrumb: str) -> dict[str, Any]:
    """The arguments of open_clip's model classes, without what fetches weights, and with the tag's QuickGELU.

    Raises:
        ConfigError: open_clip has none of that name, or no such tag for it.
    """
    import open_clip

    architecture, tag = split_name(name)
    known: dict[str, Any] | None = open_clip.get_model_config(architecture)
    if known is None:
        hint = nearest(architecture, open_clip.list_models())
        raise ConfigError([f"{breadcrumb}: open_clip has no '{architecture}'; {hint}"])
    settings = {key: value for key, value in copy.deepcopy(known).items() if key != "custom_text"}
    settings["vision_cfg"]["timm_model_pretrained"] = False
    if tag and pretrained(architecture, tag, breadcrumb).get("quick_gelu"):
        settings["quick_gelu"] = True
    return settings


def pretrained(architecture: str, tag: str, breadcrumb: str) -> Mapping[str, Any]:
    """What open_clip's table says of these weights: `hf_hub`, `mean`, `std`, `interpolation`, `resize_mode` and more.

    Raises:
        ConfigError: the table has no such tag for this model.
    """
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    found: Mapping[str, Any] = get_pretrained_cfg(architecture, tag)
    if not found:
        hint = nearest(tag, list_pretrained_tags_by_model(architecture))
        raise ConfigError([f"{breadcrumb}: open_clip has no weights '{tag}' for '{architecture}'; {hint}"])
    return found


def split_name(name: str) -> tuple[str, str]:
    """Architecture and tag: ("ViT-B-32", "openai"); the tag is "" where none is given."""
    architecture, _, tag = name.partition("@")
    return architecture, tag


def why_no_text(settings: Mapping[str, Any]) -> str:
    """Why this model's text tower cannot be converted here; "" where it can."""
    text = settings["text_cfg"]
    if "multimodal_cfg" in settings:
        return "it is a CoCa, whose text tower ends in a class token of its own"
    if text.get("hf_model_name"):
        return f"it is the Hugging Face model {text['hf_model_name']}"
    if text.get("hf_tokenizer_name"):
        return f"it needs the tokenizer of {text['hf_tokenizer_name']}, not CLIP's own"
    if text.get("vocab_size", VOCABULARY) != VOCABULARY:
        return f"it has {text['vocab_size']} tokens, CLIP's own tokenizer has {VOCABULARY}"
    if text.get("embed_cls") or text.get("pool_type", "argmax") not in PLAIN_POOLS:
        return f"it pools at '{text.get('pool_type', 'a class token')}', not at the end token"
    return ""


def _image_tower(settings: Mapping[str, Any]) -> nn.Module:
    from open_clip.model import _build_vision_tower

    from converter.models.image_only import ImageOnly

    vision = {**settings["vision_cfg"], "output_tokens": False}
    return ImageOnly(_build_vision_tower(settings["embed_dim"], vision, settings.get("quick_gelu", False)))
