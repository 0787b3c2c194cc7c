"""The report of several benchmarks and tasks: sections apart, choices among candidates, imported texts, sources."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from harness import comparable
from harness.report import ReportData, report_data, write_report
from harness.report.data import Metric, Names, Row, kind_label, metrics_of, rows_of
from harness.report.figures import all_series, draw, main_metrics
from harness.report.page import Page as ReportPage
from harness.report.places import Place, places_of
from harness.report.samples import BUDGET, browser
from harness.report.summary import remarks
from harness.report.tables import Table, generation_table, table_of, why_null
from harness.store import RunStore
from harness.worker.jsonl import append_line
from tests.harness.report_fixture import PAIR_METRICS, PAIRS, both_run, pair_run, synthetic_run
from tests.harness.test_report import EVIL, Page


def places(data: ReportData) -> list[Place]:
    return places_of(data, rows_of(data.table), metrics_of(data))


def written(data: ReportData, folder: Path) -> Page:
    return Page(write_report(data, folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def both() -> ReportData:
    return both_run()


@pytest.fixture(scope="module")
def pairs() -> ReportData:
    return pair_run()


@pytest.fixture(scope="module")
def folder(both: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(both, tmp_path_factory.mktemp("both")).parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


# --- sections --------------------------------------------------------------------------------------------------------


def test_places_stand_benchmark_after_benchmark(both: ReportData) -> None:
    found = places(both)
    titles = ["toy \u00b7 unconditional", "toy \u00b7 likelihood", "toy_paraphrase \u00b7 seq2seq"]
    assert [place.title for place in found] == titles
    assert not any(place.alone for place in found)
    assert sum(len(place.rows) for place in found) == len(both.table)
    assert [place.id for place in found] == ["toy-unconditional", "toy-likelihood", "toy_paraphrase-seq2seq"]


def test_tasks_of_one_benchmark_stand_apart_too() -> None:
    run = synthetic_run()
    prefix = run.table[run.table["kind"] == "generate"].assign(task="prefix")
    data = dataclasses.replace(run, table=pd.concat([run.table, prefix], ignore_index=True))
    assert [place.task for place in places(data)] == ["unconditional", "prefix", None]
    names = Names(rows_of(data.table))
    assert names.full(rows_of(prefix)[0]) == "prefix: nanodd \u00b7 ancestral \u00b7 4 steps"


@pytest.mark.parametrize("data", [synthetic_run(), pair_run()], ids=["text", "pairs"])
def test_a_run_of_one_place_has_two_that_need_no_names(data: ReportData) -> None:
    generated, likelihood = places(data)
    assert (generated.kind, likelihood.kind) == ("generate", "likelihood")
    assert generated.alone
    assert likelihood.alone
    assert generated.suffix == ""


def test_each_section_has_its_own_metrics_and_nothing_of_others(both: ReportData) -> None:
    toy, _, paraphrase = places(both)
    names = Names(rows_of(both.table))
    assert [metric.name for metric in toy.metrics] == both.benchmarks["toy"]["metrics"]
    assert [metric.name for metric in paraphrase.metrics] == list(PAIR_METRICS)

    def quality(table: Table) -> list[str]:
        return [column.name for column in table.columns if column.group == "quality"]

    assert quality(table_of(toy, names)) == both.benchmarks["toy"]["metrics"]
    assert quality(table_of(paraphrase, names)) == list(PAIR_METRICS)
    assert "candidates" not in [column.name for column in table_of(toy, names).columns]


def test_metrics_that_a_benchmark_does_not_list_come_last(both: ReportData) -> None:
    facts = {**both.benchmarks, "toy": {"metrics": ["mauve", "unigram_entropy"]}}
    toy = places(dataclasses.replace(both, benchmarks=facts))[0]
    assert [m.name for m in toy.metrics] == [
        "mauve",
        "unigram_entropy",
        "gen_ppl",
        "toy_valid_sentences",
        "distinct_2",
    ]


def test_page_links_to_every_section_and_each_id_is_there_once(page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = [link[1:] for link in page.attributes("href") if link.startswith("#")]
    assert set(links) <= set(ids)
    sections = {
        "verdict",
        "plots",
        "quality_steps",
        "convergence",
        "effort",
        "ledger",
        "samples",
        "figures",
        "likelihoods",
    }
    assert sections | {"problems", "data", "method", "environment", "commands"} <= set(links)
    assert {"toy-unconditional", "toy-likelihood", "toy_paraphrase-seq2seq", "figures-toy-unconditional"} <= set(ids)
    assert {"generation-toy-unconditional", "likelihood-toy-likelihood", "generation-toy_paraphrase-seq2seq"} <= set(
        ids
    )


def test_summary_has_the_first_remark_of_each_section(page: Page, folder: Path) -> None:
    text = page.visible()
    assert "43 points of 4 models" in text
    lines = (folder / "table.md").read_text(encoding="utf-8").splitlines()
    assert any(
        line.startswith("- toy \u00b7 unconditional: At up to 20 steps: the highest share of valid") for line in lines
    )
    assert any(
        line.startswith("- toy_paraphrase \u00b7 seq2seq: At up to 20 steps: the highest share of good")
        for line in lines
    )
    assert "## toy \u00b7 likelihood" in lines
    assert "### Generation (toy_paraphrase \u00b7 seq2seq): tiny checkpoints, imported texts" in lines


def test_one_csv_holds_all(folder: Path, both: ReportData) -> None:
    assert len(pd.read_csv(folder / "table.csv")) == len(both.table)


def test_plots_have_the_place_in_their_names_and_colours_stay_with_models(both: ReportData, folder: Path) -> None:
    names = {path.name for path in folder.glob("fig-*.svg")}
    assert "fig-bleu-nfe-toy_paraphrase-seq2seq.svg" in names
    assert "fig-gen_ppl-nfe-toy-unconditional.svg" in names
    assert not [name for name in names if "bleu" in name and "unconditional" in name]
    series = all_series(ReportPage(both))
    numbers = [line.number for lines in series for line in lines.values()]
    assert len(numbers) == len(set(numbers))
    colours = {(line.model, line.look.colour) for lines in series for line in lines.values()}
    assert len(colours) == len({model for model, _ in colours})


def test_a_benchmark_is_told_by_the_first_metrics_it_lists() -> None:
    def metric(name: str, better: str = "higher") -> Metric:
        return Metric(name, name, "", better, (), ())

    def told(*names: str) -> list[str]:
        return [m.name for m in main_metrics([metric(name) for name in names])]

    assert told("chrf", "dist_1", "bleu", "bertscore", "rouge_l") == ["chrf", "bleu", "bertscore"]
    assert told("own", "other") == ["own"]
    assert main_metrics([metric("div_4", "none")]) == []


def test_names_of_points_outside_their_section_say_where(both: ReportData) -> None:
    rows = rows_of(both.table)
    found = [Names(rows).full(row) for row in rows if row["model"] == "data"]
    assert found == ["toy: data", "toy_paraphrase: data"]


# --- choices among candidates ----------------------------------------------------------------------------------------


def chosen(data: ReportData) -> list[Row]:
    return [row for row in rows_of(data.table) if row.get("selection")]


def test_choices_are_named_follow_their_seeds_and_show_the_candidates(pairs: ReportData) -> None:
    rows = rows_of(pairs.table)
    table = generation_table(places(pairs)[0], Names(rows))
    first = [row.name for row in table.rows][:4]
    assert first == [
        *(f"diffuseq \u00b7 ddpm \u00b7 4 steps \u00b7 seed {seed}" for seed in (0, 1, 2)),
        "diffuseq \u00b7 ddpm MBR of 3 \u00b7 4 steps",
    ]
    at = [column.name for column in table.columns].index("candidates")
    assert [row.cells[at].text for row in table.rows][:4] == ["\u2013", "\u2013", "\u2013", "3"]
    assert table.rows[-1].name == "shuffled", "a model with one seed does not say it"


def test_a_choice_is_a_line_of_its_own_in_plots(pairs: ReportData) -> None:
    lines = all_series(ReportPage(pairs))[0]
    assert {method for model, method in lines if model == "diffuseq"} == {
        "ddpm", "ddpm MBR of 3", "ddim", "ddim MBR of 3"
    }  # fmt: skip


def test_what_a_choice_cannot_have_cost_is_explained(pairs: ReportData) -> None:
    row = {**chosen(pairs)[0], "load_seconds": None}
    assert why_null(row, "load_seconds") == "a choice among stored texts: see the rows it was made from"


def test_candidates_are_in_the_browser_with_the_chosen_one(pairs: ReportData) -> None:
    rows = rows_of(pairs.table)
    shown = browser(pairs, rows, Names(rows))
    entry = next(e for e in shown.entries if e["method"] == "ddpm MBR of 3")
    assert all(sample["c"][sample["chosen"]] == sample["t"] for sample in entry["samples"])
    assert {len(sample["c"]) for sample in entry["samples"]} == {3}
    assert entry["seed"] is None
    plain = next(e for e in shown.entries if e["method"] == "ddpm")
    assert not any("c" in sample for sample in plain["samples"])
    assert [sample.get("off") for sample in plain["samples"]] == [None, 2, None]


def test_a_choice_is_only_separable_from_fewer_steps_of_a_choice(pairs: ReportData) -> None:
    """The sentence about fewer steps must not take a row of one seed for the same sampler."""
    table = pairs.table.copy()
    table = table[table["model"] == "diffuseq"]
    table["bleu_low"], table["bleu_high"] = 0.0, 100.0
    data = dataclasses.replace(pairs, table=table)
    text = next(str(r) for r in remarks(places(data)[0], Names(rows_of(table))) if r.first.startswith("Highest BLEU"))
    assert "by diffuseq \u00b7 ddpm MBR of 3 \u00b7 16 steps" in text
    assert "at 4 steps is not separable" in text
    ours = table[table["selection"].isna() | (table["steps"] == 16)]
    data = dataclasses.replace(pairs, table=ours)
    text = " ".join(str(r) for r in remarks(places(data)[0], Names(rows_of(ours))))
    assert "at 4 steps" not in text


def test_the_best_of_several_seeds_is_said_with_the_others(pairs: ReportData) -> None:
    table = pairs.table[pairs.table["selection"].isna() & (pairs.table["model"] == "diffuseq")]
    data = dataclasses.replace(pairs, table=table)
    first = str(remarks(places(data)[0], Names(rows_of(table)))[0])
    assert re.match(r"Highest BLEU: 38.\d+ \[[^\]]*\] by diffuseq . ddpm . 16 steps . seed 2", first)
    assert re.search(r"The 3 seeds give 37.\d+ to 38.\d+\.", first)


# --- imported texts --------------------------------------------------------------------------------------------------


def test_imported_rows_are_marked_and_have_no_cost(pairs: ReportData) -> None:
    rows = rows_of(pairs.table)
    table = generation_table(places(pairs)[0], Names(rows))
    mine = [row for row in table.rows if row.model == "bridge_gap"]
    assert {row.label for row in mine} == {"imported"}
    assert all("imported" in row.name for row in mine)
    for i, column in enumerate(table.columns):
        if column.group == "cost":
            assert {row.cells[i].text for row in mine} == {"\u2013"}
            assert {table.notes[(row.cells[i].note or 0) - 1] for row in mine} == {
                "not measured here: the texts were imported"
            }
    assert kind_label(rows) == "tiny checkpoints, imported texts"


def test_imported_rows_are_drawn_against_steps_only(pairs: ReportData, tmp_path: Path) -> None:
    write_report(pairs, tmp_path)
    for axis in ("nfe", "seconds"):
        text = (tmp_path / f"fig-bleu-{axis}.svg").read_text(encoding="utf-8")
        assert "bridge_gap" not in text
        assert "imported texts" not in text
    assert "bridge_gap (imported)" in (tmp_path / "fig-bleu-steps.svg").read_text(encoding="utf-8")
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "Not drawn, as their NFE was not measured: 2 of 11 points." in page.visible()


def test_seconds_that_the_user_gave_are_not_drawn_with_measured_ones(pairs: ReportData) -> None:
    table = pairs.table.copy()
    theirs = table["engine"] == "imported"
    table.loc[theirs, ["seconds_per_sequence", "nfe_mean"]] = [0.5, 20.0]
    data = dataclasses.replace(pairs, table=table)
    page = ReportPage(data)
    drawn = {plot.name: plot for plot in draw(page, page.places[0], all_series(page)[0])}
    assert "bridge_gap" in drawn["fig-bleu-nfe"].inline
    assert "bridge_gap" not in drawn["fig-bleu-seconds"].inline
    assert "fig-bleu-steps" not in drawn


def test_no_plot_against_steps_where_every_nfe_is_known(both: ReportData, folder: Path) -> None:
    assert (folder / "fig-bleu-steps-toy_paraphrase-seq2seq.svg").is_file()
    assert not list(folder.glob("fig-*-steps-toy-unconditional.svg"))


def test_imported_rows_are_ranked_with_ours(pairs: ReportData) -> None:
    assert set(pairs.table[comparable.GROUP]) == {"main"}
    other = comparable.annotate(
        pairs.table.assign(data=["x" if e == "imported" else "y" for e in pairs.table["engine"]])
    )
    theirs = other[other["engine"] == "imported"]
    assert set(theirs[comparable.REASON]) == {"data x, others y"}


def test_ours_and_imported_texts_of_one_model_have_two_names() -> None:
    base = {"model": "m", "kind": "generate", "scheduler": "s", "steps": 4, "seed": 0, "status": "done"}
    rows: list[Row] = [
        {**base, "engine": "native", "checkpoint": "tiny"},
        {**base, "engine": "imported", "checkpoint": "imported"},
    ]
    names = Names(rows)
    assert [names.row(r) for r in rows] == ["m \u00b7 s native \u00b7 4 steps", "m \u00b7 s imported \u00b7 4 steps"]


def test_imported_rows_are_made_again_by_their_import(pairs: ReportData, tmp_path: Path) -> None:
    page = written(pairs, tmp_path)
    codes = [text for tag, text in page.texts if tag == "code"]
    assert pairs.imports[0] in codes
    assert not [code for code in codes if "model=bridge_gap" in code]


# --- controls and sources --------------------------------------------------------------------------------------------


def test_a_control_that_does_as_well_as_the_best_is_named(pairs: ReportData) -> None:
    table = pairs.table.copy()
    table.loc[table["model"] == "copy", "bleu"] = 99.0
    data = dataclasses.replace(pairs, table=table)
    found = {r.first.split(":")[0]: str(r) for r in remarks(places(data)[0], Names(rows_of(table)))}
    assert "Not better than a control: copy has 99.00" in found["Highest BLEU"]
    assert "Highest share of good paraphrases" not in found, "the verdict tells of it"


def test_sources_are_there_once_for_all_rows(both: ReportData, page: Page) -> None:
    rows = rows_of(both.table)
    shown = browser(both, rows, Names(rows))
    expected = [{"s": pair["source"], "r": pair["references"]} for pair in PAIRS]
    assert shown.given == {"toy_paraphrase \u00b7 seq2seq": expected}
    assert {entry["place"] for entry in shown.entries} == {"toy \u00b7 unconditional", "toy_paraphrase \u00b7 seq2seq"}
    script = next(text for tag, text in page.texts if tag == "script" and text.startswith('{"entries"'))
    assert json.loads(script)["given"] == shown.given


def test_sources_of_samples_that_are_left_out_are_left_out_too(pairs: ReportData) -> None:
    rows = rows_of(pairs.table)
    long = {key: [{**s, "candidates": ["x" * 5_000] * 9} for s in mine] for key, mine in pairs.samples.items()}
    shown = browser(dataclasses.replace(pairs, samples=long), rows, Names(rows))
    kept = [s for entry in shown.entries for s in entry["samples"]]
    assert sum(len(t) for s in kept for t in (s["t"], *s["c"])) <= BUDGET
    assert len(shown.given["toy_paraphrase \u00b7 seq2seq"]) == max(len(e["samples"]) for e in shown.entries) == 1


def test_hostile_pairs_stay_text(pairs: ReportData, tmp_path: Path) -> None:
    evil = [{"source": EVIL, "references": [EVIL, ""]}]
    samples = {
        key: [{"index": 0, "text": EVIL, "nfe": None, "candidates": [EVIL], "chosen": 0}] for key in pairs.samples
    }
    page = written(dataclasses.replace(pairs, sources={"toy_paraphrase": evil}, samples=samples), tmp_path)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    script = next(text for tag, text in page.texts if tag == "script" and text.startswith('{"entries"'))
    assert json.loads(script)["given"] == {"toy_paraphrase \u00b7 seq2seq": [{"s": EVIL, "r": [EVIL, ""]}]}


def test_what_pairs_choices_and_imports_mean_is_said_where_they_are(page: Page, tmp_path: Path) -> None:
    words = ("Text written from a source:", "MBR rows choose", "Imported rows hold")
    assert all(text in page.visible() for text in words)
    plain = written(synthetic_run(), tmp_path).visible()
    assert not any(text in plain for text in words)


# --- from the store --------------------------------------------------------------------------------------------------


def stored(folder: Path) -> RunStore:
    """A run of two benchmarks: one prepared with pairs and a choice among two seeds, the other not prepared yet."""
    store = RunStore(folder / "two")
    base = {"model": "m", "role": "model", "checkpoint": "tiny", "checkpoint_kind": "tiny", "engine": "native"}
    base |= {"kind": "generate", "task": "seq2seq", "benchmark": "pairs", "scheduler": "s", "steps": 4, "options": {}}
    base |= {"samples": 1, "batch_size": 1, "length": 9, "seed": None, "estimator": None, "runtime": "local"}
    base |= {"selection": "mbr", "candidates": 2, "of": ["b", "c"], "job": "j-mbr", "fingerprint": "a"}
    other = {**base, "benchmark": "toy", "task": "unconditional", "selection": None, "fingerprint": "d", "job": "k"}
    plan = {"command": "tdbench bench", "created": "2026", "config": {}, "environment": {"cpu": "X"}, "notes": []}
    plan |= {"benchmarks": ["pairs", "toy"], "imports": [{"command": "tdbench import f", "created": "2026"}]}
    store.job_folder("j-mbr").mkdir(parents=True)
    store.write_plan({**plan, "points": [base, other]})
    data = store.benchmark_data("pairs")
    data.mkdir(parents=True)
    (data / "benchmark.json").write_text('{"name": "pairs", "metrics": ["bleu"]}')
    line = {"prefix": "", "suffix": "", "reference": "r", "source": "s", "references": ["r", "q"]}
    for _ in range(20):
        append_line(data / "prompts.jsonl", line)
    sample = {"index": 0, "text": "y", "tokens": [1], "nfe": 8, "generated_tokens": 1, "candidates": ["x", "y"]}
    batch = {"point": "a", "batch": 0, "session": None, "seconds": 1.0, "network_seconds": 0.5}
    batch |= {"peak_memory_bytes": None, "samples": [{**sample, "chosen": 1}]}
    append_line(store.job_folder("j-mbr") / "batches.jsonl", batch)
    row = {"point": "a", "status": "done", "reason": None, "message": None, "same_as": None, "notes": []}
    append_line(store.job_folder("j-mbr") / "points.jsonl", {**row, "warmup_seconds": None, "session": None})
    return store


def test_report_of_a_stored_run_of_two_benchmarks(tmp_path: Path) -> None:
    data = report_data(stored(tmp_path))
    assert dict(data.benchmarks) == {"pairs": {"name": "pairs", "metrics": ["bleu"]}, "toy": {}}
    assert data.sources == {"pairs": [{"source": "s", "references": ["r", "q"]}] * 8}
    assert list(data.imports) == ["tdbench import f"]
    page = written(data, tmp_path / "report")
    assert "MBR of 2" in page.visible()
    assert re.search(r"1\s+finished, 1\s+not run yet", page.visible())
    assert "of" not in [text.strip() for tag, text in page.texts if tag == "th"]


def test_benchmarks_of_an_older_run_are_those_of_its_points(tmp_path: Path) -> None:
    store = stored(tmp_path)
    plan = {key: value for key, value in store.plan.items() if key not in ("benchmarks", "imports", "schema", "run")}
    store.write_plan(plan)
    data = report_data(store)
    assert list(data.benchmarks) == ["pairs", "toy"]
    assert list(data.imports) == []
