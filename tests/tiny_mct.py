"""The toy model with a convolutional text tower, `mct`, in place of the plain one; its weights are awake."""

from __future__ import annotations

from typing import Any

from tests.tiny import TINY_EMBED_DIM, tiny_clip

GAMMA = 0.3


def tiny_mct_clip(*, causal: bool = False, seed: int = 0) -> Any:
    """A CustomTextCLIP in eval mode, float32: FastViT image tower, text tower of two mixer blocks and one attention."""
    import torch

    from converter.models.mct import MctText

    clip = tiny_clip(seed=seed)
    torch.manual_seed(seed)
    clip.text = MctText(embed_dim=TINY_EMBED_DIM, width=32, heads=2, layers=1, causal=causal)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in clip.text.named_parameters():
            _draw(name, parameter, generator)
        _settle_norms(clip.text, generator)
    return clip.eval()


def _draw(name: str, parameter: Any, generator: Any) -> None:
    if name.endswith("gamma"):
        parameter.fill_(GAMMA)
    elif parameter.ndim == 1 and name.endswith("weight"):
        parameter.uniform_(0.5, 1.5, generator=generator)
    elif parameter.ndim == 1:
        parameter.normal_(0.0, 0.1, generator=generator)
    elif "embedding" in name:
        parameter.normal_(0.0, 0.05 if "positional" in name else 0.3, generator=generator)
    else:
        parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)


def _settle_norms(text: Any, generator: Any) -> None:
    """Statistics of random texts, so that no batch norm does nothing."""
    import torch

    for norm in text.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # the plain mean over all batches
    tokens = torch.randint(1, 49405, (16, 77), generator=generator)
    tokens[:, 40:] = 0
    tokens[:, 39] = 49407
    text.train()(tokens)
    text.eval()
