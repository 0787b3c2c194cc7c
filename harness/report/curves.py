"""How the text of one row came about: its measured states (`harness.convergence`), and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.report.data import Estimate, Row, number
from harness.report.page import Page
from harness.report.places import Place

#: "Near its final value", as a factor.
NEAR = 1.10
#: "As good as its final value": the whole interval of the ratio lies within this factor.
EQUAL = 1.05
#: Above this factor a text has not taken shape yet.
SENSELESS = 2.0
#: A share of settled tokens at which a text counts as finished, and of the quality at which it is as good.
FINISHED, AS_GOOD = 0.995, 0.95
#: Stopping later than this saves too little to be spoken of.
LATE = 0.9


class State(NamedTuple):
    """One kept state; figures that are not known are None.

    Attributes:
        done: steps done when it was reached.
        settled, same, masked, ppl, ratio, entropy, metric: see `harness.convergence`.
    """

    done: int
    settled: Estimate | None
    same: Estimate | None
    masked: Estimate | None
    ppl: Estimate | None
    ratio: Estimate | None
    entropy: Estimate | None
    metric: Estimate | None


@dataclass(frozen=True)
class Curve:
    """The states of one traced row.

    Attributes:
        row: the row.
        model: its name.
        method: scheduler and whatever else tells it apart.
        steps: of the sampler, 1 or more.
        states: rising in `done`; the last is the finished text.
        sequences: how many were traced.
        of_samples: whether their finished texts are the row's first samples.
        reasons: why figures are not known, by name.
        metric: name of the quality that was measured of each state, None where there was none.
    """

    row: Row
    model: str
    method: str
    steps: int
    states: Sequence[State]
    sequences: int
    of_samples: bool
    reasons: Mapping[str, str]
    metric: str | None = None

    def settled_at(self, share: float) -> int | None:
        """Steps done at the first state with so many of the final tokens settled; None where that is not known."""
        return next((s.done for s in self.states if s.settled and s.settled.value >= share), None)

    @property
    def near_at(self) -> int | None:
        """Steps done at the first state from which on the perplexity stays within `NEAR` of the final one."""
        return self._from(lambda s: s.ratio is not None and 1 / NEAR <= s.ratio.value <= NEAR)

    @property
    def good_at(self) -> int | None:
        """Steps done at the first state from which on the quality is at least `AS_GOOD` of that of the end; None where
        that is 0 or not known.
        """
        end = self.states[-1].metric
        if end is None or end.value <= 0:
            return None
        return self._from(lambda s: s.metric is not None and s.metric.value >= AS_GOOD * end.value)

    @property
    def sense_at(self) -> int | None:
        """Steps done at the first state from which on the perplexity is at most `SENSELESS` times the final one, where
        the state before is above that for sure; None else.
        """
        at = self._from(lambda s: s.ratio is not None and s.ratio.value <= SENSELESS)
        before = [s for s in self.states if at is not None and s.done < at and s.ratio is not None]
        sure = before and before[-1].ratio and before[-1].ratio.low is not None and before[-1].ratio.low > SENSELESS
        return at if sure else None

    @property
    def senseless_before(self) -> bool:
        """Whether the perplexity is above `SENSELESS` times the final one in all states before `sense_at`."""
        at = self.sense_at
        return at is not None and all(s.ratio.value > SENSELESS for s in self.states if s.ratio and s.done < at)

    @property
    def stop_at(self) -> int | None:
        """Steps done at the first state from which on the text is as good as finished: no mask is left, and either its
        tokens change no more, or the judge tells no difference and the quality is `AS_GOOD` of the end's or more.
        """
        return self._from(lambda s: self._unmasked(s) and (self._finished(s) or self._equal(s)))

    @property
    def masks_until(self) -> int | None:
        """Steps done at the last state that has masks; None where there are none."""
        return next((s.done for s in reversed(self.states) if s.masked and s.masked.value > 0), None)

    def _from(self, holds: Callable[[State], bool]) -> int | None:
        found = None
        for state in reversed(self.states):
            if not holds(state):
                break
            found = state.done
        return found

    @staticmethod
    def _unmasked(state: State) -> bool:
        return state.masked is not None and state.masked.value == 0

    @staticmethod
    def _finished(state: State) -> bool:
        return state.settled is not None and state.settled.value >= FINISHED

    def _equal(self, state: State) -> bool:
        ratio, end = state.ratio, self.states[-1].metric
        if ratio is None or ratio.low is None or ratio.high is None:
            return False
        kept = end is None or (state.metric is not None and state.metric.value >= AS_GOOD * end.value)
        return kept and ratio.low >= 1 / EQUAL and ratio.high <= EQUAL


def curves_of(place: Place, page: Page) -> list[Curve]:
    """The traced rows of a place that were measured, in the order of its rows, one for each model, method and steps."""
    found: dict[tuple[str, str, int], Curve] = {}
    for row in place.rows:
        record = page.data.convergence.get(str(row.get("fingerprint")), {})
        curve = _curve(row, record, page)
        if curve is not None:
            found.setdefault((curve.model, curve.method, curve.steps), curve)
    return list(found.values())


def _curve(row: Row, record: Mapping[str, Any], page: Page) -> Curve | None:
    states = [state for state in map(_state, record.get("states") or ()) if state]
    steps = number(record.get("steps"))
    if not states or steps is None or steps < 1:
        return None
    return Curve(
        row=row,
        model=page.names.model(row),
        method=page.names.method(row),
        steps=int(steps),
        states=states,
        sequences=int(number(record.get("sequences")) or 0),
        of_samples=bool(record.get("of_samples")),
        reasons=record.get("reasons") or {},
        metric=record.get("metric"),
    )


def _state(stored: Mapping[str, Any]) -> State | None:
    done = number(stored.get("done"))
    if done is None:
        return None
    return State(int(done), *(_figure(stored.get(name)) for name in State._fields[1:]))


def _figure(stored: Any) -> Estimate | None:
    value, low, high = stored if isinstance(stored, list) and len(stored) == 3 else (None, None, None)
    known = number(value)
    return None if known is None or math.isnan(known) else Estimate(known, number(low), number(high))
