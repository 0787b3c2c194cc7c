"""The report: what it must say, what it must never say, and input that tries to break it."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shlex
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from harness import comparable
from harness.config import BenchConfig, build
from harness.metrics.base import SampleValues
from harness.report import ReportData, report_data, row_command, verdict, write_report
from harness.report.data import Estimate, Metric, Names, metrics_of, rows_of
from harness.report.figures import plot_groups
from harness.report.format import figure
from harness.report.page import Page as ReportPage
from harness.report.places import Place, places_of
from harness.report.samples import BUDGET, browser, script_json
from harness.report.summary import overlap, remarks
from harness.report.tables import floor_of, generation_table, likelihood_table, markdown, why_null
from harness.store import RunStore
from harness.worker.jsonl import append_line
from tests.harness.report_fixture import NOTE, differing_run, synthetic_run

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Collects tags, ids and texts, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def attributes(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]

    def visible(self) -> str:
        return " ".join(text for tag, text in self.texts if tag not in ("script", "style"))


def written(data: ReportData, folder: Path) -> tuple[Page, str]:
    text = write_report(data, folder).read_text(encoding="utf-8")
    return Page(text), text


def with_table(data: ReportData, **columns: Any) -> ReportData:
    return dataclasses.replace(data, table=data.table.assign(**columns))


def place_of(data: ReportData, kind: str = "generate") -> Place:
    return next(p for p in places_of(data, rows_of(data.table), metrics_of(data)) if p.kind == kind)


def said(data: ReportData) -> list[str]:
    rows = rows_of(data.table)
    places = places_of(data, rows, metrics_of(data))
    return [str(remark) for place in places for remark in remarks(place, Names(rows))]


TABLES = {f"table.{ending}" for ending in ("csv", "parquet", "json", "tex", "md")}


@pytest.fixture(scope="module")
def run() -> ReportData:
    return synthetic_run()


@pytest.fixture(scope="module")
def folder(run: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run, tmp_path_factory.mktemp("report") / "synthetic").parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_writes_every_file_and_no_leftovers(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    plots = {f"fig-{m}-{axis}.svg" for m in ("gen_ppl", "toy_valid_sentences") for axis in ("nfe", "seconds")}
    plots |= {"fig-gen_ppl-entropy.svg", "fig-throughput.svg", "fig-memory.svg"}
    assert names == {"index.html", "scores.csv", *TABLES, *plots}


def test_page_needs_nothing_from_elsewhere(page: Page) -> None:
    assert page.attributes("src") == []
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "img", "object")]
    assert {h for h in page.attributes("href") if not h.startswith("#")} == {"scores.csv", *TABLES}
    assert not re.search(r"url\((?!#)|@import", "".join(text for tag, text in page.texts if tag == "style"))


def test_ids_are_unique_and_links_resolve(page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    wanted = [link[1:] for name in ("href", "xlink:href") for link in page.attributes(name) if link.startswith("#")]
    clips = [link[5:-1] for link in page.attributes("clip-path")]
    assert wanted
    assert clips
    assert set(wanted) | set(clips) <= set(ids)


def test_every_figure_and_table_says_which_checkpoints(folder: Path, page: Page) -> None:
    for plot in folder.glob("fig-*.svg"):
        assert "tiny checkpoints" in plot.read_text(encoding="utf-8")
    captions = [text for tag, text in page.texts if tag == "caption"]
    assert "Generation: tiny checkpoints" in captions
    assert "Likelihood of held-out text: tiny checkpoints" in captions
    assert "Generation: tiny checkpoints" in (folder / "table.md").read_text(encoding="utf-8")


def test_svg_files_are_xml_and_follow_the_colour_scheme(folder: Path) -> None:
    for plot in folder.glob("fig-*.svg"):
        text = plot.read_text(encoding="utf-8")
        ET.fromstring(text)
        drawn = text.split("</style>", 1)[1]
        assert "prefers-color-scheme:dark" in text
        assert "var(--ink)" in drawn
        assert not re.search(r"#[0-9a-f]{6}\b|black|white", re.sub(r"#fig[^\s\")]*", "", drawn))


def test_perplexity_never_stands_alone(folder: Path, run: ReportData) -> None:
    assert "unigram entropy" in (folder / "fig-gen_ppl-nfe.svg").read_text(encoding="utf-8")
    text = next(s for s in said(run) if "perplexity" in s)
    assert "unigram entropy is 3." in text
    assert "real data has" in text


def test_entropy_is_drawn_alone_where_there_is_no_perplexity() -> None:
    entropy = Metric("unigram_entropy", "unigram entropy", "nats", "none", ("1",), ())
    assert plot_groups([entropy]) == [(entropy,)]


def test_same_input_gives_same_bytes(run: ReportData, folder: Path, tmp_path: Path) -> None:
    write_report(run, tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_plots_of_an_earlier_report_go_and_other_files_stay(run: ReportData, tmp_path: Path) -> None:
    (tmp_path / "fig-old-nfe.svg").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    write_report(run, tmp_path)
    assert not (tmp_path / "fig-old-nfe.svg").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_failed_point_is_shown_with_its_reason(page: Page) -> None:
    text = page.visible()
    assert "needed 12 GiB, 8 GiB were free" in text
    assert "the point failed: out of memory" in text
    assert "1 failed" in text


@pytest.mark.parametrize("by_fingerprint", [False, True])
def test_equal_schedulers_are_said_to_be_equal(run: ReportData, tmp_path: Path, by_fingerprint: bool) -> None:
    twin = run.table.query("model == 'radd' and scheduler == 'ancestral' and steps == 4")["fingerprint"].item()
    table = run.table.copy()
    if by_fingerprint:
        table.loc[table["status"] == "same_as", "same_as"] = twin
    page, _ = written(dataclasses.replace(run, table=table), tmp_path)
    assert "euler is the same as ancestral under this schedule: not run twice." in page.visible()


def test_unknown_figures_are_dashes_with_a_reason_and_never_zero(run: ReportData) -> None:
    rows = rows_of(run.table)
    table = generation_table(place_of(run), Names(rows))
    at = [c.name for c in table.columns].index("mauve")
    cells = [row.cells[at] for row in table.rows]
    assert {cell.text for cell in cells} == {"\u2013"}
    assert {table.notes[(cell.note or 0) - 1] for cell in cells} == {run.table["mauve_reason"].iloc[0]}
    assert all(cell.sort is None for cell in cells)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"status": "failed", "reason": "time_limit"}, "the point failed: time limit"),
        ({"status": "not_available", "message": "no likelihood"}, "not available: no likelihood"),
        ({"status": "pending"}, "not run yet"),
        ({"status": "partial"}, "not finished yet"),
        ({"status": "done", "x_reason": "no judge"}, "no judge"),
        ({"status": "done"}, "nothing stored for this point"),
        ({}, "not run yet"),
    ],
)
def test_why_null(row: dict[str, Any], reason: str) -> None:
    assert why_null(row, "x") == reason


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (Estimate(1, 0.9, 1.1), Estimate(1.15, 1.1, 1.2), True),
        (Estimate(1, 0.9, 1.1), Estimate(1.3, 1.2, 1.4), False),
        (Estimate(1, None, None), Estimate(1.3, 1.2, 1.4), None),
    ],
)
def test_overlap(a: Estimate, b: Estimate, expected: bool | None) -> None:
    assert overlap(a, b) is expected


def two_models(first: float, second: float, half: float | None) -> ReportData:
    """A run of two points whose only metric has these values and this half width."""
    points = [
        {
            "model": model,
            "kind": "generate",
            "status": "done",
            "scheduler": "s",
            "steps": 4,
            "score": value,
            "score_low": None if half is None else value - half,
            "score_high": None if half is None else value + half,
        }
        for model, value in (("a", first), ("b", second))
    ]
    points = [{**p, "toy_valid_sentences": p.pop("score")} for p in points]
    points = [{k.replace("score_", "toy_valid_sentences_"): v for k, v in p.items()} for p in points]
    scores = pd.DataFrame([{"metric": "toy_valid_sentences", "unit": "share", "better": "higher", "version": 1}])
    return ReportData(run="r", command="tdbench bench", created="", table=pd.DataFrame(points), scores=scores)


@pytest.mark.parametrize(
    ("half", "says", "not_says"),
    [
        (0.1, "the intervals overlap, so they are not told apart", "do not overlap"),
        (0.01, "the intervals do not overlap", "separable"),
        (None, "nothing is said of the difference", "overlap"),
    ],
)
def test_summary_claims_no_more_than_the_intervals(half: float | None, says: str, not_says: str) -> None:
    data = two_models(0.5, 0.6, half)
    text = next(s for s in verdict.lines(verdict.build(ReportPage(data))) if s.startswith("At up to"))
    assert "by b · s · 4 steps" in text
    assert says in text
    assert not_says not in text


def test_summary_warns_of_less_varied_text(run: ReportData) -> None:
    warning = "less varied than real data"
    narrow = with_table(run, unigram_entropy_high=run.table["unigram_entropy"].clip(upper=3.7))
    assert warning in " ".join(said(narrow))
    assert warning not in " ".join(said(with_table(run, unigram_entropy_high=4.0)))


def test_baseline_is_named_beside_the_best_model_but_never_as_it(run: ReportData) -> None:
    table = run.table.copy()
    table.loc[table["model"] == "radd", "role"] = "baseline"
    table.loc[table["model"] == "radd", "gen_ppl"] = 1.0
    data = dataclasses.replace(run, table=table)
    text = next(s for s in said(data) if s.startswith("Lowest generative"))
    assert re.match(r"Lowest generative perplexity: [^\]]*\] by nanodd", text)
    assert "Baseline radd" in text


def test_summary_warns_of_perplexity_below_data(run: ReportData) -> None:
    table = run.table.copy()
    table.loc[table["model"] == "radd", "gen_ppl"] = 2.0
    data = dataclasses.replace(run, table=table)
    assert "not a sign of better text" in " ".join(said(data))


def test_likelihood_floor_comes_from_the_entropy_rate(run: ReportData) -> None:
    floor = floor_of(run.benchmarks["toy"], rows_of(run.table))
    assert floor["perplexity"] == pytest.approx(np.exp(1.816))
    assert floor["bits_per_byte"] == pytest.approx(1.816 / np.log(2) * 8192 / 41_800)
    assert floor_of({}, rows_of(run.table)) == {}


def test_floor_in_bytes_is_unknown_where_tokens_differ(run: ReportData) -> None:
    rows = rows_of(run.table)
    next(r for r in rows if r["kind"] == "likelihood")["tokens"] = 100
    assert "bits_per_byte" not in floor_of(run.benchmarks["toy"], rows)


# --- rows that may not be ranked together ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def differing(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportData, Path, Page]:
    data, folder = differing_run(), tmp_path_factory.mktemp("differing")
    return data, folder, written(data, folder)[0]


WHY = "sampling precision float16, others float64"


def test_groups_stand_apart_and_say_why(differing: tuple[ReportData, Path, Page]) -> None:
    data, _, page = differing
    rows = rows_of(data.table)
    table = generation_table(place_of(data), Names(rows))
    assert [group.heading for group in table.groups] == [
        "ranked with each other",
        f"a: not ranked with the unmarked rows: {WHY}",
    ]
    assert {row.mark for row in table.groups[0].rows} == {""}
    assert {(row.model, row.mark) for row in table.groups[1].rows} == {("radd", "a")}
    assert {row.model for row in table.groups[0].rows} >= {"data", "unigram", "bigram"}, "controls are references"
    assert f"a: not ranked with the unmarked rows: {WHY}" in page.visible()
    assert [text for tag, text in page.texts if tag == "span" and text == "a"] == ["a"] * 3


def test_kinds_of_likelihood_stand_apart(run: ReportData) -> None:
    rows = rows_of(run.table)
    groups = likelihood_table(place_of(run, "likelihood"), Names(rows)).groups
    assert [group.heading for group in groups] == [
        "ranked with each other",
        "a: not ranked with the unmarked rows: likelihood exact, others upper bound",
    ]
    assert [[row.model for row in group.rows] for group in groups] == [["nanodd", "radd"], ["bigram"]]


def test_nothing_extra_where_all_rows_are_comparable(run: ReportData, tmp_path: Path) -> None:
    data = dataclasses.replace(run, table=run.table[run.table["bound"].fillna("") != "exact"])
    _, text = written(data, tmp_path)
    assert "not ranked" not in text
    assert "ranked with each other" not in text
    assert "Half-filled" not in text
    assert 'class="mark"' not in text
    assert "| mark |" not in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_sentences_rank_inside_a_group_and_say_what_is_left_out(differing: tuple[ReportData, Path, Page]) -> None:
    table = differing[0].table.copy()
    table.loc[table["precision"] == "float16", ["gen_ppl", "gen_ppl_low", "gen_ppl_high"]] = 1.0
    data = dataclasses.replace(differing[0], table=table)
    text = next(s for s in said(data) if s.startswith("Lowest generative"))
    assert re.match(r"Lowest generative perplexity: [^\]]*\] by nanodd", text)
    assert text.endswith(f"Left out, as not comparable: 3 points ({WHY}).")
    assert "by radd · confidence" not in text


def test_a_baseline_of_another_judge_is_said_to_be_that(run: ReportData) -> None:
    table = run.table.copy()
    theirs = table["model"] == "radd"
    table.loc[theirs, "role"] = "baseline"
    table["gen_ppl_settings"] = [
        {**s, "judge": "other", "judge_digest": "cd"} if r and isinstance(s, dict) else s
        for r, s in zip(theirs, table["gen_ppl_settings"], strict=True)
    ]
    data = dataclasses.replace(run, table=table)
    found = said(data)
    judge = "judge other (cd), others gpt2/tiny (abababababababab)"
    assert f", not comparable ({judge})." in next(s for s in found if s.startswith("Lowest generative"))
    verdicts = verdict.lines(verdict.build(ReportPage(data)))
    assert not any("not comparable" in s for s in verdicts)


def test_likelihood_of_other_texts_is_left_out(run: ReportData) -> None:
    table = run.table.copy()
    table.loc[(table["model"] == "nanodd") & (table["kind"] == "likelihood"), "data"] = "ffff"
    table = pd.concat([table, table[(table["model"] == "radd") & (table["kind"] == "likelihood")]], ignore_index=True)
    data = dataclasses.replace(run, table=table)
    text = next(s for s in said(data) if s.startswith("Lowest bits"))
    assert "by radd" in text
    assert text.endswith("Left out, as not comparable: 1 point (data ffff, others 0123456789abcdef).")


def test_plots_mark_what_is_not_comparable(differing: tuple[ReportData, Path, Page]) -> None:
    _, folder, page = differing
    svg = (folder / "fig-gen_ppl-nfe.svg").read_text(encoding="utf-8")
    assert f"a: not comparable: {WHY}" in svg
    assert f"(a: not comparable: {WHY})" in svg, "on the marker itself"
    assert "Half-filled markers" in page.visible()


def test_csv_and_markdown_say_it_too(differing: tuple[ReportData, Path, Page]) -> None:
    _, folder, _ = differing
    with open(folder / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    mine = [row for row in rows if row["precision"] == "float16"]
    assert {(row["comparable_group"], row["not_comparable_because"]) for row in mine} == {("a", WHY)}
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert "| point | checkpoint | mark |" in text
    assert f"a: not ranked with the unmarked rows: {WHY}" in text
    assert re.search(r"^\| radd · confidence[^|]*\| tiny \| a n1 \|", text, re.MULTILINE)


def test_notes_of_rows_are_footnotes(differing: tuple[ReportData, Path, Page]) -> None:
    _, folder, page = differing
    assert NOTE in page.visible()
    assert "#generation-row-note-1" in page.attributes("href")
    assert "n1: upstream code at another commit" in (folder / "table.md").read_text(encoding="utf-8")


def test_engine_is_a_column_beside_the_name_where_there_are_two(
    run: ReportData, differing: tuple[ReportData, Path, Page]
) -> None:
    def group_of_engine(data: ReportData) -> list[str]:
        rows = rows_of(data.table)
        return [c.group for c in generation_table(place_of(data), Names(rows)).columns if c.name == "engine"]

    assert group_of_engine(run) == [], "said once below the table"
    assert group_of_engine(differing[0]) == ["id"]
    rows = rows_of(differing[0].table)
    assert "| engine |" in markdown(generation_table(place_of(differing[0]), Names(rows)))


def test_likelihood_rows_of_two_engines_have_two_names() -> None:
    base = {"model": "m", "kind": "likelihood", "estimator": "e", "checkpoint": "a", "seed": 0, "status": "done"}
    rows = [{**base, "engine": "native"}, {**base, "engine": "upstream"}]
    names = Names(rows)
    assert [names.row(r) for r in rows] == ["m · e native", "m · e upstream"]


def test_figures_below_the_source_are_said_to_be_wrong(run: ReportData, tmp_path: Path) -> None:
    note = "below the entropy of the source, which no model can be: something is wrong (figures)"
    theirs = (run.table["kind"] == "likelihood") & (run.table["model"] == "radd")
    page, _ = written(with_table(run, notes=[[note] if it else [] for it in theirs]), tmp_path)
    assert "radd · dce: below the entropy of the source" in page.visible()
    assert note in page.visible()


def test_data_section_shows_the_facts_that_are_known(page: Page) -> None:
    facts = [text for tag, text in page.texts if tag == "dt"]
    assert "cut without regard to sentences" in page.visible()
    assert "windowing" in facts
    assert "licence" not in facts[: facts.index("windowing")], "unknown facts are left out"


# --- hostile and odd input -------------------------------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> $a_b$ & \u2028"
BROKEN = EVIL + "\ud800"  # half a character, as a damaged text may hold; UTF-8 has no bytes for it


def test_hostile_text_stays_text(run: ReportData, tmp_path: Path) -> None:
    table = run.table.assign(notes=[[EVIL]] * len(run.table), engine=EVIL)
    table["model"] = table["model"].replace({"radd": EVIL})
    table["message"] = EVIL
    table.loc[:2, "precision"] = EVIL
    table = comparable.annotate(table)
    assert EVIL in table.loc[0, "not_comparable_because"]
    data = dataclasses.replace(
        run,
        table=table,
        run=EVIL,
        command=EVIL,
        samples={key: [{"index": 0, "text": BROKEN, "nfe": 1}] for key in run.samples},
        cards={EVIL: {"title": EVIL, "caveats": [EVIL]}},
        environment={EVIL: {EVIL: BROKEN}},
        notes=[EVIL],
        benchmarks={"toy": {"name": EVIL, EVIL: [EVIL, {"a": EVIL}]}, EVIL: {"name": EVIL}},
        imports=[EVIL],
    )
    page, text = written(data, tmp_path)
    plain, _ = written(run, tmp_path / "plain")
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert len(scripts) == len([1 for tag, _ in plain.tags if tag == "script"])
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "<img" not in text
    for plot in tmp_path.glob("fig-*.svg"):
        ET.fromstring(plot.read_text(encoding="utf-8"))


def test_embedded_samples_survive_the_page(run: ReportData, tmp_path: Path) -> None:
    samples = {key: [{"index": 0, "text": EVIL, "nfe": 1}] for key in run.samples}
    page, _ = written(dataclasses.replace(run, samples=samples), tmp_path)
    embedded = [json.loads(t) for tag, t in page.texts if tag == "script" and t.startswith('{"entries"')]
    assert {s["t"] for entry in embedded[0]["entries"] for s in entry["samples"]} == {EVIL}


def test_script_json_holds_no_markup() -> None:
    text = script_json([EVIL])
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == [EVIL]


@pytest.mark.parametrize("table", [pd.DataFrame(), pd.DataFrame({"model": [], "kind": [], "status": []})])
def test_empty_run(table: pd.DataFrame, tmp_path: Path) -> None:
    page, _ = written(ReportData(run="e", command="tdbench bench", created="", table=table), tmp_path)
    assert "This run has no points yet." in page.visible()
    assert (tmp_path / "table.csv").is_file()


def test_all_points_failed(run: ReportData, tmp_path: Path) -> None:
    data = with_table(run, status="failed", reason="exception", message="broke")
    page, _ = written(dataclasses.replace(data, samples={}, scores=pd.DataFrame()), tmp_path)
    assert f"{len(run.table)} failed" in page.visible()
    assert "No finished point with a quality figure yet." in page.visible()
    assert not list(tmp_path.glob("*.svg"))


def test_one_point(run: ReportData, tmp_path: Path) -> None:
    page, _ = written(dataclasses.replace(run, table=run.table.iloc[:1]), tmp_path)
    assert "1 point of 1 model: 1 finished." in page.visible()
    assert "Next" not in page.visible()


def test_nothing_scored_yet(run: ReportData, tmp_path: Path) -> None:
    kept = [c for c in run.table.columns if not re.match("gen_ppl|unigram_entropy|toy_|distinct|mauve", c)]
    page, _ = written(dataclasses.replace(run, table=run.table[kept], scores=pd.DataFrame()), tmp_path)
    assert "Nothing is scored yet" in page.visible()


def test_columns_may_be_missing(run: ReportData, tmp_path: Path) -> None:
    few = run.table[["model", "kind", "status", "gen_ppl", "nfe_mean", "steps"]]
    page, _ = written(dataclasses.replace(run, table=few, scores=run.scores[["point", "metric", "value"]]), tmp_path)
    assert "nanodd" in page.visible()


def test_infinite_and_missing_figures(run: ReportData, tmp_path: Path) -> None:
    table = run.table.copy()
    table.loc[0, "gen_ppl"], table.loc[2, "gen_ppl"] = np.inf, np.nan
    table.loc[3, "nfe_mean"] = 0.0
    page, text = written(dataclasses.replace(run, table=table), tmp_path)
    assert "\u221e" in page.visible()
    assert not re.search(r">\s*(nan|NaN|None|inf)\b", text)


def test_unknown_column_is_still_shown(run: ReportData, tmp_path: Path) -> None:
    page, _ = written(with_table(run, energy_joules=12.5), tmp_path)
    assert "energy joules" in page.visible()


def stored_run(folder: Path) -> RunStore:
    """A half-finished run on disk: one generate point with its samples, one that was never begun."""
    store = RunStore(folder / "half")
    common = {"model": "nobody", "role": "model", "checkpoint": "tiny", "checkpoint_kind": "tiny", "benchmark": "toy"}
    common |= {"kind": "generate", "task": "unconditional", "scheduler": "s", "options": {}, "seed": 0, "samples": 2}
    common |= {"batch_size": 2, "length": 3, "job": "j", "estimator": None, "engine": "native", "runtime": "local"}
    points = [{**common, "fingerprint": name * 16, "steps": steps} for name, steps in (("a", 1), ("b", 2))]
    job = store.job_folder("j")
    job.mkdir(parents=True)
    plan = {"command": "tdbench bench", "created": "2026", "config": {}, "environment": {"cpu": "X"}, "notes": ["n"]}
    store.write_plan({**plan, "points": points})
    samples = [{"index": i, "tokens": [1, 2, 3], "text": f"text {i}", "nfe": 1, "generated_tokens": 3} for i in (1, 0)]
    batch = {"point": "a" * 16, "batch": 0, "session": "q", "seconds": 1.0, "network_seconds": 0.5, "samples": samples}
    append_line(job / "batches.jsonl", {**batch, "peak_memory_bytes": None, "trace": [["_", "_"], ["x", "y"]]})
    row = {"point": "a" * 16, "status": "done", "reason": None, "message": None, "same_as": None, "notes": []}
    append_line(job / "points.jsonl", {**row, "warmup_seconds": [], "session": "q"})
    append_line(job / "sessions.jsonl", {"session": "q", "load_seconds": 1.0, "environment": {"cpu": "X", "gpu": "G"}})
    return store


def test_report_of_a_stored_half_finished_run(tmp_path: Path) -> None:
    data = report_data(stored_run(tmp_path))
    assert [s["text"] for s in data.samples["a" * 16]] == ["text 0", "text 1"]
    assert data.traces["a" * 16].trace.texts == [["_", "_"], ["x", "y"]]
    assert data.environment == {
        "cpu": "X",
        "worker": {"gpu": "G", "checkpoint_sha256": None, "memory_kind": None},
        "job": {},
    }
    page, _ = written(data, tmp_path / "report")
    assert "2 points of 1 model: 1 finished, 1 not run yet." in page.visible()


def test_values_of_single_samples_are_read_and_stay_out_of_the_scores(tmp_path: Path) -> None:
    store = stored_run(tmp_path)
    score = {"point": "a" * 16, "version": 1, "value": 0.5, "low": None, "high": None, "reason": None, "settings": {}}
    store.append_score({**score, "metric": "m", "samples": {"statistic": "mean", "rows": [[1, 1], [0, 1]]}})
    store.append_score({**score, "metric": "whole", "samples": None})
    store.append_score({**score, "metric": "old"})
    data = report_data(store)
    assert data.values == {"a" * 16: {"m": SampleValues("mean", [[1, 1], [0, 1]])}}
    assert "samples" not in data.scores.columns
    assert list(data.scores["metric"]) == ["m", "whole", "old"]


# --- parts -----------------------------------------------------------------------------------------------------------


def test_samples_are_cut_to_the_budget_and_say_so(run: ReportData) -> None:
    rows = rows_of(run.table)
    long = {key: [{"index": i, "text": "x" * 50_000, "nfe": 1} for i in range(8)] for key in run.samples}
    shown = browser(dataclasses.replace(run, samples=long), rows, Names(rows))
    kept = [s for entry in shown.entries for s in entry["samples"]]
    assert sum(len(s["t"]) for s in kept) <= BUDGET
    assert all(s["cut"] for s in kept)
    assert "are cut and say so" in shown.note
    assert len({len(e["samples"]) for e in shown.entries if not e["why"]}) == 1


def test_failed_point_keeps_its_place_among_samples(run: ReportData) -> None:
    rows = rows_of(run.table)
    entries = browser(run, rows, Names(rows)).entries
    assert [e["why"] for e in entries if not e["samples"]] == ["the point failed: out of memory"]


def test_commands_are_accepted_by_bench_and_fix_the_row(run: ReportData) -> None:
    for row in rows_of(run.table):
        words = shlex.split(row_command(row, run.command))
        assert words[:2] == ["tdbench", "bench"]
        config = build(BenchConfig, [w for w in words[2:] if not w.startswith("options=")])
        options = OverridesParser.create().parse_overrides([w for w in words if w.startswith("options=")])
        assert config.model == [row["model"]]
        assert config.judge == "some/folder"
        assert config.run is None
        assert config.controls == []
        if row["kind"] == "generate":
            assert config.schedulers == [row["scheduler"]]
            assert config.steps == ([row["steps"]] if row["steps"] else BenchConfig().steps)
            assert [o.value() for o in options] == ([row["options"]] if row["options"] else [])
            assert (config.samples, config.seeds) == (row["samples"], [row["seed"]])
            assert config.likelihood == ["none"]
        else:
            assert config.likelihood == [row["estimator"]]
            assert (config.likelihood_samples, config.draws) == (row["samples"], row["options"]["draws"])


def test_command_keeps_a_checkpoint_folder_of_the_run() -> None:
    row = {"model": "radd", "kind": "generate", "checkpoint": "mine", "checkpoint_kind": "local", "seed": 0, "steps": 4}
    config = build(BenchConfig, shlex.split(row_command(row, "tdbench bench checkpoint=/a/mine data='a b.txt'"))[2:])
    assert config.checkpoint == "/a/mine"
    assert config.data == "a b.txt"


def test_names_say_what_tells_rows_apart() -> None:
    base = {"model": "m", "kind": "generate", "scheduler": "s", "steps": 4, "checkpoint": "a", "seed": 0}
    rows = [base, {**base, "seed": 1}, {**base, "batch_size": 8}, {**base, "checkpoint": "b"}]
    names = Names(rows)
    found = [names.row(r) for r in rows]
    assert len(set(found)) == 4
    assert found[0] == "m a · s · 4 steps · seed 0"
    assert Names([base]).row(base) == "m · s · 4 steps"


def test_csv_keeps_unknown_empty_and_lists_as_json(folder: Path, run: ReportData) -> None:
    with open(folder / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(run.table)
    assert rows[0]["mauve"] == ""
    assert json.loads(rows[0]["options"]) == run.table["options"].iloc[0]
    assert float(rows[0]["gen_ppl"]) == run.table["gen_ppl"].iloc[0]


def test_markdown_escapes_what_would_break_the_table(run: ReportData, tmp_path: Path) -> None:
    table = run.table.copy()
    table["model"] = table["model"].replace({"radd": "ra|dd\nx"})
    write_report(dataclasses.replace(run, table=table), tmp_path)
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("| ") and "[" in line}
    assert len(widths) <= 2
    assert any("ra\\|dd x" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, "number", "\u2013"),
        (0.0, "number", "0"),
        (12.3456, "number", "12.35"),
        (0.00042, "number", "0.00042"),
        (123456.7, "number", "123,457"),
        (0.0021, "seconds", "2.1 ms"),
        (float("inf"), "number", "\u221e"),
        (3 * 1024**3, "bytes", "3 GiB"),
        (16.5, "count", "16.50"),
        ({"b": 1, "a": None}, "number", "a=, b=1"),
    ],
)
def test_figures_as_text(value: Any, form: str, text: str) -> None:
    assert figure(value, form) == text
