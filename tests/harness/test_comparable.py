"""Which rows may be ranked together: every difference that matters is found and said, and nothing else is."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from harness import comparable

JUDGE = {"version": 1, "judge": "a/folder", "judge_digest": "aa", "window": 65, "aggregation": "token-weighted"}


def generated(**changes: Any) -> dict[str, Any]:
    row = {
        "kind": "generate", "benchmark": "toy", "task": "unconditional", "role": "model", "status": "done",
        "data": "d1", "tokenizer": "words", "length": 64, "precision": "float64", "samples": 256,
        "device": "cpu", "machine": "a CPU", "threads": 2, "dtype": "float32", "batch_size": 64,
        "gen_ppl": 10.0, "gen_ppl_settings": JUDGE, "engine": "native", "runtime": "local",
    }  # fmt: skip
    return row | changes


def scored(**changes: Any) -> dict[str, Any]:
    row = {"kind": "likelihood", "task": None, "bound": "upper_bound", "precision": None, "gen_ppl_settings": None}
    return generated(**row) | changes


def last_reason(odd: dict[str, Any], usual: dict[str, Any]) -> str | None:
    """What is said of one row beside two usual ones; nothing may be said of those."""
    found = comparable.reasons([usual, usual, odd])
    assert found[:2] == ["", ""]
    return found[2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": "d2"}, "data d2, others d1"),
        ({"data": None}, "data not recorded, others d1"),
        ({"tokenizer": "gpt2"}, "tokenizer gpt2, others words"),
        ({"length": 128}, "length 128, others 64"),
        ({"length": 128.0}, "length 128, others 64"),
        ({"precision": "float16"}, "sampling precision float16, others float64"),
        ({"samples": 16}, "samples 16, others 256"),
        ({"gen_ppl_settings": JUDGE | {"judge_digest": "bb"}}, "gen_ppl: judge a/folder (bb), others a/folder (aa)"),
        ({"gen_ppl_settings": JUDGE | {"version": 2}}, "gen_ppl: version 2, others 1"),
        ({"batch_size": 8}, "time: batch size 8, others 64"),
        ({"dtype": "bfloat16"}, "time: dtype bfloat16, others float32"),
        ({"threads": 1}, "time: threads 1, others 2"),
        ({"runtime": "docker"}, "time: runtime docker, others local"),
        ({"machine": "a GPU", "device": "cuda"}, "time: device cuda, others cpu; time: machine a GPU, others a CPU"),
    ],
)  # fmt: skip
def test_differences_of_generated_rows(changes: dict[str, Any], reason: str) -> None:
    assert last_reason(generated(**changes), generated()) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bound": "exact"}, "likelihood exact, others upper bound"),
        ({"data": "d2"}, "data d2, others d1"),
        ({"samples": 16}, "samples 16, others 256"),
        ({"length": 128}, "window 128, others 64"),
        ({"tokenizer": "gpt2"}, "figures per token: tokenizer gpt2, others words"),
    ],
)
def test_differences_of_likelihood_rows(changes: dict[str, Any], reason: str) -> None:
    assert last_reason(scored(**changes), scored()) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other", "scheduler": "other", "steps": 7, "seed": 3, "engine": "upstream", "options": {"a": 1}},
        {"gen_ppl_settings": JUDGE | {"judge": "the same weights elsewhere"}},
        {"gen_ppl_settings": None},
        {"machine": None},
        {"precision": None},
        {"role": "control", "precision": None},
        {"role": "control", "precision": float("nan")},
        {"role": "control", "batch_size": 1, "precision": None},
    ],
)
def test_what_does_not_matter(changes: dict[str, Any]) -> None:
    assert last_reason(generated(**changes), generated()) == ""


def pair(**changes: Any) -> dict[str, Any]:
    return generated(task="seq2seq", bleu_settings={"references_digest": "rr"}) | changes


IMPORTED = {
    **{"engine": "imported", "precision": None, "tokenizer": None, "length": None, "batch_size": None},
    **{"device": None, "dtype": None, "machine": None, "threads": None, "gen_ppl_settings": None},
}


@pytest.mark.parametrize("changes", [{"tokenizer": "gpt2"}, {"precision": None}, IMPORTED])
def test_what_does_not_matter_to_text_written_from_a_source(changes: dict[str, Any]) -> None:
    assert last_reason(pair(**changes), pair()) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": "d2"}, "data d2, others d1"),
        ({"samples": 16}, "samples 16, others 256"),
        ({"precision": "float16"}, "sampling precision float16, others float64"),
        ({"bleu_settings": {"references_digest": "ss"}}, "bleu: references ss, others rr"),
        ({"length": 128}, "time: length 128, others 64"),
        ({"batch_size": 8}, "time: batch size 8, others 64"),
        ({**IMPORTED, "data": "d2", "samples": 16}, "data d2, others d1; samples 16, others 256"),
    ],
)
def test_what_does(changes: dict[str, Any], reason: str) -> None:
    assert last_reason(pair(**changes), pair()) == reason


def test_imported_text_without_a_source_must_have_a_known_length() -> None:
    reason = "tokenizer not recorded, others words; length not recorded, others 64"
    assert last_reason(generated(**IMPORTED), generated()) == reason


def test_what_the_main_group_does_not_know_is_settled_by_the_others() -> None:
    """Models that draw nothing must not hide that two others draw differently."""
    nothing = [generated(precision=None)] * 5
    found = comparable.reasons([*nothing, generated(), generated(), generated(precision="float16")])
    assert found == [*[""] * 7, "sampling precision float16, others float64"]


def test_threads_do_not_matter_on_a_gpu() -> None:
    gpu = generated(device="cuda")
    assert last_reason(gpu | {"threads": 8}, gpu) == ""


def test_one_judge_of_several_metrics_is_said_once() -> None:
    usual = generated(mauve_settings=JUDGE)
    other = JUDGE | {"judge": "b", "judge_digest": "bb"}
    found = last_reason(generated(gen_ppl_settings=other, mauve_settings=other), usual)
    assert found == "gen_ppl, mauve: judge b (bb), others a/folder (aa)"


def test_the_models_decide_what_the_main_group_is() -> None:
    controls = [generated(role="control", length=32, precision=None)] * 5
    assert comparable.reasons([generated(), *controls]) == ["", *["length 32, others 64"] * 5]


def test_baselines_and_controls_break_a_tie_between_models() -> None:
    rows = [generated(precision="float16"), generated(), generated(role="baseline")]
    assert comparable.reasons(rows)[1:] == ["", ""]


def test_no_models_at_all() -> None:
    rows = [generated(role="control", length=n) for n in (8, 8, 4)]
    assert comparable.reasons(rows) == ["", "", "length 4, others 8"]


def test_benchmarks_and_tasks_stand_apart_without_a_mark() -> None:
    rows = [generated(), generated(task="prefix", samples=40), generated(benchmark="text8", data="d9"), scored()]
    assert comparable.reasons(rows) == [""] * 4


@pytest.mark.parametrize("status", ["failed", "pending", "same_as", "not_available"])
def test_rows_without_figures_are_neither_judged_nor_counted(status: str) -> None:
    rows = [generated(status=status, precision="float16")] * 3 + [generated()]
    assert comparable.reasons(rows) == [None, None, None, ""]


def test_table_of_two_runs_put_together() -> None:
    first = pd.DataFrame([generated(model="radd"), generated(model="nanodd"), generated(status="failed")])
    second = pd.DataFrame([generated(model="radd", data="d2", precision="float16"), generated(model="x", data="d2")])
    frame = comparable.annotate(pd.concat([first, second], ignore_index=True))
    assert list(frame[comparable.GROUP]) == ["main", "main", None, "a", "b"]
    assert list(frame[comparable.REASON][3:]) == [
        "data d2, others d1; sampling precision float16, others float64",
        "data d2, others d1",
    ]
    assert comparable.annotate(frame).equals(frame)


def test_marks_for_print_are_letters_and_numbers_with_one_line_each() -> None:
    rows = [generated(notes=["n", "n"]), generated(notes=[]), generated(notes=["n", "o"], length=8)]
    marks = comparable.marks(comparable.annotate(pd.DataFrame(rows)))
    assert marks.rows == ["1", "", "a 1 2"]
    assert marks.lines == ["a: not ranked with the unmarked rows: length 8, others 64", "1: n", "2: o"]


def test_the_reason_of_missing_figures_is_printed_too() -> None:
    absent = generated(status="not_available", message="no true continuation", notes=["n"])
    failed = generated(status="failed", message="out of memory")
    marks = comparable.marks(comparable.annotate(pd.DataFrame([generated(), absent, failed])))
    assert marks.rows == ["", "1 2", "3"]
    assert marks.lines == ["1: not available: no true continuation", "2: n", "3: failed: out of memory"]


def test_nothing_is_printed_where_all_is_comparable() -> None:
    assert comparable.marks(comparable.annotate(pd.DataFrame([generated(), generated()]))).lines == []


def test_empty_and_bare_tables() -> None:
    assert list(comparable.annotate(pd.DataFrame())[comparable.GROUP]) == []
    bare = comparable.annotate(pd.DataFrame({"status": ["done", "done"], "kind": "generate"}))
    assert list(bare[comparable.GROUP]) == ["main", "main"]


def test_another_machine_keeps_seconds_apart_and_quality_together() -> None:
    rows = [generated(), generated(), generated(machine="b CPU", batch_size=8), generated(length=32)]
    frame = comparable.annotate(pd.DataFrame(rows)).to_dict("records")
    assert [comparable.ranks_in_quality(row) for row in frame] == [True, True, True, False]
    assert frame[2][comparable.GROUP] == "a", "and it bears a mark all the same"
    clocks = [comparable.time_conditions(row) for row in rows]
    assert clocks[0] == clocks[1]
    assert clocks[0] | {"machine": "b CPU", "batch size": 8} == clocks[2]


def test_more_reasons_than_letters() -> None:
    rows = [generated()] * 30 + [generated(length=n) for n in range(100, 130)]
    groups = list(comparable.annotate(pd.DataFrame(rows))[comparable.GROUP])
    assert groups[30:33] == ["a", "b", "c"]
    assert groups[-4:] == ["aa", "ab", "ac", "ad"]
