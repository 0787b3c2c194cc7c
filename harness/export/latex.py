"""The tables of a report as LaTeX with booktabs: one for each benchmark and task, and one for likelihoods.

A row is a model with one sampler and one step count, its seeds taken together. A figure is bold where a paired test
finds it better than all others of its column (`harness.export.best`), so most columns have none.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness import __version__, comparable
from harness.export.best import best_of
from harness.export.tex_text import escape
from harness.export.text import one_line
from harness.report.data import (
    Estimate,
    Metric,
    Row,
    as_text,
    estimate,
    is_done,
    kind_label,
    number,
    unique,
)
from harness.report.entries import Entry
from harness.report.format import figure, interval
from harness.report.page import Page
from harness.report.places import Place, slug
from harness.report.tables import floor_of, why_null

#: A table with more columns lies on its side.
COLUMNS_OF_A_PAGE = 7
#: Rows of a part of a table, upright and on its side: a float is never broken by itself.
ROWS_OF_A_PAGE = (26, 18)
#: Finished rows of a place whose table is written at all.
MOST_ROWS = 1000
_HEADING_WIDTH = 13
_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$"}
_ROLES = {"model": 0, "baseline": 1, "control": 2}
#: Figures of likelihoods in the order in which papers give them: column, heading, unit.
_LIKELIHOOD = (
    ("bits_per_byte", "bits", "per byte"),
    ("bits_per_char", "bits", "per character"),
    ("nats_per_token", "nats", "per token"),
    ("perplexity", "perplexity", "per token"),
)


_BOLD = (
    "Bold: better than every other model of its column (paired permutation tests at the level 0.05 after Holm over all "
    "pairs of the column; controls, baselines and marked rows take no part)."
)


class Column(NamedTuple):
    """A column: heading, unit ("" for none), direction ("higher", "lower" or ""), its figures in the order of rows, and
    their form (`harness.report.format.figure`); the row of the best, None where there is no such row.
    """

    title: str
    unit: str
    better: str
    values: list[Estimate | None]
    form: str = "number"
    best: int | None = None


class Line(NamedTuple):
    """What names a row: group (a rule stands between two), cells of text, and the letter of its note."""

    group: str
    cells: tuple[str, ...]
    mark: str


@dataclass(frozen=True)
class TexTable:
    """A table before it is written; `heads` are those of the text cells."""

    label: str
    caption: str
    heads: tuple[str, ...]
    lines: list[Line]
    columns: list[Column]
    notes: list[str]


def latex_text(page: Page) -> str:
    """All tables of a page; a document that inputs the file needs the packages its first lines name."""
    tables = filter(None, (_table(page, place) for place in page.places))
    run, created = one_line(page.data.run), one_line(page.data.created)
    head = [
        f"% Tables of the run {run} ({created}), written by tdbench {__version__}.",
        r"% Needs \usepackage{booktabs,graphicx,rotating}.",
        "% Bold: better than all other models of its column by a paired test; no test finds that, no bold.",
    ]
    return "\n".join([*head, *tables, ""])


def _table(page: Page, place: Place) -> str:
    """The table of a place, "" where no row of it has figures."""
    finished = sum(map(is_done, place.rows))
    if finished > MOST_ROWS:
        return f"\n% {one_line(place.title)}: {finished} rows are too many for print; they are in table.csv."
    table = _likelihood(page, place) if place.kind == "likelihood" else _generation(page, place)
    return _written(table) if table.lines else ""


def _generation(page: Page, place: Place) -> TexTable:
    entries = sorted(page.entries(place), key=lambda entry: (_ROLES.get(entry.role, 0), not entry.rankable))
    columns = [_metric_column(page, place, metric, entries) for metric in place.metrics]
    columns += [_nfe("per sequence", [e.nfe for e in entries]), _time([e.seconds for e in entries])]
    columns.append(_memory([number(e.rows[0].get("peak_memory_bytes")) for e in entries]))
    seeds = unique(len(e.rows) for e in entries)
    several = seeds not in ([], [1])
    heads = ("model", "scheduler", "steps", *(("seeds",) if several else ()))
    lines = [_entry_line(entry, several) for entry in entries]
    bold = [_BOLD] if any(column.best is not None for column in columns) else []
    notes = [*bold, *_empty(place, columns), *_marked(entries), *_unfinished(place)]
    return TexTable(_label(page, place), _caption(page, place, "Generated text"), heads, lines, _filled(columns), notes)


def _entry_line(entry: Entry, seeds: bool) -> Line:
    steps = "" if entry.steps is None else str(entry.steps)
    method = "" if entry.role == "control" else entry.method
    cells = (entry.model, method, steps, *((str(len(entry.rows)),) if seeds else ()))
    group = entry.role if entry.role != "model" else f"model {entry.model}"
    return Line(group, cells, comparable.mark(entry.rows[0]))


def _likelihood(page: Page, place: Place) -> TexTable:
    rows = sorted((row for row in place.rows if is_done(row)), key=_by_bits)
    columns = [Column(title, unit, "lower", [estimate(r, name) for r in rows]) for name, title, unit in _LIKELIHOOD]
    columns.append(_nfe("per text", [number(row.get("nfe_mean")) for row in rows]))
    lines = [_likelihood_line(page, row) for row in rows]
    notes = [f"{letter}: {reason}." for letter, reason in comparable.legend(rows).items()]
    floor = floor_of(place.facts, place.rows)
    given = [f"{figure(floor[name])} {title} {unit}" for name, title, unit in _LIKELIHOOD if name in floor]
    notes = [*([f"Entropy of the source, the floor on average: {', '.join(given)}."] if given else []), *notes]
    heads = ("model", "estimator", "kind")
    caption = _caption(page, place, "Likelihood of held-out text")
    return TexTable(_label(page, place), caption, heads, lines, _filled(columns), [*notes, *_unfinished(place)])


def _by_bits(row: Row) -> float:
    bits = number(row.get("bits_per_byte"))
    return math.inf if bits is None else bits


def _likelihood_line(page: Page, row: Row) -> Line:
    kind = as_text(row.get("bound")).replace("_", " ")
    return Line("", (page.names.model(row), page.names.method(row), kind), comparable.mark(row))


def _metric_column(page: Page, place: Place, metric: Metric, entries: Sequence[Entry]) -> Column:
    values = [entry.estimate(metric.name) for entry in entries]
    best = best_of(page, place, metric, entries)
    return Column(metric.title, metric.unit, metric.better, values, best=None if best is None else entries.index(best))


def _column(title: str, unit: str, values: Iterable[float | None], form: str = "number") -> Column:
    return Column(title, unit, "", [None if value is None else Estimate(value, None, None) for value in values], form)


def _nfe(unit: str, values: Iterable[float | None]) -> Column:
    return _column("NFE", unit, values, "count")


def _time(values: Sequence[float | None]) -> Column:
    small = max((value for value in values if value is not None), default=1.0) < 1
    scale, unit = (1e3, "ms") if small else (1.0, "s")
    return _column("time", f"{unit} per sequence", [None if value is None else value * scale for value in values])


def _memory(values: Sequence[float | None]) -> Column:
    small = max((value for value in values if value is not None), default=0.0) < 2**30
    scale, unit = (2**20, "MiB") if small else (2**30, "GiB")
    return _column("peak memory", unit, [None if value is None else value / scale for value in values])


def _filled(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if any(column.values)]


def _empty(place: Place, columns: Sequence[Column]) -> list[str]:
    """Why a metric has no column."""
    empty = {column.title for column in columns if not any(column.values)}
    found = []
    for metric in place.metrics:
        if metric.title in empty:
            reasons = unique(why_null(row, metric.name) for row in place.rows if is_done(row))
            found.append(f"{metric.title} is left out: {'; '.join(reasons[:2])}.")
    return found


def _marked(entries: Sequence[Entry]) -> list[str]:
    legend = comparable.legend(row for entry in entries for row in entry.rows)
    return [f"{letter}: not ranked with the unmarked rows: {reason}." for letter, reason in legend.items()]


def _unfinished(place: Place) -> list[str]:
    """How many points of a place have no figures, by their state."""
    states = Counter(
        str(row.get("status") or "pending") for row in place.rows if row.get("status") not in ("done", "same_as")
    )
    counted = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in states.items())
    return [f"Points without figures: {counted}."] if counted else []


def _label(page: Page, place: Place) -> str:
    return f"tab:{slug(page.data.run)}-{place.id}"


def _caption(page: Page, place: Place, what: str) -> str:
    where = place.benchmark if place.kind == "likelihood" else place.title
    return (
        f"{what}, {where}, {kind_label(place.rows)} (run {page.data.run}). In brackets 95 % bootstrap intervals over "
        "samples."
    )


def _written(table: TexTable) -> str:
    """A table as one float, or as several where it has more rows than a page."""
    wide = len(table.columns) > COLUMNS_OF_A_PAGE
    size = ROWS_OF_A_PAGE[wide]
    starts = range(0, len(table.lines), size)
    return "\n".join(_float(table, range(s, min(s + size, len(table.lines))), wide, len(starts)) for s in starts)


def _float(table: TexTable, rows: range, wide: bool, parts: int) -> str:
    part = rows.start // ROWS_OF_A_PAGE[wide] + 1
    caption = table.caption + (f" Part {part} of {parts}." if parts > 1 else "")
    label = table.label + (f"-{part}" if part > 1 else "")
    kind = "sidewaystable" if wide else "table"
    lines = [
        "",
        rf"\begin{{{kind}}}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\smallskip\small",
    ]
    # Only a table that is too wide is made smaller.
    lines.append(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%")
    lines += [
        rf"\begin{{tabular}}{{{'l' * len(table.heads)}{'r' * len(table.columns)}}}",
        r"\toprule",
        *_heading(table),
    ]
    lines += [r"\midrule", *_body(table, rows), r"\bottomrule", r"\end{tabular}}"]
    if table.notes and part == parts:
        lines += [r"\par\smallskip\raggedright\footnotesize", *(rf"{escape(note)}\par" for note in table.notes)]
    return "\n".join([*lines, rf"\end{{{kind}}}"])


def _heading(table: TexTable) -> list[str]:
    """The heading: titles that end in one line, with the names of the text cells, and below them units that begin in
    one line.
    """
    titles = [_wrapped(column.title, _ARROWS.get(column.better, "")) for column in table.columns]
    units = [[rf"{{\scriptsize {line}}}" for line in _wrapped(column.unit)] for column in table.columns]
    above = max((len(lines) for lines in titles), default=1)
    below = max((len(lines) for lines in units), default=0)
    rows = []
    for i in range(above):
        names = table.heads if i == above - 1 else ("",) * len(table.heads)
        rows.append(_row([*map(escape, names), *(_line_of(lines, i - above + len(lines)) for lines in titles)]))
    for i in range(below):
        end = r"\\[-0.5ex]" if i < below - 1 else r"\\"
        rows.append(_row([*("" for _ in table.heads), *(_line_of(lines, i) for lines in units)], end))
    return rows


def _wrapped(text: str, ending: str = "") -> list[str]:
    """Short lines of a heading, broken also behind a stroke; [] for no text."""
    lines = textwrap.wrap(one_line(text).replace("/", "/ "), _HEADING_WIDTH)
    escaped = [escape(line.replace("/ ", "/")) for line in lines]
    return [*escaped[:-1], escaped[-1] + ending] if escaped else []


def _line_of(lines: Sequence[str], i: int) -> str:
    return lines[i] if 0 <= i < len(lines) else ""


def _body(table: TexTable, rows: range) -> list[str]:
    written: list[str] = []
    group = None
    for i in rows:
        line = table.lines[i]
        written += [r"\addlinespace"] if group not in (None, line.group) else []
        written += _printed(line, [_cell(column, i) for column in table.columns])
        group = line.group
    return written


def _cell(column: Column, i: int) -> tuple[str, str]:
    """A figure and its interval, "" where there is none."""
    value = column.values[i]
    shown = _number(figure(value.value if value else None, column.form))
    ends = interval(value.low, value.high) if value else ""
    return rf"\textbf{{{shown}}}" if column.best == i else shown, rf"{{\tiny {_number(ends)}}}" if ends else ""


def _printed(line: Line, cells: Sequence[tuple[str, str]]) -> list[str]:
    """A row of figures, and below it their intervals where there are any."""
    first, *others = map(escape, line.cells)
    named = first + (rf"\textsuperscript{{{line.mark}}}" if line.mark else "")
    figures = [named, *others, *(shown for shown, _ in cells)]
    if not any(ends for _, ends in cells):
        return [_row(figures)]
    return [_row(figures, end=r"\\[-0.7ex]"), _row([*("" for _ in line.cells), *(ends for _, ends in cells)])]


def _number(text: str) -> str:
    return re.sub("-(?=[0-9])", "$-$", escape(text).replace("{[}", "["))


def _row(cells: Sequence[str], end: str = r"\\") -> str:
    return " & ".join(cells) + f" {end}"
