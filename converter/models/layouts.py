"""How other packages name the same tensors: tables of rules that are read both ways.

Ours are the names of open_clip's CustomTextCLIP. A checkpoint in another layout becomes ours name by name, and ours
becomes theirs again by the same table, so that theirs can be run beside ours. A rule's templates hold `{n}` for
numbers and `{rest}` for the end of a name, both in the same order. Reading files, and saying what is wrong with them,
is left to `checkpoint`.

The names are those of: github.com/apple/ml-mobileclip (package mobileclip 0.1), with the image towers of S0, S1 and S2
or of B, and the text tower `mct` of S0 or the plain one of the others; and OpenAI's CLIP, whose files open_clip's
models without a custom text tower share. Apple's MobileCLIP2 checkpoints have open_clip's own names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from converter.errors import WeightsError

if TYPE_CHECKING:
    import torch

PLACEHOLDER = re.compile(r"\{n\}|\{rest\}")

type State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of tensor in both layouts. Theirs has `leading` dimensions of size 1 more in front, or is transposed.

    Without `ours`, the tensor is no weight and is dropped. Without `theirs`, it is a bias that they lack: zeros, as
    many as `zeros_like` (one of our names) has rows.
    """

    theirs: str = ""
    ours: str = ""
    leading: int = 0
    transposed: bool = False
    zeros_like: str = ""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """All names of one kind of checkpoint. `owner` says in messages whose they are."""

    owner: str
    rules: tuple[Rule, ...]


def recognize(names: Iterable[str]) -> Layout | None:
    """The layout whose rules rename most of these names; None where none renames more than it leaves unknown."""
    listed = tuple(names)
    best = max(LAYOUTS, key=lambda layout: _fit(layout, listed))
    return best if _fit(best, listed) > 0 else None


def to_ours(layout: Layout, state: State) -> dict[str, torch.Tensor]:
    """Their state under our names and in our shapes; what no rule knows keeps its name."""
    import torch

    ours: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        rule, new = _translate(layout, name, theirs=True)
        if rule is None or rule.ours:
            ours[new] = tensor if rule is None else _our_shape(rule, tensor)
    for rule in layout.rules:
        if rule.zeros_like in ours:
            weight = ours[rule.zeros_like]
            ours[rule.ours] = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
    return ours


def to_theirs(layout: Layout, state: State) -> dict[str, torch.Tensor]:
    """Our state under their names and in their shapes, the reverse of `to_ours`.

    Raises:
        WeightsError: a bias that they lack is not zero, so that theirs would be another model.
    """
    theirs: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        rule, new = _translate(layout, name, theirs=False)
        if rule is None or rule.theirs:
            theirs[new] = tensor if rule is None else _their_shape(rule, tensor)
        elif not tensor.is_meta and bool(tensor.any()):
            message = f"{name} is not zero, and the checkpoints of {layout.owner} have no place for it"
            raise WeightsError(message)
    return theirs


def _fit(layout: Layout, names: tuple[str, ...]) -> int:
    renamed = unknown = 0
    for name in names:
        rule, new = _translate(layout, name, theirs=True)
        renamed += rule is not None and new != name
        unknown += rule is None
    return renamed - unknown


def _translate(layout: Layout, name: str, theirs: bool) -> tuple[Rule | None, str]:
    """The first rule that fits `name`, and the name in the other layout."""
    for rule in layout.rules:
        template, other = (rule.theirs, rule.ours) if theirs else (rule.ours, rule.theirs)
        match = _pattern(template).fullmatch(name) if template else None
        if match:
            return rule, _filled(other, match.groups())
    return None, name


def _filled(template: str, values: Iterable[str]) -> str:
    left = iter(values)
    return PLACEHOLDER.sub(lambda _: next(left), template)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\{n\}", r"(\d+)").replace(r"\{rest\}", "(.+)"))


