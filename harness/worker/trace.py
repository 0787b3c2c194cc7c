"""Intermediate states of the first sequences of a point, on disk: one line a point in traces.jsonl of its job folder.

Ids change little from one kept state to the next, so all states but the first are stored as what changed::

    {"point", "session", "seconds", "steps", "of_samples", "done": [S], "texts": [S][B],
     "tokens": [B][the ids of the first state], "changes": [S - 1][B][position, id, position, id, ...]}

Standard library alone: the host reads here what a worker wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from adapters.traces import Trace, traced_steps

FILE = "traces.jsonl"
#: Sequences of a point whose states are kept.
TRACED = 16

Ids = Sequence[Optional[int]]


@dataclass(frozen=True)
class StoredTrace:
    """A trace as it was recorded.

    Attributes:
        steps: of the sampler.
        trace: the states; `tokens` is empty where an earlier version kept texts alone.
        of_samples: whether its last texts are those of the point's first samples. They are not where the batch had more
            sequences than are traced: the noise of a batch depends on its size.
        seconds: what recording took; None where an earlier version traced the timed batch.
    """

    steps: int
    trace: Trace
    of_samples: bool
    seconds: Optional[float] = None


def packed(trace: Trace) -> Dict[str, Any]:
    """The fields of a line that hold the states."""
    pairs = zip(trace.tokens, trace.tokens[1:])
    changes = [[_changes(old, new) for old, new in zip(before, after)] for before, after in pairs]
    return {"done": trace.done, "texts": trace.texts, "tokens": trace.tokens[0], "changes": changes}


def _changes(old: Ids, new: Ids) -> List[Optional[int]]:
    """Position and new id of whatever differs, one after the other."""
    found = [(i, now) for i, (was, now) in enumerate(zip(old, new)) if was != now]
    return [value for pair in found for value in pair]


def unpacked(line: Mapping[str, Any]) -> StoredTrace:
    """The trace of a line of traces.jsonl."""
    states: List[List[List[Optional[int]]]] = [line["tokens"]]
    for changes in line["changes"]:
        states.append([_changed(row, change) for row, change in zip(states[-1], changes)])
    trace = Trace(line["done"], states, line["texts"])
    return StoredTrace(line["steps"], trace, line["of_samples"], line["seconds"])


def _changed(row: Sequence[Optional[int]], changes: Sequence[Optional[int]]) -> List[Optional[int]]:
    out = list(row)
    for position, value in zip(changes[::2], changes[1::2]):
        out[position or 0] = value
    return out


def of_batch(states: Sequence[Sequence[str]], steps: int) -> StoredTrace:
    """The trace that earlier versions kept in a line of batches.jsonl: the texts of a whole timed batch."""
    done = [step + 1 for step in sorted(traced_steps(steps))][: len(states)]
    return StoredTrace(steps, Trace(done, [], [list(state[:TRACED]) for state in states]), of_samples=True)
