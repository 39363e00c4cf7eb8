"""Untrained weights that are fit for comparing: drawn from a seed, and awake, so that different inputs differ.

As a library initialises MobileCLIP, every photograph lands on nearly the same point: layer scales are 1e-5, and a text
tower without a causal mask averages 77 mostly padded positions. Any converted file then looks perfect. `awaken` draws
weights of a trained model's order of magnitude and `require_spread` refuses those that cannot tell inputs apart.
Such weights prove a conversion, and nothing else: they are never published.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.errors import ParityError

if TYPE_CHECKING:
    import torch

MINIMUM_SPREAD = 0.2
LAYER_SCALE = (0.2, 0.4)
BRANCH_ENDS = ("gamma", "bn3.weight")
"""Factors at the end of a residual branch: layer scales, and the last norm of a ResNet's block. At a norm's usual size
a deep ResNet magnifies rounding as no trained one does: float16 weights alone took one of 64 photographs to a centred
cosine of 0.9975 in CLIP's RN50, and leave it at 0.99995 so."""
NORM_WEIGHT = (0.5, 1.5)
NORM_BIAS = 0.3
TEXT_BIAS = 0.2
"""Smaller than the image tower's: no batch norm takes out what all captions share."""
EMBEDDING = 0.2
TEXT_POSITION = 0.05
"""Padding is all position: at 0.2 it would outweigh the words of a short caption."""
AT_ONCE = 32
"""How many inputs go through a tower side by side, where no statistics are taken from all of them."""
ATTENTION_GAIN = 1.7
"""On queries and keys: logits of about 3 instead of 1, so that a position attends to few others, not to all 77."""


def awaken(model: Any, pixels: Any | None, tokens: Any | None, seed: int) -> None:
    """Draw every weight from `seed`, set each tower's batch-norm statistics from its inputs, and make sure that both
    towers tell their inputs apart.

    `pixels` is (n, 3, size, size) float32, normalised, of photographs; `tokens` is (n, 77) integer. A tower whose
    inputs are None gets its weights, but neither statistics nor the check. A parameter depends on `seed` and its own
    name only; statistics depend, in their last bits, on how many threads sum them up.

    Raises:
        ParityError: the embeddings of `pixels` or of `tokens` lie closer together than `MINIMUM_SPREAD`.
    """
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _draw(name, parameter, _generator(name, seed))
        if pixels is not None:
            require_spread(_embed(model.visual, torch.as_tensor(pixels)).numpy(), "image")
        if tokens is not None:
            require_spread(_embed(model.text, torch.as_tensor(tokens)).numpy(), "text")


def spread(embeddings: npt.NDArray[Any]) -> float:
    """How far apart inputs land: mean distance of the unit-length embeddings from their own mean, 0 to 1."""
    rows = embeddings.astype(np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float(np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean())


def require_spread(embeddings: npt.NDArray[Any], tower: str, minimum: float = MINIMUM_SPREAD) -> float:
    """The spread of `embeddings`.

    Raises:
        ParityError: it is below `minimum`, or not a number.
    """
    found = spread(embeddings)
    if not found >= minimum:
        message = (
            f"the {tower} tower maps {len(embeddings)} samples to nearly one point: spread {found:.3f}, at least "
            f"{minimum} is needed for a comparison to prove anything; use other weights, another seed, or samples that "
            "differ more"
        )
        raise ParityError(message)
    return found


def _generator(name: str, seed: int) -> torch.Generator:
    import torch

    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _draw(name: str, parameter: torch.Tensor, generator: torch.Generator) -> None:
    """Fill one parameter by the first rule that fits its name and rank."""
    text = name.startswith("text.")
    if name in ("logit_scale", "logit_bias"):
        parameter.fill_(math.log(100.0) if name == "logit_scale" else 0.0)
    elif name.endswith(BRANCH_ENDS):
        parameter.uniform_(*LAYER_SCALE, generator=generator)
    elif parameter.ndim == 1 and name.endswith("weight"):
        parameter.uniform_(*NORM_WEIGHT, generator=generator)
    else:
        parameter.normal_(0.0, _deviation(name, parameter, text), generator=generator)
    if name.endswith(("in_proj_weight", "qkv.weight")):
        parameter[: 2 * parameter.shape[0] // 3] *= ATTENTION_GAIN


def _deviation(name: str, parameter: torch.Tensor, text: bool) -> float:
    """Standard deviation of a normal draw: Kaiming for convolutions, 1/sqrt(inputs) for projections."""
    if name.endswith(("positional_embedding", "pos_embed")):
        return TEXT_POSITION if text else EMBEDDING
    if name.endswith(("token_embedding.weight", "cls_token")):
        return EMBEDDING
    if parameter.ndim == 1:
        return TEXT_BIAS if text else NORM_BIAS
    if name.endswith("text_projection"):
        return math.sqrt(1.0 / parameter.shape[0])
    fan_in = int(parameter[0].numel())
    return math.sqrt(2.0 / fan_in) if parameter.ndim == 4 else math.sqrt(1.0 / fan_in)


def _embed(tower: Any, inputs: torch.Tensor) -> torch.Tensor:
    """The tower's embeddings; its batch norms, where it has any, take their statistics from these inputs first."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in tower.modules() if isinstance(module, _BatchNorm)]
    if norms:
        return _set_statistics(tower, norms, inputs)
    return torch.cat([tower(rows) for rows in inputs.split(AT_ONCE)])


def _set_statistics(tower: Any, norms: list[Any], inputs: torch.Tensor) -> torch.Tensor:
    """One forward pass in which batch norms, and nothing else, are in training mode; returns its embeddings.

    All inputs go through at once, and a cumulative average of one batch is that batch: every norm keeps the
    statistics by which it normalised (its variance times n / (n - 1)), also where several branch from one tensor.
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    embeddings: torch.Tensor = tower(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return embeddings