def _our_shape(rule: Rule, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.ndim < rule.leading or any(size != 1 for size in tensor.shape[: rule.leading]):
        return tensor  # of no shape that the rule knows; whoever loads it will say so
    tensor = tensor.reshape(tensor.shape[rule.leading :])
    return tensor.T.contiguous() if rule.transposed and tensor.ndim == 2 else tensor


def _their_shape(rule: Rule, tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.T.contiguous() if rule.transposed else tensor
    return tensor.reshape((*[1] * rule.leading, *tensor.shape))


def _below(theirs: str, ours: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules further down in both trees."""
    return tuple(
        Rule(theirs=theirs + rule.theirs, ours=ours + rule.ours, leading=rule.leading, transposed=rule.transposed)
        for rule in rules
    )


def _renamed(**pairs: str) -> tuple[Rule, ...]:
    """`theirs="ours"` for whole modules."""
    return tuple(Rule(theirs=f"{theirs}.{{rest}}", ours=f"{ours}.{{rest}}") for theirs, ours in pairs.items())


SCALE = (Rule(theirs="logit_scale", ours="logit_scale"),)

ATTENTION_BLOCK = (
    Rule(theirs="pre_norm_mha.0.{rest}", ours="ln_1.{rest}"),
    Rule(theirs="pre_norm_mha.1.qkv_proj.weight", ours="attn.in_proj_weight"),
    Rule(theirs="pre_norm_mha.1.qkv_proj.bias", ours="attn.in_proj_bias"),
    Rule(theirs="pre_norm_mha.1.out_proj.{rest}", ours="attn.out_proj.{rest}"),
    Rule(theirs="pre_norm_ffn.0.{rest}", ours="ln_2.{rest}"),
    Rule(theirs="pre_norm_ffn.1.{rest}", ours="mlp.c_fc.{rest}"),
    Rule(theirs="pre_norm_ffn.4.{rest}", ours="mlp.c_proj.{rest}"),
)
TEXT_ENDS = (
    Rule(theirs="text_encoder.embedding_layer.weight", ours="text.token_embedding.weight"),
    Rule(theirs="text_encoder.positional_embedding.pos_embed.pos_embed", ours="text.positional_embedding", leading=2),
    Rule(theirs="text_encoder.final_layer_norm.{rest}", ours="text.ln_final.{rest}"),
    Rule(theirs="text_encoder.projection_layer", ours="text.text_projection"),
)
PLAIN_TEXT = (
    *TEXT_ENDS,
    *_below("text_encoder.transformer.{n}.", "text.transformer.resblocks.{n}.", ATTENTION_BLOCK),
)

MCT_MIXER = (
    Rule(theirs="token_mixer.layer_scale", ours="token_mixer.gamma"),
    Rule(theirs="token_mixer.norm.rbr_skip.{rest}", ours="token_mixer.norm.{rest}"),
    Rule(theirs="token_mixer.mixer.rbr_skip.{rest}", ours="token_mixer.skip.{rest}"),
    Rule(theirs="token_mixer.mixer.rbr_conv.0.{rest}", ours="token_mixer.branch.{rest}"),
    *_renamed(convffn="mlp"),
    Rule(theirs="layer_scale", ours="layer_scale.gamma"),
)
MCT_LAYERS = 4
"""Attention blocks of the only `mct` tower there is; Apple numbers them together with the mixers around them."""
MCT_TEXT = (
    *TEXT_ENDS,
    *_below("text_encoder.transformer.0.", "text.transformer.first.", MCT_MIXER),
    *(
        rule
        for n in range(MCT_LAYERS)
        for rule in _below(
            f"text_encoder.transformer.{n + 1}.", f"text.transformer.middle.resblocks.{n}.", ATTENTION_BLOCK
        )
    ),
    *_below(f"text_encoder.transformer.{MCT_LAYERS + 1}.", "text.transformer.last.", MCT_MIXER),
)

BRANCHES = _renamed(rbr_conv="conv_kxk", rbr_scale="conv_scale", rbr_skip="identity")
GRID_BLOCK = (
    *_below("token_mixer.mixer.", "token_mixer.mixer.", BRANCHES),
    *_below("token_mixer.norm.", "token_mixer.norm.", BRANCHES),
    Rule(theirs="token_mixer.layer_scale", ours="token_mixer.layer_scale.gamma"),
    *_renamed(norm="norm", convffn="mlp"),
    Rule(theirs="token_mixer.qkv.{rest}", ours="token_mixer.qkv.{rest}"),
    Rule(theirs="token_mixer.proj.{rest}", ours="token_mixer.proj.{rest}"),
    Rule(theirs="layer_scale", ours="layer_scale.gamma"),
    Rule(theirs="layer_scale_{n}", ours="layer_scale_{n}.gamma"),
)
DOWNSAMPLE = (
    *_below("0.", "0.", _renamed(lkb_origin="large_conv", small_conv="small_conv", se="se")),
    *_below("1.", "1.", BRANCHES),
)
STAGES = {0: 0, 2: 1, 4: 2, 7: 3}
"""Place in Apple's flat list of blocks, downsamplings and position encodings, and stage in timm's FastViT."""
FASTVIT = (
    *_below("patch_embed.{n}.", "stem.{n}.", BRANCHES),
    *(
        rule
        for place, stage in STAGES.items()
        for rule in _below(f"network.{place}.{{n}}.", f"stages.{stage}.blocks.{{n}}.", GRID_BLOCK)
    ),
    *(
        rule
        for place, stage in ((1, 1), (3, 2), (5, 3))
        for rule in _below(f"network.{place}.proj.", f"stages.{stage}.downsample.proj.", DOWNSAMPLE)
    ),
    Rule(theirs="network.6.pe.{rest}", ours="stages.3.pos_emb.pos_enc.{rest}"),
    *_below("conv_exp.", "final_conv.", BRANCHES),
    Rule(theirs="conv_exp.se.reduce.{rest}", ours="final_conv.se.fc1.{rest}"),
    Rule(theirs="conv_exp.se.expand.{rest}", ours="final_conv.se.fc2.{rest}"),
    Rule(theirs="head.proj", ours="head.fc.weight", transposed=True),
)
VISION_BLOCK = (
    Rule(theirs="pre_norm_mha.0.{rest}", ours="norm1.{rest}"),
    Rule(theirs="pre_norm_mha.1.qkv_proj.{rest}", ours="attn.qkv.{rest}"),
    Rule(theirs="pre_norm_mha.1.out_proj.{rest}", ours="attn.proj.{rest}"),
    Rule(theirs="pre_norm_ffn.0.{rest}", ours="norm2.{rest}"),
    Rule(theirs="pre_norm_ffn.1.{rest}", ours="mlp.fc1.{rest}"),
    Rule(theirs="pre_norm_ffn.4.{rest}", ours="mlp.fc2.{rest}"),
)
VISION_TRANSFORMER = (
    Rule(theirs="cls_token", ours="cls_token"),
    Rule(theirs="pos_embed.pos_embed.pos_embed", ours="pos_embed", leading=1),
    Rule(theirs="patch_emb.{n}.block.conv.{rest}", ours="patch_embed.backbone.{n}.conv.{rest}"),
    Rule(theirs="patch_emb.{n}.block.norm.{rest}", ours="patch_embed.backbone.{n}.bn.{rest}"),
    *_below("transformer.{n}.", "blocks.{n}.", VISION_BLOCK),
    *_renamed(post_transformer_norm="norm"),
    Rule(theirs="classifier.proj", ours="head.weight", transposed=True),
)


def _image(rules: tuple[Rule, ...], head: str) -> tuple[Rule, ...]:
    bias = Rule(ours=f"visual.trunk.{head}.bias", zeros_like=f"visual.trunk.{head}.weight")
    return (*_below("image_encoder.model.", "visual.trunk.", rules), bias)


APPLE = tuple(
    Layout(owner="Apple's package mobileclip", rules=(*image, *text, *SCALE))
    for image, text in product((_image(FASTVIT, "head.fc"), _image(VISION_TRANSFORMER, "head")), (PLAIN_TEXT, MCT_TEXT))
)
PLAIN_CLIP = Layout(
    owner="OpenAI's CLIP",
    rules=(
        *(Rule(theirs=name, ours=f"text.{name}") for name in ("positional_embedding", "text_projection")),
        *_below("", "text.", _renamed(token_embedding="token_embedding", transformer="transformer")),
        *_below("", "text.", _renamed(ln_final="ln_final", text_projection="text_projection")),
        *_renamed(visual="visual"),
        *(Rule(theirs=name) for name in ("input_resolution", "context_length", "vocab_size")),
        Rule(theirs="logit_bias", ours="logit_bias"),
        *SCALE,
    ),
)
LAYOUTS = (*APPLE, PLAIN_CLIP)
