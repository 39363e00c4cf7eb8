"""Towers of the other families at toy width: open_clip's own classes, awake, each with what R8, R3, R2, R6, R9 meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

SIZE = 64
WIDTH = 32
VISION: dict[str, dict[str, Any]] = {
    "transformer": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "average": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "pool_type": "avg"},
    "late norm": {
        "layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "final_ln_after_pool": True, "no_ln_pre": True,
        "ls_init_value": 0.3,
    },
    "resnet": {"layers": [1, 2, 1, 1], "width": 16, "head_width": 32, "patch_size": None},
    "convnext": {"timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear"},
    "convnext, mlp": {"timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "mlp"},
}  # fmt: skip
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


def family_clip(kind: str, *, quick_gelu: bool = False) -> Any:
    """An open_clip CustomTextCLIP in eval mode with an image tower of this kind and a causal text tower."""
    from open_clip.model import CustomTextCLIP

    clip = CustomTextCLIP(
        embed_dim=WIDTH, vision_cfg={**VISION[kind], "image_size": SIZE}, text_cfg=TEXT, quick_gelu=quick_gelu
    )
    return awake(clip)


def awake(model: Any) -> Any:
    """Weights of a trained model's order of magnitude, batch norms that do something, eval mode."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _draw(name, parameter, generator)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(0.0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def _draw(name: str, parameter: torch.Tensor, generator: torch.Generator) -> None:
    if parameter.ndim == 1 and name.endswith(("weight", "gamma")):
        parameter.uniform_(0.5, 1.5, generator=generator)
    elif parameter.ndim <= 1:
        parameter.normal_(0.0, 0.2, generator=generator)
    else:
        parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
