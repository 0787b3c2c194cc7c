"""The tables of the report as plain structures; the template and the Markdown file print the same ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from markupsafe import Markup

from harness import comparable
from harness.report.columns import (
    COST,
    COST_NAMES,
    ENGINE,
    ID,
    LIKELIHOOD,
    NOT_COLUMNS,
    OF_THE_CANDIDATES,
    SETTINGS,
    Column,
)
from harness.report.data import (
    LIKELIHOOD_FIGURES,
    Metric,
    Names,
    Row,
    as_text,
    group_by,
    is_done,
    kind_label,
    number,
    row_label,
    unique,
)
from harness.report.format import DASH, figure, interval
from harness.report.looks import Look, swatch
from harness.report.places import Place

#: Rows that a table on the page holds at most; table.csv holds all.
LIMIT = 1_000


class Cell(NamedTuple):
    """One cell: text, its interval, what to sort by (None sorts last), and the number of its note."""

    text: str
    interval: str = ""
    sort: str | None = None
    note: int | None = None


class TableRow(NamedTuple):
    """One row: name, checkpoint label, what filters look at, cells in column order, the letter of its group ("" for the
    main one), the numbers of its notes, its id on the page ("" for none), its model's marker.
    """

    name: str
    label: str
    model: str
    method: str
    role: str
    status: str
    cells: list[Cell]
    mark: str = ""
    notes: tuple[int, ...] = ()
    anchor: str = ""
    swatch: Markup = Markup("")


class Group(NamedTuple):
    """Rows that may be ranked together; the heading is "" where the table has no other group."""

    heading: str
    mark: str
    rows: list[TableRow]


@dataclass(frozen=True)
class Table:
    """A finished table; `notes` are the reasons of its dashes and `row_notes` what is said of rows, numbered from 1.
    `method` is what its filter by method is called, `shared` the settings that all rows agree in, `left_out` how many
    rows only table.csv has.
    """

    id: str
    method: str
    caption: str
    columns: list[Column]
    groups: list[Group]
    notes: list[str] = field(default_factory=list)
    row_notes: list[str] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)
    shared: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0

    @property
    def rows(self) -> list[TableRow]:
        """All rows, group after group."""
        return [row for group in self.groups for row in group.rows]

    @property
    def models(self) -> list[str]:
        """What its filter by model offers."""
        return unique(row.model for row in self.rows if row.model)

    @property
    def methods(self) -> list[str]:
        """What its filter by method offers."""
        return unique(row.method for row in self.rows if row.method)

    @property
    def mixed(self) -> bool:
        """Whether its rows come from several kinds of checkpoints, so that each must say its own."""
        return len({row.label for row in self.rows} - {"none"}) > 1

    def has(self, group: str) -> bool:
        """Whether any column belongs to `group`."""
        return any(column.group == group for column in self.columns)


class Style:
    """How rows look on one page: the markers of their models, and an id for each fingerprint, given once.

    Args:
        looks: by model, as `Names.model` gives it.
        linked: fingerprints that the page links to; their rows stay where a table is cut.
    """

    def __init__(self, looks: Mapping[str, Look] | None = None, linked: Collection[str] = ()) -> None:
        self.linked = frozenset(linked)
        self._looks = looks or {}
        self._given: set[str] = set()

    def anchor(self, row: Row) -> str:
        """``row-<fingerprint>``, "" for a fingerprint that is unknown or was asked for before."""
        fingerprint = as_text(row.get("fingerprint"))
        if not fingerprint or fingerprint in self._given:
            return ""
        self._given.add(fingerprint)
        return f"row-{fingerprint}"

    def swatch(self, model: str) -> Markup:
        """The marker of a model; nothing for those without a look."""
        return swatch(self._looks.get(model))


def table_of(place: Place, names: Names, style: Style | None = None) -> Table:
    """The table of a place."""
    made = likelihood_table if place.kind == "likelihood" else generation_table
    return made(place, names, style)


def generation_table(place: Place, names: Names, style: Style | None = None) -> Table:
    """Every figure of the generate points; points that are the same as another have none and are left out."""
    mine = [r for r in place.rows if r.get("status") != "same_as"]
    quality = [Column(m.name, m.title, "number", "quality", _metric_help(m)) for m in place.metrics]
    columns = _present([*ID, *quality, *COST, *_settings(mine), *_others(mine, place.metrics)], mine)
    chosen = any(r.get("candidates") is not None for r in mine)
    columns = [c for c in columns if c.name != "candidates" or chosen]
    caption = _caption("Generation", place, mine)
    return _table(f"generation{place.suffix}", "Scheduler", caption, columns, mine, names, style or Style())


def likelihood_table(place: Place, names: Names, style: Style | None = None) -> Table:
    """Likelihood figures, lowest bits per byte first, and the floor of the benchmark as the last line."""
    mine = sorted((r for r in place.rows if is_done(r)), key=_by_bits)
    cost = [c for c in COST if c.name not in ("tokens_per_second", "sequences_per_second")]
    columns = _present([*LIKELIHOOD, *cost, *_settings(mine)], mine)
    caption = _caption("Likelihood of held-out text", place, mine)
    table = _table(f"likelihood{place.suffix}", "Estimator", caption, columns, mine, names, style or Style())
    floor = floor_of(place.facts, place.rows)
    if floor and mine:
        table.foot.extend(figure(floor.get(c.name)) if c.name in floor else "" for c in table.columns)
    return table


def _caption(what: str, place: Place, rows: Sequence[Row]) -> str:
    where = place.benchmark if place.kind == "likelihood" else place.title
    return f"{what}{'' if place.alone else f' ({where})'}: {kind_label(rows)}"


def _settings(rows: Sequence[Row]) -> list[Column]:
    """The settings; the engine stands beside the name where the rows come from several."""
    engines = {row.get("engine") for row in rows}
    return [ENGINE if c.name == "engine" and len(engines) > 1 else c for c in SETTINGS]


def _by_bits(row: Row) -> float:
    value = number(row.get("bits_per_byte"))
    return float("inf") if value is None else value


def _metric_help(metric: Metric) -> str:
    direction = {"higher": "higher is better", "lower": "lower is better"}.get(
        metric.better, "compare with the data row"
    )
    return f"{metric.name}, {metric.unit}: {direction}" if metric.unit else f"{metric.name}: {direction}"


def _others(rows: Sequence[Row], metrics: Sequence[Metric]) -> list[Column]:
    """Columns this file does not know, so that no figure of the table is ever missing from the report."""
    known = {c.name for c in (*ID, *COST, *LIKELIHOOD, *SETTINGS)} | NOT_COLUMNS
    stems = {m.name for m in metrics} | set(LIKELIHOOD_FIGURES)
    known |= {f"{m}{end}" for m in stems for end in ("", "_low", "_high", "_reason", "_settings")}
    names = dict.fromkeys(k for r in rows for k in r if k not in known)
    return [Column(n, n.replace("_", " ")) for n in names if any(r.get(n) is not None for r in rows)]


def _present(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Columns that the table has; a column that is there but empty stays, with its reasons."""
    known = {name for row in rows for name in row}
    columns = sorted(columns, key=lambda column: column.group != "id")
    return [c for c in columns if c.name in known and (c.group != "settings" or _any(c.name, rows))]


