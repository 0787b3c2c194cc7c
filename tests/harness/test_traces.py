"""Recording of intermediate states: the worker as a real process, and what the run folder gives back."""

from __future__ import annotations

import json

import pytest

from adapters.traces import TRACE_STATES, Trace, Tracer, traced_steps
from harness.config import BenchConfig, build
from harness.plan import make_plan
from harness.runtimes.job_folder import put_right
from harness.worker.jsonl import append_line, read_lines
from harness.worker.trace import FILE, TRACED, of_batch, packed, unpacked
from tests.harness.conftest import make_point
from tests.harness.test_execute import run


def traced(scheduler="fine", **changes):
    return make_point(scheduler, **{"trace": True, **changes})


def test_at_most_so_many_states_are_kept_the_first_and_the_last_among_them():
    assert traced_steps(1) == {0}
    assert traced_steps(5) == {0, 1, 2, 3, 4}
    many = sorted(traced_steps(1000))
    assert (len(many), many[0], many[-1]) == (TRACE_STATES, 0, 999)


def test_a_tracer_keeps_what_was_written_and_ends_in_the_finished_text():
    tracer = Tracer(3, lambda state: (state, [str(state)]), mask_id=9)
    tracer.start([[7, 9, 9]])
    for step, state in enumerate([[[7, 1, 9]], [[7, 1, 2]], [[7, 1, 5]]]):
        tracer.on_step(step, state)
    found = tracer.result([[7, 1, 3]], ["end"], [[False, True, True]])
    assert found == Trace(
        [0, 1, 2, 3],
        [[[None, None]], [[1, None]], [[1, 2]], [[1, 3]]],
        [["[[7, 9, 9]]"], ["[[7, 1, 9]]"], ["[[7, 1, 2]]"], ["end"]],
    )
    assert Tracer(0, lambda state: state).result([[1]], ["x"], [[True]]) is None


def test_states_survive_being_stored_as_changes():
    trace = Trace(
        [0, 3, 8],
        [[[None, None, 4], [None]], [[5, None, 4], [None]], [[5, 6, 7], [0]]],
        [["a", "b"], ["c", "d"], ["e", "f"]],
    )
    line = json.loads(json.dumps({"steps": 8, "of_samples": True, "seconds": 0.5, **packed(trace)}))
    assert line["changes"] == [[[0, 5], []], [[1, 6, 2, 7], [0, 0]]]
    stored = unpacked(line)
    assert (stored.trace, stored.steps, stored.of_samples, stored.seconds) == (trace, 8, True, 0.5)


def test_the_first_sequences_are_traced_apart_from_what_is_timed_and_counted(store):
    point = traced(steps=4, samples=40, batch_size=20)
    run(store, [point])
    stored = store.traces()[point["fingerprint"]]
    assert stored.trace.done == [0, 1, 2, 3, 4]
    assert stored.trace.texts[1] == ["1 of 4"] * TRACED
    assert [row.count(None) for row in (state[0] for state in stored.trace.tokens)] == [8, 6, 4, 2, 0]
    assert not stored.of_samples, "16 of a batch of 20: another batch, with noise of its own"
    assert stored.seconds > 0
    lines = store.batches()[point["fingerprint"]]
    assert [line["evaluations"] for line in lines] == [80, 80]
    assert [len(line["samples"]) for line in lines] == [20, 20]
    assert not any("trace" in line for line in lines)
    assert store.rows()[point["fingerprint"]]["notes"] == ["said of the job", "made of nothing"]


def test_a_small_batch_is_traced_whole_and_gives_the_samples_again(store):
    point = traced(steps=2)
    run(store, [point])
    stored = store.traces()[point["fingerprint"]]
    assert stored.of_samples
    assert stored.trace.texts[-1] == [sample["text"] for sample in store.samples(point["fingerprint"])[:4]]


