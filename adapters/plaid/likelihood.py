"""Plaid's likelihood bound: what the family's needs of it, and the authors' own estimator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adapters.estimates import Estimate
from adapters.gaussian.likelihood import corrupt, distance_nats, prior_nats, vlb
from adapters.plaid.system import PlaidSystem

#: Share of the authors' draws that estimate the reconstruction term (train.py, batch_size // 8).
RECONSTRUCTION_SHARE = 1 / 8


class PlaidBound:
    """The likelihood side of a system. Each prediction takes two evaluations: the first one is told nothing, the second
    what the first one predicted from the same state (train.py, evaluation mode)."""

    def __init__(self, system: PlaidSystem) -> None:
        self._system = system

    def gamma_and_rate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """-log SNR and its derivative in t at times [B] float64."""
        gamma, rate = self._system.learned.gamma_and_rate(t)
        return gamma.to(t.device), rate.to(t.device)

    def embed(self, tokens: Tensor) -> Tensor:
        """Unit-norm embeddings [B, L, e] of ids [B, L]."""
        return self._system.readout.table[tokens]

    def predict(self, z: Tensor, gamma: Tensor) -> Tensor:
        """[B, L, e] from z [B, L, e]."""
        return self._predict(z, gamma, self._predict(z, gamma, torch.zeros_like(z)))

    def reconstruct(self, z: Tensor, gamma: Tensor, tokens: Tensor) -> Tensor:
        """-log p(tokens | z) [B] float64."""
        inputs = self._inputs(z, gamma, self._predict(z, gamma, torch.zeros_like(z)))
        with self._system.counted.timed():
            return self._token_nats(inputs, tokens)

    def _predict(self, z: Tensor, gamma: Tensor, previous: Tensor) -> Tensor:
        inputs = self._inputs(z, gamma, previous)
        with self._system.counted.timed():
            return self._system.readout.predict(inputs).view_as(z)

    def _token_nats(self, inputs: Tensor, tokens: Tensor) -> Tensor:
        nats = self._system.readout.token_nats(inputs.flatten(end_dim=-2), tokens.flatten())
        return nats.view(tokens.shape).sum(-1)

    def _inputs(self, z: Tensor, gamma: Tensor, previous: Tensor) -> Tensor:
        return self._system.readout.inputs(self._system.features(z, gamma, previous), z, gamma)

    def vlb(self, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
        """All three terms for every row: see `adapters.gaussian.likelihood.vlb`."""
        return vlb(self, tokens, draws, generator)

    def vlb_plaid(self, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
        """The authors' estimator for rows one by one, as their evaluation of whole corpora runs (train.py,
        compute_nll at val_batch_size 1): a draw is either the reconstruction term with weight 8 (chance 1/8) or the
        diffusion term with weight 8/7 at a uniform time.
        """
        prior = prior_nats(self, tokens)
        values = torch.empty(len(tokens), draws, dtype=torch.float64, device=tokens.device)
        for draw in range(draws):
            u = torch.rand(2, len(tokens), generator=generator, dtype=torch.float64, device=tokens.device)
            shape = (*tokens.shape, self._system.size.embed_dim)
            noise = torch.randn(shape, generator=generator, device=tokens.device)
            values[:, draw] = prior + self.one_draw(tokens, u[0] < RECONSTRUCTION_SHARE, u[1], noise)
        # The draws are independent of each other, so each tells of the spread.
        error = values.std(-1) / math.sqrt(draws) if draws > 1 else torch.full_like(prior, torch.nan)
        return Estimate(values.mean(-1), error)

    def one_draw(self, tokens: Tensor, reconstruct: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The authors' value less the prior term [B] float64, for given draws.

        Args:
            tokens: ids [B, L].
            reconstruct: bool [B], rows that estimate the reconstruction term; their t is 0.
            t: times [B] float64 of the others.
            noise: [B, L, e] float32.
        """
        gamma, rate = self.gamma_and_rate(t.masked_fill(reconstruct, 0.0))
        embedded = self.embed(tokens)
        z = corrupt(embedded, gamma, noise)
        inputs = self._inputs(z, gamma, self._predict(z, gamma, torch.zeros_like(z))).view(*tokens.shape, -1)
        values = torch.empty(len(tokens), dtype=torch.float64, device=tokens.device)
        with self._system.counted.timed():
            values[reconstruct] = self._token_nats(inputs[reconstruct], tokens[reconstruct]) / RECONSTRUCTION_SHARE
            prediction = self._system.readout.predict(inputs[~reconstruct].flatten(0, 1)).view_as(z[~reconstruct])
        nats = distance_nats(embedded[~reconstruct], prediction, gamma[~reconstruct], rate[~reconstruct])
        values[~reconstruct] = nats / (1 - RECONSTRUCTION_SHARE)
        return values
