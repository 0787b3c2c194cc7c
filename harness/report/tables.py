"""The tables of the report as plain structures; the template and the Markdown file print the same ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness import comparable
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
)
from harness.report.format import DASH, figure, interval
from harness.report.places import Place


class Column(NamedTuple):
    """One column: field of the row, heading, number form, group ("id", "quality", "cost", "timing", "settings")."""

    name: str
    title: str
    form: str = "number"
    group: str = "settings"
    help: str = ""


class Cell(NamedTuple):
    """One cell: text, its interval, what to sort by (None sorts last), and the number of its note."""

    text: str
    interval: str = ""
    sort: str | None = None
    note: int | None = None


class TableRow(NamedTuple):
    """One row: name, checkpoint label, what filters look at, cells in column order, the letter of its group ("" for the
    main one), the numbers of its notes.
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


class Group(NamedTuple):
    """Rows that may be ranked together; the heading is "" where the table has no other group."""

    heading: str
    mark: str
    rows: list[TableRow]


@dataclass(frozen=True)
class Table:
    """A finished table; `notes` are the reasons of its dashes and `row_notes` what is said of rows, numbered from 1.
    `method` is what its filter by method is called.
    """

    id: str
    method: str
    caption: str
    columns: list[Column]
    groups: list[Group]
    notes: list[str] = field(default_factory=list)
    row_notes: list[str] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[TableRow]:
        """All rows, group after group."""
        return [row for group in self.groups for row in group.rows]


_ENGINE = Column(
    "engine", "engine", "text", "id", "native: the port; upstream: the authors' own code; imported: generated elsewhere"
)
_ID = (
    Column("scheduler", "scheduler", "text", "id"),
    Column("steps", "steps", "count", "id"),
    Column("candidates", "candidates", "count", "id", "texts each one was chosen from; the cost is that of all"),
)
_COST = (
    Column("nfe_mean", "NFE", "count", "cost", "network evaluations per sequence, counted at the network"),
    Column("nfe_min", "NFE min", "count", "timing"),
    Column("nfe_max", "NFE max", "count", "timing"),
    Column("seconds_per_sequence", "time / sequence", "seconds", "cost", "total seconds divided by sequences"),
    Column("sequences_per_second", "sequences/s", "number", "cost"),
    Column("tokens_per_second", "tokens/s", "number", "cost", "generated tokens only: no prompt, no padding"),
    Column("peak_memory_bytes", "peak memory", "bytes", "cost"),
    Column("parameters", "parameters", "count", "cost"),
    Column("seconds_median", "batch median", "seconds", "timing"),
    Column("seconds_q1", "batch 1st quartile", "seconds", "timing"),
    Column("seconds_q3", "batch 3rd quartile", "seconds", "timing"),
    Column("batches", "batches timed", "count", "timing"),
    Column("seconds_total", "total", "seconds", "timing"),
    Column("network_seconds_total", "in the network", "seconds", "timing"),
    Column("load_seconds", "load", "seconds", "timing"),
    Column("first_call_seconds", "first call", "seconds", "timing"),
    Column("warmup_seconds", "warm-up", "seconds", "timing", "untimed calls before the measured ones"),
)
_COST_NAMES = {column.name for column in _COST}
_LIKELIHOOD = (
    Column("estimator", "estimator", "text", "id"),
    Column("bound", "kind", "text", "id", "exact, or an upper bound of the true figure"),
    Column("bits_per_byte", "bits/byte", "number", "quality"),
    Column("bits_per_token", "bits/token", "number", "quality"),
    Column("perplexity", "perplexity / token", "number", "quality", "exp of nats per token"),
    Column("nats_per_token", "nats/token", "number", "quality"),
    Column("standard_error", "s.e.", "number", "quality", "Monte-Carlo standard error of nats per token"),
    Column("bits_per_char", "bits/character", "number", "quality"),
    Column("nats", "nats, all texts", "number", "timing"),
    Column("tokens", "tokens", "count", "cost"),
    Column("bytes", "bytes", "count", "timing"),
    Column("chars", "characters", "count", "timing"),
    Column("words", "words", "count", "timing"),
)
_SETTINGS = tuple(
    Column(name, name.replace("_", " "), form)
    for name, form in (
        ("status", "text"),
        ("role", "text"),
        ("checkpoint", "text"),
        ("checkpoint_kind", "text"),
        ("engine", "text"),
        ("runtime", "text"),
        ("image", "text"),
        ("image_id", "text"),
        ("image_digest", "text"),
        ("benchmark", "text"),
        ("data", "text"),
        ("tokenizer", "text"),
        ("task", "text"),
        ("options", "text"),
        ("seed", "text"),
        ("selection", "text"),
        ("samples", "count"),
        ("samples_done", "count"),
        ("batch_size", "count"),
        ("length", "count"),
        ("device", "text"),
        ("machine", "text"),
        ("threads", "count"),
        ("dtype", "text"),
        ("precision", "text"),
        ("fingerprint", "text"),
    )
)
_NOT_COLUMNS = {"model", "kind", "job", "reason", "message", "same_as", "point", "low", "high", "notes", "of"}
#: What a choice among stored texts has none of: the rows it was made from have it.
_OF_THE_CANDIDATES = ("load_seconds", "first_call_seconds", "warmup_seconds", "peak_memory_bytes", "parameters")
_NOT_COLUMNS |= {comparable.GROUP, comparable.REASON}


