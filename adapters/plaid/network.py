"""Plaid's four modules under the authors' parameter names (upstream lib/models.py).

A diffused embedding z goes through a bidirectional transformer to token logits; the prediction of the clean embedding
is the mean of the embedding table under their softmax. The residual stream has the dtype of the blocks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapters.plaid.layout import BASE_WIDTH, GAMMA_FEATURES, SCHEDULE_WIDTH, PlaidSize

ROTARY_BASE = 10_000.0
EPS = 1e-5


class RootMeanSquare(nn.Module):
    """x / sqrt(mean x^2 + eps) in float32, rounded to the dtype of x, times the weight (apex FusedRMSNorm)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D] of the same dtype."""
        if x.dtype == torch.float32:
            return functional.rms_norm(x, self.weight.shape, self.weight, EPS)
        normal = functional.rms_norm(x.float(), self.weight.shape, None, EPS)
        return normal.to(x.dtype) * self.weight.to(x.dtype)


class ScaleNorm(nn.Module):
    """Layer norm in float32 with a weight and no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D] float32."""
        return functional.layer_norm(x.float(), self.weight.shape, eps=EPS) * self.weight


class Rotary(nn.Module):
    """Rotary position tables (RoFormer, arXiv 2104.09864, halves paired). `inv_freq` is stored but is no parameter."""

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        # Always on the CPU: arithmetic on the meta device, where shapes are looked up, would import torch's compiler.
        exponent = torch.arange(0, head_dim, 2, device="cpu").float() / head_dim
        self.register_buffer("inv_freq", 1.0 / ROTARY_BASE**exponent)

    def forward(self, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin, each [length, head_dim], computed in float32; the sines of the first half are negative."""
        positions = torch.arange(length, device=self.inv_freq.device, dtype=torch.float32)
        angles = torch.outer(positions, self.inv_freq)
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads [..., L, d] by the tables of `Rotary`; float32 inside, the dtype of x outside."""
    turned = x.roll(x.shape[-1] // 2, dims=-1)
    return (x.float() * cos.float() + turned.float() * sin.float()).to(x.dtype)


class FeedForward(nn.Module):
    """Two linear layers without biases, tanh-approximated GELU between them (flash-attn FusedMLP)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width, bias=False)
        self.fc2 = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return out


