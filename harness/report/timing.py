"""Seconds that contradict each other: what was measured while something else used the machine."""

from __future__ import annotations

from itertools import combinations

from harness.report.contest import Contest, Series
from harness.report.entries import Entry
from harness.report.format import figure
from harness.report.pieces import Piece, link

#: More evaluations that take less than this share of the time are in doubt, and so are evaluations of which each takes
#: this many times longer than where there are fewer: what a run takes besides them only makes the fewer dearer.
SHORTER, SLOWER = 0.8, 2.0


def in_doubt(contest: Contest) -> list[Piece]:
    """A sentence on seconds that cannot both be right, with the worst of them; [] where there are none."""
    found = [pair for series in contest.series if (pair := strangest(series))]
    if not found:
        return []
    fewer, more = max(found, key=lambda pair: _strangeness(*pair))
    whole = len(contest.series)
    out = [Piece(f" These seconds are in doubt for {len(found)} of {whole} combinations of model and scheduler: ")]
    out += [link(fewer), Piece(f" took {figure(fewer.seconds, 'seconds')} a sequence, "), link(more)]
    return [*out, Piece(f" {figure(more.seconds, 'seconds')}. Measure again with nothing else running.")]


def strangest(series: Series) -> tuple[Entry, Entry] | None:
    """Fewer and more steps whose seconds contradict each other most; None where none do."""
    known = [entry for entry in series.entries if entry.seconds and (entry.nfe or entry.steps)]
    pairs = [(a, b) for a, b in combinations(known, 2) if a.clock == b.clock and _evaluations(a) < _evaluations(b)]
    return max((pair for pair in pairs if _strangeness(*pair) > 1), key=lambda pair: _strangeness(*pair), default=None)


def _evaluations(entry: Entry) -> float:
    return entry.nfe or float(entry.steps or 0)


def _strangeness(fewer: Entry, more: Entry) -> float:
    """Above 1 where seconds contradict each other."""
    longer = (more.seconds or 0.0) / (fewer.seconds or 1.0)
    each = longer * _evaluations(fewer) / _evaluations(more)
    return max(SHORTER / longer, each / SLOWER)
