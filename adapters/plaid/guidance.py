"""Token guidance: the state is pushed towards tokens that are wanted, and away from those that are not.

The gradient of sum(weight * log p(token | z)) with respect to the state is added to the score (classifier guidance,
arXiv 2105.05233, with the model's own token probabilities; Plaid, arXiv 2305.18619, section 4). Conditions are soft:
nothing is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adapters.plaid.readout import Readout
from adapters.plaid.wishes import ANY, Wish


@dataclass(frozen=True)
class Place:
    """Wishes of one weight at single positions: `rows` [M] among the positions that are read, `columns` [M] of their
    tokens."""

    rows: Tensor
    columns: Tensor
    weight: float
    complement: bool = False


@dataclass(frozen=True)
class Guidance:
    """The wishes of one batch, ready to be computed with. Made by `guide`.

    Attributes:
        shape: (B, L).
        positions: indices [N] in the flattened batch whose probabilities are read; all of them for "any" and "all".
        tokens: ids [K] that are wanted.
        negated: ids [S] that are not.
        places: wishes at single positions.
        spread: wishes for "any" and "all", with the column of their token.
        authors: compute as sample.py does, oddities included: `any` less L instead of log L, and complements from
            rounded probabilities, which give NaN where a probability rounds to 1.
    """

    shape: tuple[int, int]
    positions: Tensor
    tokens: Tensor
    negated: Tensor
    places: Sequence[Place]
    spread: Sequence[tuple[Wish, int]]
    authors: bool

    def total(self, log_p: Tensor, log_not: Tensor) -> Tensor:
        """Sum of weighted log-probabilities, from those of all positions that are read [N, K] and [N, S]."""
        total = log_p.new_zeros(())
        for place in self.places:
            values = self._values(log_p, log_not, place.complement)[place.rows, place.columns]
            total = total + place.weight * self._finish(values, place.complement).sum()
        for wish, column in self.spread:
            values = self._values(log_p, log_not, wish.complement)[:, column]
            if wish.position == ANY:
                # Of the mean probability over positions, or of one minus it.
                values = values.view(self.shape).logsumexp(1) - self._any_constant
            total = total + wish.weight * self._finish(values, wish.complement).sum()
        return total

    @property
    def _any_constant(self) -> float:
        return float(self.shape[1]) if self.authors else math.log(self.shape[1])

    def _values(self, log_p: Tensor, log_not: Tensor, complement: bool) -> Tensor:
        return log_not if complement and not self.authors else log_p

    def _finish(self, values: Tensor, complement: bool) -> Tensor:
        return log_one_minus_exp(values) if complement and self.authors else values

    def pull(self, readout: Readout, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of `total` with respect to inputs [N, D + e] of the positions that are read, and the predicted
        embeddings there [N, e]."""
        reading = readout.read(inputs, self.tokens, self.negated)
        with torch.enable_grad():
            log_p, log_not = reading.log_p.requires_grad_(), reading.log_not.requires_grad_()
            # Both take part, so that either has a gradient where no wish uses it.
            total = self.total(log_p, log_not) + 0 * (log_p.sum() + log_not.sum())
            on_p, on_not = torch.autograd.grad(total, [log_p, log_not])
        gradient = readout.gradient(reading, self.tokens, self.negated, on_p, on_not)
        return gradient, reading.mean[:, readout.width :]


def log_one_minus_exp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0 as the authors compute it; its gradient is NaN where x rounds to 0."""
    x = -x.abs()
    return torch.where(x > -0.693, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


def guide(rows: Tensor, given: Tensor, weight: float, wishes: Sequence[Wish], authors: bool) -> Guidance | None:
    """The guidance of a batch, None where nothing is wanted.

    Args:
        rows: ids [B, L]; only those that are given matter.
        given: bool [B, L], tokens of a prompt, each wanted at its place.
        weight: of the prompt's tokens.
        wishes: for each text of the batch.
        authors: see `Guidance`.
    """
    if not wishes and not given.any():
        return None
    batch, length = rows.shape
    spread = [wish for wish in wishes if isinstance(wish.position, str)]
    single = [(int(wish.position), wish) for wish in wishes if not isinstance(wish.position, str)]
    read = given | bool(spread)
    read[:, [position for position, _ in single]] = True
    positions = read.flatten().nonzero().squeeze(-1)
    # From a position of the batch to its index among those that are read.
    index = (read.flatten().cumsum(0) - 1).view(batch, length)
    negated = [] if authors else sorted({wish.token for wish in wishes if wish.complement})
    wanted = {wish.token for wish in wishes if authors or not wish.complement}
    tokens = torch.tensor(sorted({*wanted, *rows[given].tolist()}), dtype=torch.int64, device=rows.device)

    def column(wish: Wish) -> int:
        return (negated if wish.complement and not authors else tokens.tolist()).index(wish.token)

    places = [Place(index[given], torch.searchsorted(tokens, rows[given]), weight)] if given.any() else []
    for position, wish in single:
        at = index[:, position]
        places.append(Place(at, torch.full_like(at, column(wish)), wish.weight, wish.complement))
    return Guidance(
        shape=(batch, length),
        positions=positions,
        tokens=tokens,
        negated=torch.tensor(negated, dtype=torch.int64, device=rows.device),
        places=places,
        spread=[(wish, column(wish)) for wish in spread],
        authors=authors,
    )
