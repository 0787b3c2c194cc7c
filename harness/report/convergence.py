"""Convergence inside a run: when the text of a row was settled, when it made sense, and whether it could stop early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.report.curves import LATE, Curve, curves_of
from harness.report.data import metric_title, unique
from harness.report.format import DASH
from harness.report.page import Page
from harness.report.places import Place
from harness.report.plots.canvas import Plot
from harness.report.plots.inside import SeriesOf, inside_plots
from harness.report.plots.series import all_series
from harness.report.traces import Viewer, viewer_of

LARGEST = "the most steps of each"
#: More lines than these in one plot are too many to begin with.
FEW = 8


class Cell(NamedTuple):
    """One figure of the table: what is shown, and what it is sorted by (None: unknown)."""

    text: str
    sort: float | None


class Line(NamedTuple):
    """One row of the table."""

    model: str
    method: str
    steps: int
    cells: list[Cell]


class Choice(NamedTuple):
    """The plots of one choice of step counts."""

    name: str
    plots: list[Plot]


@dataclass(frozen=True)
class Told:
    """What is said of one place.

    Attributes:
        place: the place.
        sentences: one a model and method, at its most steps.
        choices: the plots, those of the most steps first.
        series: lines of the plots, for the page's script.
        lines: the table.
        quality: what the quality in it is, "" where none was measured.
        reasons: why figures are missing.
    """

    place: Place
    sentences: list[str]
    choices: list[Choice]
    series: list[dict[str, Any]]
    lines: list[Line]
    quality: str
    reasons: list[str]

    @property
    def crowded(self) -> bool:
        """Whether there are too many lines to show those of all methods at first."""
        return len(self.series) > FEW


@dataclass(frozen=True)
class Convergence:
    """The section.

    Attributes:
        places: those with traced rows that were measured.
        viewer: states to look at.
        notes: how all this was got.
    """

    places: list[Told]
    viewer: Viewer
    notes: list[str]


def build(page: Page) -> Convergence:
    """Everything the section shows; empty where nothing was traced."""
    lines = all_series(page)
    first = sum(map(len, lines))  # these lines are switched on and off by themselves
    told, curves = [], []
    for place, own in zip(page.places, lines, strict=True):
        mine = curves_of(place, page) if place.kind == "generate" else []
        curves += mine
        if mine:
            told.append(_told(place, mine, {key: s._replace(number=s.number + first) for key, s in own.items()}))
    return Convergence(told, viewer_of(page), _notes(curves))


def _told(place: Place, curves: list[Curve], series: SeriesOf) -> Told:
    most = _most_steps(curves)
    used = [series[c.model, c.method] for c in most]
    return Told(
        place=place,
        sentences=[sentence(curve) for curve in most],
        choices=_choices(place, curves, most, series),
        series=[{"i": s.number, "m": s.model, "s": s.method} for s in used],
        lines=[_line(curve) for curve in curves],
        quality=" or ".join(unique(metric_title(c.metric) for c in curves if c.metric)),
        reasons=unique(f"{name}: {why}" for curve in curves for name, why in _why(curve)),
    )


def _most_steps(curves: Sequence[Curve]) -> list[Curve]:
    found: dict[tuple[str, str], Curve] = {}
    for curve in curves:
        key = curve.model, curve.method
        if key not in found or curve.steps > found[key].steps:
            found[key] = curve
    return list(found.values())


def _choices(place: Place, curves: Sequence[Curve], most: Sequence[Curve], series: SeriesOf) -> list[Choice]:
    """The plots at the most steps of each line, then at each step count that several lines share."""
    choices = [Choice(LARGEST, inside_plots(place, most, series, place.suffix, LARGEST))]
    for steps in sorted({c.steps for c in curves}):
        mine = [c for c in curves if c.steps == steps]
        words = f"{steps:,} step{'s' if steps > 1 else ''}"
        if steps > 1 and mine != list(most) and len(mine) > 1:
            choices.append(Choice(words, inside_plots(place, mine, series, f"-{steps}{place.suffix}", words)))
    return [choice for choice in choices if choice.plots]


def sentence(curve: Curve) -> str:
    """What the states of a row say, in words."""
    name = f"{curve.model} {curve.method}".strip()
    words = [part for part in (_settled(curve), _judged(curve), _stop(curve)) if part]
    steps = f"{curve.steps:,} step{'' if curve.steps == 1 else 's'}"
    return f"{name}, {steps}: {'; '.join(words) or 'nothing could be measured'}."


def _settled(curve: Curve) -> str:
    half, most = curve.settled_at(0.5), curve.settled_at(0.95)
    if half is None or most is None:
        return ""
    rest = "95 % only at the end" if most == curve.steps else f"95 % after {_share(most, curve)}"
    return f"half of the final tokens are settled after {_share(half, curve)}, {rest}"


def _judged(curve: Curve) -> str:
    if curve.near_at is None or curve.masks_until is not None:
        return ""
    near = _share(curve.near_at, curve)
    if curve.sense_at is not None:
        before = "up to there" if curve.senseless_before else "just before"
        return (
            f"the text takes shape only after {curve.sense_at:,} of {curve.steps:,} steps: {before} the judge's "
            f"perplexity is more than twice its final value; it is within 10 % of it from {near} on"
        )
    if curve.near_at == curve.steps:
        return "the judge's perplexity is within 10 % of its final value at the end only"
    return f"the judge's perplexity is within 10 % of its final value from {near} on"


def _stop(curve: Curve) -> str:
    stop, masks = curve.stop_at, curve.masks_until
    if stop is not None and stop <= LATE * curve.steps:
        return f"it could stop early: after {_share(stop, curve)} the text is as good as finished"
    if masks is not None and masks > LATE * curve.steps - 1:
        return "it cannot stop early: masks are left to the end"
    return ""


def _share(done: int, curve: Curve) -> str:
    return f"{done / curve.steps:.0%} of the steps ({done:,})".replace("%", " %")


def _line(curve: Curve) -> Line:
    found = (curve.settled_at(0.5), curve.settled_at(0.95), curve.near_at, curve.good_at)
    cells = [*(_cell(done, curve) for done in found), _early(curve)]
    return Line(curve.model, curve.method, curve.steps, cells)


def _early(curve: Curve) -> Cell:
    stop = curve.stop_at
    if stop is not None and stop > LATE * curve.steps:
        return Cell("no", 1.0)
    return _cell(stop, curve)


def _cell(done: int | None, curve: Curve) -> Cell:
    if done is None:
        return Cell(DASH, None)
    return Cell(f"{100 * done / curve.steps:.0f} % ({done:,})", done / curve.steps)


def _why(curve: Curve) -> list[tuple[str, str]]:
    titles = {"ppl": "perplexity", "tokens": "tokens"}
    return [(titles.get(name, name), why) for name, why in curve.reasons.items()]


def _notes(curves: Sequence[Curve]) -> list[str]:
    if not curves:
        return []
    most = max(c.sequences for c in curves)
    notes = [
        f"After the timed batches of a point, its first {most} texts were generated once more with their states kept. "
        "That run is in no time and no NFE of this report.",
        "A token counts as settled where it is the final one in this and all later states that were kept. Of long runs "
        "about 32 states are kept, evenly spread: shares of steps are known to about 3 %.",
        "The judge reads the text so far, each run of masks replaced by one space; of masked models early figures are "
        "those of fragments. Of Gaussian models a state is the decoded prediction of the finished text.",
        "Could stop early: no mask is left, and from there on at least 99.5 % of the tokens are settled; or the 95 % "
        "interval of the perplexity's ratio to its final value lies within 5 %, and the quality is at least 95 % of "
        "the end's.",
    ]
    if not all(c.of_samples for c in curves):
        notes.append(
            "The traced texts are not the samples below: the noise of a batch depends on its size, and a batch has "
            "more texts than were traced."
        )
    return notes
