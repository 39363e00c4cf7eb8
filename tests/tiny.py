"""A MobileCLIP of the real blocks at toy width: FastViT image tower, 2-layer text tower, awake weights.

Every kind of block of the full-size models is here (MobileOne, RepMixer, large-kernel patch embedding with
squeeze-excite, conditional positional encoding, attention, ConvFFN), so what converts here converts there, in a
hundredth of the time.
"""

from __future__ import annotations

from typing import Any

TINY_IMAGE_SIZE = 64
TINY_EMBED_DIM = 32


def tiny_clip(*, causal: bool = False, seed: int = 0) -> Any:
    """An open_clip CustomTextCLIP in eval mode, float32, whose layer scales and norms are of a trained size."""
    import torch
    from open_clip.model import CustomTextCLIP
    from timm.models.fastvit import FastVit

    torch.manual_seed(seed)
    clip = CustomTextCLIP(
        embed_dim=TINY_EMBED_DIM,
        vision_cfg={"layers": 1, "width": 64, "head_width": 32, "patch_size": 32, "image_size": TINY_IMAGE_SIZE},
        text_cfg={
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
            "no_causal_mask": not causal,
        },
    )
    clip.visual = _TimmVisual(
        FastVit(
            layers=(1, 1, 1, 1),
            embed_dims=(32, 32, 64, 64),
            mlp_ratios=(2, 2, 2, 2),
            token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
            se_downsamples=(False, False, True, True),
            downsamples=(False, True, True, True),
            repmixer_kernel_size=3,
            pos_embs=(None, None, None, _pos_enc()),
            num_classes=TINY_EMBED_DIM,
            global_pool="avg",
            lkc_use_act=True,
        )
    )
    _awaken(clip, torch.Generator().manual_seed(seed))
    return clip.eval()


def _TimmVisual(trunk: Any) -> Any:
    from open_clip.timm_model import TimmModel
    from torch import nn

    visual = TimmModel.__new__(TimmModel)
    nn.Module.__init__(visual)
    visual.image_size = (TINY_IMAGE_SIZE, TINY_IMAGE_SIZE)
    visual.trunk = trunk
    visual.head = nn.Sequential()
    return visual


def _pos_enc() -> Any:
    from functools import partial

    from timm.models.fastvit import RepConditionalPosEnc

    return partial(RepConditionalPosEnc, spatial_shape=(7, 7))


def _awaken(clip: Any, generator: Any) -> None:
    """Draw all weights so that inputs land apart: a spread above 0.2 for images, above 0.4 for texts.

    Positions and the padding's embedding are small, and queries and keys large, or a text tower without a causal mask
    averages 77 mostly padded positions into one point.
    """
    import torch

    with torch.no_grad():
        for name, parameter in clip.named_parameters():
            _draw(name, parameter, generator)
        clip.text.token_embedding.weight[0] *= 0.1
        _settle_norms(clip.visual, generator)


def _draw(name: str, parameter: Any, generator: Any) -> None:
    if name.endswith("gamma"):
        parameter.fill_(0.3)
    elif parameter.ndim == 1 and name.endswith("weight"):
        parameter.uniform_(0.5, 1.5, generator=generator)
    elif parameter.ndim == 1:
        parameter.normal_(0.0, 0.1 if name.startswith("text") else 0.3, generator=generator)
    elif parameter.ndim == 4:
        parameter.normal_(0.0, (2.0 / parameter[0].numel()) ** 0.5, generator=generator)
    elif parameter.ndim == 2:
        std = 0.05 if "positional" in name else 0.3 if "embedding" in name else parameter.shape[-1] ** -0.5
        parameter.normal_(0.0, std, generator=generator)
    if name.endswith("in_proj_weight"):
        parameter[: 2 * len(parameter) // 3] *= 2.0


def _settle_norms(visual: Any, generator: Any) -> None:
    """Statistics of coloured squares and of noise, so that no batch norm does nothing and none blows up rounding."""
    import torch

    norms = [module for module in visual.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    size = visual.image_size[0]
    squares = torch.rand(16, 3, 4, 4, generator=generator).repeat_interleave(size // 4, 2)
    noise = torch.rand(16, 3, size, size, generator=generator)
    visual(torch.cat([squares.repeat_interleave(size // 4, 3), noise]))
    visual.eval()
