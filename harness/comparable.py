"""Which rows of a table may be ranked together, and in words why the others may not.

Rows of one kind, benchmark and task stand together. Among them those that agree with most of the models are the main
group; every other row says what differs, figure by figure: quality, one metric, likelihood, likelihood per token, time.
Works on the table of one run and on tables of several runs put together.

Texts that were imported must be of the same data and as many; nothing is known of how they were drawn, so that agrees
with every row, and they have no time to compare.
"""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import pandas as pd

Row = Mapping[str, Any]

MAIN = "main"
#: Columns that `annotate` adds.
GROUP, REASON = "comparable_group", "not_comparable_because"
#: A row of another status has no figures that could be ranked.
_WITH_FIGURES = ("done", "partial")


class Field(NamedTuple):
    """One thing in which rows must agree.

    Attributes:
        title: what a reader calls it.
        value: gives it from a row; None where it is unknown.
        optional: whether a row without it agrees with every row.
    """

    title: str
    value: Callable[[Row], Any]
    optional: bool = False


def known(value: Any) -> Any:
    """`value`, None where pandas or a missing key says that it is unknown; whole numbers as int."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _column(title: str, column: str, optional: bool = False) -> Field:
    return Field(title, lambda row: known(row.get(column)), optional)


def _threads(row: Row) -> Any:
    return known(row.get("threads")) if known(row.get("device")) == "cpu" else None


#: What every figure of written text depends on, beside the metric's own settings. Tokens of two tokenizers are not the
#: same amount of text, so the tokenizer belongs to the length.
QUALITY = (
    _column("data", "data"),
    _column("tokenizer", "tokenizer"),
    _column("length", "length"),
    # A row without it draws nothing, or is imported.
    _column("sampling precision", "precision", optional=True),
    _column("samples", "samples"),
)
#: The same for text written from a source: what is written ends by itself, and the row of a model, whose length and
#: tokenizer they are, holds the source and room to spare besides.
SEQ2SEQ_QUALITY = tuple(field for field in QUALITY if field.title not in ("tokenizer", "length"))
#: What bits per byte and per character depend on: the same texts in the same windows, and one kind of figure.
LIKELIHOOD = (
    _column("data", "data"),
    _column("samples", "samples"),
    _column("window", "length"),
    _column("likelihood", "bound", optional=True),
)
#: What figures per token depend on as well.
PER_TOKEN = (_column("tokenizer", "tokenizer"),)
#: What seconds depend on.
TIME = (
    _column("device", "device"),
    _column("machine", "machine", optional=True),
    Field("threads", _threads, optional=True),
    _column("runtime", "runtime", optional=True),
    _column("dtype", "dtype"),
    _column("batch size", "batch_size"),
    _column("length", "length"),
)
#: What stands before a reason that concerns seconds alone.
_OF_TIME = "time: "


def quality_fields(task: Any) -> tuple[Field, ...]:
    """What every figure of the text of a task depends on."""
    return SEQ2SEQ_QUALITY if task == "seq2seq" else QUALITY


def metric_fields(rows: Sequence[Row], metric: str) -> tuple[Field, ...]:
    """What the figures of one metric depend on besides: its version and settings, the judge among them."""
    keys = dict.fromkeys(key for row in rows for key in _settings(row, metric))
    # A judge is its weights; its window and the rest go with it, and its name and folder may differ.
    if "judge_digest" in keys:
        keys = {key: None for key in keys if key not in ("judge", "window", "stride", "dtype")}
    judges: dict[Any, Any] = {}
    for row in rows:
        settings = _settings(row, metric)
        judges.setdefault(settings.get("judge_digest"), settings.get("judge"))
    return tuple(Field(_title(key), _setting(metric, key, judges), optional=True) for key in keys)


def _settings(row: Row, metric: str) -> Mapping[str, Any]:
    settings = row.get(f"{metric}_settings")
    return settings if isinstance(settings, Mapping) else {}


def _setting(metric: str, key: str, judges: Mapping[Any, Any]) -> Callable[[Row], Any]:
    def value(row: Row) -> Any:
        setting = _settings(row, metric).get(key)
        return f"{judges[setting]} ({setting})" if key == "judge_digest" and setting else setting

    return value


def _title(key: str) -> str:
    return {"judge_digest": "judge", "references_digest": "references"}.get(key, key.replace("_", " "))


def differences(rows: Sequence[Row], fields: Sequence[Field]) -> list[tuple[str, ...]]:
    """For each row, what keeps it out of the main group: one phrase a field; () for the rows of the main group.

    The main group is the one that most models belong to; where that is no decision, most rows; then the first. What it
    does not know of an optional field, the other rows settle in the same way.
    """
    if not rows or not fields:
        return [()] * len(rows)
    values = [tuple(_hashable(field.value(row)) for field in fields) for row in rows]
    weights = [len(rows) if known(row.get("role")) in (None, "model") else 1 for row in rows]
    main = [
        _heaviest([mine[i] for mine in values], weights) if field.optional and value is None else value
        for i, (field, value) in enumerate(zip(fields, _heaviest(values, weights), strict=True))
    ]
    return [
        tuple(
            f"{field.title} {_text(value)}, others {_text(other)}"
            for field, value, other in zip(fields, mine, main, strict=True)
            if not _agrees(value, other, field)
        )
        for mine in values
    ]


def _heaviest(values: Sequence[Any], weights: Sequence[int]) -> Any:
    """The known value with the largest sum of weights, None where none is known."""
    sums: Counter[Any] = Counter()
    for value, weight in zip(values, weights, strict=True):
        sums[value] += weight * (value is not None)
    return max(sums, key=lambda value: sums[value]) if any(sums.values()) else None


def _agrees(value: Hashable, other: Hashable, field: Field) -> bool:
    return value == other or (field.optional and None in (value, other))


def _hashable(value: Any) -> Hashable:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def _text(value: Any) -> str:
    return "not recorded" if value is None else str(value).replace("upper_bound", "upper bound")


def place(row: Row) -> tuple[Any, Any, Any]:
    """Kind, benchmark and task: rows of different places are never ranked together and need no mark to say so."""
    task = known(row.get("task"))
    kind = known(row.get("kind"))
    return kind, known(row.get("benchmark")), task or "unconditional" if kind == "generate" else task


def reasons(rows: Sequence[Row]) -> list[str | None]:
    """For each row why it does not belong to the main group of its place: "" where it does, None where it has no
    figures.
    """
    found: list[str | None] = [None] * len(rows)
    places: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        if known(row.get("status")) in _WITH_FIGURES:
            places.setdefault(place(row), []).append(i)
    for (kind, _, task), members in places.items():
        mine = [rows[i] for i in members]
        texts = _likelihood_reasons(mine) if kind == "likelihood" else _generation_reasons(mine, task)
        for i, text in zip(members, texts, strict=True):
            found[i] = text
    return found


def _likelihood_reasons(rows: Sequence[Row]) -> list[str]:
    general, per_token = differences(rows, LIKELIHOOD), differences(rows, PER_TOKEN)
    return [
        "; ".join([*first, *(f"figures per token: {phrase}" for phrase in second)])
        for first, second in zip(general, per_token, strict=True)
    ]


def _generation_reasons(rows: Sequence[Row], task: Any) -> list[str]:
    general, time = differences(rows, quality_fields(task)), _time_differences(rows)
    by_metric = {name: differences(rows, metric_fields(rows, name)) for name in metrics_of(rows)}
    texts = []
    for i, first in enumerate(general):
        metrics: dict[str, list[str]] = {}
        for name, found in by_metric.items():
            for phrase in found[i]:
                metrics.setdefault(phrase, []).append(name)
        own = [f"{', '.join(names)}: {phrase}" for phrase, names in metrics.items()]
        timed = [f"{_OF_TIME}{phrase}" for phrase in time[i] if phrase not in first]
        texts.append("; ".join([*first, *own, *timed]))
    return texts


def _time_differences(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """As `differences` in `TIME`; seconds of control rows, which run no network, are compared with nothing."""
    timed = [i for i, row in enumerate(rows) if known(row.get("role")) != "control" and not is_imported(row)]
    found: list[tuple[str, ...]] = [()] * len(rows)
    for i, phrases in zip(timed, differences([rows[i] for i in timed], TIME), strict=True):
        found[i] = phrases
    return found


def is_imported(row: Row) -> bool:
    """Whether the texts of a row were generated elsewhere."""
    return bool(known(row.get("engine")) == "imported")


def metrics_of(rows: Iterable[Row]) -> list[str]:
    """Names of the metrics whose settings the rows hold."""
    columns = dict.fromkeys(str(column) for row in rows for column in row)
    return [column.removesuffix("_settings") for column in columns if column.endswith("_settings")]


def annotate(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with two more columns: `comparable_group` ("main", or a letter for each reason; None for a row without
    figures) and `not_comparable_because` (None for the main group).
    """
    found = reasons([{str(k): v for k, v in row.items()} for row in frame.to_dict("records")])
    letters = dict(zip(dict.fromkeys(text for text in found if text), _letters(), strict=False))
    groups = [None if text is None else letters.get(text, MAIN) for text in found]
    columns = {GROUP: groups, REASON: [text or None for text in found]}
    return frame.assign(**{name: pd.Series(values, frame.index, dtype=object) for name, values in columns.items()})


