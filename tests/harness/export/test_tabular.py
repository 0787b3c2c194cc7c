"""The table as CSV, Parquet and JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness.export.files import data_files
from harness.export.tabular import csv_text, json_text, parquet_bytes
from harness.report import ReportData
from harness.report.data import rows_of
from harness.report.page import Page
from tests.harness.report_fixture import both_run, synthetic_run

HOSTILE = "=cmd|' /C calc'!A0"


@pytest.fixture(scope="module")
def run() -> ReportData:
    return synthetic_run()


def with_values(run: ReportData, **columns: Any) -> Page:
    """The run with columns set to a value each, or to a list of values."""
    rows = len(run.table)
    lists = {name: values if isinstance(values, list) else [values] * rows for name, values in columns.items()}
    table = run.table.assign(**{name: pd.Series(values, dtype=object) for name, values in lists.items()})
    return Page(dataclasses.replace(run, table=table))


def read_parquet(page: Page) -> Any:
    return pq.read_table(io.BytesIO(parquet_bytes(page)))


def read_json(page: Page) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(json_text(page), parse_constant=refuse)


def test_parquet_has_the_rows_with_a_type_for_each_column(run: ReportData) -> None:
    table = read_parquet(Page(run))
    types = {field.name: str(field.type) for field in table.schema}
    assert table.num_rows == len(run.table)
    assert list(types) == list(run.table.columns)
    assert (types["steps"], types["gen_ppl"], types["model"]) == ("int64", "double", "string")
    found = table.to_pylist()
    for mine, row in zip(found, rows_of(run.table), strict=True):
        assert mine["steps"] == row["steps"]
        assert mine["gen_ppl"] == row.get("gen_ppl")
        assert json.loads(mine["options"]) == row["options"]


def test_parquet_keeps_types_where_nothing_is_known(run: ReportData) -> None:
    table = read_parquet(Page(run))
    assert str(table.schema.field("mauve").type) == "double"
    assert table["mauve"].null_count == table.num_rows
    assert str(table.schema.field("same_as").type) == "string"


def test_parquet_has_null_for_unknown_and_keeps_infinities(run: ReportData) -> None:
    values = [math.nan, math.inf, -math.inf, *([None] * (len(run.table) - 3))]
    column = read_parquet(with_values(run, gen_ppl=values))["gen_ppl"].to_pylist()
    assert column[:3] == [None, math.inf, -math.inf]
    assert set(column[3:]) == {None}


def test_parquet_of_no_rows_has_the_columns() -> None:
    empty = synthetic_run().table.iloc[:0]
    table = read_parquet(Page(dataclasses.replace(synthetic_run(), table=empty)))
    assert table.num_rows == 0
    assert str(table.schema.field("steps").type) == "int64"
    assert str(table.schema.field("fingerprint").type) == "string"
    assert read_parquet(Page(dataclasses.replace(synthetic_run(), table=pd.DataFrame()))).num_columns == 0


def test_parquet_takes_values_that_do_not_fit_the_column(run: ReportData) -> None:
    count = len(run.table) - 1
    page = with_values(run, steps=["four", *([4] * count)], seed=[2**80] + [1] * count, model="a\ud800")
    table = read_parquet(page)
    assert table["steps"].to_pylist()[:2] == ["four", "4"]
    assert table["seed"].to_pylist()[0] == str(2**80)
    assert table["model"].to_pylist()[0] == "a?"


def test_parquet_says_where_it_comes_from(run: ReportData) -> None:
    head = json.loads(read_parquet(Page(run)).schema.metadata[b"tdbench"])
    assert (head["run"], head["created"], head["schema"]) == (run.run, run.created, 1)


def test_json_has_nulls_and_no_nan(run: ReportData) -> None:
    found = read_json(with_values(run, gen_ppl=[math.nan, math.inf, *([1.5] * (len(run.table) - 2))]))
    assert [row["gen_ppl"] for row in found["rows"]][:3] == [None, "Infinity", 1.5]
    assert found["rows"][0]["mauve"] is None
    assert found["rows"][0]["options"] == run.table["options"].iloc[0]
    assert len(found["rows"]) == len(run.table)


def test_json_says_where_it_comes_from(run: ReportData) -> None:
    found = read_json(Page(run))
    assert found["format"] == "tdbench table"
    assert (found["schema"], found["run"], found["command"]) == (1, run.run, run.command)
    assert found["environment"]["python"] == "3.11.9"
    assert "gen_ppl" in {metric["name"] for metric in found["metrics"]}
    assert found["columns"] == list(run.table.columns)


@pytest.mark.parametrize("table", [pd.DataFrame(), pd.DataFrame(columns=["model", "status"])])
def test_json_of_no_rows(table: pd.DataFrame) -> None:
    assert read_json(Page(dataclasses.replace(synthetic_run(), table=table)))["rows"] == []


def test_csv_reads_back_and_holds_no_formula() -> None:
    page = with_values(both_run(), model=HOSTILE, reason="+1\x00\x1b")
    rows = list(csv.DictReader(io.StringIO(csv_text(page.rows))))
    assert len(rows) == len(page.rows)
    assert {row["model"] for row in rows} == {f"'{HOSTILE}"}
    assert {row["reason"] for row in rows} == {"'+1\u2400\u241b"}
    assert [row["gen_ppl"] for row in rows] == ["" if r["gen_ppl"] is None else str(r["gen_ppl"]) for r in page.rows]
    assert json.loads(rows[0]["options"]) == page.rows[0]["options"]


def test_hostile_text_is_itself_in_parquet_and_json(run: ReportData) -> None:
    page = with_values(run, model=HOSTILE)
    assert read_parquet(page)["model"].to_pylist()[0] == HOSTILE
    assert read_json(page)["rows"][0]["model"] == HOSTILE


def test_csv_of_nothing_is_empty() -> None:
    assert csv_text([]) == ""


def test_csv_of_no_rows_has_its_columns() -> None:
    data = dataclasses.replace(synthetic_run(), table=pd.DataFrame(columns=["model", "status"]), scores=pd.DataFrame())
    files = data_files(Page(data), ("csv",))
    assert files["table.csv"] == b"model,status\n"
    assert files["scores.csv"].startswith(b"point,metric,")
