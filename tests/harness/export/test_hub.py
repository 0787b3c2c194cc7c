"""YAML for model repositories on the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import pandas as pd
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from harness.errors import UserError
from harness.export.hub import hub_files
from harness.report import ReportData
from harness.report.page import Page
from tests.harness.report_fixture import both_run, synthetic_run

BOTH = ("eval_results", "model_index")
REPOSITORY = "JingyangOu--radd-lambda-dce"


def published_run(benchmark: str = "wikitext2", checkpoint: str = "radd-lambda-dce") -> ReportData:
    """RADD's published checkpoint on a benchmark, beside another model's tiny one and controls."""
    data = synthetic_run(steps=(4, 64), kind="tiny")
    mine = data.table["model"] == "radd"
    table = data.table.assign(benchmark=benchmark)
    table.loc[mine, ["checkpoint", "checkpoint_kind"]] = [checkpoint, "published"]
    facts = {**data.benchmarks["toy"], "name": benchmark, "split": "test"}
    return dataclasses.replace(data, table=table, benchmarks={benchmark: facts})


def read(files: dict[str, bytes]) -> dict[str, Any]:
    return {name: yaml.safe_load(text) for name, text in files.items()}


def test_model_index_survives_the_hubs_own_library() -> None:
    page = Page(published_run())
    block = read(hub_files(page, ["model_index"]).files)[f"hub/{REPOSITORY}/model-index.yaml"]["model-index"]
    name, results = model_index_to_eval_results(block)
    assert name == "radd-lambda-dce"
    assert eval_results_to_model_index(name, results) == block
    found = {r.metric_name: r for r in results}
    row = next(r for r in page.rows if (r["model"], r["scheduler"], r["steps"]) == ("radd", "confidence", 64))
    mine = found["generative perplexity (unconditional, confidence, 64 steps)"]
    assert (mine.metric_type, mine.metric_value, mine.task_type) == ("perplexity", row["gen_ppl"], "text-generation")
    assert (mine.dataset_type, mine.dataset_config, mine.dataset_split) == (
        "Salesforce/wikitext",
        "wikitext-2-raw-v1",
        "test",
    )
    assert mine.dataset_revision == "b08601e04326c79dfdd32d625aee71d232d685c3"
    assert mine.dataset_name == "WikiText-2"
    protocol = mine.metric_args
    assert {key: protocol[key] for key in ("scheduler", "steps", "samples", "judge")} == {
        **{"scheduler": "confidence", "steps": 64},
        **{"samples": 1024, "judge": "gpt2/tiny"},
    }
    assert protocol["interval_95"] == [row["gen_ppl_low"], row["gen_ppl_high"]]
    likelihood = found["bits per byte (dce, upper bound)"]
    assert likelihood.metric_args["bound"] == "upper bound"


def test_figures_of_several_step_counts_are_told_apart() -> None:
    page = Page(published_run())
    block = read(hub_files(page, ["model_index"]).files)[f"hub/{REPOSITORY}/model-index.yaml"]["model-index"]
    names = [r.metric_name for r in model_index_to_eval_results(block)[1]]
    assert len(names) == len(set(names))


#: Keys of an entry as https://huggingface.co/docs/hub/eval-results describes them, without those only the Hub gives.
ENTRY, DATASET, SOURCE = {"dataset", "value", "date", "source", "notes"}, {"id", "task_id", "revision"}, {"url", "name"}


def test_eval_results_are_of_the_hubs_format() -> None:
    page = Page(published_run())
    found = hub_files(page, ["eval_results"], source_url="https://example.org/report")
    assert all(name.startswith(f"hub/{REPOSITORY}/.eval_results/wikitext2-") for name in found.files)
    assert len(found.files) == 5, "four ways of sampling and a likelihood"
    for entries in read(found.files).values():
        assert parse_eval_result_entries(entries)
        for entry in entries:
            assert set(entry) == ENTRY
            assert set(entry["dataset"]) == DATASET
            assert set(entry["source"]) <= SOURCE
            assert entry["dataset"]["id"] == "Salesforce/wikitext"
            assert isinstance(entry["value"], float)
            assert isinstance(entry["date"], str)
            assert datetime.fromisoformat(entry["date"]).year == 2026
            assert "\n" not in entry["notes"]
    assert any("registered benchmark" in note for note in found.notes)


def test_eval_results_say_how_they_were_got() -> None:
    files = hub_files(Page(published_run()), ["eval_results"]).files
    name = next(name for name in files if "confidence__64_steps" in name)
    entry = next(e for e in parse_eval_result_entries(yaml.safe_load(files[name])) if e.task_id == "gen_ppl")
    for said in ("confidence, 64 steps", "samples 1024", "judge gpt2/tiny", "nfe 59.5", "95 % interval ["):
        assert said in (entry.notes or "")
    assert entry.verify_token is None
    assert entry.source_url is None


def test_only_published_checkpoints_are_written_and_others_said() -> None:
    found = hub_files(Page(published_run()), BOTH)
    assert {name.split("/")[1] for name in found.files} == {REPOSITORY}
    assert any(
        note.startswith("nothing for the Hub of nanodd:tiny (checkpoints of kind 'tiny')") for note in found.notes
    )
    assert not any("data" in note.split("(")[0].split() for note in found.notes), "controls are no checkpoints"


def test_a_run_of_tiny_checkpoints_writes_nothing() -> None:
    found = hub_files(Page(synthetic_run()), BOTH)
    assert found.files == {}
    assert len(found.notes) == 1


def test_weights_from_elsewhere_have_no_repository() -> None:
    page = Page(published_run(checkpoint="some-folder"))
    assert "radd:some-folder (their weights are not from the Hub)" in " ".join(hub_files(page, BOTH).notes)


def test_a_benchmark_without_a_dataset_is_named_in_the_model_index_only() -> None:
    found = hub_files(Page(published_run("text8")), BOTH)
    assert list(found.files) == [f"hub/{REPOSITORY}/model-index.yaml"]
    _, results = model_index_to_eval_results(yaml.safe_load(next(iter(found.files.values())))["model-index"])
    assert {(r.dataset_type, r.dataset_config) for r in results} == {("text8", None)}
    assert ".eval_results: nothing for benchmark text8, its data have no dataset on the Hub." in found.notes


@pytest.mark.parametrize("given", ["nanodd=me/mine", "nanodd:tiny=me/mine"])
def test_a_user_may_name_the_repository(given: str) -> None:
    found = hub_files(Page(published_run()), BOTH, [given])
    assert {name.split("/")[1] for name in found.files} == {REPOSITORY, "me--mine"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("me/mine", "fits 2 checkpoints of the run, not one"),
        ("nano=me/mine", "fits 0 checkpoints of the run"),
        ("nanodd=me/../mine", "is no name on the Hub"),
        ("nanodd=me/a b", "is no name on the Hub"),
        ("nanodd=", "is no name on the Hub"),
    ],
)
def test_a_wrong_repository_is_refused(given: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("..", r"\.\.")):
        hub_files(Page(published_run()), BOTH, [given])


def test_hostile_text_stays_text() -> None:
    data = published_run()
    evil = "!!python/object/apply:os.system [echo]\n- x: \x00\x1b\u202e\ud800 'a' \"b\" # c"
    texts = pd.Series([evil] * len(data.table), dtype=object)
    table = data.table.assign(scheduler=texts, precision=texts)
    found = hub_files(Page(dataclasses.replace(data, table=table, created=evil)), BOTH)
    assert found.files
    for name, text in found.files.items():
        assert "/../" not in name
        assert name.isprintable()
        assert yaml.safe_load(text)
        assert b"\x00" not in text


def test_pairs_are_text_to_text() -> None:
    page = Page(both_run())
    found = hub_files(page, ["model_index"], ["diffuseq:tiny=me/mine"])
    block = read(found.files)["hub/me--mine/model-index.yaml"]["model-index"]
    _, results = model_index_to_eval_results(block)
    assert {r.task_type for r in results} == {"text2text-generation"}
    assert {tuple(r.metric_args.get("seeds", ())) for r in results} == {(0, 1, 2), ()}


def test_no_rows_nothing_to_write() -> None:
    empty = dataclasses.replace(synthetic_run(), table=synthetic_run().table.iloc[:0])
    assert hub_files(Page(empty), BOTH) == hub_files(Page(empty), BOTH)
    assert hub_files(Page(empty), BOTH).files == {}
