"""The verdict on likelihoods: which model gives held-out text the most, tested text by text."""

from __future__ import annotations

import math
from collections import Counter

from harness import comparable
from harness.report.data import Estimate, Metric, Names, Row, estimate, group_by, of_kind
from harness.report.entries import Entry, entry_of
from harness.report.format import figure, interval, with_interval
from harness.report.page import Page
from harness.report.pieces import Piece, Sentence, count_text, joined
from harness.report.places import Place
from harness.report.tables import floor_of
from harness.report.tests_of import Grid, overlap_text, p_text

BITS = Metric("bits_per_byte", "bits per byte", "bits", "lower", (), ())


def likelihood_items(page: Page, place: Place) -> list[Sentence]:
    """An item for each kind of figure, exact ones and bounds apart; rows of other texts or windows are left out."""
    rows = of_kind(place.rows, "likelihood")
    models = [r for r in rows if r.get("role") not in ("control", "baseline") and estimate(r, BITS.name)]
    return [_item(page, place, mine) for mine in group_by(models, lambda row: row.get("bound")).values()]


def _item(page: Page, place: Place, rows: list[Row]) -> Sentence:
    differ = comparable.differences(rows, comparable.LIKELIHOOD)
    alike = [entry_of([row], page.names, page.data) for row, why in zip(rows, differ, strict=True) if not why]
    ranked = sorted(alike, key=lambda entry: _bits(entry).value)
    best, others = ranked[0], ranked[1:]
    kind = str(rows[0].get("bound") or "unknown kind").replace("_", " ")
    floor = floor_of(place.facts, place.rows).get(BITS.name)
    tail = f"; the entropy of the source is {figure(floor)}." if floor is not None else "."
    said = f" the lowest bits per byte ({kind}) are {with_interval(_bits(best))}, by "
    out = [Piece("Likelihood:", lead=True), Piece(said)]
    out += [_link(best, page.names), Piece(tail), *_next(best, others, page.names)]
    left = Counter("; ".join(why) for why in differ if why)
    parts = [f"{count_text(n, 'row')} ({why})" for why, n in left.items()]
    return [*out, Piece(f" Left out, as not comparable: {', '.join(parts)}.")] if parts else out


def _next(best: Entry, others: list[Entry], names: Names) -> list[Piece]:
    """The runner-up against the best, and all others that are not measurably worse."""
    if not others:
        return []
    grid = Grid(BITS, [best, *others], [(best, other) for other in others])
    other, test = others[0], grid.test(best, others[0])
    out = [Piece(" Next: "), _link(other, names), Piece(f" with {with_interval(_bits(other))}")]
    if test.why_not:
        return [*out, Piece(f"; no paired test ({test.why_not}), {overlap_text(_bits(best), _bits(other))}.")]
    gain = f"{figure(test.gain)} {interval(test.low, test.high)}"
    family = f"paired by text, Holm over {count_text(grid.family, 'pair')}"
    if test.better:
        return [*out, Piece(f", measurably worse by {gain}, {p_text(test.p or 0)} ({family}).")]
    seen = f"; a difference of {figure(test.detectable)} would have shown" if test.detectable else ""
    out.append(Piece(f", not separable from it: difference {gain}, {p_text(test.p or 0)} ({family}){seen}."))
    tests = [(entry, grid.test(best, entry)) for entry in others[1:]]
    near = [_link(entry, names) for entry, found in tests if not found.why_not and not found.better]
    return [*out, Piece(" Not separable from the best either: "), *joined(near), Piece(".")] if near else out


def _bits(entry: Entry) -> Estimate:
    return entry.estimate(BITS.name) or Estimate(math.nan, None, None)


def _link(entry: Entry, names: Names) -> Piece:
    return Piece(names.row(entry.rows[0]), entry.fingerprints()[0])
