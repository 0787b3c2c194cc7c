"""nanoDD's transformer: adaLN blocks conditioned on the time, under the authors' parameter names (`net.*`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapters.masked.denoiser import MaskedNetwork

#: Sinusoidal features of the time; half cosines, half sines.
TIME_FEATURES = 256
MAX_PERIOD = 10000.0


@dataclass(frozen=True)
class ModelArgs:
    """The checkpoint's `model_args`, under the authors' names.

    Attributes:
        vocab_size: tokens V, the mask not included.
        n_embed: width D.
        n_heads: attention heads; D / n_heads is even.
        n_blocks: transformer blocks.
        n_cond: width of the time conditioning.
        dropout: applied to both branches of a block while training.
        T: number of diffusion steps.
        lambda_ce: weight of the cross-entropy in the training loss.
    """

    vocab_size: int
    n_embed: int
    n_heads: int
    n_blocks: int
    n_cond: int
    dropout: float
    T: int
    lambda_ce: float

    def as_dict(self) -> dict[str, int | float]:
        """As the checkpoint stores it."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ModelArgs:
        """Check and convert a mapping.

        Raises:
            ValueError: for a missing or unknown name, or a value outside its range.
        """
        fields = cls.__dataclass_fields__
        if missing := [name for name in fields if name not in values]:
            raise ValueError(f"has no {', '.join(missing)}")
        if extra := [str(name) for name in values if name not in fields]:
            raise ValueError(f"has an unknown entry {', '.join(extra)}")
        for name, value in values.items():
            _check_number(name, value, real=name in ("dropout", "lambda_ce"))
        args = cls(**values)
        if args.n_embed % (2 * args.n_heads):
            raise ValueError(f"n_embed {args.n_embed} is not a multiple of 2 x n_heads {args.n_heads}")
        return args


def _check_number(name: str, value: Any, real: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float) if real else int):
        raise ValueError(f"{name} is {value!r}, not {'a' if real else 'a whole'} number")
    if not (math.isfinite(value) and value >= 0 if real else value >= 1):
        raise ValueError(f"{name} is {value!r}, out of range")


class ScaleNorm(nn.Module):
    """Layer norm in float32 with a weight and no bias (nanoDD dit.py, LayerNorm)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D], float32."""
        return functional.layer_norm(x.float(), self.weight.shape, self.weight.float())


class TimeEmbedding(nn.Module):
    """Sinusoids of the raw time, then two linear layers (the SiLU behind them is the caller's)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """Times [B], 1..T as they are, to [B, n_cond]."""
        half = TIME_FEATURES // 2
        index = torch.arange(half, dtype=torch.float32, device=time.device)
        angle = time.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * index / half)
        out: Tensor = self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))
        return out


class RotaryAngles(nn.Module):
    """Rotary position embedding (arXiv 2104.09864), halves convention; `inv_freq` is part of the checkpoint."""

    inv_freq: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", rotary_frequencies(head_width))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [L, 1, 1, d], float32; the sines of the first half are negative, as `rotate` wants them."""
        position = torch.arange(length, device=self.inv_freq.device, dtype=torch.float32)
        angle = torch.outer(position, self.inv_freq)[:, None, None]
        cos, sin = angle.cos(), angle.sin()
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotary_frequencies(head_width: int) -> Tensor:
    """10000^(-2i/d) for i < d/2, float32 [d/2]."""
    # On the CPU for the same reason as `_embedding`.
    return 1.0 / (MAX_PERIOD ** (torch.arange(0, head_width, 2, device="cpu").float() / head_width))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [B, L, ., ., d] by the angles of `RotaryAngles`, in the dtype of `x`: pairs are d / 2 apart."""
    return (x * cos.to(x.dtype)).add_(x.roll(x.shape[-1] // 2, dims=-1).mul_(sin.to(x.dtype)))


class Block(nn.Module):
    """Attention and MLP, each between a modulated norm and a gate (adaLN-zero, arXiv 2212.09748)."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        width = args.n_embed
        self.heads = args.n_heads
        self.dropout = args.dropout
        self.norm1 = ScaleNorm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = ScaleNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.adaLN_modulation = _zero_linear(args.n_cond, 6 * width)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        qkv = self.attn_qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key = rotate(qkv[:, :, :2], cos, sin).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(query, key, qkv[:, :, 2].transpose(1, 2))
        projected: Tensor = self.attn_out(out.transpose(1, 2).flatten(-2))
        return projected

    def forward(self, x: Tensor, condition: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, L, D] and a condition [B, n_cond] to [B, L, D]."""
        modulation = self.adaLN_modulation(condition)[:, None].chunk(6, dim=-1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation
        x = gate_a * self._drop(self._attend(_modulate(self.norm1(x), shift_a, scale_a), cos, sin)) + x
        return gate_m * self._drop(self.mlp(_modulate(self.norm2(x), shift_m, scale_m))) + x


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale) + shift


def _embedding(classes: int, width: int) -> nn.Embedding:
    # No random numbers on the meta device, where shapes are looked up: they would import torch's compiler, 100 MiB.
    if torch.get_default_device().type == "meta":
        return nn.Embedding.from_pretrained(torch.empty(classes, width), freeze=False)
    embedding = nn.Embedding(classes, width)
    std = 1 / math.sqrt(width)
    nn.init.trunc_normal_(embedding.weight, 0.0, std, a=-3 * std, b=3 * std)
    return embedding


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class NanoddNetwork(MaskedNetwork):
    """The authors' DiT, cut before the tied vocabulary projection. A new one has the authors' initial weights.

    Args:
        args: sizes.
        dtype: arithmetic of the matrix products, by autocast as the authors do (bfloat16 on their GPUs); norms,
            residual stream and returned logits are float32 in any case.
    """

    takes_time = True

    def __init__(self, args: ModelArgs, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.mask_id = args.vocab_size
        self.dtype = dtype
        width = args.n_embed
        self.vocab_embed = _embedding(args.vocab_size + 1, width)
        self.c_embed = TimeEmbedding(args.n_cond)
        self.rotary_emb = RotaryAngles(width // args.n_heads)
        self.blocks = nn.ModuleList([Block(args) for _ in range(args.n_blocks)])
        self.norm_final = ScaleNorm(width)
        self.adaLN_modulation = _zero_linear(args.n_cond, 2 * width)

    def _autocast(self, tensor: Tensor) -> torch.autocast:
        return torch.autocast(tensor.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def features(self, tokens: Tensor, time: Tensor | None = None) -> Tensor:
        """Ids [B, L] at times [B] (1..T, as they are) to [B, L, D] float32, the input of `head`."""
        if time is None:
            raise ValueError("nanoDD's network takes a time")
        cos, sin = self.rotary_emb(tokens.shape[1])
        with self._autocast(tokens):
            x = self.vocab_embed(tokens)
            condition = functional.silu(self.c_embed(time))
            for block in self.blocks:
                x = block(x, condition, cos, sin)
            shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, dim=-1)
            return _modulate(self.norm_final(x), shift, scale)

    def head(self, features: Tensor) -> Tensor:
        """Features [..., D] to raw logits [..., V + 1], mask column last, float32; the weights are the embedding's."""
        with self._autocast(features):
            return functional.linear(features, self.vocab_embed.weight).float()
