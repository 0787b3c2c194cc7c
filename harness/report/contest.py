"""Who competes in a place of generated text, within which budget, and who wins."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from harness import comparable
from harness.report.data import Estimate, Given, Metric, Row, as_text, estimate, of_kind
from harness.report.entries import Entry
from harness.report.figures import main_metrics
from harness.report.places import Place
from harness.report.tests_of import Grid

ENTROPY = "unigram_entropy"
#: Judged by perplexity, dull text wins: these are compared at matched entropy only (arXiv 2604.02718).
JUDGED = ("gen_ppl", "gen_ppl_mean")
#: "Few steps", where the user names no number and the run has so few.
FEW_STEPS = 20
#: Fields of a row that make its sampler.
_SAMPLER = ("checkpoint", "engine", "scheduler", "options", "selection", "candidates")
#: Step counts of one sampler that are all tested against each other.
MOST_STEPS = 40


class Budget(NamedTuple):
    """Those who may win within a budget.

    Attributes:
        unit: "steps" or "seconds"; "any" where no step count is known, so that nothing is limited.
        limit: of the budget; infinite where nothing is known of the unit.
        where: machine and settings of the seconds; "" for steps.
        entries: all within it that may win, best first.
        barred: all within it that may not, being less varied than real data where that alone makes a good figure.
        varied: the best one whose text is not measurably less varied than real data.
        least: the cheapest entry, within the budget or not; None where no cost is known.
        unplaced: those whose cost is not known, or not comparable with the others', so that they are not in it; best
            first, without those that may not win.
    """

    unit: str
    limit: float
    where: str
    entries: Sequence[Entry]
    barred: Sequence[Entry]
    varied: Entry | None
    least: Entry | None
    unplaced: Sequence[Entry]

    @property
    def winner(self) -> Entry | None:
        """The best, None where none may win."""
        return self.entries[0] if self.entries else None


class Series(NamedTuple):
    """One model with one sampler over its step counts, fewest first."""

    model: str
    method: str
    entries: Sequence[Entry]

    @property
    def steps(self) -> list[int]:
        """The step counts."""
        return [entry.steps or 0 for entry in self.entries]

    def nearest(self, asked: tuple[int, int]) -> tuple[Entry, Entry] | None:
        """The entries with these two step counts, or with those nearest to each (by ratio); None for fewer than two."""
        few, many = asked
        entries = [entry for entry in self.entries if entry.steps]
        for first in sorted(entries, key=lambda e: abs(math.log((e.steps or 0) / few)))[:2]:
            rest = [entry for entry in entries if (entry.steps or 0) > (first.steps or 0)]
            if rest:
                return first, min(rest, key=lambda e: abs(math.log((e.steps or 0) / many)))
        return None


@dataclass(frozen=True)
class Contest:
    """A place and the metric it is told by.

    Attributes:
        place: of generated text.
        metric: the first of its main metrics that has a direction.
        ranked: entries of models that may be ranked in it, best first.
        left_out: reasons why others may not, each with their number.
        series: the same by model and sampler.
        dull: those of them whose text is measurably less varied than real data.
        barred: those of them that may not be called better: the dull ones, where that alone makes a good figure.
        unscored: finished entries of models that have no figure in the metric.
        real: the row of real data, None where there is none to compare with.
        controls: controls that learned nothing, best first; where dull text may not win, without dull ones.
        beaten: the best of them that the best entry is ahead of: what a figure must beat to mean anything.
        baselines: autoregressive models to compare with, and what keeps each from being ranked with the rest.
        budgets: who wins at few steps, and who wins in little time.
        grid: the tests between them.
    """

    place: Place
    metric: Metric
    ranked: Sequence[Entry]
    left_out: Mapping[str, int]
    series: Sequence[Series]
    dull: frozenset[Entry]
    barred: frozenset[Entry]
    unscored: Sequence[Entry]
    real: Entry | None
    controls: Sequence[Entry]
    beaten: Entry | None
    baselines: Mapping[Entry, str]
    budgets: Sequence[Budget]
    grid: Grid

    def figure(self, entry: Entry) -> Estimate:
        """Its figure in the metric; not a number where it has none."""
        return entry.estimate(self.metric.name) or Estimate(math.nan, None, None)

    def best_of(self, entries: Sequence[Entry]) -> Entry:
        """The best of some of the ranked ones."""
        some = set(entries)
        return next(entry for entry in self.ranked if entry in some)


def primary(place: Place) -> Metric | None:
    """The metric that a place is told by: the first of its main ones that has a direction and a figure."""
    rows = of_kind(place.rows, "generate")
    directed = [m for m in main_metrics(place.metrics) if m.better != "none"]
    return next((m for m in directed if any(estimate(row, m.name) for row in rows if _is_model(row))), None)


def contest_of(place: Place, entries: Sequence[Entry], given: Given) -> Contest | None:
    """The contest of a place; None where no model has a figure in any of its main metrics."""
    metric = primary(place)
    if metric is None:
        return None
    reasons = _reasons(metric, place, [e for e in entries if e.estimate(metric.name)])
    may = [e for e, reason in reasons.items() if not reason]
    ranked = _best_first([e for e in may if _is_model(e.rows[0])], metric)
    controls = _best_first([e for e in may if e.role == "control"], metric)
    real = next((e for e in controls if e.rows[0].get("model") == "data"), None)
    controls = [e for e in controls if e.rows[0].get("model") != "data"]
    less_varied = _dull([*ranked, *controls], real)
    dull = less_varied.intersection(ranked)
    barred = dull if metric.name in JUDGED else frozenset[Entry]()
    controls = [c for c in controls if metric.name not in JUDGED or c not in less_varied]
    budgets = [_few_steps(ranked, given, barred, dull), _little_time(ranked, given, barred, dull)]
    series = series_of(ranked)
    pairs = [(f.winner, other) for f in budgets if f.winner for other in f.entries]
    pairs += [pair for s in series for pair in _step_tests(s, given)]
    best = next((entry for entry in ranked if entry not in barred), None)
    beaten = next((c for c in controls if best and _ahead(best, c, metric)), None)
    pairs += [(f.winner, control) for f in budgets if f.winner for control in controls[:1]]
    pairs += [(entry, beaten) for entry in ranked if beaten]
    left_out = Counter(reason for e, reason in reasons.items() if reason and _is_model(e.rows[0]))
    baselines = {e: reason for e, reason in reasons.items() if e.role == "baseline"}
    unscored = [e for e in entries if _is_model(e.rows[0]) and not e.estimate(metric.name)]
    return Contest(
        place=place,
        metric=metric,
        ranked=ranked,
        left_out=left_out,
        series=series,
        dull=dull,
        barred=barred,
        unscored=unscored,
        real=real,
        controls=controls,
        beaten=beaten,
        baselines=baselines,
        budgets=budgets,
        grid=Grid(metric, [*ranked, *controls], pairs),
    )


def sampler(entry: Entry) -> tuple[str, ...]:
    """What tells one way to sample a model from another, wherever it ran."""
    return tuple(as_text(entry.rows[0].get(name)) for name in _SAMPLER)


def series_of(entries: Sequence[Entry]) -> list[Series]:
    """Entries with a known step count by model and sampler, and by where they ran."""
    found: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        if entry.steps is not None:
            where = str([entry.rows[0].get(field) for field in ("run", "machine", "threads")])
            found.setdefault((entry.model, entry.method, where), []).append(entry)
    return [Series(m, s, sorted(mine, key=lambda e: e.steps or 0)) for (m, s, _), mine in sorted(found.items())]


def _step_tests(series: Series, given: Given) -> list[tuple[Entry, Entry]]:
    """More steps against fewer: all pairs, or only the one asked for where there are very many."""
    if len(series.entries) <= MOST_STEPS:
        return [(more, fewer) for fewer, more in combinations(series.entries, 2)]
    asked = series.nearest(given.step_pair)
    return [asked] if asked else []


def steps_spent(entry: Entry) -> int | None:
    """Steps for one text; a choice among candidates spends those of all of them."""
    candidates = entry.rows[0].get("candidates")
    return None if entry.steps is None else entry.steps * (candidates if isinstance(candidates, int) else 1)


def _is_model(row: Row) -> bool:
    """Controls and baselines are there to compare with: they never win."""
    return row.get("role") not in ("control", "baseline")


def _reasons(metric: Metric, place: Place, entries: Sequence[Entry]) -> dict[Entry, str]:
    """What keeps each entry from being ranked with most of them; "" for those that may be."""
    rows = [row for entry in entries for row in entry.rows]
    fields = (*comparable.quality_fields(place.task), *comparable.metric_fields(rows, metric.name))
    phrases = dict(zip(map(id, rows), comparable.differences(rows, fields), strict=True))
    return {e: "; ".join(dict.fromkeys(text for row in e.rows for text in phrases[id(row)])) for e in entries}


def _best_first(entries: Sequence[Entry], metric: Metric) -> list[Entry]:
    """Best first; of equal ones the cheaper first."""
    sign = -1 if metric.better == "higher" else 1

    def order(entry: Entry) -> tuple[float, float]:
        found = entry.estimate(metric.name)
        return (sign * found.value if found else math.inf, entry.nfe or math.inf)

    return sorted(entries, key=order)


def _ahead(entry: Entry, other: Entry, metric: Metric) -> bool:
    return entry is _best_first([other, entry], metric)[0]


def _dull(entries: Sequence[Entry], real: Entry | None) -> frozenset[Entry]:
    """Those whose unigram entropy is measurably below that of real data: the 95 % interval of the difference is."""
    if real is None or not real.estimate(ENTROPY):
        return frozenset()
    metric = Metric(ENTROPY, "", "", "higher", (), ())
    grid = Grid(metric, [real, *entries], [(entry, real) for entry in entries])
    return frozenset(entry for entry in entries if _is_below(grid, entry, real))


def _is_below(grid: Grid, entry: Entry, real: Entry) -> bool:
    test, mine, theirs = grid.test(entry, real), entry.estimate(ENTROPY), real.estimate(ENTROPY)
    if not test.why_not:
        return test.high is not None and test.high < 0
    if mine is None or theirs is None or mine.high is None or theirs.low is None:
        return False
    return mine.high < theirs.low


def _few_steps(ranked: Sequence[Entry], given: Given, barred: frozenset[Entry], dull: frozenset[Entry]) -> Budget:
    spent = {e: s for e in ranked if (s := steps_spent(e)) is not None}
    if not spent:
        return _budget("any", math.inf, "", ranked, dict.fromkeys(ranked, 0.0), barred, dull)
    limit = given.steps_budget or max(FEW_STEPS, min(spent.values()))
    return _budget("steps", limit, "", ranked, spent, barred, dull)


def _little_time(ranked: Sequence[Entry], given: Given, barred: frozenset[Entry], dull: frozenset[Entry]) -> Budget:
    """Within a budget of seconds, only rows whose seconds are comparable."""
    timed = [e for e in ranked if e.seconds is not None]
    alike = comparable.differences([e.rows[0] for e in timed], comparable.TIME)
    spent = {e: e.seconds for e, phrases in zip(timed, alike, strict=True) if not phrases and e.seconds is not None}
    limit = given.seconds_budget or _round_up(sorted(spent.values()))
    where = _where(next(iter(spent)).rows[0]) if spent else ""
    return _budget("seconds", limit, where, ranked, spent, barred, dull)


def _budget(
    unit: str,
    limit: float,
    where: str,
    ranked: Sequence[Entry],
    spent: Mapping[Entry, float],
    barred: frozenset[Entry],
    dull: frozenset[Entry],
) -> Budget:
    within = [e for e in ranked if e in spent and spent[e] <= limit]
    entries, out = [e for e in within if e not in barred], [e for e in within if e in barred]
    varied = next((e for e in entries if e not in dull), None)
    least = min(spent, key=lambda e: spent[e], default=None)
    unplaced = [e for e in ranked if e not in spent and e not in barred]
    return Budget(unit, limit, where, entries, out, varied, least, unplaced)


def _round_up(seconds: Sequence[float]) -> float:
    """The median, rounded up to 1, 2 or 5 times a power of ten; infinite for none."""
    if not seconds:
        return math.inf
    median = seconds[(len(seconds) - 1) // 2]
    power = 10.0 ** math.floor(math.log10(median)) if median > 0 else 1e-6
    return next(round(m * power, 12) for m in (1, 2, 5, 10) if m * power >= median * (1 - 1e-9))


def _where(row: Row) -> str:
    """Machine and settings that seconds depend on."""
    words = [str(row[name]) for name in ("device", "dtype") if row.get(name)]
    words += [f"batch size {row['batch_size']}"] if row.get("batch_size") else []
    machine = str(row.get("machine") or "")
    return f"{machine} ({', '.join(words)})" if machine and words else machine or ", ".join(words)


def contests_of(places: Sequence[Place], entries: Mapping[str, Sequence[Entry]], given: Given) -> dict[str, Contest]:
    """The contests of all places of generated text, by the id of the place."""
    found = {place.id: contest_of(place, entries[place.id], given) for place in places}
    return {name: contest for name, contest in found.items() if contest}
