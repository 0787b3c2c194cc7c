"""The table of a run as CSV, Parquet and JSON.

All three have the same rows and columns. Lists and mappings are JSON text in CSV and Parquet. Unknown is an empty cell,
null and null; there is no NaN in any of them. Infinities stay in CSV and Parquet; JSON has none, so there they are the
texts "Infinity" and "-Infinity".
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness import __version__
from harness.export.text import cell, encodable, texts_of
from harness.report.data import WHOLE, ReportData, Row, clean
from harness.report.page import Page
from harness.table import COLUMNS

#: Raised when a reader of the JSON file would have to change.
SCHEMA = 1

#: Columns of numbers among those that every table has; the others of these are text, and all further columns are
#: numbers unless they hold something else.
_FRACTIONS = (
    *("nfe_mean", "seconds_median", "seconds_q1", "seconds_q3", "seconds_total", "network_seconds_total"),
    *("seconds_per_sequence", "tokens_per_second", "sequences_per_second", "load_seconds", "first_call_seconds"),
    "warmup_seconds",
)
_TEXT = {*COLUMNS, "bound"} - {*WHOLE, *_FRACTIONS}


def csv_text(rows: Sequence[Row], columns: Sequence[str] = ()) -> str:
    """The rows with the columns of all, or with these where there are none; "" for neither."""
    names = {name: cell(name) for row in rows for name in row} or {name: cell(name) for name in columns}
    out = io.StringIO()
    if names:
        writer = csv.DictWriter(out, list(names), lineterminator="\n")
        writer.writerow(names)
        writer.writerows({name: _csv_value(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _csv_value(value: Any) -> Any:
    flat = _flat(value)
    return cell(flat) if isinstance(flat, str) else flat


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def parquet_bytes(page: Page) -> bytes:
    """The table as a Parquet file whose columns have one type each, also where all their values are unknown.

    Whole numbers are int64, other numbers float64, everything else is text. The file's metadata (key ``tdbench``) is
    the JSON file's head.
    """
    columns = {encodable(str(name)): _column(str(name), page.rows) for name in page.data.table.columns}
    table = pa.table(columns).replace_schema_metadata({"tdbench": json.dumps(_head(page.data))})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _column(name: str, rows: Sequence[Row]) -> Any:
    values = [row.get(name) for row in rows]
    kind = _kind(name, [value for value in values if value is not None])
    if pa.types.is_string(kind):
        values = [None if value is None else encodable(str(_flat(value))) for value in values]
    return pa.array(values, type=kind)


def _kind(name: str, known: Sequence[Any]) -> Any:
    """The Arrow type of a column from its name, or from its values where these do not fit."""
    if known and all(isinstance(value, bool) for value in known):
        return pa.bool_()
    if name in _TEXT or name.endswith(("_reason", "_settings")) or not all(map(_is_number, known)):
        return pa.string()
    if name in WHOLE and all(map(_is_int64, known)):
        return pa.int64()
    # A whole number that a float cannot hold is kept as text.
    return pa.string() if any(isinstance(value, int) and abs(value) > 2**53 for value in known) else pa.float64()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_int64(value: Any) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63


def json_text(page: Page) -> str:
    """The table as one JSON object: a head that says where the rows come from, and the rows, one a line."""
    data = page.data
    head = {
        **_head(data),
        "environment": data.environment,
        "benchmarks": data.benchmarks,
        "runs": [vars(run) for run in data.runs],
        "notes": [*data.notes, *data.missing],
        "imports": data.imports,
        "metrics": [metric._asdict() for metric in page.metrics],
        "columns": [str(name) for name in data.table.columns],
    }
    rows = ",\n".join(_json(row) for row in page.rows)
    return f'{_json(clean(head), indent=1)[:-2]},\n "rows": [\n{rows}\n]\n}}\n'


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(texts_of(_finite(value)), ensure_ascii=False, allow_nan=False, indent=indent)


def _head(data: ReportData) -> dict[str, Any]:
    head = {"format": "tdbench table", "schema": SCHEMA, "tdbench": __version__}
    head |= {key: encodable(getattr(data, key)) for key in ("run", "created", "command")}
    return head


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
