"""The vocabulary projection of a loaded network, block by block: logits of a whole batch are never held at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adapters.plaid.network import PlaidNetwork, prior_scale

#: Elements of one block of logits [positions, vocabulary]: 16 MiB of float32 on a CPU, where a larger block is fresh
#: memory from the system each time; 128 MiB elsewhere, where a smaller one is a slow product.
CPU_BLOCK, BLOCK = 1 << 22, 1 << 25


@dataclass(frozen=True)
class Reading:
    """What is known about some tokens at N positions, with what the gradient of it needs.

    Attributes:
        log_p: log-probabilities [N, K] of K tokens.
        log_negated: the same [N, S] of S tokens.
        log_rest: the same [N, 1] of all but those S.
        log_not: log(1 - p) [N, S] of the S tokens, exact where p rounds to 1.
        rest: mean of the rows of `Readout.weight` [N, D + e] under the softmax over all but the S tokens.
        mean: the same over all; its last e columns are the prediction.
    """

    log_p: Tensor
    log_negated: Tensor
    log_rest: Tensor
    log_not: Tensor
    rest: Tensor
    mean: Tensor


class Readout:
    """Logits are linear in (features, scaled z): one matrix holds the projection and the embedding table.

    Args:
        network: on its device. Its projection becomes a view of that matrix, so that it is held once.
    """

    def __init__(self, network: PlaidNetwork) -> None:
        layer = network.model.output_linear
        self.table: Tensor = network.embedding_matrix()
        self.weight = torch.cat((layer.weight, self.table), dim=1)
        self.bias: Tensor = layer.bias
        self.width = layer.in_features
        layer.weight.data = self.weight[:, : self.width]
        elements = CPU_BLOCK if self.weight.device.type == "cpu" else BLOCK
        self._rows = max(1, elements // len(self.weight))

    def inputs(self, features: Tensor, z: Tensor, gamma: Tensor) -> Tensor:
        """Features [B, L, D], the float32 state [B, L, e] and gamma [B] as rows [B * L, D + e]."""
        return torch.cat((features, prior_scale(gamma)[:, None, None] * z), dim=-1).flatten(0, 1)

    def logits(self, inputs: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Which rows of inputs [N, D + e], and their logits [n, V], the caller's to overwrite."""
        # Blocks of one size: a small one at the end would be a slow product.
        count = math.ceil(len(inputs) / self._rows)
        block = math.ceil(len(inputs) / max(1, count))
        for first in range(0, len(inputs), max(1, block)):
            rows = slice(first, first + block)
            yield rows, torch.addmm(self.bias, inputs[rows], self.weight.T)

    def predict(self, inputs: Tensor, ids: Tensor | None = None) -> Tensor:
        """The predicted clean embeddings [N, e] at inputs [N, D + e]; the likeliest tokens go to `ids` [N] if given."""
        prediction = torch.empty(len(inputs), self.table.shape[1], device=inputs.device)
        for rows, logits in self.logits(inputs):
            if ids is not None:
                ids[rows] = logits.argmax(-1)
            prediction[rows] = logits.softmax(-1) @ self.table
        return prediction

    def token_nats(self, inputs: Tensor, tokens: Tensor) -> Tensor:
        """-log p of tokens [N] at inputs [N, D + e]: [N] float64."""
        nats = torch.empty(len(inputs), dtype=torch.float64, device=inputs.device)
        for rows, logits in self.logits(inputs):
            # Not logsumexp less the logit: both are large, and of a likely token few digits would be left.
            nats[rows] = -logits.log_softmax(-1).gather(-1, tokens[rows, None]).squeeze(-1).double()
        return nats

    def read(self, inputs: Tensor, tokens: Tensor, negated: Tensor) -> Reading:
        """What inputs [N, D + e] say about tokens [K], and about not writing tokens [S]."""

        def empty(columns: int) -> Tensor:
            return torch.empty(len(inputs), columns, device=inputs.device)

        log_p, log_negated, log_rest = empty(len(tokens)), empty(len(negated)), empty(1)
        rest = empty(self.weight.shape[1])
        for rows, logits in self.logits(inputs):
            logits -= logits.amax(-1, keepdim=True)  # else few digits are left of log p near 0
            whole = logits.logsumexp(-1, keepdim=True)
            log_p[rows] = logits[:, tokens] - whole
            log_negated[rows] = logits[:, negated] - whole
            logits[:, negated] = -torch.inf
            log_rest[rows] = logits.logsumexp(-1, keepdim=True) - whole
            rest[rows] = logits.softmax(-1) @ self.weight
        # 1 - p as a sum of what is not p: no digits are lost where p is nearly 1.
        besides = log_negated[:, None].masked_fill(_diagonal(negated), -torch.inf).logsumexp(-1)
        log_not = torch.logaddexp(log_rest, besides)
        mean = log_rest.exp() * rest + log_negated.exp() @ self.weight[negated]
        return Reading(log_p, log_negated, log_rest, log_not, rest, mean)

    def gradient(self, reading: Reading, tokens: Tensor, negated: Tensor, on_p: Tensor, on_not: Tensor) -> Tensor:
        """Gradient [N, D + e] with respect to the inputs, of a function of `log_p` and `log_not`.

        d log p_k is W_k - mean, and d log(1 - p_k) is the mean under the softmax without k, less the mean.

        Args:
            reading, tokens, negated: as `read` returned and took them.
            on_p: gradient of the function with respect to `log_p` [N, K].
            on_not: the same for `log_not` [N, S].
        """
        total = on_p.sum(-1, keepdim=True) + on_not.sum(-1, keepdim=True)
        gradient = on_p @ self.weight[tokens] - total * reading.mean
        rest = (on_not * (reading.log_rest - reading.log_not).exp()).sum(-1, keepdim=True)
        # Of each of the S tokens the share among all that are not the k-th: [N, k, S].
        shares = (reading.log_negated[:, None] - reading.log_not[..., None]).masked_fill(_diagonal(negated), -torch.inf)
        besides = (on_not[:, None] @ shares.exp()).squeeze(1)
        return gradient + rest * reading.rest + besides @ self.weight[negated]


def _diagonal(tokens: Tensor) -> Tensor:
    """bool [S, S]."""
    return torch.eye(len(tokens), dtype=torch.bool, device=tokens.device)
