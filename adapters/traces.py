"""Intermediate states of a batch on its way from noise to text.

Written in Python 3.8 syntax with the standard library alone, because upstream engines import it inside old images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Set, Tuple

#: How a mask is shown in a text (nanoDD prints the same character).
MASK_TEXT = "\u2588"
#: At most this many states are kept of a traced batch, beside the one before the first step.
TRACE_STATES = 32

Rows = Sequence[Sequence[int]]


def traced_steps(steps: int) -> Set[int]:
    """Indices of the steps whose state a trace keeps: evenly spread, the first and the last among them."""
    return {round(i * (steps - 1) / (TRACE_STATES - 1)) for i in range(TRACE_STATES)}


@dataclass(frozen=True)
class Trace:
    """The kept states of a batch, S of them.

    Attributes:
        done: how many steps were made when a state was reached, [S] rising. 0 is the state before the first step, which
            only models have whose states are tokens; the last is the finished text.
        tokens: for each state and sequence the ids of what the model writes: what is given and the padding behind a
            finished text are left out; None where a mask stands.
        texts: for each state and sequence its text, a mask shown as `MASK_TEXT`.
    """

    done: List[int]
    tokens: List[List[List[Optional[int]]]]
    texts: List[List[str]]


class Tracer:
    """Collects the states of one batch while a sampler runs.

    Args:
        steps: of the sampler; 0 where nothing is to be kept.
        read: a state as the sampler hands it out -> its ids [B][L] and their B texts.
        mask_id: id of the mask, None where a model has none.
    """

    def __init__(
        self, steps: int, read: Callable[[Any], Tuple[Rows, List[str]]], mask_id: Optional[int] = None
    ) -> None:
        self._steps = steps
        self._kept = traced_steps(steps) if steps else set()
        self._read = read
        self._mask_id = mask_id
        self._done: List[int] = []
        self._rows: List[Rows] = []
        self._texts: List[List[str]] = []

    def start(self, state: Any) -> None:
        """Take the state before the first step."""
        if self._steps:
            self._keep(0, *self._read(state))

    def on_step(self, step: int, state: Any) -> None:
        """Take the state that the step of this index left; the finished text comes with `result`."""
        if step in self._kept and step + 1 < self._steps:
            self._keep(step + 1, *self._read(state))

    def _keep(self, done: int, rows: Rows, texts: List[str]) -> None:
        self._done.append(done)
        self._rows.append(rows)
        self._texts.append(texts)

    def result(self, rows: Rows, texts: List[str], written: Sequence[Sequence[bool]]) -> Optional[Trace]:
        """The trace, None where nothing was to be kept.

        Args:
            rows: ids [B][L] of the finished batch.
            texts: its B texts.
            written: [B][L], which positions the model wrote.
        """
        if not self._steps:
            return None
        self._keep(self._steps, rows, texts)
        return Trace(self._done, [self._written(state, written) for state in self._rows], self._texts)

    def _written(self, rows: Rows, written: Sequence[Sequence[bool]]) -> List[List[Optional[int]]]:
        return [
            [None if i == self._mask_id else i for i, own in zip(row, mine) if own] for row, mine in zip(rows, written)
        ]