class Block(nn.Module):
    """Attention and MLP behind norms; both branches are scaled by 1 / sqrt(blocks) before they are added."""

    def __init__(self, size: PlaidSize) -> None:
        super().__init__()
        self.heads = size.n_heads
        self.scale = 1 / math.sqrt(size.n_blocks)
        self.rmsnorm1 = RootMeanSquare(size.dim)
        self.attn_qkv = nn.Linear(size.dim, 3 * size.dim, bias=False)
        self.attn_out = nn.Linear(size.dim, size.dim, bias=False)
        self.rmsnorm2 = RootMeanSquare(size.dim)
        self.mlp = FeedForward(size.dim)

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, L, D] -> [B * L, D], before the output projection."""
        qkv = self.attn_qkv(self.rmsnorm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(qkv[:2], cos, sin)
        mixed = functional.scaled_dot_product_attention(query, key, qkv[2])
        return mixed.transpose(1, 2).reshape(-1, x.shape[-1])

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        mixed = self._attend(x, cos, sin)
        added = torch.addmm(x.reshape_as(mixed), mixed, self.attn_out.weight.T, alpha=self.scale)
        x = added.view_as(x)
        return torch.add(x, self.mlp(self.rmsnorm2(x)), alpha=self.scale)


class PlaidTransformer(nn.Module):
    """The file `model.pt`.

    Args:
        size: architecture numbers.
        dtype: arithmetic and residual stream of the blocks, float32 or bfloat16 (the authors' on a GPU). Everything
            before and behind them is float32 in any case.
    """

    def __init__(self, size: PlaidSize, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.size = size
        self.dtype = dtype
        self.input_linear = nn.Linear(size.embed_dim, size.dim, bias=False)
        self.selfcond_linear = nn.Linear(size.embed_dim, size.dim, bias=False)
        self.gamma_linear = nn.Linear(GAMMA_FEATURES, size.dim, bias=False)
        self.rotary_emb = Rotary(size.dim // size.n_heads)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.n_blocks))
        self.output_norm = ScaleNorm(size.dim)
        self.output_linear = nn.Linear(size.dim, size.vocab_size)
        for layer in (self.selfcond_linear, self.gamma_linear, self.output_linear):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.output_linear.bias)

    def features(self, z: Tensor, gamma: Tensor, previous: Tensor) -> Tensor:
        """Everything before the vocabulary projection, its muP multiplier included.

        Args:
            z: float32 [B, L, e], variance preserving.
            gamma: -log SNR [B], float32 in the authors' sampling and float64 in their likelihood.
            previous: the last prediction of the clean embeddings [B, L, e], zeros where there is none.

        Returns:
            [B, L, D] float32.
        """
        signal, noise = torch.sigmoid(-gamma), torch.sigmoid(gamma)
        # A coordinate of a unit-norm embedding has variance 1 / e.
        deviation = (signal / self.size.embed_dim + noise).sqrt().float()
        x = self.input_linear(z / deviation[:, None, None])
        x = x + self.selfcond_linear(previous * math.sqrt(self.size.embed_dim))
        x = x + self.gamma_linear(sinusoids(gamma))[:, None]
        x = x.to(self.dtype)
        cos, sin = self.rotary_emb(z.shape[1], self.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        normal: Tensor = self.output_norm(x)
        return normal * (BASE_WIDTH / self.size.dim)


def sinusoids(gamma: Tensor) -> Tensor:
    """Sines, then cosines, of gamma [B] at 32 frequencies from e^-5 to e^5: [B, 64] float32, phases in float64."""
    rates = torch.linspace(-5.0, 5.0, GAMMA_FEATURES // 2, dtype=torch.float64, device=gamma.device).exp()
    phase = rates * gamma[:, None]
    return torch.cat((phase.sin(), phase.cos()), dim=1).float()


def prior_scale(gamma: Tensor) -> Tensor:
    """alpha / sigma^2 of gamma [B], float32: what z is scaled with in the output prior log N(z; alpha E_v, sigma^2)."""
    return (torch.sigmoid(-gamma).sqrt() / torch.sigmoid(gamma)).float()


class EmbeddingMatrix(nn.Module):
    """The file `embedding_matrix.pt`: rows are normalised when used, what is stored is not."""

    def __init__(self, size: PlaidSize) -> None:
        super().__init__()
        # No random numbers on the meta device, where shapes are looked up: they would import torch's compiler.
        shape = (size.vocab_size, size.embed_dim)
        meta = torch.get_default_device().type == "meta"
        self.matrix = nn.Parameter(torch.empty(shape) if meta else functional.normalize(torch.randn(shape)))

    def forward(self) -> Tensor:
        """Unit-norm rows [V, e], float32."""
        return self.matrix / (torch.linalg.norm(self.matrix, dim=1, keepdim=True) + 1e-8)


class GammaBounds(nn.Module):
    """The file `gamma_bounds.pt`: -log SNR at t = 0 and t = 1."""

    def __init__(self, gamma_0: float = -3.0, gamma_1: float = 6.0) -> None:
        super().__init__()
        self.gamma_0 = nn.Parameter(torch.tensor(gamma_0))
        self.gamma_1 = nn.Parameter(torch.tensor(gamma_1))


class WarpedTime(nn.Module):
    """The file `noise_schedule.pt`: a learned increasing map of t with 0 -> 0 and 1 -> 1, computed in float64."""

    def __init__(self) -> None:
        super().__init__()
        meta = torch.get_default_device().type == "meta"
        make = torch.empty if meta else torch.randn
        self.W1 = nn.Parameter(make(SCHEDULE_WIDTH, 1))
        self.b1 = nn.Parameter(make(SCHEDULE_WIDTH))
        self.W2 = nn.Parameter(make(1, SCHEDULE_WIDTH))

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The map and its derivative at times [N] float64, which may lie somewhat outside of 0..1: [N], [N]."""
        slope = functional.softplus(self.W1.double())[:, 0]
        height = 0.01 * functional.softplus(self.W2.double())[0]
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=t.device)
        bend = torch.tanh(torch.outer(torch.cat((t, ends)) - 0.5, slope) + self.b1.double())
        raw = bend @ height
        span = raw[-1] - raw[-2]
        rate = (1 - bend[:-2].square()) @ (height * slope)
        return (raw[:-2] - raw[-2]) / span, rate / span


class PlaidNetwork(nn.Module):
    """All four modules; a new one has the authors' initial weights.

    Args:
        size: architecture numbers.
        dtype: see `PlaidTransformer`.
    """

    def __init__(self, size: PlaidSize, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.noise_schedule = WarpedTime()
        self.gamma_bounds = GammaBounds()
        self.embedding_matrix = EmbeddingMatrix(size)
        self.model = PlaidTransformer(size, dtype)

    @property
    def size(self) -> PlaidSize:
        """Architecture numbers."""
        return self.model.size

    def gamma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """-log SNR and its derivative at times [N] float64; both [N] float64, with gradients."""
        low, high = self.gamma_bounds.gamma_0.double(), self.gamma_bounds.gamma_1.double()
        warped, rate = self.noise_schedule(t)
        return low + (high - low) * warped, (high - low) * rate

    def forward(self, z: Tensor, gamma: Tensor, previous: Tensor, bias_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Logits [B, L, V] and the predicted clean embeddings [B, L, e], all at once; arguments as `features`.

        Args:
            bias_scale: factor on the output prior, which training raises from 0 to 1.
        """
        table: Tensor = self.embedding_matrix()
        x = self.model.features(z, gamma, previous)
        prior = (bias_scale * prior_scale(gamma))[:, None, None] * z
        logits = self.model.output_linear(x) + prior @ table.T
        return logits, logits.softmax(-1) @ table