def test_a_batch_that_does_not_come_out_again_is_said(store):
    point = traced("forgetful")
    run(store, [point])
    row = store.rows()[point["fingerprint"]]
    assert (row["status"], row["notes"][-1]) == (
        "done",
        "the batch that was traced did not give the texts of the samples again",
    )
    assert not store.traces()[point["fingerprint"]].of_samples


@pytest.mark.parametrize(
    ("scheduler", "note"),
    [("opaque", "not traced: shaky shows nothing of it"), ("clumsy", "not traced: ValueError: dropped it")],
)
def test_what_cannot_be_traced_is_a_note_and_no_failure(store, scheduler, note):
    point = traced(scheduler)
    outcome, _ = run(store, [point])
    row = store.rows()[point["fingerprint"]]
    assert not outcome.failed
    assert (row["status"], row["notes"][-1]) == ("done", note)
    assert len(store.samples(point["fingerprint"])) == 10
    assert store.traces() == {}


def test_nothing_is_traced_where_it_was_not_wanted(store):
    run(store, [make_point()])
    assert store.traces() == {}
    assert not (store.job_folder("shaky-1") / FILE).exists()


def test_a_run_killed_after_its_batches_is_only_traced_by_the_next(store):
    point = traced()
    run(store, [point])
    folder = store.job_folder("shaky-1")
    before = (folder / "batches.jsonl").read_bytes()
    (folder / "points.jsonl").unlink()
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-9])
    run(store, [point])
    assert (folder / "batches.jsonl").read_bytes() == before
    assert store.rows()[point["fingerprint"]]["status"] == "done"
    assert [line["point"] for line in read_lines(folder / FILE)] == [point["fingerprint"]]
    (folder / "points.jsonl").unlink()
    run(store, [point])
    assert len(read_lines(folder / FILE)) == 1, "a trace that is there is not recorded again"


def test_a_trace_of_an_earlier_version_still_opens(store):
    point = make_point(steps=64)
    store.write_plan({"points": [point]})
    states = [[f"state {s} of {i}" for i in range(20)] for s in range(TRACE_STATES)]
    store.job_folder("shaky-1").mkdir(parents=True)
    line = {"point": point["fingerprint"], "batch": 0, "samples": [], "trace": states}
    append_line(store.job_folder("shaky-1") / "batches.jsonl", line)
    stored = store.traces()[point["fingerprint"]]
    assert stored == of_batch(states, 64)
    assert (stored.trace.done[0], stored.trace.done[-1], len(stored.trace.done)) == (1, 64, TRACE_STATES)
    assert stored.trace.tokens == []
    assert stored.trace.texts[3] == states[3][:TRACED]
    assert (stored.of_samples, stored.seconds) == (True, None)


def test_a_damaged_file_of_traces_is_set_aside(tmp_path):
    append_line(tmp_path / FILE, {"point": "a"})
    (said,) = put_right(tmp_path)
    assert said.startswith(f"renamed {FILE} to {FILE}.damaged: a line lacks one of point, steps, ")
    assert not (tmp_path / FILE).exists()


def test_traces_are_on_unless_they_are_switched_off():
    assert build(BenchConfig, []).trace is True
    assert build(BenchConfig, ["trace=false"]).trace is False


def test_one_seed_of_each_point_is_traced_and_no_control():
    def planned(*words):
        config = build(
            BenchConfig, ["model=radd,gpt2", "steps=4,8", "seeds=0,1", "benchmark=toy", "device=cpu", *words]
        )
        return [point for point in make_plan(config).points if point["kind"] == "generate"]

    points = planned()
    assert {(p["role"], p["seed"]) for p in points if p["trace"]} == {("model", 0), ("baseline", 0)}
    assert {p["steps"] for p in points if p["trace"] and p["role"] == "model"} == {4, 8}
    off = planned("trace=false")
    assert not any(p["trace"] for p in off)
    assert [p["fingerprint"] for p in off] == [p["fingerprint"] for p in points], "a trace changes no figure"
