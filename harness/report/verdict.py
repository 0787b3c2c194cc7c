"""The verdict: which entry is best within a budget, and what cannot be told apart. It says no more than the tests."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from harness.report.beside import beside, note
from harness.report.contest import ENTROPY, JUDGED, Budget, Contest, sampler, steps_spent
from harness.report.data import estimate
from harness.report.entries import Entry
from harness.report.format import figure, interval, with_interval
from harness.report.likelihoods import likelihood_items
from harness.report.page import Page
from harness.report.pieces import MOST_NAMED, Piece, Sentence, cost_text, count_text, joined, link, plain, split
from harness.report.places import Place
from harness.report.step_pairs import StepPairs, step_pairs
from harness.report.summary import warnings, what_ran
from harness.report.tests_of import Test, overlap_text, p_text, shared_text
from harness.report.timing import in_doubt

#: Sentences of an item that stand out.
HEADLINE = 2
_NO_SECONDS = "No row has seconds that were measured here: nothing is said of time."


@dataclass(frozen=True)
class PlaceVerdict:
    """What is said of a place.

    Attributes:
        place: benchmark and task.
        title: "" where nothing needs to name it.
        items: sentences, those that belong together in one item.
        pairs: two step counts against each other, for every model and sampler; None where nothing was swept.
        note: how it was tested.
    """

    place: Place
    title: str
    items: Sequence[Sentence]
    pairs: StepPairs | None = None
    note: str = ""

    @property
    def told(self) -> list[tuple[list[Piece], list[Piece]]]:
        """Each item as what a reader in a hurry needs (best and runner-up), and the rest."""
        return [split(item, HEADLINE) for item in self.items]


@dataclass(frozen=True)
class Verdict:
    """The whole verdict: what ran, each place, and what a reader must know before any of it is believed."""

    ran: str
    places: Sequence[PlaceVerdict]
    warnings: Sequence[str] = field(default_factory=list)

    def rows(self) -> set[str]:
        """Fingerprints of the rows that it links to."""
        named = {piece.row for place in self.places for item in place.items for piece in item if piece.row}
        pairs = [row for place in self.places if place.pairs for row in place.pairs.rows]
        entries = [entry for row in pairs for entry in (row.fewer, row.more) if entry]
        return named | {entry.fingerprints()[0] for entry in entries}


def build(page: Page) -> Verdict:
    """The verdict of a report."""
    found = [_place_verdict(page, place) for place in page.places]
    return Verdict(what_ran(page.rows), [p for p in found if p.items], warnings(page.rows, page.names))


def lines(part: Verdict, every: bool = True) -> list[str]:
    """The verdict as plain sentences, for table.md and the terminal.

    Args:
        part: the verdict.
        every: also a sentence for each model and sampler on the two step counts, and how it was tested.
    """
    out = [part.ran]
    for place in part.places:
        before = f"{place.title}: " if place.title else ""
        out += [before + plain(item) for item in place.items]
        if every:
            out += [f"{before}{line}" for line in (place.pairs.lines() if place.pairs else [])]
            out += [before + place.note] if place.note else []
    return [*out, *part.warnings]


def _place_verdict(page: Page, place: Place) -> PlaceVerdict:
    title = "" if place.alone else place.title
    if place.kind != "generate":
        said = likelihood_items(page, place)
        return PlaceVerdict(place, title, said if place.alone else said[:1])
    contest = page.contests.get(place.id)
    if contest is None:
        return PlaceVerdict(place, title, [[Piece(_no_contest(place))]] if place.rows else [])
    if not contest.ranked:
        text = f"No model has a {contest.metric.title} over all its seeds: there is nothing to rank by."
        return PlaceVerdict(place, title, [[Piece(text)]])
    pairs = step_pairs(contest, page.data.given.step_pair)
    items = [_budget_item(contest, f, contest.budgets[:i]) for i, f in enumerate(contest.budgets)]
    items += [[Piece(pairs.lead, lead=True), Piece(f" {pairs.summary}")]] if pairs else []
    items.append(beside(contest))
    return PlaceVerdict(place, title, [item for item in items if item], pairs, note(contest))


def _no_contest(place: Place) -> str:
    done = [r for r in place.rows if r.get("status") == "done" and r.get("role") not in ("control", "baseline")]
    if not done:
        return "No model has a finished row here: there is nothing to choose from."
    if not place.metrics:
        return "Nothing is scored yet: run tdbench score."
    return "No finished row of a model has a figure that says what is better: there is nothing to rank by."


# --- best within a budget --------------------------------------------------------------------------------------------


def _budget_item(contest: Contest, budget: Budget, earlier: Sequence[Budget]) -> Sentence:
    """Best within a budget, the runner-up, all that are not separable, and the cheapest of these."""
    if budget.least is None:
        return [Piece(_NO_SECONDS)]
    winner = budget.winner
    if winner is None:
        return _none_may_win(contest, budget) if budget.barred else _none_within(budget, budget.least)
    rivals, _ = _rivals(budget, winner)
    same = any(other.winner is winner and _rivals(other, winner)[0][:1] == rivals[:1] for other in earlier)
    out = _again(winner, rivals) if same else _best(contest, budget, winner)
    out += [*_cheapest(contest, budget, winner), *_varied(contest, budget, winner)]
    out += _unplaced(contest, budget)
    return [_lead(budget), *out, *(in_doubt(contest) if budget.unit == "seconds" else [])]


def _lead(budget: Budget) -> Piece:
    if budget.unit == "any":
        return Piece("No row has a step count, so at any cost:", lead=True)
    if budget.unit == "steps":
        return Piece(f"At up to {count_text(int(budget.limit), 'step')}:", lead=True)
    where = f" on {budget.where}" if budget.where else ""
    return Piece(f"Within {figure(budget.limit, 'seconds')} a sequence{where}:", lead=True)


def _none_within(budget: Budget, entry: Entry) -> Sentence:
    """That nothing is within the budget, and what comes nearest."""
    seconds = figure(entry.seconds, "seconds")
    cost = count_text(steps_spent(entry) or 0, "step") if budget.unit == "steps" else seconds
    return [_lead(budget), Piece(f" no entry. The least is {cost}, by "), link(entry), Piece(".")]


def _none_may_win(contest: Contest, budget: Budget) -> Sentence:
    """Where all text is less varied than real data, which makes low perplexities cheap."""
    first = budget.barred[0]
    entropy, real = first.estimate(ENTROPY), contest.real.estimate(ENTROPY) if contest.real else None
    text = (
        f" no entry may win by {contest.metric.title}: the text of all {len(budget.barred)} is measurably less varied"
    )
    text += f" than real data. The {_word(contest)} is {with_interval(contest.figure(first))}, by "
    tail = f", at unigram entropy {figure(entropy.value)} against {figure(real.value)}" if entropy and real else ""
    return [_lead(budget), Piece(text), link(first), Piece(f"{tail}.")]


def _again(winner: Entry, rivals: Sequence[Entry]) -> list[Piece]:
    """Where another budget had the same best entry and the same runner-up."""
    out = [Piece(" again "), link(winner)]
    return [*out, Piece(", and again "), link(rivals[0]), Piece(" comes next.")] if rivals else [*out, Piece(".")]


def _best(contest: Contest, budget: Budget, winner: Entry) -> list[Piece]:
    best = with_interval(contest.figure(winner))
    out = [Piece(f" the {_word(contest)} {contest.metric.title} is {best}, by "), link(winner)]
    out.append(Piece(f"{cost_text(winner)}{_seeds(contest, winner)}.{_judged(contest, winner)}"))
    return [*out, *_runner_up(contest, budget, winner)]


def _judged(contest: Contest, winner: Entry) -> str:
    """What a perplexity under a judge does not show; "" for other metrics."""
    if contest.metric.name not in JUDGED:
        return ""
    out = ""
    if winner.estimate(ENTROPY) is None or contest.real is None or contest.real.estimate(ENTROPY) is None:
        whose = "its" if winner.estimate(ENTROPY) is None else "real data's"
        out = f" Dull text has low perplexity too, and is not ruled out: {whose} unigram entropy is not known."
    real = contest.real.estimate(contest.metric.name) if contest.real else None
    if real and contest.figure(winner).value < real.value:
        out += f" That is below real data ({figure(real.value)}), which is no sign of better text."
    return out


def _unplaced(contest: Contest, budget: Budget) -> list[Piece]:
    """What has no place in the budget, since its cost is not known or not comparable, and the best of it."""
    if not budget.unplaced:
        return []
    entry = budget.unplaced[0]
    of_steps = "without a step count"
    why = of_steps if budget.unit == "steps" else "whose seconds are not known, or of another machine or setting"
    count = len(budget.unplaced)
    said = f" Not in this: {count_text(count, 'entry', 'entries')} {why}{', the best' if count > 1 else ''}: "
    return [Piece(said), link(entry), Piece(f" with {with_interval(contest.figure(entry))}.")]


def _seeds(contest: Contest, entry: Entry) -> str:
    """How far the seeds lie apart."""
    found = [e.value for row in entry.rows if (e := estimate(row, contest.metric.name))]
    return f"; its {len(found)} seeds give {figure(min(found))} to {figure(max(found))}" if len(found) > 1 else ""


def _runner_up(contest: Contest, budget: Budget, winner: Entry) -> list[Piece]:
    """The best entry of another model; where there is none, of another sampler."""
    rivals, kind = _rivals(budget, winner)
    if not rivals:
        scope = "" if budget.unit == "any" else " within the budget"
        return [Piece(f" There is no other comparable model or scheduler{scope}.")]
    other = rivals[0]
    test = contest.grid.test(winner, other)
    value = with_interval(contest.figure(other))
    label = "runner-up" if kind == "model" else "best entry of another scheduler (no other model is within the budget)"
    name, over = link(other), shared_text(test, winner, other)
    if test.why_not:
        out = [Piece(f" The {label} is "), name, Piece(f" with {value}: {_untested(contest, winner, other, test)}.")]
    elif test.better:
        gain = f"{figure(test.gain)} {interval(test.low, test.high)}"
        out = [Piece(f" It is better than the {label}, "), name, Piece(f" ({value}), by {gain}{over}, {_p(test)}.")]
    elif test.worse:
        gain = f"{figure(-test.gain)} {interval(test.turned().low, test.turned().high)}"
        out = [Piece(f" But the {label}, "), name, Piece(f" ({value}), is better{over}, by {gain}, {_p(test)}.")]
    else:
        gain = f"{figure(test.gain)} {interval(test.low, test.high)}"
        seen = f"; this run could have seen a difference of {figure(test.detectable)}" if test.detectable else ""
        out = [Piece(f" The {label}, "), name]
        out += [Piece(f" ({value}), is not separable from it{over}: difference {gain} by itself, {_p(test)}{seen}.")]
    return out + _inseparable(contest, budget, winner, other, kind)


def _rivals(budget: Budget, winner: Entry) -> tuple[list[Entry], str]:
    """The entries of other models, best first; where there are none, those of other samplers."""
    others = [entry for entry in budget.entries if entry.model != winner.model]
    return (others, "model") if others else ([e for e in budget.entries if sampler(e) != sampler(winner)], "scheduler")


def _inseparable(contest: Contest, budget: Budget, winner: Entry, other: Entry, kind: str) -> list[Piece]:
    """All further models (or samplers) with an entry within the budget that is not separable from the best."""
    group = _model if kind == "model" else sampler
    near: dict[Hashable, Entry] = {}
    for entry in _near(contest, budget, winner):
        if group(entry) not in (group(winner), group(other)):
            near.setdefault(group(entry), entry)
    if not near:
        return []
    if len(near) > MOST_NAMED:
        return [Piece(f" Nor are {len(near)} other {kind}s.")]
    verb = "Not separable from the best either: "
    names = [Piece(e.model if kind == "model" else e.method, e.fingerprints()[0]) for e in near.values()]
    return [Piece(f" {verb}"), *joined(names), Piece(".")]


def _near(contest: Contest, budget: Budget, winner: Entry) -> list[Entry]:
    """Entries within the budget that were tested against the best, and are not measurably worse."""
    tests = [(e, contest.grid.test(winner, e)) for e in budget.entries if e is not winner]
    return [entry for entry, test in tests if not test.why_not and not test.better]


def _cheapest(contest: Contest, budget: Budget, winner: Entry) -> list[Piece]:
    """The cheapest entry that is not separable from the best, where it is cheaper than the best itself."""
    cost = _cost_of(budget)
    own = cost(winner)
    near = _near(contest, budget, winner)
    cheaper = [(c, e) for e in near if (c := cost(e)) is not None and own is not None and c < own]
    if not cheaper:
        return []
    _, entry = min(cheaper, key=lambda pair: pair[0])
    value = with_interval(contest.figure(entry))
    return [
        Piece(" The cheapest that is not separable from the best: "),
        link(entry),
        Piece(f" with {value}{cost_text(entry)}."),
    ]


def _cost_of(budget: Budget) -> Callable[[Entry], float | None]:
    if budget.unit == "seconds":
        return lambda entry: entry.seconds
    return lambda entry: entry.nfe if entry.nfe is not None else entry.steps


def _untested(contest: Contest, a: Entry, b: Entry, test: Test) -> str:
    """What may be said without a paired test."""
    first, second = contest.figure(a), contest.figure(b)
    return f"no paired test ({test.why_not}); {overlap_text(first, second)}"


def _varied(contest: Contest, budget: Budget, winner: Entry) -> list[Piece]:
    """That dull text makes good figures easier, and the best that is not dull."""
    if winner not in contest.dull or contest.real is None:
        return []
    mine, real = winner.estimate(ENTROPY), contest.real.estimate(ENTROPY)
    figures = f" (unigram entropy {figure(mine.value)} against {figure(real.value)})" if mine and real else ""
    text = f" The text of the best is less varied than real data{figures}, which alone makes good figures easier"
    if budget.varied is None:
        return [Piece(f"{text}; so is that of every entry within the budget.")]
    value = with_interval(contest.figure(budget.varied))
    return [Piece(f"{text}; the best that is not: "), link(budget.varied), Piece(f" with {value}.")]


def _word(contest: Contest) -> str:
    return "highest" if contest.metric.better == "higher" else "lowest"


def _p(test: Test) -> str:
    return "" if test.p is None else p_text(test.p)


def _model(entry: Entry) -> Hashable:
    return entry.model
