"""Rounding: the word embedding nearest to each predicted one (upstream diffuseq/rounding.py).

The authors compare all V words with all positions at once, in a matrix [V, B * L] of squared distances. Here
|e|^2 + |f|^2 - 2 e.f is least where e.f - |e|^2 / 2 is largest, which is one matrix product; it is made for some
positions at a time, and only for those that may have changed since the last rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

#: Elements of one [positions, words] block. 32 MiB of float32.
BLOCK = 1 << 23
#: A distance below half of that to the nearest other word proves which word is nearest; so much of it is left for
#: rounding errors, as a share of the squared distance.
MARGIN = 1e-3
#: Words whose scores are compared at once. The largest of many short runs is found several times as fast on a CPU as
#: the place of the largest of all; the place is then looked for in one run.
RUN = 64


class Rounding:
    """Finds the nearest rows of a table of embeddings, exactly.

    A position often keeps its word from one step to the next (all of the padding does). If f lies within half the
    distance from its last word to that word's nearest neighbour, the triangle inequality says that no other is nearer,
    and the table is not searched. The distances to neighbours are found when a word is first kept.

    Args:
        embedding: [V, D] float32.
    """

    def __init__(self, embedding: Tensor) -> None:
        self.embedding = embedding
        half_norms = -embedding.square().sum(-1) / 2
        missing = -len(embedding) % RUN
        #: Whole runs of words; what fills up the last one is never the largest.
        self._table = pad(embedding, (0, 0, 0, missing))
        self._offsets = pad(half_norms, (0, missing), value=float("-inf"))
        #: Squared radius within which a word is certain; -1 where it was not computed yet.
        self._certain = torch.full_like(half_norms, -1.0)

    def nearest(self, vectors: Tensor, last: Tensor | None = None) -> Tensor:
        """Ids [N] of the nearest words.

        Args:
            vectors: [N, D].
            last: ids [N] found for the same positions the last time, None the first time.
        """
        if last is None:
            return self._search(vectors)
        gap = (vectors - self.embedding[last]).square().sum(-1)
        open_ = (gap >= self._certain[last]).nonzero().flatten()
        found = last.clone()
        found[open_] = self._search(vectors[open_])
        self._learn(found[open_][found[open_] == last[open_]])
        return found

    def _search(self, vectors: Tensor) -> Tensor:
        rows = max(1, BLOCK // len(self._table))
        parts = [self._search_block(part) for part in vectors.split(rows)]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64, device=vectors.device)

    def _search_block(self, vectors: Tensor) -> Tensor:
        """Ids [N] of the largest scores, of equal ones the first."""
        scores = torch.addmm(self._offsets, vectors, self._table.t()).view(len(vectors), len(self._table) // RUN, RUN)
        run = scores.amax(-1).argmax(-1)
        inside = scores[torch.arange(len(vectors), device=vectors.device), run].argmax(-1)
        return run * RUN + inside

    def _learn(self, words: Tensor) -> None:
        """Find out how far the nearest other words of some words are."""
        words = words.unique()
        words = words[self._certain[words] < 0]
        rows = max(1, BLOCK // len(self.embedding))
        for part in words.split(rows):
            chosen = self.embedding[part]
            score = torch.addmm(self._offsets, chosen, self._table.t())
            score.scatter_(1, part[:, None], float("-inf"))
            squared = chosen.square().sum(-1) - 2 * score.amax(-1)
            self._certain[part] = (squared / 4 * (1 - MARGIN)).clamp(min=0)
