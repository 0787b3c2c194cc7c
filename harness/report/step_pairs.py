"""Two step counts against each other for every model and sampler: does it pay to take the larger one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.report.contest import Contest, Series
from harness.report.entries import Entry
from harness.report.format import DASH, figure, interval, with_interval
from harness.report.tests_of import Test, overlap_text, p_text, shared_text

_DULL = "text less varied than real data"
FEWER, MORE, NEITHER, DULL, UNKNOWN = "fewer", "more", "neither", "dull", "unknown"


class StepPair(NamedTuple):
    """One model and sampler.

    Attributes:
        model: its name.
        method: its sampler.
        fewer: the entry with fewer steps; with one step count only, that one.
        more: the entry with more steps; None with one step count only.
        figures: of both, as text.
        difference: how much better the larger step count is, with its interval, as text.
        p: after Holm, as text.
        answer: FEWER or MORE where that one is measurably better, NEITHER, DULL where the better figure may come from
            less varied text alone, or UNKNOWN without a test.
        short: the answer in a few words.
        text: the answer in words, without the two step counts.
    """

    model: str
    method: str
    fewer: Entry
    more: Entry | None
    figures: tuple[str, str]
    difference: str
    p: str
    answer: str
    short: str
    text: str

    @property
    def steps(self) -> tuple[int | None, int | None]:
        """The two step counts."""
        return self.fewer.steps, self.more.steps if self.more else None

    @property
    def compared(self) -> str:
        """The two step counts in words."""
        return f"{self.fewer.steps} against {_steps(self.more)}" if self.more else _steps(self.fewer)


@dataclass(frozen=True)
class StepPairs:
    """All of a place; `asked` are the two step counts that were to be set against each other."""

    asked: tuple[int, int]
    lead: str
    summary: str
    rows: Sequence[StepPair]

    def lines(self) -> list[str]:
        """A plain sentence for each model and sampler."""
        return [f"{row.model} \u00b7 {row.method}, {row.compared}: {row.text}." for row in self.rows]


def step_pairs(contest: Contest, asked: tuple[int, int]) -> StepPairs | None:
    """The answer for each model and sampler of a place; None where no step count is known."""
    rows = [_pair(contest, series, asked) for series in contest.series]
    return StepPairs(asked, f"{asked[0]} against {asked[1]} steps:", _summary(rows, asked), rows) if rows else None


def _pair(contest: Contest, series: Series, asked: tuple[int, int]) -> StepPair:
    found = series.nearest(asked)
    if found is None:
        fewer = series.entries[0]
        figures, only = (_figure(contest, fewer), DASH), "no other step count was run"
        return StepPair(series.model, series.method, fewer, None, figures, DASH, DASH, UNKNOWN, only, only)
    fewer, more = found
    test = contest.grid.test(more, fewer)
    answer, short, text = _answer(contest, test, fewer, more)
    if (fewer.steps, more.steps) != asked:
        text += f" ({asked[0]} and {asked[1]} steps were not both run)"
    figures = _figure(contest, fewer), _figure(contest, more)
    difference = f"{figure(test.gain)} {interval(test.low, test.high)}".strip()
    p = DASH if test.p is None else p_text(test.p).removeprefix("p ").removeprefix("= ")
    return StepPair(series.model, series.method, fewer, more, figures, difference, p, answer, short, text)


def _answer(contest: Contest, test: Test, fewer: Entry, more: Entry) -> tuple[str, str, str]:
    if test.why_not:
        figures = f"{_figure(contest, fewer)} and {_figure(contest, more)}"
        overlap = overlap_text(contest.figure(fewer), contest.figure(more))
        text = f"no paired test ({test.why_not}); {figures}: {overlap}"
        return UNKNOWN, "no paired test", text
    over = shared_text(test, more, fewer)
    if not test.separable:
        few = "too few samples differ to tell what would have shown"
        seen = few if test.detectable is None else f"\u00b1{figure(test.detectable)} would have shown"
        text = f"no measurable difference{over} ({seen})"
        return NEITHER, text, text
    better, gain = (more, test) if test.better else (fewer, test.turned())
    by = f"{figure(gain.gain)} {interval(gain.low, gain.high)}{over}, {p_text(test.p or 0)}"
    if better in contest.barred:
        short = f"{_steps(better)}: lower perplexity, of {_DULL}"
        return DULL, short, f"{_steps(better)}: perplexity lower by {by}, but of {_DULL}"
    short, said = f"{_steps(better)} better", f"{_steps(better)} better by {by}"
    if better in contest.dull:
        short, said = f"{short}, of {_DULL}", f"{said}; of {_DULL}"
    return (MORE if test.better else FEWER), short, said


def _summary(rows: Sequence[StepPair], asked: tuple[int, int]) -> str:
    """All answers in one sentence."""
    a, b = asked
    exact = [row for row in rows if row.steps == asked]
    if not exact:
        return "no model ran both; the table has the nearest pairs that were run."
    counts = {answer: sum(row.answer == answer for row in exact) for answer in (MORE, FEWER, NEITHER, DULL, UNKNOWN)}
    words = {
        MORE: f"{b} steps are measurably better for {{}}",
        FEWER: f"{a} steps are measurably better for {{}}",
        NEITHER: "there is no measurable difference for {}",
        DULL: "the lower perplexity comes with text less varied than real data for {}",
        UNKNOWN: "there is no paired test for {}",
    }
    parts = [words[answer].format(counts[answer]) for answer in words if counts[answer]]
    whole = f"{len(exact)} combination{'s' if len(exact) > 1 else ''} of model and scheduler"
    rest = f" {len(rows) - len(exact)} more did not run both." if len(rows) > len(exact) else ""
    return f"of {whole}, {', '.join(parts)}.{rest}"


def _figure(contest: Contest, entry: Entry) -> str:
    return with_interval(contest.figure(entry))


def _steps(entry: Entry) -> str:
    return f"{entry.steps} step{'' if entry.steps == 1 else 's'}"
