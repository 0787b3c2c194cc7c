"""RADD's network: a pre-norm bidirectional transformer with rotary positions and no time input.

Parameter names, shapes and their ORDER are those of the published weights (upstream model/transformer.py): the moving
average of a training run is stored as a bare list in that order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm, scaled_dot_product_attention

from adapters.masked.denoiser import MaskedNetwork

ROTARY_BASE = 10_000.0
MLP_RATIO = 4


@dataclass(frozen=True)
class RaddSize:
    """Architecture numbers.

    Attributes:
        tokens: tokenizer ids V, the mask not included.
        hidden: width D.
        blocks: transformer blocks.
        heads: attention heads; D / heads is even.
        dropout: on both residual branches, in training only.
    """

    tokens: int
    hidden: int
    blocks: int
    heads: int
    dropout: float = 0.02


class RaddNorm(nn.Module):
    """Layer norm in float32 with eps 1e-5. Its bias starts at 1, as the authors' does."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.bias = nn.Parameter(torch.ones(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D] float32."""
        with torch.autocast(x.device.type, enabled=False):
            normal = layer_norm(x.float(), self.weight.shape)
        # Product and sum apart from the norm: the rounding differs from that of layer_norm with weights.
        return normal * self.weight + self.bias


class Rotary(nn.Module):
    """Rotary position tables. `inv_freq` is stored with the weights but is no parameter."""

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        # Always on the CPU: arithmetic on the meta device, where shapes are looked up, would import torch's compiler.
        exponent = torch.arange(0, head_dim, 2, device="cpu").float() / head_dim
        self.register_buffer("inv_freq", 1.0 / ROTARY_BASE**exponent)

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin, each [length, head_dim] float32; both halves of a head share their angles."""
        positions = torch.arange(length, device=self.inv_freq.device).to(self.inv_freq.dtype)
        angles = torch.outer(positions, self.inv_freq)
        both = torch.cat((angles, angles), dim=-1)
        return both.cos(), both.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads [B, H, L, d] by their positions (RoFormer, arXiv 2104.09864, halves paired), in the dtype of x."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * sin.to(x.dtype)


class RaddBlock(nn.Module):
    """Attention and MLP, each behind a norm and added to the residual stream."""

    def __init__(self, size: RaddSize) -> None:
        super().__init__()
        width = size.hidden
        self.heads = size.heads
        self.dropout = size.dropout
        # The order of these lines is the order of the parameters in a training run's moving average.
        self.norm1 = RaddNorm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = RaddNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width), nn.GELU(approximate="tanh"), nn.Linear(MLP_RATIO * width, width)
        )

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.attn_qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        with torch.autocast(x.device.type, enabled=False):
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = scaled_dot_product_attention(q, k, v)
        out: Tensor = self.attn_out(mixed.transpose(1, 2).reshape(batch, length, width))
        return out

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        x = x + dropout(self._attend(self.norm1(x), cos, sin), self.dropout, self.training)
        return x + dropout(self.mlp(self.norm2(x)), self.dropout, self.training)


class _Embedding(nn.Module):
    def __init__(self, classes: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(classes, hidden))
        nn.init.kaiming_uniform_(self.embedding, a=math.sqrt(5))


class _Output(nn.Module):
    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__()
        self.norm_final = RaddNorm(hidden)
        self.linear = nn.Linear(hidden, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)


class RaddNetwork(MaskedNetwork):
    """The network of every RADD checkpoint.

    Args:
        size: architecture numbers.
        dtype: arithmetic of the blocks and the projection. Anything but float32 runs them under autocast, as
            the authors do on CUDA with float16; weights and residual stream stay float32.
    """

    takes_time = False

    def __init__(self, size: RaddSize, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.mask_id = size.tokens
        self.dtype = dtype
        self.vocab_embed = _Embedding(size.tokens + 1, size.hidden)
        self.rotary_emb = Rotary(size.hidden // size.heads)
        self.blocks = nn.ModuleList(RaddBlock(size) for _ in range(size.blocks))
        self.output_layer = _Output(size.hidden, size.tokens + 1)

    def _autocast(self, device: torch.device) -> torch.autocast:
        enabled = self.dtype != torch.float32
        return torch.autocast(device.type, dtype=self.dtype if enabled else None, enabled=enabled)

    def features(self, tokens: Tensor, time: Tensor | None = None) -> Tensor:
        """Normalised output of the last block: ids [B, L] -> [B, L, D] float32. `time` is ignored: RADD takes none."""
        x = self.vocab_embed.embedding[tokens]
        cos, sin = self.rotary_emb(tokens.shape[1])
        with self._autocast(x.device):
            for block in self.blocks:
                x = block(x, cos, sin)
            return cast(Tensor, self.output_layer.norm_final(x))

    def head(self, features: Tensor) -> Tensor:
        """[..., D] -> raw logits [..., V + 1], computed in `dtype`, given as float32."""
        with self._autocast(features.device):
            logits: Tensor = self.output_layer.linear(features)
        return logits.float()