def _any(name: str, rows: Sequence[Row]) -> bool:
    return any(r.get(name) not in (None, "", [], {}) for r in rows)


def _shared(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Settings in which all rows agree: said once instead of in a column."""
    settings = [c for c in columns if c.group == "settings"] if len(rows) > 1 else []
    return [c for c in settings if len({as_text(row.get(c.name)) for row in rows}) == 1]


def _kept(rows: Sequence[Row], linked: Collection[str]) -> list[Row]:
    """The first `LIMIT` rows in the order of the run, those the page links to before others."""
    if len(rows) <= LIMIT:
        return list(rows)
    first = sorted(range(len(rows)), key=lambda i: (rows[i].get("fingerprint") not in linked, i))[:LIMIT]
    return [rows[i] for i in sorted(first)]


def _table(
    id: str, method: str, caption: str, columns: list[Column], rows: Sequence[Row], names: Names, style: Style
) -> Table:
    shared = _shared(columns, rows)
    columns = [c for c in columns if c not in shared]
    shown = _kept(rows, style.linked)
    notes: dict[str, int] = {}
    row_notes: dict[str, int] = {}

    def made(row: Row) -> TableRow:
        return TableRow(
            name=names.row(row),
            label=row_label(row),
            model=names.model(row),
            method="" if row.get("role") == "control" else names.method(row),
            role=str(row.get("role") or ""),
            status=str(row.get("status") or "not run yet").replace("_", " "),
            cells=[_cell(row, column, notes) for column in columns],
            mark=comparable.mark(row),
            notes=tuple(row_notes.setdefault(note, len(row_notes) + 1) for note in comparable.notes_of(row)),
            anchor=style.anchor(row),
            swatch=style.swatch(names.model(row)),
        )

    parts = dict(sorted(group_by(shown, comparable.mark).items(), key=lambda part: (len(part[0]), part[0])))
    groups = [Group(_heading(parts, mark), mark, [made(row) for row in mine]) for mark, mine in parts.items()]
    said = [(c.title, figure(rows[0].get(c.name), c.form)) for c in shared]
    left_out = len(rows) - len(shown)
    return Table(id, method, caption, columns, groups, list(notes), list(row_notes), shared=said, left_out=left_out)


def _heading(parts: Mapping[str, Sequence[Row]], mark: str) -> str:
    """What stands above the rows of one mark: why they are apart; "" where there is one group only."""
    if len(parts) == 1 and not mark:
        return ""
    if not mark:
        return "ranked with each other"
    return f"{mark}: not ranked with the unmarked rows: {comparable.legend(parts[mark])[mark]}"


def _cell(row: Row, column: Column, notes: dict[str, int]) -> Cell:
    value = row.get(column.name)
    if value is None or (column.form == "text" and as_text(value) == ""):
        if column.group == "settings" or column.name == "candidates":
            return Cell(DASH)
        reason = why_null(row, column.name)
        return Cell(DASH, note=notes.setdefault(reason, len(notes) + 1))
    low, high = number(row.get(f"{column.name}_low")), number(row.get(f"{column.name}_high"))
    sort = f"{value:.9g}" if isinstance(value, int | float) else None
    text = as_text(value).replace("_", " ") if column.name == "bound" else figure(value, column.form)
    return Cell(text, interval(low, high), sort)


def why_null(row: Row, name: str) -> str:
    """Why a figure of this row is unknown."""
    status = row.get("status")
    if row.get(f"{name}_reason"):
        return as_text(row[f"{name}_reason"])
    if status == "failed":
        return f"the point failed: {as_text(row.get('reason')).replace('_', ' ') or 'reason not recorded'}"
    if status == "not_available":
        return f"not available: {as_text(row.get('message') or row.get('reason')) or 'reason not recorded'}"
    if status in (None, "pending", "partial"):
        return "not finished yet" if status == "partial" else "not run yet"
    if name in ("scheduler", "steps", "estimator"):
        return "does not apply to this row"
    if comparable.is_imported(row) and name in COST_NAMES:
        return "not measured here: the texts were imported"
    if row.get("selection") and name in OF_THE_CANDIDATES:
        return "a choice among stored texts: see the rows it was made from"
    return "nothing stored for this point"


def floor_of(benchmark: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, float]:
    """The entropy of the benchmark's source, by likelihood column: the floor under every model's figure on average.

    Bits per byte need the bytes of a token, which are taken from the scored texts where all rows agree on them.

    Returns:
        {} where the benchmark does not know its entropy rate.
    """
    nats = number(benchmark.get("entropy_rate_nats_per_token"))
    if nats is None:
        return {}
    floor = {"nats_per_token": nats, "bits_per_token": nats / math.log(2), "perplexity": math.exp(nats)}
    scored = [r for r in rows if r.get("kind") == "likelihood" and is_done(r)]
    sizes = {r["bytes"] / r["tokens"] for r in scored if number(r.get("bytes")) and number(r.get("tokens"))}
    if len(sizes) == 1:
        floor["bits_per_byte"] = floor["bits_per_token"] / sizes.pop()
    return floor


def markdown(table: Table, level: int = 2) -> str:
    """A table as Markdown: names, labels, quality and cost; the rest is in table.csv."""
    shown = ("bound", "candidates", *([ENGINE.name] if ENGINE in table.columns else []))
    picked = [i for i, c in enumerate(table.columns) if c.group in ("quality", "cost") or c.name in shown]
    lines = [f"{'#' * level} {table.caption}", ""]
    if not table.rows:
        return "\n".join([*lines, "No rows.", ""])
    marked = any(row.mark or row.notes for row in table.rows)
    mark = ["mark"] if marked else []
    lines.append(_line(["point", "checkpoint", *mark, *(table.columns[i].title for i in picked)]))
    lines.append(_line(["---", "---", *("---" for _ in mark), *("---:" for _ in picked)], escape=False))
    for row in table.rows:
        own = [" ".join([row.mark, *(f"n{n}" for n in row.notes)]).strip()] if marked else []
        lines.append(_line([row.name, row.label, *own, *(_markdown_cell(row.cells[i]) for i in picked)]))
    if table.foot:
        floor = "entropy of the source: the floor on average"
        lines.append(_line([floor, "", *("" for _ in mark), *(table.foot[i] for i in picked)]))
    lines += ["", *(f"({i}) {_plain(note)}  " for i, note in enumerate(table.notes, start=1))]
    lines += [f"{_plain(group.heading)}  " for group in table.groups if group.mark]
    lines += [f"n{i}: {_plain(note)}  " for i, note in enumerate(table.row_notes, start=1)]
    return "\n".join([*lines, ""])


def _markdown_cell(cell: Cell) -> str:
    note = f" ({cell.note})" if cell.note else ""
    return f"{cell.text} {cell.interval}".strip() + note


def _line(cells: Sequence[str], escape: bool = True) -> str:
    return "| " + " | ".join(_plain(c) if escape else c for c in cells) + " |"


def _plain(text: str) -> str:
    """Text that Markdown prints as it is, in one line."""
    flat = " ".join(text.split())
    for character in "\\`*_|<>#":
        flat = flat.replace(character, "\\" + character)
    return flat