def table_of(place: Place, names: Names) -> Table:
    """The table of a place."""
    return likelihood_table(place, names) if place.kind == "likelihood" else generation_table(place, names)


def generation_table(place: Place, names: Names) -> Table:
    """Every figure of the generate points; points that are the same as another have none and are left out."""
    mine = [r for r in place.rows if r.get("status") != "same_as"]
    quality = [Column(m.name, m.title, "number", "quality", _metric_help(m)) for m in place.metrics]
    columns = _present([*_ID, *quality, *_COST, *_settings(mine), *_others(mine, place.metrics)], mine)
    chosen = any(r.get("candidates") is not None for r in mine)
    columns = [c for c in columns if c.name != "candidates" or chosen]
    return _table(f"generation{place.suffix}", "Scheduler", _caption("Generation", place, mine), columns, mine, names)


def likelihood_table(place: Place, names: Names) -> Table:
    """Likelihood figures, lowest bits per byte first, and the floor of the benchmark as the last line."""
    mine = sorted((r for r in place.rows if is_done(r)), key=_by_bits)
    cost = [c for c in _COST if c.name not in ("tokens_per_second", "sequences_per_second")]
    columns = _present([*_LIKELIHOOD, *cost, *_settings(mine)], mine)
    caption = _caption("Likelihood of held-out text", place, mine)
    table = _table(f"likelihood{place.suffix}", "Estimator", caption, columns, mine, names)
    floor = floor_of(place.facts, place.rows)
    if floor and mine:
        table.foot.extend(figure(floor.get(c.name)) if c.name in floor else "" for c in columns)
    return table


def _caption(what: str, place: Place, rows: Sequence[Row]) -> str:
    where = place.benchmark if place.kind == "likelihood" else place.title
    return f"{what}{'' if place.alone else f' ({where})'}: {kind_label(rows)}"


def _settings(rows: Sequence[Row]) -> list[Column]:
    """The settings; the engine stands beside the name where the rows come from several."""
    engines = {row.get("engine") for row in rows}
    return [_ENGINE if c.name == "engine" and len(engines) > 1 else c for c in _SETTINGS]


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
    known = {c.name for c in (*_ID, *_COST, *_LIKELIHOOD, *_SETTINGS)} | _NOT_COLUMNS
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


def _table(id: str, method: str, caption: str, columns: list[Column], rows: Sequence[Row], names: Names) -> Table:
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
        )

    parts = dict(sorted(group_by(rows, comparable.mark).items(), key=lambda part: (len(part[0]), part[0])))
    groups = [Group(_heading(parts, mark), mark, [made(row) for row in mine]) for mark, mine in parts.items()]
    return Table(id, method, caption, columns, groups, list(notes), list(row_notes))


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
    if comparable.is_imported(row) and name in _COST_NAMES:
        return "not measured here: the texts were imported"
    if row.get("selection") and name in _OF_THE_CANDIDATES:
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
    shown = ("bound", "candidates", *([_ENGINE.name] if _ENGINE in table.columns else []))
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
