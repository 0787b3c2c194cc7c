"""Steps to quality: for each model and sampler the least steps that come near its own best, where more steps stop
paying, and where the sampler breaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.metrics.base import SampleValues
from harness.paired_grid import gives_a_figure, resampled_figures
from harness.report.contest import MOST_STEPS, Contest, Series
from harness.report.data import Metric
from harness.report.entries import Entry
from harness.report.format import DASH, with_interval
from harness.report.looks import Look
from harness.report.page import Page
from harness.report.places import Place

#: What share of its own best a step count must reach.
SHARE = 0.95
_GAINS = "still gains at"
_ONE = "one step count only"
_ONE_VARIED = "text as varied as real data at one step count only"
_ALL_DULL = "all text is measurably less varied than real data, so that low perplexity means nothing"
#: Size of the chart of one row, and the room beside its axis, in units of the SVG.
WIDTH, HEIGHT, EDGE = 160, 24, 8


class Reached(NamedTuple):
    """The least step count that reaches `SHARE` of the best, and its 95 % bootstrap interval among those that ran.

    `why_not` says why it, or its interval, is unknown.
    """

    steps: int | None
    low: int | None = None
    high: int | None = None
    why_not: str = ""

    @property
    def text(self) -> str:
        """For a table."""
        if self.steps is None:
            return DASH
        return f"{self.steps}" if self.low is None else f"{self.steps} [{self.low}, {self.high}]"


class Finding(NamedTuple):
    """What is said in one cell: text, and why it says no more."""

    text: str
    why_not: str = ""


@dataclass(frozen=True)
class Chart:
    """Positions in the drawing of one row; the axis is logarithmic and the same for all rows of a place.

    Attributes:
        label: what it shows, in words.
        ticks: of each step count that ran.
        at: of the step count, None where it is unknown.
        low: lower end of its interval.
        high: upper end.
    """

    label: str
    ticks: Sequence[float]
    at: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """One model and sampler."""

    series: Series
    look: Look | None
    best: Entry | None
    best_text: str
    reached: Reached
    saturates: Finding
    breaks: Finding
    chart: Chart

    @property
    def name(self) -> str:
        """Model and sampler."""
        return " \u00b7 ".join(word for word in (self.series.model, self.series.method) if word)


@dataclass(frozen=True)
class PlaceSteps:
    """All of a place: `rule` says what "near its best" means there, `axis` are the ends of the charts' axis."""

    place: Place
    title: str
    metric: Metric
    summary: str
    rule: str
    axis: tuple[int, int]
    lines: Sequence[Line]


@dataclass(frozen=True)
class QualitySteps:
    """The section; `places` is empty where nothing was swept."""

    places: Sequence[PlaceSteps]


def build(page: Page) -> QualitySteps:
    """Steps to quality of every place of generated text."""
    found = [_place(page, place, page.contests[place.id]) for place in page.places if place.id in page.contests]
    return QualitySteps([place for place in found if place])


def lines(part: QualitySteps) -> list[str]:
    """The section as plain sentences."""
    out = []
    for place in part.places:
        before = f"{place.title}: " if place.title else ""
        out.append(f"{before}{place.summary}")
        out += [f"{before}{_sentence(line)}" for line in place.lines if len(line.series.entries) > 1]
    return out


def _sentence(line: Line) -> str:
    found = [f"95 % of its best at {line.reached.text} steps"] if line.reached.steps is not None else []
    found += [f"{line.saturates.text}"] if line.saturates.text != DASH else []
    found += [f"{line.breaks.text}"] if line.breaks.text != DASH else []
    return f"{line.name}: {'; '.join(found) or line.reached.why_not}."