def _letters() -> Iterable[str]:
    """a, b, ..., z, aa, ab, ..."""
    for size in (1, 2, 3):
        yield from ("".join(letters) for letters in product(string.ascii_lowercase, repeat=size))


def mark(row: Row) -> str:
    """The letter of an annotated row outside the main group, "" for any other row."""
    group = known(row.get(GROUP))
    return "" if group in (None, MAIN) else str(group)


def ranks_in_quality(row: Row) -> bool:
    """Whether an annotated row may be ranked by the quality of its text: it is in the main group, or what sets it apart
    are its seconds alone (another machine, another batch size).
    """
    return not quality_reason(row)


def quality_reason(row: Row) -> str:
    """What keeps an annotated row from being ranked by the quality of its text, "" for most rows."""
    reason = str(known(row.get(REASON)) or "")
    return "; ".join(part for part in reason.split("; ") if not part.startswith(_OF_TIME))


def time_conditions(row: Row) -> dict[str, Any]:
    """What the seconds of a row depend on, by title; rows whose seconds may stand on one axis agree in all of it."""
    return {field.title: field.value(row) for field in TIME}


def legend(rows: Iterable[Row]) -> dict[str, str]:
    """Mark -> reason, of annotated rows, in the order of the marks."""
    found = {mark(row): str(known(row.get(REASON)) or "") for row in rows if mark(row)}
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


