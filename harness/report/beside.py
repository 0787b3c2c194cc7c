"""What stands beside the verdict: controls that learned nothing, real data, baselines, what was left out, the tests."""

from __future__ import annotations

from harness.report.contest import ENTROPY, Contest
from harness.report.format import figure, with_interval
from harness.report.pieces import Piece, Sentence, cost_text, count_text, link, named
from harness.report.tests_of import p_text


def beside(contest: Contest) -> Sentence:
    """Controls that learned nothing, real data, baselines, and what was left out."""
    out = [*_against_controls(contest), *_real(contest)]
    for baseline, reason in contest.baselines.items():
        out += [Piece(" Baseline "), link(baseline)]
        apart = f", not comparable ({reason})" if reason else ""
        out += [Piece(f": {with_interval(contest.figure(baseline))}{cost_text(baseline)}{apart}.")]
    if contest.left_out:
        parts = [f"{count_text(n, 'entry', 'entries')} ({reason})" for reason, n in contest.left_out.items()]
        out.append(Piece(f" Left out, as not comparable: {', '.join(parts)}."))
    if contest.unscored:
        out += [Piece(f" Without a {contest.metric.title}: "), *named(contest.unscored), Piece(".")]
    return [Piece("Controls and real data:", lead=True), *out]


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
    who = [Piece(" The best")] if len(failed) == len(winners) else [Piece(" "), link(winner)]
    verb = "is not measurably better than" if test.gain > 0 else "does not beat"
    p = "" if test.p is None or test.gain <= 0 else f", {p_text(test.p)}"
    return [*who, Piece(f" {verb} a control that learned nothing: {value}{p}.")]


def _real(contest: Contest) -> list[Piece]:
    if contest.real is None:
        return [Piece(" The run has no comparable row of real data.")]
    entropy = contest.real.estimate(ENTROPY)
    beside = f" at unigram entropy {figure(entropy.value)}" if entropy and "ppl" in contest.metric.name else ""
    return [Piece(f" Real data: {with_interval(contest.figure(contest.real))}{beside}.")]


def note(contest: Contest) -> str:
    """How it was tested."""
    grid = contest.grid
    if not grid.looked_at:
        return ""
    unit = "samples with the same seed and number"
    if contest.place.task not in (None, "unconditional"):
        unit = "samples with the same prompt"
    family = "the only pair" if grid.family == 1 else f"all {grid.family:,} pairs"
    barred = ""
    if contest.barred:
        count = count_text(len(contest.barred), "entry", "entries")
        barred = f" {count} may not win, being less varied than real data."
    return (
        f"Paired permutation tests over {unit}; p after Holm over {family} of {grid.entries} "
        "entries. Intervals are 95 % bootstrap intervals of the single figure or pair: one may leave out 0 where p, "
        "which allows for all pairs, shows no difference, and one without width means only that all samples agree."
        f"{barred}"
    )