def _place(page: Page, place: Place, contest: Contest) -> PlaceSteps | None:
    swept = [steps for series in contest.series for steps in series.steps]
    if not swept:
        return None
    axis = min(swept), max(swept)
    made = [_line(contest, series, axis, page.looks.get(series.model)) for series in contest.series]
    limit = (
        "at least 0.95 of the highest" if contest.metric.better == "higher" else "at most the lowest divided by 0.95"
    )
    rule = (
        f"Least swept steps with a {contest.metric.title} of {limit} of the same model and scheduler; its interval is "
        "a 95 % bootstrap interval over samples, the same ones for all step counts."
    )
    title = "" if place.alone else place.title
    return PlaceSteps(place, title, contest.metric, _summary(made), rule, axis, made)


def _summary(made: Sequence[Line]) -> str:
    """The finding in one or two sentences."""
    swept = [line for line in made if len(line.series.entries) > 1]
    if not swept:
        return "Every model and scheduler ran with one step count only: nothing can be said of fewer or more steps."
    known = [(line.reached.steps, line) for line in swept if line.reached.steps is not None]
    out = []
    if known:
        least = min(steps for steps, _ in known)
        names = [line.name for steps, line in known if steps == least]
        first = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        out.append(f"95 % of the own best is reached soonest, at {_steps(least)}, by {first}.")
    gaining = sum(line.saturates.text.startswith(_GAINS) for line in swept)
    if gaining:
        out.append(f"{gaining} of {len(swept)} still gain from the largest step count that ran.")
    single = len(made) - len(swept)
    if single:
        out.append(f"{single} ran with one step count only.")
    return " ".join(out) or "No model and scheduler has a best that others can be set against; the table says why."


def _line(contest: Contest, series: Series, axis: tuple[int, int], look: Look | None) -> Line:
    able = series._replace(entries=[entry for entry in series.entries if entry not in contest.barred])
    best = contest.best_of(able.entries) if able.entries else None
    reached, saturates = Reached(None, why_not=_ALL_DULL), Finding(DASH, _ALL_DULL)
    if best:
        alone = _ONE_VARIED if len(series.entries) > 1 else _ONE
        reached, saturates = _reached(contest, able, alone), _saturates(contest, able, alone)
    chart = Chart(
        f"{series.model} {series.method}: {_in_words(reached)}",
        [_across(steps, axis) for steps in series.steps[: MOST_STEPS + 1]],
        *(None if steps is None else _across(steps, axis) for steps in reached[:3]),
    )
    text = f"{with_interval(contest.figure(best))} at {best.steps}" if best else DASH
    return Line(series, look, best, text, reached, saturates, _breaks(contest, series, able), chart)


def _in_words(reached: Reached) -> str:
    if reached.steps is None:
        return f"unknown, {reached.why_not}"
    between = "" if reached.low is None else f", interval {reached.low} to {reached.high}"
    return f"95 % of its best from {_steps(reached.steps)} on{between}"


def _across(steps: int, axis: tuple[int, int]) -> float:
    """Where a step count lies on the axis."""
    span = math.log(axis[1] / axis[0])
    share = math.log(steps / axis[0]) / span if span else 0.5
    return round(EDGE + share * (WIDTH - 2 * EDGE), 1)


# --- the findings ----------------------------------------------------------------------------------------------------


def _reached(contest: Contest, series: Series, alone: str) -> Reached:
    if len(series.entries) < 2:
        return Reached(None, why_not=alone)
    figures = np.array([[contest.figure(entry).value for entry in series.entries]])
    if not (figures > 0).any():
        return Reached(None, why_not="no figure is above 0, so 95 % of the best means nothing")
    steps = series.steps
    here = int(_first(figures, contest.metric)[0])
    at = steps[here]
    values = _aligned(series.entries, contest.metric.name)
    if values is None:
        return Reached(at, why_not="no interval: the figures of the same samples are not known at every step count")
    drawn = resampled_figures(values)
    drawn = drawn[np.isfinite(drawn).all(axis=1) & (drawn > 0).any(axis=1)]
    if not len(drawn):
        return Reached(at, why_not="no interval: too few samples with a figure")
    low, high = np.quantile(_first(drawn, contest.metric), [0.025, 0.975], method="inverted_cdf")
    # Seeds that only some step counts have are in the figures, but not in the resamples.
    return Reached(at, steps[min(int(low), here)], steps[max(int(high), here)])


