"""The page as a document: what may run, ids of rows, tables that are cut, settings said once, signs for the unseen."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from harness.report import ReportData, render, tables, write_report
from harness.report.data import Names, metrics_of, rows_of
from harness.report.page import Page as ReportPage
from harness.report.places import Place, places_of
from harness.report.samples import BUDGET, COLUMNS, browser
from harness.report.tables import Style, generation_table
from harness.report.text import visible
from tests.harness.big_run import many_rows
from tests.harness.report_fixture import both_run, pair_run, synthetic_run
from tests.harness.test_report import EVIL, Page

#: Row ids of the hostile test hold what would break out of an attribute.
QUOTED = 'a"><script>alert(1)</script>'


def place_of(data: ReportData) -> Place:
    return places_of(data, rows_of(data.table), metrics_of(data))[0]


def html(data: ReportData) -> str:
    """The page without what is written beside it."""
    page = ReportPage(data)
    parts = {part.id: part.build(page) for part in render.PARTS}
    return visible(render._html(page, parts, render._sections(page)))


@pytest.fixture(scope="module")
def text() -> str:
    return html(both_run())


# --- what may run ----------------------------------------------------------------------------------------------------


def test_policy_allows_exactly_the_style_and_the_script_of_the_page(text: str) -> None:
    page = Page(text)
    [policy] = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    directives = dict(part.split(" ", 1) for part in str(policy).split("; "))

    def digest(found: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()}'"

    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert directives == {
        "default-src": "'none'",
        "style-src": digest(style),
        "script-src": digest(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_nothing_needs_more_than_the_policy_allows(text: str) -> None:
    page = Page(text)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
    assert {attrs.get("type") for tag, attrs in page.tags if tag == "script"} == {None, "application/json"}
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|\beval\b|new Function|document\.write|setAttribute\(.style", script
    )


def test_data_for_scripts_is_json(text: str) -> None:
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(blocks) > 1
    for block in blocks:
        json.loads(block)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_every_row_of_a_table_has_its_id_and_one_only(text: str) -> None:
    data = both_run()
    shown = data.table[
        (data.table["status"] != "same_as") & ((data.table["kind"] == "generate") | (data.table["status"] == "done"))
    ]
    ids = [value for value in Page(text).attributes("id") if value.startswith("row-")]
    assert sorted(ids) == sorted(f"row-{fingerprint}" for fingerprint in shown["fingerprint"])


def test_a_fingerprint_that_comes_twice_gives_one_id() -> None:
    data = synthetic_run()
    twice = pd.concat(
        [data.table, data.table[data.table["kind"] == "generate"].assign(task="prefix")], ignore_index=True
    )
    ids = Page(html(dataclasses.replace(data, table=twice))).attributes("id")
    assert len(ids) == len(set(ids))


def test_links_to_rows_that_are_not_shown_become_text() -> None:
    macro = '{% from "macros.html" import row_link %}{{ row_link(row, "A <b>") }}'
    some = render.templates(frozenset({"row-a"}))
    assert some.from_string(macro).render(row="a") == '<a href="#row-a">A &lt;b&gt;</a>'
    assert some.from_string(macro).render(row='a"') == "A &lt;b&gt;"
    assert 'href="#row-b"' in render.templates().from_string(macro).render(row="b"), "without a list all are there"


def test_text_that_reads_like_a_link_to_a_row_stays_whole() -> None:
    name = 'm href="#row-x" n'
    assert html(synthetic_run((name,))).count('m href="#row-x" n') >= 2, "in the text of plots, which needs no quotes"


def test_hostile_fingerprints_stay_in_their_attribute() -> None:
    data = synthetic_run()
    page = Page(
        html(dataclasses.replace(data, table=data.table.assign(fingerprint=[f"{QUOTED}{i}" for i in data.table.index])))
    )
    assert f"row-{QUOTED}0" in page.attributes("id")
    assert len([tag for tag, attrs in page.tags if tag == "script" and "type" not in attrs]) == 1


def test_a_long_table_keeps_its_first_rows_and_those_that_are_linked() -> None:
    data = many_rows(tables.LIMIT + 50)
    last = f"{tables.LIMIT + 49:016x}"
    table = generation_table(place_of(data), Names(rows_of(data.table)), Style(linked=[last]))
    anchors = [row.anchor for row in table.rows]
    assert len(anchors) == tables.LIMIT
    assert anchors[-1] == f"row-{last}"
    assert anchors[:-1] == [f"row-{i:016x}" for i in range(tables.LIMIT - 1)]
    assert table.left_out == 50


def test_a_cut_table_says_so_and_the_csv_has_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LIMIT", 4)
    data = synthetic_run()
    page = Page(write_report(data, tmp_path).read_text(encoding="utf-8"))
    rows = [attrs for tag, attrs in page.tags if tag == "tr" and str(attrs.get("id")).startswith("row-")]
    assert len(rows) == 4 + 3, "the likelihoods are fewer than that"
    assert "11 more are in table.csv only" in page.visible()
    assert len(pd.read_csv(tmp_path / "table.csv")) == len(data.table)


def test_settings_that_never_differ_are_said_once() -> None:
    data = synthetic_run()
    names = Names(rows_of(data.table))
    table = generation_table(place_of(data), names)
    said = dict(table.shared)
    assert said["dtype"] == "float32"
    assert said["batch size"] == "64"
    assert not {"dtype", "batch_size"} & {column.name for column in table.columns}
    assert {"checkpoint", "fingerprint", "options"} <= {column.name for column in table.columns}
    mixed = data.table.assign(dtype=["float32"] * 3 + ["float16"] * (len(data.table) - 3))
    table = generation_table(place_of(dataclasses.replace(data, table=mixed)), names)
    assert "dtype" not in dict(table.shared)
    assert "dtype" in [column.name for column in table.columns]


def test_one_row_keeps_its_settings_as_columns() -> None:
    data = synthetic_run()
    one = dataclasses.replace(data, table=data.table.iloc[:1])
    table = generation_table(place_of(one), Names(rows_of(one.table)))
    assert table.shared == []
    assert "dtype" in [column.name for column in table.columns]


def test_commands_and_problems_are_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MOST", 3)
    monkeypatch.setattr(render, "NAMED", 2)
    data = synthetic_run()
    failed = data.table.assign(status="failed", reason="exception", message="it broke")
    page = Page(html(dataclasses.replace(data, table=failed, samples={})))
    text = " ".join(page.visible().split())
    assert f"{len(failed)} commands" in text
    assert "3 of them are here" in text
    assert f"and {len(failed) - 2} more" in text


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b\x7f", "a\u2400b\u241b\u2421"),
        ("a\r\nb\tc", "a\u240d\nb\tc"),
        ("a\ud800\x85", "a\ufffd\ufffd"),
        ("\u202e\u4e2d\u0645 \U0001f600", "\u202e\u4e2d\u0645 \U0001f600"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_gets_a_sign(text: str, shown: str) -> None:
    assert visible(text) == shown
    visible(text).encode("utf-8")


# --- samples ---------------------------------------------------------------------------------------------------------


def test_samples_are_the_first_by_number_and_the_page_says_so() -> None:
    data = synthetic_run(samples=6)
    shown = browser(data, rows_of(data.table), Names(rows_of(data.table)))
    assert {tuple(s["i"] for s in e["samples"]) for e in shown.entries if e["samples"]} == {tuple(range(6))}
    assert (
        "The first 6 samples of each point and seed are here, by their number: none was picked by hand." in shown.note
    )


def test_samples_and_names_are_fit_to_be_seen() -> None:
    data = pair_run()
    rows = rows_of(data.table.assign(model=[f"m\x00{name}" for name in data.table["model"]]))
    texts = {key: [{**s, "text": "a\x00b\ud800"} for s in mine] for key, mine in data.samples.items()}
    shown = browser(
        dataclasses.replace(
            data, samples=texts, sources={"toy_paraphrase": [{"source": EVIL + "\x07", "references": []}]}
        ),
        rows,
        Names(rows),
    )
    assert {s["t"] for e in shown.entries for s in e["samples"]} == {"a\u2400b\ufffd"}
    assert all(e["model"].startswith("m\u2400") for e in shown.entries)
    assert shown.given["toy_paraphrase \u00b7 seq2seq"][0]["s"].endswith("\u2407")


@pytest.mark.parametrize(("points", "columns"), [(0, 0), (2, 2), (9, COLUMNS)])
def test_no_more_columns_than_texts(points: int, columns: int) -> None:
    data = synthetic_run()
    few = dict(list(data.samples.items())[:points])
    table = data.table[data.table["fingerprint"].isin(few)]
    shown = browser(dataclasses.replace(data, samples=few), rows_of(table), Names(rows_of(table)))
    assert len(shown.columns) == columns
    assert sum(len(s["t"]) for e in shown.entries for s in e["samples"]) < BUDGET


def test_ten_thousand_points_leave_room_for_the_samples_of_some() -> None:
    data = many_rows(1_500)
    samples = {key: [{"index": 0, "text": "word " * 40, "nfe": 1.0}] for key in data.table["fingerprint"]}
    rows = rows_of(data.table)
    made = browser(dataclasses.replace(data, samples=samples), rows, Names(rows))
    assert [entry["steps"] for entry in made.entries] == list(range(1, 1_001)), "the first, not a choice"
    assert "Of 1,500 points the first 1,000 are here" in made.note
