# mypy: allow-subclassing-any
"""The text tower of MobileCLIP-S0, `mct`: attention between two convolutional blocks.

`tokens -> embedding -> + positions -> mixer block -> pre-norm attention blocks -> mixer block -> norm -> row of the end
token -> projection`, after MobileCLIP (arXiv:2311.17049, section 4). No library on PyPI has it. The attention blocks
are open_clip's, so that what is known of them here holds for this tower too; the mixer blocks are ours.

A mixer block sees a text as an image one row high. Its token mixer is `x + gamma * (skip(x) + branch(x) - norm(x))`,
where `skip` and `norm` are batch norms and `branch` is a depthwise 1xk convolution with one behind it; all of it is
linear, so that `reparameterize` makes one convolution of it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

import torch
from open_clip.transformer import LayerNorm, ResidualAttentionBlock, Transformer
from timm.models.fastvit import LayerScale2d
from torch import nn

LAYER_SCALE = 0.1
"""Initial factor of a branch: small enough to start near the identity, large enough to learn from the first step."""
EMBEDDING_DEVIATION = 0.02
POSITION_DEVIATION = 0.01


class TokenMixer(nn.Module):
    """Mixes neighbouring positions of (batch, width, 1, length), each channel by itself."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.reparam_conv: nn.Conv2d | None = None
        self.norm = nn.BatchNorm2d(width)
        self.skip = nn.BatchNorm2d(width)
        self.branch = _depthwise_with_norm(width, kernel_size)
        self.gamma = nn.Parameter(torch.full((width, 1, 1), LAYER_SCALE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix."""
        if self.reparam_conv is not None:
            return self.reparam_conv(x)
        return x + self.gamma * (self.skip(x) + self.branch(x) - self.norm(x))

    def reparameterize(self) -> None:
        """Put one convolution in the place of all branches; their statistics must be settled.

        The arithmetic is done in the precision of the weights.
        """
        conv: nn.Conv2d = self.branch.conv
        (skip, skip_shift), (norm, norm_shift) = _factor_and_shift(self.skip), _factor_and_shift(self.norm)
        factor, shift = _factor_and_shift(self.branch.bn)
        gamma = self.gamma.detach().flatten()
        weight = conv.weight.detach() * (gamma * factor).reshape(-1, 1, 1, 1)
        weight[:, 0, 0, weight.shape[-1] // 2] += 1.0 + gamma * (skip - norm)
        merged = nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding, groups=conv.groups
        )
        merged.weight = nn.Parameter(weight, requires_grad=False)
        merged.bias = nn.Parameter(gamma * (shift + skip_shift - norm_shift), requires_grad=False)
        self.reparam_conv = merged.eval()
        del self.norm, self.skip, self.branch, self.gamma


class ConvFeedForward(nn.Module):
    """A depthwise 1xk convolution, then an expansion and a contraction of each position's channels."""

    def __init__(self, width: int, hidden: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = _depthwise_with_norm(width, kernel_size)
        self.fc1 = nn.Conv2d(width, hidden, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width, 1, length) to the same."""
        return self.fc2(self.act(self.fc1(self.conv(x))))


class MixerBlock(nn.Module):
    """A token mixer and a convolutional feed-forward with a learned factor for each channel."""

    def __init__(self, width: int, hidden: int, kernel_size: int) -> None:
        super().__init__()
        self.token_mixer = TokenMixer(width, kernel_size)
        self.mlp = ConvFeedForward(width, hidden, kernel_size)
        self.layer_scale = LayerScale2d(width, LAYER_SCALE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to the same."""
        x = self.token_mixer(x.transpose(1, 2).unsqueeze(2))
        x = x + self.layer_scale(self.mlp(x))
        return x.squeeze(2).transpose(1, 2)


class MctBlocks(nn.Module):
    """All blocks of the tower: a mixer block, the attention blocks, a mixer block."""

    def __init__(self, width: int, heads: int, layers: int, ffn_ratio: float, kernel_size: int) -> None:
        super().__init__()
        hidden = int(width * ffn_ratio)
        self.first = MixerBlock(width, hidden, kernel_size)
        self.middle = Transformer(width, layers, heads, mlp_ratio=ffn_ratio, norm_layer=LayerNorm)
        self.last = MixerBlock(width, hidden, kernel_size)
        self.batch_first = True

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, length, width) to the same; `attn_mask` (length, length) is added to attention scores."""
        return self.last(self.middle(self.first(x), attn_mask=attn_mask))


class MctText(nn.Module):
    """The tower: (batch, up to `context_length`) integer tokens to (batch, embed_dim), not of unit length.

    The end of a text is its largest token. In eval mode it must be `context_length` tokens long, padded, for what the
    convolutions see behind the end is part of the embedding.
    """

    pool_type = "argmax"
    """Which row is the text's, in open_clip's word for it."""

    def __init__(
        self,
        *,
        embed_dim: int,
        width: int,
        heads: int,
        layers: int,
        ffn_ratio: float = 4.0,
        kernel_size: int = 11,
        context_length: int = 77,
        vocab_size: int = 49408,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.context_length, self.vocab_size, self.width = context_length, vocab_size, width
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.attn_mask = nn.Buffer(_causal_mask(context_length), persistent=False) if causal else None
        self.transformer = MctBlocks(width, heads, layers, ffn_ratio, kernel_size)
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights that training starts from; norms, biases and layer scales keep theirs."""
        nn.init.normal_(self.token_embedding.weight, std=EMBEDDING_DEVIATION)
        nn.init.normal_(self.positional_embedding, std=POSITION_DEVIATION)
        nn.init.normal_(self.text_projection, std=self.width**-0.5)
        for weight, deviation in self._initial_deviations():
            nn.init.normal_(weight, std=deviation)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed texts."""
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        x = self.ln_final(self.transformer(x, attn_mask=mask))
        ends = tokens.argmax(dim=-1)
        return x[torch.arange(len(x), device=x.device), ends] @ self.text_projection

    def _initial_deviations(self) -> Iterator[tuple[torch.Tensor, float]]:
        """Weights of the blocks with their standard deviations: what adds to the residual is smaller when it is deep.

        As in GPT-2 and CLIP, 1/sqrt(inputs), and 1/sqrt(2 * layers) of that where a branch ends.
        """
        into, out = self.width**-0.5, self.width**-0.5 * (2 * len(self.transformer.middle.resblocks)) ** -0.5
        for module in self.transformer.modules():
            if isinstance(module, ResidualAttentionBlock):
                yield module.attn.in_proj_weight, into
                yield module.attn.out_proj.weight, out
                yield module.mlp.c_fc.weight, (2 * self.width) ** -0.5
                yield module.mlp.c_proj.weight, out
            elif isinstance(module, nn.Conv2d):
                yield module.weight, math.sqrt(1.0 / module.weight[0].numel())


def _depthwise_with_norm(width: int, kernel_size: int) -> nn.Sequential:
    size, padding = (1, kernel_size), (0, kernel_size // 2)
    conv = nn.Conv2d(width, width, size, padding=padding, groups=width, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(width)))


def _factor_and_shift(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A settled batch norm as `factor * x + shift` of each channel."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # BatchNorm2d keeps statistics unless told not to
    factor = norm.weight.detach() * (variance + norm.eps).rsqrt()
    return factor, norm.bias.detach() - mean * factor


def _causal_mask(length: int) -> torch.Tensor:
    return torch.full((length, length), -math.inf).triu(1)
