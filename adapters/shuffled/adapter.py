"""The control `shuffled`: real tokens, no order."""

from __future__ import annotations

import random

from adapters.base import GenerateRequest, LoadSpec
from adapters.controls import DataControl, Ids, prepared_data


class Shuffled(DataControl):
    """What the `data` control gives, its written tokens permuted inside each sequence: every count of single tokens is
    that of real text, and nothing else is.
    """

    def fill(self, request: GenerateRequest, row: int, ids: Ids, blank: Ids, rng: random.Random) -> None:
        super().fill(request, row, ids, blank, rng)
        written = ids[blank].tolist()
        rng.shuffle(written)
        ids[blank] = written

    def write(self, request: GenerateRequest, row: int, rng: random.Random) -> str:
        words = super().write(request, row, rng).split()
        rng.shuffle(words)
        return " ".join(words)


def load(spec: LoadSpec) -> Shuffled:
    """The `shuffled` control of a prepared benchmark."""
    return Shuffled(prepared_data(spec))
