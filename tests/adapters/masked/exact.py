"""A masked 'network' that knows a joint distribution exactly, so that samplers and bounds can be held against it."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from adapters.masked.denoiser import Denoiser, MaskedNetwork
from adapters.masked.schedules import LogLinear, Schedule


class ExactNetwork(MaskedNetwork):
    """Gives log p(x_i = v | the unmasked tokens) of a table over all V^L sequences. Features are the logits
    themselves.
    """

    def __init__(self, table: Tensor, takes_time: bool = False) -> None:
        super().__init__()
        self.table = table.double() / table.double().sum()
        self.length, self.vocab = table.dim(), table.shape[0]
        self.mask_id = self.vocab
        self.takes_time = takes_time
        self.times: list[Tensor] = []
        states = list(itertools.product(range(self.vocab), repeat=self.length))
        self.states = torch.tensor(states)
        self.weights = torch.stack([self.table[s] for s in states])

    def features(self, tokens: Tensor, time: Tensor | None = None) -> Tensor:
        if time is not None:
            self.times.append(time)
        agrees = ((tokens[:, None] == self.states) | (tokens[:, None] == self.mask_id)).all(-1)
        weights = agrees * self.weights
        onehot = torch.nn.functional.one_hot(self.states, self.vocab + 1).double()
        return torch.einsum("bs,slv->blv", weights, onehot).log()

    def head(self, features: Tensor) -> Tensor:
        return features


def joint(length: int = 3, vocab: int = 2, seed: int = 0) -> Tensor:
    """A random table with some strong dependence between positions."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((vocab,) * length, generator=generator, dtype=torch.float64).pow(3) + 0.01


def denoiser(table: Tensor, schedule: Schedule | None = None, takes_time: bool = False) -> Denoiser:
    return Denoiser(ExactNetwork(table, takes_time), schedule or LogLinear())


def frequencies(tokens: Tensor, table: Tensor) -> Tensor:
    """Share of each sequence among samples [N, L], in the shape of the table."""
    flat = sum(tokens[:, i] * table.shape[0] ** (table.dim() - 1 - i) for i in range(table.dim()))
    return torch.bincount(flat, minlength=table.numel()).double().reshape(table.shape) / len(tokens)
