"""The verdict: which entry is best within a budget, and what cannot be told apart. It says no more than the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.report.contest import ENTROPY, Budget, Contest, steps_spent
from harness.report.data import estimate
from harness.report.entries import Entry
from harness.report.format import figure, interval, with_interval
from harness.report.page import Page
from harness.report.places import Place
from harness.report.step_pairs import StepPairs, step_pairs
from harness.report.summary import remarks, warnings, what_ran
from harness.report.tests_of import Test, overlap_text, p_text

#: Models that are named one by one; of more only the count is said.
_NAMED = 8
_NO_SECONDS = "No row has seconds that were measured here: nothing is said of time."


class Piece(NamedTuple):
    """A part of a sentence; `row` is the fingerprint of the row that it links to, "" for plain text; `lead` is set for
    the words that say what an item is about.
    """

    text: str
    row: str = ""
    lead: bool = False


Sentence = Sequence[Piece]


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


@dataclass(frozen=True)
class Verdict:
    """The whole verdict: what ran, each place, and what a reader must know before any of it is believed."""

    ran: str
    places: Sequence[PlaceVerdict]
    warnings: Sequence[str] = field(default_factory=list)


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


def plain(sentence: Sentence) -> str:
    """A sentence without its links."""
    return "".join(piece.text for piece in sentence)


def _place_verdict(page: Page, place: Place) -> PlaceVerdict:
    title = "" if place.alone else place.title
    if place.kind != "generate":
        said = [str(remark) for remark in remarks(place, page.names)] if place.rows else []
        return PlaceVerdict(
            place,
            title,
            [[Piece("Likelihood:", lead=True), Piece(f" {text}")] for text in (said if place.alone else said[:1])],
        )
    contest = page.contests.get(place.id)
    if contest is None:
        return PlaceVerdict(place, title, [[Piece(_no_contest(place))]] if place.rows else [])
    pairs = step_pairs(contest, page.data.given.step_pair)
    items = [_budget_item(contest, f, contest.budgets[:i]) for i, f in enumerate(contest.budgets)]
    items += [[Piece(pairs.lead, lead=True), Piece(f" {pairs.summary}")]] if pairs else []
    items.append(_beside(contest))
    return PlaceVerdict(place, title, [item for item in items if item], pairs, _note(contest))


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
        return [Piece("No row has a step count." if budget.unit == "steps" else _NO_SECONDS)]
    winner = budget.winner
    if winner is None:
        return _none_may_win(contest, budget) if budget.barred else _none_within(budget, budget.least)
    rivals, _ = _rivals(budget, winner)
    same = any(other.winner is winner and _rivals(other, winner)[0][:1] == rivals[:1] for other in earlier)
    out = _again(winner, rivals) if same else _best(contest, budget, winner)
    return [_lead(budget), *out, *_cheapest(contest, budget, winner), *_varied(contest, budget, winner)]


def _lead(budget: Budget) -> Piece:
    if budget.unit == "steps":
        return Piece(f"At up to {_count(int(budget.limit), 'step')}:", lead=True)
    where = f" on {budget.where}" if budget.where else ""
    return Piece(f"Within {figure(budget.limit, 'seconds')} a sequence{where}:", lead=True)


def _none_within(budget: Budget, entry: Entry) -> Sentence:
    """That nothing is within the budget, and what comes nearest."""
    seconds = figure(entry.seconds, "seconds")
    cost = _count(steps_spent(entry) or 0, "step") if budget.unit == "steps" else seconds
    return [_lead(budget), Piece(f" no entry. The least is {cost}, by "), _link(entry), Piece(".")]


def _none_may_win(contest: Contest, budget: Budget) -> Sentence:
    """Where all text is less varied than real data, which makes low perplexities cheap."""
    first = budget.barred[0]
    entropy, real = first.estimate(ENTROPY), contest.real.estimate(ENTROPY) if contest.real else None
    text = (
        f" no entry may win by {contest.metric.title}: the text of all {len(budget.barred)} is measurably less varied"
    )
    text += f" than real data. The {_word(contest)} is {with_interval(contest.figure(first))}, by "
    tail = f", at unigram entropy {figure(entropy.value)} against {figure(real.value)}" if entropy and real else ""
    return [_lead(budget), Piece(text), _link(first), Piece(f"{tail}.")]


def _again(winner: Entry, rivals: Sequence[Entry]) -> list[Piece]:
    """Where another budget had the same best entry and the same runner-up."""
    out = [Piece(" again "), _link(winner)]
    return [*out, Piece(", and again "), _link(rivals[0]), Piece(" comes next.")] if rivals else [*out, Piece(".")]


def _best(contest: Contest, budget: Budget, winner: Entry) -> list[Piece]:
    best = with_interval(contest.figure(winner))
    out = [Piece(f" the {_word(contest)} {contest.metric.title} is {best}, by "), _link(winner)]
    return [*out, Piece(f"{_cost(winner)}{_seeds(contest, winner)}."), *_runner_up(contest, budget, winner)]


def _seeds(contest: Contest, entry: Entry) -> str:
    """How far the seeds lie apart."""
    found = [e.value for row in entry.rows if (e := estimate(row, contest.metric.name))]
    return f"; its {len(found)} seeds give {figure(min(found))} to {figure(max(found))}" if len(found) > 1 else ""


def _runner_up(contest: Contest, budget: Budget, winner: Entry) -> list[Piece]:
    """The best entry of another model; where there is none, of another sampler."""
    rivals, kind = _rivals(budget, winner)
    if not rivals:
        return [Piece(" No other model or scheduler is within the budget.")]
    other = rivals[0]
    test = contest.grid.test(winner, other)
    value = with_interval(contest.figure(other))
    label = "runner-up" if kind == "model" else "best entry of another scheduler (no other model is within the budget)"
    link = _link(other)
    if test.why_not:
        out = [Piece(f" The {label} is "), link, Piece(f" with {value}: {_untested(contest, winner, other, test)}.")]
    elif test.better:
        gain = f"{figure(test.gain)} {interval(test.low, test.high)}"
        out = [Piece(f" It is better than the {label}, "), link, Piece(f" ({value}), by {gain}, {_p(test)}.")]
    else:
        gain = f"{figure(test.gain)} {interval(test.low, test.high)}"
        seen = f"; this run could have seen a difference of {figure(test.detectable)}" if test.detectable else ""
        out = [Piece(f" The {label}, "), link]
        out += [Piece(f" ({value}), is not separable from it: difference {gain} by itself, {_p(test)}{seen}.")]
    return out + _inseparable(contest, budget, winner, other, kind)


def _rivals(budget: Budget, winner: Entry) -> tuple[list[Entry], str]:
    """The entries of other models, best first; where there are none, those of other samplers."""
    others = [entry for entry in budget.entries if entry.model != winner.model]
    return (others, "model") if others else ([e for e in budget.entries if e.method != winner.method], "scheduler")


def _inseparable(contest: Contest, budget: Budget, winner: Entry, other: Entry, kind: str) -> list[Piece]:
    """All further models (or samplers) with an entry within the budget that is not separable from the best."""
    group = _model if kind == "model" else _method
    near: dict[str, Entry] = {}
    for entry in _near(contest, budget, winner):
        if group(entry) not in (group(winner), group(other)):
            near.setdefault(group(entry), entry)
    if not near:
        return []
    if len(near) > _NAMED:
        return [Piece(f" Nor are {len(near)} other {kind}s.")]
    verb = "Not separable from the best either: "
    names = [Piece(name, entry.fingerprints()[0]) for name, entry in near.items()]
    return [Piece(f" {verb}"), *_joined(names), Piece(".")]


def _near(contest: Contest, budget: Budget, winner: Entry) -> list[Entry]:
    """Entries within the budget that were tested against the best, and are not measurably worse."""
    tests = [(e, contest.grid.test(winner, e)) for e in budget.entries if e is not winner]
    return [entry for entry, test in tests if not test.why_not and not test.better]


def _joined(names: Sequence[Piece]) -> list[Piece]:
    out: list[Piece] = []
    for name in names:
        out += [Piece(", "), name] if out else [name]
    return out


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
        _link(entry),
        Piece(f" with {value}{_cost(entry)}."),
    ]


def _cost_of(budget: Budget) -> Callable[[Entry], float | None]:
    if budget.unit == "seconds":
        return lambda entry: entry.seconds
    return lambda entry: entry.nfe if entry.nfe is not None else entry.steps


def _untested(contest: Contest, a: Entry, b: Entry, test: Test) -> str:
    """What may be said without a paired test."""
    first, second = contest.figure(a), contest.figure(b)
    return f"no paired test ({test.why_not}); {overlap_text(first, second)}"


# --- what stands beside it -------------------------------------------------------------------------------------------


def _beside(contest: Contest) -> Sentence:
    """Controls that learned nothing, real data, baselines, and what was left out."""
    out = [*_against_controls(contest), *_real(contest)]
    for baseline, reason in contest.baselines.items():
        out += [Piece(" Baseline "), _link(baseline)]
        apart = f", not comparable ({reason})" if reason else ""
        out += [Piece(f": {with_interval(contest.figure(baseline))}{_cost(baseline)}{apart}.")]
    if contest.left_out:
        parts = [f"{_count(n, 'entry', 'entries')} ({reason})" for reason, n in contest.left_out.items()]
        out.append(Piece(f" Left out, as not comparable: {', '.join(parts)}."))
    return [Piece("Controls and real data:", lead=True), *out]


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
    return [Piece(f"{text}; the best that is not: "), _link(budget.varied), Piece(f" with {value}.")]


def _against_controls(contest: Contest) -> list[Piece]:
    """Whether the best beat the best control, which learned nothing."""
    winners = list(dict.fromkeys(f.winner for f in contest.budgets if f.winner))
    if not contest.controls or not winners:
        return []
    control = contest.controls[0]
    value = f"{control.name} has {with_interval(contest.figure(control))}"
    tests = [(winner, contest.grid.test(winner, control)) for winner in winners]
    failed = [(winner, test) for winner, test in tests if (not test.better and not test.why_not) or test.gain <= 0]
    if not failed:
        reason = next((f" (no paired test: {test.why_not})" for _, test in tests if test.why_not), "")
        return [Piece(f" The best control that learned nothing: {value}{reason}.")]
    winner, test = failed[0]
    who = [Piece(" The best")] if len(failed) == len(winners) else [Piece(" "), _link(winner)]
    verb = "is not measurably better than" if test.gain > 0 else "does not beat"
    return [*who, Piece(f" {verb} a control that learned nothing: {value}{f', {_p(test)}' if test.gain > 0 else ''}.")]


def _real(contest: Contest) -> list[Piece]:
    if contest.real is None:
        return [Piece(" The run has no comparable row of real data.")]
    entropy = contest.real.estimate(ENTROPY)
    beside = f" at unigram entropy {figure(entropy.value)}" if entropy and "ppl" in contest.metric.name else ""
    return [Piece(f" Real data: {with_interval(contest.figure(contest.real))}{beside}.")]


def _note(contest: Contest) -> str:
    """How it was tested."""
    grid = contest.grid
    if not grid.looked_at:
        return ""
    unit = "samples with the same seed and number"
    if contest.place.task not in (None, "unconditional"):
        unit = "samples with the same prompt"
    barred = ""
    if contest.metric.name in ("gen_ppl", "gen_ppl_mean") and contest.dull:
        barred = f" {_count(len(contest.dull), 'entry', 'entries')} may not win, being less varied than real data."
    return (
        f"Paired permutation tests over {unit}; p after Holm over all {_count(grid.family, 'pair')} of {grid.entries} "
        "entries. Intervals are 95 % bootstrap intervals of the single figure or pair: one may leave out 0 where p, "
        f"which allows for all pairs, shows no difference.{barred}"
    )


def _count(count: int, word: str, many: str = "") -> str:
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def _link(entry: Entry) -> Piece:
    return Piece(entry.name, entry.fingerprints()[0])


def _word(contest: Contest) -> str:
    return "highest" if contest.metric.better == "higher" else "lowest"


def _p(test: Test) -> str:
    return "" if test.p is None else p_text(test.p)


def _model(entry: Entry) -> str:
    return entry.model


def _method(entry: Entry) -> str:
    return entry.method


def _cost(entry: Entry) -> str:
    parts = [f"{figure(entry.nfe, 'count')} NFE"] if entry.nfe is not None else []
    parts += [f"{figure(entry.seconds, 'seconds')} a sequence"] if entry.seconds is not None else []
    return f" ({', '.join(parts)})" if parts else ""
