"""MBR over stored candidates."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from harness.selection import mbr_choice, select, selected_points
from harness.store import RunStore
from harness.table import table
from harness.worker.jsonl import append_line
from tests.harness.conftest import make_point

TEXTS = {0: ["a b c d", "x y", "k l m"], 1: ["a b c e", "x y z w", "k"], 2: ["q", "x y z w", "k l n"]}


def point(seed: int, **changes: Any) -> dict[str, Any]:
    own = {"seed": seed, "task": "seq2seq", "samples": 3, "batch_size": 2, "selection": None, "candidates": None}
    return make_point(**{**own, "notes": [f"said of seed {seed}"], **changes})


@pytest.fixture
def points() -> list[dict[str, Any]]:
    return [point(seed) for seed in TEXTS]


@pytest.fixture
def run(tmp_path: Path, points: list[dict[str, Any]]) -> RunStore:
    store = RunStore(tmp_path / "r")
    store.job_folder("shaky-1").mkdir(parents=True)
    store.write_plan({"points": [*points, *selected_points(points)], "config": {}})
    return store


def add(
    store: RunStore, of: dict[str, Any], status: str = "done", batches: tuple[int, ...] = (0, 1), **row: Any
) -> None:
    texts, folder = TEXTS[of["seed"]], store.job_folder(of["job"])
    for batch in batches:
        samples = [
            {"index": i, "text": texts[i], "tokens": [i], "nfe": 2 + of["seed"], "generated_tokens": 4, "left_off": i}
            for i in range(2 * batch, min(3, 2 * batch + 2))
        ]
        head = {"point": of["fingerprint"], "batch": batch, "session": "s", "network_calls": 2}
        cost = {"seconds": 1.0, "network_seconds": 0.25, "peak_memory_bytes": 10 + of["seed"]}
        evaluations = sum(sample["nfe"] for sample in samples)
        append_line(folder / "batches.jsonl", {**head, **cost, "evaluations": evaluations, "samples": samples})
    line = {"point": of["fingerprint"], "session": "s", "status": status, "reason": None, "message": None}
    append_line(folder / "points.jsonl", line | {"same_as": None, "warmup_seconds": None, "notes": []} | row)


def authors_choice(texts: list[str]) -> int:
    """argmax of the summed nltk BLEU against the others, as DiffuSeq's selectBest defines it."""
    smoothing = SmoothingFunction().method4
    scores = np.array(
        [[sentence_bleu([b.split()], a.split(), smoothing_function=smoothing) for b in texts] for a in texts], float
    )
    np.fill_diagonal(scores, 0)
    return int(np.argmax(scores.sum(-1)))


def test_choice_is_the_authors() -> None:
    rng = random.Random(0)
    for _ in range(150):
        texts = [" ".join(rng.choice("abcd") for _ in range(rng.randint(0, 8))) for _ in range(rng.randint(2, 10))]
        assert mbr_choice(texts) == authors_choice(texts), texts


def test_first_of_equals() -> None:
    assert mbr_choice(["x", "a b", "a b"]) == 1
    assert mbr_choice(["", "", ""]) == 0


def test_one_point_for_seeds_that_differ_in_nothing_else(points: list[dict[str, Any]]) -> None:
    more = [point(0, steps=9), point(0, role="control"), point(1, role="control"), point(0, task="prefix")]
    (found,) = selected_points([*points, *more])
    assert (found["seed"], found["selection"], found["candidates"]) == (None, "mbr", 3)
    assert found["of"] == [p["fingerprint"] for p in points]
    assert found["job"] == "shaky-1-mbr"
    assert found["notes"] == []
    assert found["fingerprint"] not in found["of"]
    assert selected_points([*points[:2], *more])[0]["fingerprint"] != found["fingerprint"]
    assert selected_points(points[:1]) == []


def test_chosen_texts_cost_what_all_candidates_cost(run: RunStore, points: list[dict[str, Any]]) -> None:
    for p in points:
        add(run, p)
    select(run, io.StringIO())
    mbr = run.points()[-1]
    samples = run.samples(mbr["fingerprint"])
    assert [sample["text"] for sample in samples] == ["a b c d", "x y z w", "k l m"]
    assert samples[1]["candidates"] == ["x y", "x y z w", "x y z w"]
    assert [sample["chosen"] for sample in samples] == [0, 1, 0]
    assert [sample["nfe"] for sample in samples] == [9, 9, 9]
    row = table(run).iloc[-1]
    assert (row["status"], row["selection"], row["candidates"]) == ("done", "mbr", 3)
    assert (row["nfe_mean"], row["seconds_total"], row["network_seconds_total"]) == (9, 6.0, 1.5)
    assert row["peak_memory_bytes"] == 12
    assert row["tokens_per_second"] == pytest.approx(12 / 6)
    assert row["notes"][0] == "chosen among 3 candidates: evaluations and seconds are those of all of them"
    assert row["notes"][1].startswith("2 of 3 given texts were cut")


def test_select_again_adds_nothing_and_a_killed_one_goes_on(run: RunStore, points: list[dict[str, Any]]) -> None:
    for p in points:
        add(run, p)
    select(run, io.StringIO())
    folder = run.job_folder("shaky-1-mbr")
    before = {name: (folder / name).read_text() for name in ("batches.jsonl", "points.jsonl")}
    select(run, io.StringIO())
    assert {name: (folder / name).read_text() for name in before} == before
    (folder / "batches.jsonl").write_text(before["batches.jsonl"].splitlines(keepends=True)[0])
    (folder / "points.jsonl").unlink()
    select(run, io.StringIO())
    assert {name: (folder / name).read_text() for name in before} == before


def test_missing_candidates_are_a_row_until_they_are_there(run: RunStore, points: list[dict[str, Any]]) -> None:
    add(run, points[0])
    add(run, points[1], "failed", batches=(0,), reason="exception", message="boom")
    select(run, io.StringIO())
    select(run, io.StringIO())
    row = table(run).iloc[-1]
    assert (row["status"], row["reason"]) == ("failed", "missing_candidates")
    assert row["message"].startswith("2 of 3 candidates are not there (failed, pending)")
    assert len((run.job_folder("shaky-1-mbr") / "points.jsonl").read_text().splitlines()) == 1
    add(run, points[1], batches=(1,))
    add(run, points[2])
    select(run, io.StringIO())
    assert table(run).iloc[-1]["status"] == "done"


def test_twins_have_a_twin(tmp_path: Path, points: list[dict[str, Any]]) -> None:
    twins = [point(seed, scheduler="twin") for seed in TEXTS]
    store = RunStore(tmp_path / "r")
    store.job_folder("shaky-1").mkdir(parents=True)
    store.write_plan({"points": [*points, *twins, *selected_points([*points, *twins])], "config": {}})
    for p, twin in zip(points, twins, strict=True):
        add(store, p)
        add(store, twin, "same_as", batches=(), same_as=p["fingerprint"])
    select(store, io.StringIO())
    rows = store.rows()
    mbr, other = store.points()[-2:]
    assert rows[mbr["fingerprint"]]["status"] == "done"
    assert rows[other["fingerprint"]]["status"] == "same_as"
    assert rows[other["fingerprint"]]["same_as"] == mbr["fingerprint"]


def test_what_a_model_has_not_has_no_choice(run: RunStore, points: list[dict[str, Any]]) -> None:
    for p in points:
        add(run, p, "not_available", batches=(), reason="not_available", message="no such task")
    select(run, io.StringIO())
    row = table(run).iloc[-1]
    assert (row["status"], row["message"]) == ("not_available", "no such task")