def _first(figures: np.ndarray, metric: Metric) -> np.ndarray:
    """The first step count [n] whose figure comes near the best, of figures [n, step counts]."""
    if metric.better == "higher":
        near = figures >= SHARE * figures.max(axis=1, keepdims=True)
    else:
        near = figures <= figures.min(axis=1, keepdims=True) / SHARE
    first: np.ndarray = near.argmax(axis=1)
    return first


def _aligned(entries: Sequence[Entry], metric: str) -> list[SampleValues] | None:
    """The values of all entries over the samples that all have; None for fewer than two, or where any lacks them."""
    if any(metric not in entry.values for entry in entries):
        return None
    common = set.intersection(*(set(entry.keys) for entry in entries))
    order = [key for key in entries[0].keys if key in common]
    rows = [dict(zip(entry.keys, entry.values[metric].rows, strict=True)) for entry in entries]
    found = [
        SampleValues(entry.values[metric].statistic, [mine[key] for key in order])
        for entry, mine in zip(entries, rows, strict=True)
    ]
    alike = len({values.statistic for values in found}) == 1
    return found if len(order) > 1 and alike and all(map(gives_a_figure, found)) else None


def _saturates(contest: Contest, series: Series, alone: str) -> Finding:
    """The least steps from which on no larger step count is measurably better; `alone` is said of one step count."""
    if len(series.entries) < 2:
        return Finding(DASH, alone)
    if len(series.entries) > MOST_STEPS:
        return Finding(DASH, f"more than {MOST_STEPS} step counts are not all tested")
    for i, entry in enumerate(series.entries):
        tests = [contest.grid.test(more, entry) for more in series.entries[i + 1 :]]
        missing = next((test.why_not for test in tests if test.why_not), "")
        if missing:
            return Finding(DASH, f"no paired test: {missing}")
        if not tests:
            return Finding(f"{_GAINS} {entry.steps}")
        if not any(test.better for test in tests):
            return Finding(f"no measurable gain after {entry.steps}")
    return Finding(DASH)


def _breaks(contest: Contest, series: Series, able: Series) -> Finding:
    """Where more steps are measurably worse, where it is no better than having learned nothing, and where its text is
    too dull to be judged by perplexity, which the rest (`able`) is not.
    """
    dull = [entry.steps for entry in series.entries if entry in contest.barred]
    found = [_worse(contest, able), _no_better(contest, able)]
    found += [f"less varied than real data at {_listed(dull)}"] if dull else []
    return Finding("; ".join(text for text in found if text) or DASH)


def _worse(contest: Contest, series: Series) -> str:
    """The first step count that is measurably worse than a smaller one, and the best such smaller one."""
    for i, more in enumerate(series.entries[:MOST_STEPS]):
        fewer = [entry for entry in series.entries[:i] if contest.grid.test(more, entry).worse]
        if fewer:
            best = contest.best_of(fewer)
            return f"worse at {more.steps} than at {best.steps}"
    return ""


def _no_better(contest: Contest, series: Series) -> str:
    """At which step counts it is not measurably better than the best control that can be beaten."""
    control = contest.beaten
    if control is None or any(contest.grid.test(entry, control).why_not for entry in series.entries):
        return ""
    better = [contest.grid.test(entry, control).better for entry in series.entries]
    if all(better):
        return ""
    if not any(better):
        return f"at no step count better than {control.name}"
    first = better.index(True)
    if all(better[first:]):
        return f"below {series.steps[first]} no better than {control.name}"
    return (
        f"at {_listed([s for s, ok in zip(series.steps, better, strict=True) if not ok])} no better than {control.name}"
    )


def _listed(steps: Sequence[int | None]) -> str:
    shown = ", ".join(map(str, steps[:4]))
    return f"{shown} and {len(steps) - 4} more" if len(steps) > 4 else shown


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