@dataclass(frozen=True)
class Marks:
    """Marks of the rows of a table for print.

    Attributes:
        rows: for each row its mark and the numbers of its notes, "" for most rows.
        lines: what marks and numbers mean, one line each; [] where there are none.
    """

    rows: list[str]
    lines: list[str]


def marks(frame: pd.DataFrame) -> Marks:
    """Marks, notes and reasons of missing figures of an annotated table (`annotate`), for a person."""
    rows = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    said = [_why_missing(row) + notes_of(row) for row in rows]
    numbers: dict[str, int] = {}
    for note in (note for notes in said for note in notes):
        numbers.setdefault(note, len(numbers) + 1)
    shown = [
        " ".join([mark(row), *(str(numbers[note]) for note in notes)]).strip()
        for row, notes in zip(rows, said, strict=True)
    ]
    lines = [f"{letter}: not ranked with the unmarked rows: {reason}" for letter, reason in legend(rows).items()]
    return Marks(shown, lines + [f"{number}: {note}" for note, number in numbers.items()])


def _why_missing(row: Row) -> list[str]:
    """Why a failed or unavailable row has no figures."""
    message = known(row.get("message"))
    missing = known(row.get("status")) in ("failed", "not_available")
    return [f"{str(row['status']).replace('_', ' ')}: {message}"] if missing and message else []


def notes_of(row: Row) -> list[str]:
    """The notes of a row, each once."""
    notes = row.get("notes")
    return list(dict.fromkeys(str(note) for note in notes)) if isinstance(notes, list | tuple) else []
