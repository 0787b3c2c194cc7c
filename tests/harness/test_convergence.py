"""What is measured of recorded states."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from adapters.traces import Trace
from harness.convergence import Measures, measure, quality_metric, without_masks
from harness.metrics import ScoreInput, get_metric
from harness.metrics.judge import TextNll
from harness.score import score
from harness.store import RunStore
from harness.worker.jsonl import append_line, read_lines
from harness.worker.trace import FILE, StoredTrace, packed
from tests.harness.metrics.random_judge import write_judge
from tests.harness.test_score import TEXTS, add_samples, make_point, make_store


class LengthJudge:
    """Finds long words unlikely: as many nats as a text has letters; cannot read "?"."""

    def settings(self) -> dict[str, Any]:
        return {"judge": "length"}

    def nll(self, texts: list[str]) -> list[TextNll | None]:
        return [None if "?" in t else TextNll(float(len(t.replace(" ", ""))), len(t.split())) for t in texts]

    def unscorable(self, texts: list[str]) -> tuple[int, str]:
        bad = [text for text in texts if "?" in text]
        return len(bad), "it holds a '?'" if bad else ""


def measured(stored: StoredTrace, metrics: tuple[str, ...] = (), judge: Any = None, written: Any = None) -> dict:
    data = ScoreInput([], task="unconditional", facts={"tokens": "words"}, judge=judge)
    return measure(stored, Measures(data, [get_metric(m) for m in metrics], None, written or (lambda _, text: text)))


def of_texts(*states: list[str], tokens: Any = ()) -> StoredTrace:
    return StoredTrace(len(states), Trace(list(range(1, len(states) + 1)), list(tokens), list(states)), False, 0.1)


TOKENS = [
    [[None, None, None, None], [None, None]],
    [[1, None, 3, None], [5, None]],
    [[1, 2, 9, None], [6, 8]],
    [[1, 2, 3, 4], [5, 8]],
]


def test_shares_are_counted_exactly():
    found = measured(of_texts(*[["a", "b"]] * 4, tokens=TOKENS))["states"]
    assert [s["masked"][0] for s in found] == [1, 3 / 6, 1 / 6, 0]
    assert [s["same"][0] for s in found] == [0, 3 / 6, 3 / 6, 1]
    # 3 and 5 were there after the second state, but were given up again: only 1 stood from there to the end.
    assert [s["settled"][0] for s in found] == [0, 1 / 6, 3 / 6, 1]
    low, high = found[1]["same"][1:]
    assert (low, high) == (0.5, 0.5), "both sequences have half of their tokens"
    low, high = found[1]["settled"][1:]
    assert (low, high) == (0, 0.25)


def test_a_single_sequence_has_no_interval():
    found = measured(of_texts(["aaa b"], ["a b"], tokens=[[[1]], [[2]]]), judge=LengthJudge())
    assert found["states"][0] | {"entropy": None, "metric": None} == {
        "done": 1,
        "settled": [0.0, None, None],
        "same": [0.0, None, None],
        "masked": [0.0, None, None],
        "ppl": [math.exp(2), None, None],
        "ratio": [math.exp(1), None, None],
        "entropy": None,
        "metric": None,
    }


def test_perplexity_is_of_the_text_without_masks_and_is_paired_with_the_end():
    first = ["\u2588 aaa \u2588 \u2588", "\u2588 \u2588 bbb bbb"]
    found = measured(of_texts(["\u2588", "\u2588 \u2588"], first, ["a aa", "b bb"]), judge=LengthJudge())
    nothing, early, end = found["states"]
    assert (nothing["ppl"], nothing["ratio"]) == (None, None), "there is no text yet"
    assert early["ppl"][0] == pytest.approx(math.exp(9 / 3))
    assert end["ppl"][0] == pytest.approx(math.exp(6 / 4))
    assert early["ratio"] == pytest.approx([math.exp(1.5)] * 3), "the same difference in every sequence"
    assert end["ratio"] == [1, 1, 1]
    assert found["reasons"] == {"tokens": "recorded by an earlier version, which kept no token ids"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("  kept as it is\n", "  kept as it is\n"),
        ("a \u2588 \u2588\u2588 b", "a b"),
        ("th\u2588 qu\u2588\u2588k", "th qu k"),
        ("\u2588\u2588 end", "end"),
        ("start\u2588", "start"),
        ("\u2588 \u2588", ""),
    ],
)
def test_a_run_of_masks_becomes_one_space(text: str, shown: str):
    assert without_masks(text) == shown


def test_what_the_judge_cannot_read():
    unreadable_early = measured(of_texts(["a ?"], ["a b"]), judge=LengthJudge())
    assert unreadable_early["states"][0]["ppl"] is None
    assert "ppl" not in unreadable_early["reasons"]
    unreadable_end = measured(of_texts(["a b"], ["a ?"]), judge=LengthJudge())
    assert [s["ppl"] for s in unreadable_end["states"]] == [None, None]
    assert unreadable_end["reasons"]["ppl"] == "the judge cannot encode 1 of 1 finished texts: it holds a '?'"
    assert measured(of_texts(["a"], [""]), judge=LengthJudge())["reasons"]["ppl"] == "all finished texts are empty"


def test_quality_is_that_of_the_first_metric_of_few_texts_that_should_be_high():
    names = ("toy_nll", "mauve", "gen_ppl", "toy_valid_tokens", "toy_valid_sentences")
    metric = quality_metric([get_metric(name) for name in names])
    assert metric is not None
    assert metric.name == "toy_valid_tokens"
    assert quality_metric([get_metric("gen_ppl"), get_metric("self_bleu"), get_metric("rep_4")]) is None
    found = measured(
        of_texts(["\u2588"], ["bla bla ."], ["the queen eats the bread . the queen eats the bread ."]),
        metrics=("toy_valid_tokens", "unigram_entropy"),
    )
    assert [s["metric"] and s["metric"][0] for s in found["states"]] == [None, 0, 1]
    assert [s["entropy"] is None for s in found["states"]] == [True, False, False]
    assert found["metric"] == "toy_valid_tokens"


# --- in a run --------------------------------------------------------------------------------------------------------

HALF = [text.replace("sat", "\u2588") for text in TEXTS]


def add_trace(store: RunStore, fingerprint: str, states: list[list[str]]) -> None:
    ids = [[[None if w == "\u2588" else len(w) for w in text.split()] for text in state] for state in states]
    line = {"point": fingerprint, "session": "s", "seconds": 0.5, "steps": len(states), "of_samples": True}
    trace = Trace(list(range(1, len(states) + 1)), ids, states)
    append_line(store.job_folder("j") / FILE, line | packed(trace))


def scored(store: RunStore, **arguments: Any) -> list[dict[str, Any]]:
    score(store, progress=io.StringIO(), **arguments)
    return read_lines(store.folder / "convergence.jsonl")


@pytest.fixture
def judge(tmp_path: Path) -> str:
    return str(write_judge(tmp_path / "judge"))


@pytest.fixture
def store(tmp_path: Path, judge: str) -> RunStore:
    store = make_store(tmp_path, [make_point("p1"), make_point("p2")], judge)
    add_samples(store, "p1", TEXTS)
    add_samples(store, "p2", TEXTS)
    add_trace(store, "p1", [HALF, TEXTS])
    return store


def test_the_score_stage_measures_what_was_traced_and_keeps_it(store: RunStore):
    (line,) = scored(store)
    assert (line["point"], line["steps"], line["sequences"], line["of_samples"]) == ("p1", 2, 4, True)
    gen_ppl = next(s for s in store.scores() if s["point"] == "p1" and s["metric"] == "gen_ppl")
    assert line["states"][1]["ppl"][0] == pytest.approx(gen_ppl["value"]), "the traced texts are the samples here"
    assert line["states"][0]["masked"][0] == pytest.approx(4 / 21)
    assert line["settings"]["judge"]["judge_digest"] == gen_ppl["settings"]["judge_digest"]
    assert store.convergence() == {"p1": line}
    assert scored(store) == [line], "nothing changed"
    add_trace(store, "p1", [TEXTS, TEXTS])
    assert [len(scored(store)), store.convergence()["p1"]["states"][0]["masked"][0]] == [2, 0]


def test_force_measures_again_and_stores_no_copy(store: RunStore):
    assert scored(store, force=True) == scored(store, force=True)


def test_without_a_judge_shares_are_known_and_the_reason_is_given(store: RunStore):
    (line,) = scored(store, metrics=["distinct_1"])
    assert line["reasons"] == {"ppl": "no judge: give one with judge=FOLDER"}
    assert line["states"][0]["settled"][0] > 0
    assert [s["ppl"] for s in line["states"]] == [None, None]
    again = scored(store)
    assert len(again) == 2, "it is tried again, and there is a judge now"
    assert again[1]["states"][0]["ppl"]


def test_a_judge_that_is_gone_is_a_reason(store: RunStore, tmp_path: Path):
    facts = store.benchmark_data("b") / "benchmark.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"judge": str(tmp_path / "none")}))
    (line,) = scored(store)
    assert "is no folder here" in line["reasons"]["ppl"]


def test_what_was_given_is_not_judged(tmp_path: Path, judge: str):
    store = make_store(tmp_path, [make_point("p1", task="infill")], judge)
    add_samples(store, "p1", TEXTS)
    add_trace(store, "p1", [HALF, TEXTS])
    (line,) = scored(store)
    gen_ppl = next(s for s in store.scores() if s["metric"] == "gen_ppl")
    assert line["states"][1]["ppl"][0] == pytest.approx(gen_ppl["value"])
