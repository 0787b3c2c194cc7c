"""Which figure of a column may be called the best: only one that a paired test finds better than every other."""

from __future__ import annotations

from collections.abc import Sequence

from harness import comparable
from harness.report.contest import JUDGED
from harness.report.data import Metric
from harness.report.entries import Entry
from harness.report.page import Page
from harness.report.places import Place
from harness.report.tests_of import Grid


def best_of(page: Page, place: Place, metric: Metric, entries: Sequence[Entry]) -> Entry | None:
    """The entry of a model whose figure is measurably better than those of all others, if there is one.

    Rows that are not ranked with the others do not take part, nor do controls and baselines. Tests are paired and
    adjusted over all pairs of the column (`harness.report.tests_of`). In a perplexity under a judge only text can be
    best that is as varied as real data.
    """
    mine = [entry for entry in entries if _may_win(entry) and entry.estimate(metric.name)]
    if metric.better == "none" or len(mine) < 2:
        return None
    best, *others = sorted(mine, key=lambda entry: _worth(entry, metric), reverse=True)
    if metric.name in JUDGED and not _is_varied(page, place, best):
        return None
    grid = Grid(metric, mine, [(best, other) for other in others])
    return best if all(grid.test(best, other).better for other in others) else None


def _may_win(entry: Entry) -> bool:
    return entry.role == "model" and not any(map(comparable.mark, entry.rows))


def _worth(entry: Entry, metric: Metric) -> float:
    found = entry.estimate(metric.name)
    value = found.value if found else float("nan")
    return value if metric.better == "higher" else -value


def _is_varied(page: Page, place: Place, entry: Entry) -> bool:
    """Whether the entry was compared with real data and not found less varied."""
    contest = page.contests.get(place.id)
    return contest is not None and contest.real is not None and entry not in contest.dull
