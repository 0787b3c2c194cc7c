"""The score stage over a run folder written by hand."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.metrics import Metric, Score, ScoreInput, registry
from harness.metrics.base import SampleValues, missing
from harness.paired import figure_of
from harness.report.collect import sample_values
from harness.score import ERROR_LOG, ScoreSummary, score, written_part
from harness.store import RunStore
from harness.worker.jsonl import append_line
from tests.harness.metrics.random_judge import write_judge

TEXTS = ["the cat sat", "the dog sat on the mat", "the cat sat on the dog", "on the mat the cat sat"]
METRICS = ["gen_ppl", "unigram_entropy", "distinct_1", "bleu"]


def make_point(fingerprint: str, **changes: Any) -> dict[str, Any]:
    point = {
        "fingerprint": fingerprint, "job": "j", "model": "m", "engine": "native", "benchmark": "b", "kind": "generate",
        "task": "unconditional", "scheduler": "s", "steps": 4, "estimator": None, "seed": 0, "samples": 4,
    }  # fmt: skip
    return {**point, **changes}


def add_samples(store: RunStore, fingerprint: str, texts: list[str], status: str | None = "done") -> None:
    samples = [
        {"index": i, "text": text, "tokens": [], "nfe": 1, "generated_tokens": 1} for i, text in enumerate(texts)
    ]
    folder = store.job_folder("j")
    append_line(folder / "batches.jsonl", {"point": fingerprint, "batch": 0, "session": "s", "samples": samples})
    if status:
        append_line(folder / "points.jsonl", {"point": fingerprint, "status": status, "reason": None, "message": None})


@pytest.fixture
def judge(tmp_path: Path) -> str:
    return str(write_judge(tmp_path / "judge"))


@pytest.fixture
def store(tmp_path: Path, judge: str) -> RunStore:
    return make_store(tmp_path, [make_point("p1")], judge)


def make_store(tmp_path: Path, points: list[dict[str, Any]], judge: str | None) -> RunStore:
    store = RunStore(tmp_path / "results" / "r")
    data = store.benchmark_data("b")
    data.mkdir(parents=True)
    store.job_folder("j").mkdir(parents=True)
    (data / "benchmark.json").write_text(json.dumps({"tokens": "words", "metrics": METRICS, "judge": judge}))
    (data / "references.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    prompts = [{"prefix": text.split()[0], "suffix": text.split()[-1], "reference": text} for text in TEXTS]
    (data / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    store.write_plan({"points": points})
    return store


def run(store: RunStore, **arguments: Any) -> ScoreSummary:
    return score(store, progress=io.StringIO(), **arguments)


def test_rows_say_everything(store: RunStore, judge: str) -> None:
    add_samples(store, "p1", TEXTS)
    summary = run(store)
    assert (summary.computed, summary.kept, summary.missing, summary.exceptions) == (3, 0, 1, 0)
    rows = {row["metric"]: row for row in store.scores()}
    assert list(rows) == METRICS
    for row in rows.values():
        assert set(row) == {
            "point", "metric", "version", "settings", "samples_digest", "value", "low", "high", "unit", "better",
            "reason", "detail", "samples",
        }  # fmt: skip
        assert row["point"] == "p1"
    assert rows["gen_ppl"]["settings"]["judge"] == judge
    assert rows["gen_ppl"]["detail"]["tokens"] == 21
    assert rows["bleu"]["value"] is None
    assert rows["bleu"]["reason"] == "no true text for each sample: the task is unconditional"


def test_second_run_keeps_figures_and_adds_no_line(store: RunStore) -> None:
    add_samples(store, "p1", TEXTS)
    run(store)
    before = store.scores()
    summary = run(store)
    assert (summary.computed, summary.kept, summary.missing) == (0, 3, 1)
    assert store.scores() == before


def test_values_of_single_samples_are_stored_short_and_give_the_figure(store: RunStore) -> None:
    add_samples(store, "p1", TEXTS)
    run(store)
    rows = {row["metric"]: row for row in store.scores()}
    assert {name: rows[name]["samples"] and rows[name]["samples"]["statistic"] for name in METRICS} == {
        **dict.fromkeys(METRICS), "gen_ppl": "exp_ratio", "unigram_entropy": "mean",
    }  # fmt: skip
    values = sample_values(store.scores())["p1"]
    assert set(values) == {"gen_ppl", "unigram_entropy"}
    for name, samples in values.items():
        assert len(samples.rows) == len(TEXTS)
        assert figure_of(samples)[0] == pytest.approx(rows[name]["value"], rel=1e-8)
    longest = max(len(repr(number)) for samples in values.values() for row in samples.rows for number in row)
    assert longest <= 12  # ten digits, the point, a leading 0
    assert all(isinstance(row[1], int) for samples in values.values() for row in samples.rows)


def test_figures_of_older_runs_get_their_samples(store: RunStore) -> None:
    add_samples(store, "p1", TEXTS)
    run(store)
    before = store.scores()
    path = store.folder / "scores.jsonl"
    old = [{key: part for key, part in row.items() if key != "samples"} for row in before]
    path.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert sample_values(store.scores()) == {}
    summary = run(store)
    assert (summary.computed, summary.kept) == (3, 0)
    assert store.scores()[-4:] == before
    assert (run(store).computed, run(store).kept) == (0, 3)


def test_a_figure_whose_samples_cannot_be_had_any_more_is_kept(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = Metric("late", 1, "u", "none", frozenset(), lambda data: missing("the model is gone"), "was here")
    monkeypatch.setattr(registry, "all_metrics", lambda: {"late": metric})
    add_samples(store, "p1", TEXTS)
    run(store, metrics=["late"])
    old = store.scores()[0] | {"value": 0.5, "reason": None}
    del old["samples"]
    (store.folder / "scores.jsonl").write_text(json.dumps(old) + "\n")
    summary = run(store, metrics=["late"])
    assert (summary.kept, summary.missing) == (1, 0)
    assert store.scores() == [old]
    assert run(store, metrics=["late"], force=True).missing == 1


def test_samples_that_cannot_be_read_here_are_left_out() -> None:
    good = {"statistic": "mean", "rows": [[1, 1], [0.5, 1]]}
    odd = [
        {"statistic": "median", "rows": [[1]]},
        {"statistic": "mean", "rows": [[1, 1, 1]]},
        {"statistic": "mean", "rows": [[1, None]]},
        {"statistic": "mean", "rows": [["x", 1]]},
        {"statistic": "mean", "rows": [[float("nan"), 1]]},
        {"statistic": "mean", "rows": []},
        {"statistic": "mean"},
        ["mean"],
        None,
    ]
    scores = [{"point": "p", "metric": f"m{i}", "samples": samples} for i, samples in enumerate([good, *odd])]
    assert sample_values(scores) == {"p": {"m0": SampleValues("mean", [[1, 1], [0.5, 1]])}}
    assert sample_values([{"point": "p", "metric": "m"}]) == {}


def test_scores_are_read_once_while_nothing_is_added(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.scores() == []
    store.append_score({"point": "p", "metric": "m"})
    assert len(store.scores()) == 1
    monkeypatch.setattr(RunStore, "lines", lambda self, path: pytest.fail("read again"))
    store.scores().clear()
    assert len(store.scores()) == 1


def test_force_computes_again(store: RunStore) -> None:
    add_samples(store, "p1", TEXTS)
    run(store)
    assert run(store, force=True).computed == 3


def test_other_samples_other_judge_or_version_are_scored_again(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_samples(store, "p1", TEXTS)
    run(store)
    other = run(store, judge=str(write_judge(tmp_path / "other", seed=1)))
    assert (other.computed, other.kept) == (1, 2)
    add_samples(store, "p1", TEXTS[::-1])
    assert run(store).computed == 3
    newer = {name: replace(metric, version=metric.version + 1) for name, metric in registry.all_metrics().items()}
    monkeypatch.setattr(registry, "all_metrics", lambda: newer)
    assert run(store).computed == 3


def test_conditional_tasks_are_compared_on_what_was_written(tmp_path: Path, judge: str) -> None:
    points = [make_point("p1", task="prefix"), make_point("p2", task="infill")]
    store = make_store(tmp_path, points, judge)
    kept_prompts = [" ".join([text.split()[0], "cat", text.split()[-1]]) for text in TEXTS]
    add_samples(store, "p1", TEXTS)
    add_samples(store, "p2", kept_prompts)
    run(store, metrics=["bleu", "unigram_entropy", "chrf"])
    rows = {(row["point"], row["metric"]): row for row in store.scores()}
    assert rows["p1", "chrf"]["value"] == pytest.approx(100)
    assert rows["p2", "unigram_entropy"]["value"] == 0  # one word, "cat", between prefix and suffix
    assert rows["p2", "chrf"]["value"] < 100
    assert len(rows["p1", "bleu"]["settings"]["references_digest"]) == 16


def test_seq2seq_is_compared_with_all_true_texts_and_reads_sources_and_candidates(
    tmp_path: Path, judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ScoreInput] = []

    def look(data: ScoreInput) -> Score:
        seen.append(data)
        return Score(1.0)

    needs = frozenset({"paired_references", "sources"})
    plain = Metric("plain", 1, "u", "none", needs, look, "s")
    among = Metric("among", 1, "u", "none", frozenset({"candidates"}), look, "s")
    monkeypatch.setattr(registry, "all_metrics", lambda: {"plain": plain, "among": among})
    mbr = {"selection": "mbr", "candidates": 2, "seed": None}
    points = [make_point("p1", task="seq2seq"), make_point("p2", task="seq2seq", **mbr)]
    store = make_store(tmp_path, points, judge)
    prompts = [{"source": f"of {t}", "references": [t, "other"], "prefix": "", "suffix": ""} for t in TEXTS]
    path = store.benchmark_data("b") / "prompts.jsonl"
    path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    add_samples(store, "p1", TEXTS)
    samples = [{"index": i, "text": t, "candidates": [t, "else"], "chosen": 0} for i, t in enumerate(TEXTS)]
    line = {"point": "p2", "batch": 0, "session": "s", "samples": samples}
    append_line(store.job_folder("j") / "batches.jsonl", line)
    append_line(store.job_folder("j") / "points.jsonl", {"point": "p2", "status": "done"})
    run(store, metrics=["plain", "among"])
    first, second, chosen = seen
    assert first.paired_references == [[text, "other"] for text in TEXTS]
    assert first.sources == [f"of {text}" for text in TEXTS]
    assert first.candidates is None
    assert second.candidates == chosen.candidates == [[text, "else"] for text in TEXTS]
    rows = {(row["point"], row["metric"]): row for row in store.scores()}
    assert "candidates come from several seeds" in rows["p1", "among"]["reason"]
    assert rows["p1", "plain"]["samples_digest"] == rows["p2", "plain"]["samples_digest"]
    assert rows["p2", "among"]["samples_digest"] != rows["p2", "plain"]["samples_digest"]
    assert {"sources_digest", "references_digest"} <= set(rows["p1", "plain"]["settings"])
    path.write_text("".join(json.dumps(prompt | {"references": []}) + "\n" for prompt in prompts))
    run(store, metrics=["plain"])
    reasons = {row["reason"] for row in store.scores() if row["metric"] == "plain" and row["value"] is None}
    assert reasons == {"no true text for each sample: the task is seq2seq"}


def test_written_part() -> None:
    assert written_part("a b c d", "a b", "d") == "c"
    assert written_part("a b", "a b", "") == ""
    assert written_part("x b c", "a", "c") == "x b c"  # the prompt was lost: nothing is cut
    assert written_part("a b a", "a b", "b a") == "a b a"  # given parts must not overlap


def test_unfinished_points_are_named_and_left_out(tmp_path: Path, judge: str) -> None:
    points = [
        make_point("done"),
        make_point("half", steps=8),
        make_point("none", steps=16),
        make_point("twin", steps=32),
        make_point("bits", kind="likelihood", estimator="e"),
    ]
    store = make_store(tmp_path, points, judge)
    add_samples(store, "done", TEXTS)
    add_samples(store, "half", TEXTS[:2], status=None)
    append_line(store.job_folder("j") / "points.jsonl", {"point": "twin", "status": "same_as"})
    shown = io.StringIO()
    summary = score(store, ["unigram_entropy"], progress=shown)
    assert {row["point"] for row in store.scores()} == {"done"}
    assert [name.split()[2] for name in summary.unfinished] == ["steps=8", "steps=16"]
    assert shown.getvalue().count("left out, its samples are not complete") == 2
    assert "2 points not finished" in summary.line()


def test_exception_in_one_metric_is_a_row_and_the_others_go_on(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(data: ScoreInput) -> Score:
        raise RuntimeError("boom\nsecond line")

    metric = Metric("broken", 1, "u", "none", frozenset(), breaks, "breaks")
    monkeypatch.setattr(registry, "all_metrics", lambda real=registry.all_metrics: {**real(), "broken": metric})
    add_samples(store, "p1", TEXTS)
    summary = run(store, metrics=["broken", "unigram_entropy"])
    assert (summary.computed, summary.missing, summary.exceptions) == (1, 1, 1)
    broken, entropy = store.scores()
    assert (broken["value"], broken["reason"]) == (None, "exception: RuntimeError: boom")
    assert entropy["value"] is not None
    log = (store.folder / ERROR_LOG).read_text()
    assert "broken of m s steps=4" in log
    assert 'raise RuntimeError("boom' in log


def test_a_missing_figure_is_tried_again(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [missing("no package"), missing("no package"), Score(1.0)]
    metric = Metric("late", 1, "u", "none", frozenset(), lambda data: results.pop(0), "comes late")
    monkeypatch.setattr(registry, "all_metrics", lambda: {"late": metric})
    add_samples(store, "p1", TEXTS)
    for _ in range(3):
        run(store, metrics=["late"])
    assert [row["value"] for row in store.scores()] == [None, 1.0]  # the same reason is not written twice
    assert run(store, metrics=["late"]).kept == 1


def test_a_detail_that_is_no_json_is_a_fault_of_the_metric(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Metric("odd", 1, "u", "none", frozenset(), lambda data: Score(1.0, detail={"x": float("nan")}), "odd")
    monkeypatch.setattr(registry, "all_metrics", lambda: {"odd": metric})
    add_samples(store, "p1", TEXTS)
    assert run(store, metrics=["odd"]).exceptions == 1
    assert store.scores()[0]["reason"].startswith("exception: ValueError")


def test_a_sample_that_is_no_number_is_a_fault_of_the_metric(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = SampleValues.mean([1.0, float("nan")])
    metric = Metric("odd", 1, "u", "none", frozenset(), lambda data: Score(1.0, samples=samples), "odd")
    monkeypatch.setattr(registry, "all_metrics", lambda: {"odd": metric})
    add_samples(store, "p1", TEXTS)
    assert run(store, metrics=["odd"]).exceptions == 1
    assert store.scores()[0]["reason"].startswith("exception: ValueError")
    assert store.scores()[0]["samples"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_a_reason(store: RunStore, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    metric = Metric("odd", 1, "u", "none", frozenset(), lambda data: Score(value), "odd")
    monkeypatch.setattr(registry, "all_metrics", lambda: {"odd": metric})
    add_samples(store, "p1", TEXTS)
    run(store, metrics=["odd"])
    assert store.scores()[0]["value"] is None
    assert "not a finite number" in store.scores()[0]["reason"]


def test_unknown_metric_stops_before_anything_is_written(store: RunStore) -> None:
    add_samples(store, "p1", TEXTS)
    with pytest.raises(UserError, match="Did you mean 'distinct_1'"):
        run(store, metrics=["unigram_entropy", "distint_1"])
    assert store.scores() == []


def test_a_named_judge_must_be_there(store: RunStore, tmp_path: Path) -> None:
    add_samples(store, "p1", TEXTS)
    with pytest.raises(UserError, match="no folder here"):
        run(store, judge=str(tmp_path / "absent"))


def test_the_benchmarks_own_judge_may_be_missing(tmp_path: Path) -> None:
    store = make_store(tmp_path, [make_point("p1")], str(tmp_path / "absent"))
    add_samples(store, "p1", TEXTS)
    assert run(store).computed == 2
    reason = next(row["reason"] for row in store.scores() if row["metric"] == "gen_ppl")
    assert "could not be had" in reason
    write_judge(tmp_path / "absent")
    summary = run(store)
    assert (summary.computed, summary.kept) == (1, 2)


def test_no_judge_loads_no_torch(store: RunStore) -> None:
    add_samples(store, "p1", TEXTS)
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.score import score\nfrom harness.store import RunStore\n"
        f"score(RunStore(Path({str(store.folder)!r})), ['unigram_entropy', 'bleu'])\n"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
