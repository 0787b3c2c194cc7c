"""DiffuSeq's network: a BERT encoder on noisy word embeddings with sinusoidal time features, predicting z_0.

Parameter names and shapes are those of the published weights (upstream diffuseq/transformer_model.py and transformers'
BertEncoder). There is no attention mask: padding is attended and predicted like any token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention, silu

from adapters.diffuseq.layout import EncoderConfig

#: Slowest period of the time features (upstream utils/nn.py).
MAX_PERIOD = 10_000.0


@dataclass(frozen=True)
class DiffuseqSize:
    """Architecture numbers.

    Attributes:
        tokens: vocabulary V, special tokens included.
        width: of the embeddings and the state, D.
        time_width: of the time features.
        encoder: the BERT encoder.
        dropout: behind the embeddings and on both branches of a layer, in training only.
        mean_embed: whether the noise has a learned mean (DiffuSeq-v2).
    """

    tokens: int
    width: int
    time_width: int
    encoder: EncoderConfig
    dropout: float = 0.1
    mean_embed: bool = False


def time_features(time: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of times [B] float32 -> [B, width]; an odd width ends in a zero (upstream utils/nn.py)."""
    half = width // 2
    rates = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32) / half).to(time.device)
    angles = time[:, None].float() * rates
    features = torch.cat((angles.cos(), angles.sin()), dim=-1)
    return nn.functional.pad(features, (0, width % 2))


class _Dense(nn.Module):
    """A linear map under the name that BERT gives it, with the norm of its residual where it has one."""

    def __init__(self, size: DiffuseqSize, inner: int, outer: int, normed: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, outer)
        if normed:
            self.LayerNorm = nn.LayerNorm(outer, eps=size.encoder.layer_norm_eps)
        self.dropout = size.dropout

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """LayerNorm(residual + dense(x)): post-norm."""
        out: Tensor = self.LayerNorm(dropout(self.dense(x), self.dropout, self.training) + residual)
        return out


class _SelfAttention(nn.Module):
    def __init__(self, encoder: EncoderConfig) -> None:
        super().__init__()
        width = encoder.hidden_size
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.heads = encoder.num_attention_heads
        self.dropout = encoder.attention_probs_dropout_prob

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, H] -> [B, L, H], every position attending to every one."""
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q, k, v = (part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        mixed = scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return mixed.transpose(1, 2).reshape(batch, length, width)


class _Attention(nn.Module):
    def __init__(self, size: DiffuseqSize) -> None:
        super().__init__()
        self.self = _SelfAttention(size.encoder)
        self.output = _Dense(size, size.encoder.hidden_size, size.encoder.hidden_size, normed=True)


class BertLayer(nn.Module):
    """Self-attention and feed-forward, each with its residual and a norm behind it (BERT, arXiv 1810.04805)."""

    def __init__(self, size: DiffuseqSize) -> None:
        super().__init__()
        hidden, inner = size.encoder.hidden_size, size.encoder.intermediate_size
        self.attention = _Attention(size)
        self.intermediate = _Dense(size, hidden, inner, normed=False)
        self.output = _Dense(size, inner, hidden, normed=True)

    def forward(self, x: Tensor, wanted: Tensor | None = None) -> Tensor:
        """[B, L, H] -> [B, L, H]; with `wanted` (flat indices [N] into B * L) only those positions, [N, H]."""
        mixed = self.attention.self(x)
        if wanted is not None:
            x, mixed = x.flatten(0, 1)[wanted], mixed.flatten(0, 1)[wanted]
        x = self.attention.output.add(mixed, x)
        return self.output.add(gelu(self.intermediate.dense(x)), x)


class _Encoder(nn.Module):
    def __init__(self, size: DiffuseqSize) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(size) for _ in range(size.encoder.num_hidden_layers))


class DiffuseqNetwork(nn.Module):
    """The network of every DiffuSeq checkpoint.

    `lm_head.weight` and `word_embedding.weight` are one parameter; a state dict has it under both names.

    Args:
        size: architecture numbers.
        dtype: arithmetic of the matrix products. Anything but float32 runs them under autocast; weights and state stay
            float32.
    """

    position_ids: Tensor

    def __init__(self, size: DiffuseqSize, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.size = size
        self.dtype = dtype
        hidden = size.encoder.hidden_size
        positions = size.encoder.max_position_embeddings
        self.mean_embed: Tensor | None = None
        if size.mean_embed:
            self.mean_embed = nn.Parameter(torch.randn(size.width) * size.width**-0.5)
        self.word_embedding = nn.Embedding(size.tokens, size.width)
        self.lm_head = nn.Linear(size.width, size.tokens)
        self.lm_head.weight = self.word_embedding.weight
        # SiLU has no parameters, but its place gives the second map its published name.
        self.time_embed = nn.Sequential(
            nn.Linear(size.time_width, 4 * size.time_width), nn.SiLU(), nn.Linear(4 * size.time_width, hidden)
        )
        self.projected = size.width != hidden
        if self.projected:
            self.input_up_proj = nn.Sequential(nn.Linear(size.width, hidden), nn.Tanh(), nn.Linear(hidden, hidden))
            self.output_down_proj = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, size.width))
        self.input_transformers = _Encoder(size)
        self.register_buffer("position_ids", torch.arange(positions, device="cpu").expand((1, -1)))
        self.position_embeddings = nn.Embedding(positions, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=size.encoder.layer_norm_eps)

    @property
    def embedding(self) -> Tensor:
        """Word embeddings [V, D]."""
        return self.word_embedding.weight

    def logits(self, state: Tensor) -> Tensor:
        """[..., D] -> logits of tokens [..., V], float32 (upstream `get_logits`)."""
        out: Tensor = self.lm_head(state)
        return out

    def forward(self, state: Tensor, time: Tensor, wanted: Tensor | None = None) -> Tensor:
        """The prediction of z_0.

        Args:
            state: noisy embeddings [B, L, D] float32, clean ones where they are given.
            time: [B] float32, what the authors feed: index * 1000 / T.
            wanted: flat indices [N] into B * L of the positions whose prediction is wanted. The last layer and the
                output are then computed for those alone, which changes no number of theirs.

        Returns:
            [B, L, D], or [N, D] with `wanted`, float32.
        """
        length = state.shape[1]
        with torch.autocast(
            state.device.type,
            dtype=self.dtype if self.dtype != torch.float32 else None,
            enabled=self.dtype != torch.float32,
        ):
            first, _, second = self.time_embed
            moment = second(silu(first(time_features(time, self.size.time_width))))
            x = self.input_up_proj(state) if self.projected else state
            x = self.LayerNorm(self.position_embeddings.weight[:length] + x + moment[:, None])
            x = dropout(x, self.size.dropout, self.training)
            *layers, last = self.input_transformers.layer
            for layer in layers:
                x = layer(x)
            x = last(x, wanted)
            if self.projected:
                x = self.output_down_proj(x)
        return x.to(state.dtype)
