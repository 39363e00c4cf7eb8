"""How other packages name the same tensors: tables of rules that are read both ways.

Ours are the names of open_clip's CustomTextCLIP. A checkpoint in another layout becomes ours name by name, and ours
becomes theirs again by the same table (`layout_rules`), so that theirs can be run beside ours. Reading files, and
saying what is wrong with them, is left to `checkpoint`.

The names are those of

- github.com/apple/ml-mobileclip (package mobileclip 0.1), with the image towers of S0, S1 and S2 or of B, and the text
  tower `mct` of S0 or the plain one of the others; Apple's MobileCLIP2 checkpoints have open_clip's own names;
- OpenAI's CLIP, whose names open_clip's models without a custom text tower share;
- Hugging Face's transformers, `CLIPModel`, in which a fine-tuned folder of OpenAI's or LAION's ViTs comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from converter.models.layout_rules import Joint, Layout, Rule, below, fit, renamed


def recognize(names: Iterable[str]) -> Layout | None:
    """The layout whose rules rename most of these names; None where none renames more than it leaves unknown."""
    listed = tuple(names)
    best = max(LAYOUTS, key=lambda layout: fit(layout, listed))
    return best if fit(best, listed) > 0 else None


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
    *below("text_encoder.transformer.{n}.", "text.transformer.resblocks.{n}.", ATTENTION_BLOCK),
)

MCT_MIXER = (
    Rule(theirs="token_mixer.layer_scale", ours="token_mixer.gamma"),
    Rule(theirs="token_mixer.norm.rbr_skip.{rest}", ours="token_mixer.norm.{rest}"),
    Rule(theirs="token_mixer.mixer.rbr_skip.{rest}", ours="token_mixer.skip.{rest}"),
    Rule(theirs="token_mixer.mixer.rbr_conv.0.{rest}", ours="token_mixer.branch.{rest}"),
    *renamed(convffn="mlp"),
    Rule(theirs="layer_scale", ours="layer_scale.gamma"),
)
MCT_LAYERS = 4
"""Attention blocks of the only `mct` tower there is; Apple numbers them together with the mixers around them."""
MCT_TEXT = (
    *TEXT_ENDS,
    *below("text_encoder.transformer.0.", "text.transformer.first.", MCT_MIXER),
    *(
        rule
        for n in range(MCT_LAYERS)
        for rule in below(
            f"text_encoder.transformer.{n + 1}.", f"text.transformer.middle.resblocks.{n}.", ATTENTION_BLOCK
        )
    ),
    *below(f"text_encoder.transformer.{MCT_LAYERS + 1}.", "text.transformer.last.", MCT_MIXER),
)

BRANCHES = renamed(rbr_conv="conv_kxk", rbr_scale="conv_scale", rbr_skip="identity")
GRID_BLOCK = (
    *below("token_mixer.mixer.", "token_mixer.mixer.", BRANCHES),
    *below("token_mixer.norm.", "token_mixer.norm.", BRANCHES),
    Rule(theirs="token_mixer.layer_scale", ours="token_mixer.layer_scale.gamma"),
    *renamed(norm="norm", convffn="mlp"),
    Rule(theirs="token_mixer.qkv.{rest}", ours="token_mixer.qkv.{rest}"),
    Rule(theirs="token_mixer.proj.{rest}", ours="token_mixer.proj.{rest}"),
    Rule(theirs="layer_scale", ours="layer_scale.gamma"),
    Rule(theirs="layer_scale_{n}", ours="layer_scale_{n}.gamma"),
)
DOWNSAMPLE = (
    *below("0.", "0.", renamed(lkb_origin="large_conv", small_conv="small_conv", se="se")),
    *below("1.", "1.", BRANCHES),
)
STAGES = {0: 0, 2: 1, 4: 2, 7: 3}
"""Place in Apple's flat list of blocks, downsamplings and position encodings, and stage in timm's FastViT."""
FASTVIT = (
    *below("patch_embed.{n}.", "stem.{n}.", BRANCHES),
    *(
        rule
        for place, stage in STAGES.items()
        for rule in below(f"network.{place}.{{n}}.", f"stages.{stage}.blocks.{{n}}.", GRID_BLOCK)
    ),
    *(
        rule
        for place, stage in ((1, 1), (3, 2), (5, 3))
        for rule in below(f"network.{place}.proj.", f"stages.{stage}.downsample.proj.", DOWNSAMPLE)
    ),
    Rule(theirs="network.6.pe.{rest}", ours="stages.3.pos_emb.pos_enc.{rest}"),
    *below("conv_exp.", "final_conv.", BRANCHES),
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
    *below("transformer.{n}.", "blocks.{n}.", VISION_BLOCK),
    *renamed(post_transformer_norm="norm"),
    Rule(theirs="classifier.proj", ours="head.weight", transposed=True),
)


def _image(rules: tuple[Rule, ...], head: str) -> tuple[Rule, ...]:
    bias = Rule(ours=f"visual.trunk.{head}.bias", zeros_like=f"visual.trunk.{head}.weight")
    return (*below("image_encoder.model.", "visual.trunk.", rules), bias)


APPLE = tuple(
    Layout(owner="Apple's package mobileclip", rules=(*image, *text, *SCALE))
    for image, text in product((_image(FASTVIT, "head.fc"), _image(VISION_TRANSFORMER, "head")), (PLAIN_TEXT, MCT_TEXT))
)
PLAIN_CLIP = Layout(
    owner="OpenAI's CLIP",
    rules=(
        *(Rule(theirs=name, ours=f"text.{name}") for name in ("positional_embedding", "text_projection")),
        *below("", "text.", renamed(token_embedding="token_embedding", transformer="transformer")),
        *below("", "text.", renamed(ln_final="ln_final", text_projection="text_projection")),
        *renamed(visual="visual"),
        *(Rule(theirs=name) for name in ("input_resolution", "context_length", "vocab_size")),
        Rule(theirs="logit_bias", ours="logit_bias"),
        *SCALE,
    ),
)
TRANSFORMERS_BLOCK = (
    *renamed(layer_norm1="ln_1", layer_norm2="ln_2"),
    Rule(theirs="self_attn.qkv_proj.weight", ours="attn.in_proj_weight"),
    Rule(theirs="self_attn.qkv_proj.bias", ours="attn.in_proj_bias"),
    Rule(theirs="self_attn.out_proj.{rest}", ours="attn.out_proj.{rest}"),
    Rule(theirs="mlp.fc1.{rest}", ours="mlp.c_fc.{rest}"),
    Rule(theirs="mlp.fc2.{rest}", ours="mlp.c_proj.{rest}"),
)
TRANSFORMERS = Layout(
    owner="Hugging Face's transformers",
    joints=(Joint(parts=(".q_proj.", ".k_proj.", ".v_proj."), whole=".qkv_proj."),),
    rules=(
        Rule(theirs="text_model.embeddings.token_embedding.weight", ours="text.token_embedding.weight"),
        Rule(theirs="text_model.embeddings.position_embedding.weight", ours="text.positional_embedding"),
        *below("text_model.encoder.layers.{n}.", "text.transformer.resblocks.{n}.", TRANSFORMERS_BLOCK),
        *below("text_model.", "text.", renamed(final_layer_norm="ln_final")),
        Rule(theirs="text_projection.weight", ours="text.text_projection", transposed=True),
        Rule(theirs="vision_model.embeddings.class_embedding", ours="visual.class_embedding"),
        Rule(theirs="vision_model.embeddings.patch_embedding.weight", ours="visual.conv1.weight"),
        Rule(theirs="vision_model.embeddings.position_embedding.weight", ours="visual.positional_embedding"),
        *below("vision_model.encoder.layers.{n}.", "visual.transformer.resblocks.{n}.", TRANSFORMERS_BLOCK),
        *below("vision_model.", "visual.", renamed(pre_layrnorm="ln_pre", post_layernorm="ln_post")),
        Rule(theirs="visual_projection.weight", ours="visual.proj", transposed=True),
        *(Rule(theirs=f"{tower}_model.embeddings.position_ids") for tower in ("text", "vision")),
        *SCALE,
    ),
)
LAYOUTS = (*APPLE, PLAIN_CLIP, TRANSFORMERS)
