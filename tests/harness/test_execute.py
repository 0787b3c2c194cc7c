"""The worker as a real process, with a model that fails on demand."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.errors import UserError
from harness.execute import LONGEST_MESSAGE, Settings, execute
from harness.progress import Progress
from harness.runtimes.base import Ending
from harness.worker.jsonl import append_line, read_lines
from harness.worker.run import batch_seed, failure_reason
from tests.harness.conftest import make_job, make_point

ROOT = Path(__file__).parents[2]


def run(store, points, time_limit=None, runtime=None, **job):
    plan = SimpleNamespace(jobs=[make_job(points, **job)], benchmark=SimpleNamespace(name="toy"))
    store.write_plan({"points": points, "config": {}, "command": "test"})
    shown = io.StringIO()
    runtime_for = (lambda job: runtime) if runtime else None
    outcome = execute(store, plan, Settings(1, 1, time_limit), Progress(shown), runtime_for)
    return outcome, shown.getvalue()


def test_a_point_is_cut_in_batches_measured_and_stored(store):
    point = make_point(steps=3)
    outcome, shown = run(store, [point])
    assert not outcome.failed
    lines = store.batches()[point["fingerprint"]]
    assert [len(line["samples"]) for line in lines] == [4, 4, 2]
    assert [s["index"] for s in store.samples(point["fingerprint"])] == list(range(10))
    first = lines[0]
    assert first["seconds"] >= first["network_seconds"] > 0
    assert first["evaluations"] == 12
    assert first["network_calls"] == 3
    assert first["peak_memory_bytes"] > 1 << 20
    row = store.rows()[point["fingerprint"]]
    assert row["status"] == "done"
    assert row["notes"] == ["said of the job", "made of nothing"], "of the job, then of the model"
    assert len(row["warmup_seconds"]) == 1
    session = store.sessions()[first["session"]]
    assert session["parameters"] == 7
    assert session["environment"]["threads"] == 1
    assert session["checkpoint_sha256"] == "0" * 64
    assert session["runtime"] == {"name": "local"}
    assert "shaky fine steps=3" in shown


def test_batches_are_seeded_by_seed_and_index_alone(store):
    points = [make_point(steps=2), make_point(steps=5), make_point(steps=2, seed=1)]
    run(store, points)
    texts = [[s["text"] for s in store.samples(p["fingerprint"])] for p in points]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert f"w {batch_seed(0, 1)} 0 ." in texts[0]


def test_each_kind_of_failure_is_a_row_and_the_others_go_on(store):
    kinds = {"raises": "exception", "starved": "out_of_memory", "refused": "bad_request", "full": "disk_full"}
    kinds["killed"] = "killed"
    points = [make_point(name) for name in kinds] + [make_point("fine")]
    outcome, shown = run(store, points)
    rows = store.rows()
    assert {name: rows[make_point(name)["fingerprint"]]["reason"] for name in kinds} == kinds
    assert rows[points[-1]["fingerprint"]]["status"] == "done"
    assert len(outcome.failed) == len(kinds)
    assert rows[make_point("raises")["fingerprint"]]["message"] == "ValueError: a bad day"
    assert "SIGKILL" in rows[make_point("killed")["fingerprint"]]["message"]
    assert "out of memory" in rows[make_point("killed")["fingerprint"]]["message"]
    assert "Traceback" not in shown
    log = (store.job_folder("shaky-1") / "worker.log").read_text()
    assert "with details" in log, "the whole traceback must be in the log"


def test_a_failed_point_keeps_its_finished_batches_and_is_tried_again(store):
    point = make_point("raises", samples=20)
    run(store, [point])
    done = len(store.batches()[point["fingerprint"]])
    assert 0 < done < 5
    outcome, _ = run(store, [point])
    assert len(store.batches()[point["fingerprint"]]) > done
    assert len(outcome.failed) == 1


def test_nothing_finished_is_computed_twice(store):
    points = [make_point(), make_point(steps=5)]
    run(store, points)
    before = (store.job_folder("shaky-1") / "batches.jsonl").read_bytes()
    run(store, points)
    assert (store.job_folder("shaky-1") / "batches.jsonl").read_bytes() == before
    assert len(store.sessions()) == 1, "a finished job must not even load its model"


def test_time_limit(store):
    began = time.monotonic()
    outcome, _ = run(store, [make_point("slow"), make_point("fine")], time_limit=10.0)
    assert outcome.failed[0]["reason"] == "time_limit"
    assert outcome.failed[0]["message"] == "stopped after 10 s"
    assert store.rows()[make_point("fine")["fingerprint"]]["status"] == "done"
    assert time.monotonic() - began < 50


def test_bad_checkpoint_fails_its_points_in_one_sentence(store, tmp_path):
    (tmp_path / "empty").mkdir()
    points = [make_point(), make_point(steps=4)]
    outcome, _ = run(store, points, checkpoint=tmp_path / "empty")
    assert {row["message"] for row in outcome.failed} == {f"{tmp_path / 'empty'} holds no shaky model"}
    assert {row["reason"] for row in store.rows().values()} == {"bad_checkpoint"}


def test_upstream_code_that_cannot_be_imported_fails_its_points_in_one_sentence(store, tmp_path):
    (tmp_path / "shaky.py").write_text("import nothing")
    job = make_job([make_point(), make_point(steps=4)])
    job = replace(job, adapter="tests.fakes.shaky.upstream", load={**job.load, "upstream": str(tmp_path)})
    store.write_plan({"points": job.points, "config": {}, "command": "test"})
    plan = SimpleNamespace(jobs=[job], benchmark=SimpleNamespace(name="toy"))
    outcome = execute(store, plan, Settings(1, 1, None), Progress(io.StringIO()))
    assert {(row["reason"], row["message"]) for row in outcome.failed} == {
        ("bad_request", "the authors' code of shaky needs the package 'nothing': pip install nothing")
    }
    assert len(outcome.failed) == 2


def test_a_worker_that_cannot_start_fails_its_points(store):
    job = make_job([make_point()])
    broken = replace(job, adapter="tests.fakes.nothing.adapter")
    store.write_plan({"points": job.points, "config": {}, "command": "test"})
    plan = SimpleNamespace(jobs=[broken], benchmark=SimpleNamespace(name="toy"))
    outcome = execute(store, plan, Settings(1, 1, None), Progress(io.StringIO()))
    assert outcome.failed[0]["reason"] == "exception"
    assert "tests.fakes.nothing" in outcome.failed[0]["message"]


def test_the_same_algorithm_under_two_names_is_run_once(store):
    points = [make_point("fine"), make_point("twin"), make_point("twin", steps=7)]
    run(store, points)
    rows = store.rows()
    assert rows[points[1]["fingerprint"]]["status"] == "same_as"
    assert rows[points[1]["fingerprint"]]["same_as"] == points[0]["fingerprint"]
    assert rows[points[2]["fingerprint"]]["status"] == "done", "without its twin in the sweep it must run"


def test_likelihood_points(store):
    point = make_point(None, None, kind="likelihood", estimator="exact", task=None, options={})
    missing = make_point(None, 0, kind="likelihood", estimator="none", task=None, options={})
    run(store, [point, missing])
    figures = [f for line in store.batches()[point["fingerprint"]] for f in line["likelihoods"]]
    assert len(figures) == 10
    assert figures[3] | {"nats": 15.0} == figures[3] | {"nats": float(len("text number 3 ."))}
    assert figures[3]["words"] == 4
    assert figures[3]["nfe"] == 1
    row = store.rows()[missing["fingerprint"]]
    assert (row["status"], row["message"]) == ("not_available", "shaky has no such figure")


def test_prompts_reach_the_model(store):
    point = make_point(task="prefix", samples=3)
    run(store, [point])
    assert [s["text"] for s in store.samples(point["fingerprint"])] == ["p0 w", "p1 w", "p2 w"]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_a_killed_run_is_continued_and_loses_nothing(store, delay):
    """SIGKILL to the host at an arbitrary moment: the worker must end too, and the next run must finish the rest
    once.
    """
    point = make_point("steady", samples=4000, batch_size=2)
    script = (
        "import sys, types\n"
        "from pathlib import Path\n"
        "from harness.store import RunStore\n"
        "from tests.harness import test_execute as t\n"
        f"t.run(RunStore(Path({str(store.folder)!r})), [{point!r}])\n"
    )
    host = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    path = store.job_folder("shaky-1") / "batches.jsonl"
    while not path.exists() or path.stat().st_size < 2000:
        time.sleep(0.02)
        assert host.poll() is None
    time.sleep(delay)
    host.send_signal(signal.SIGKILL)
    host.wait()
    _wait_until_quiet(path)
    with open(path, "ab") as file:
        file.write(b'{"point": "half a li')
    finished = {line["batch"] for line in read_lines(path)}
    assert 0 < len(finished) < 2000
    run(store, [point])
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(lines) == len({line["batch"] for line in lines}) == 2000
    assert len(store.samples(point["fingerprint"])) == 4000


def _wait_until_quiet(path: Path) -> None:
    size = -1
    while size != path.stat().st_size:
        size = path.stat().st_size
        time.sleep(1.0)


# --- with a runtime that is only played ------------------------------------------------------------------------------


class Played:
    """A runtime whose workers do what a script says: events, None for a pause, then how the worker ends."""

    facts = {"name": "played"}  # noqa: RUF012

    def __init__(self, *scripts, pause=0.02):
        self.scripts = list(scripts)
        self.pause = pause
        self.claimed = []
        self.stopped = 0
        self.skipped = []

    def inside(self, load):
        return {**load, "device": "inside"}

    def claim(self, folder):
        self.claimed.append(folder.name)

    def start(self, folder, skip):
        self.folder = folder
        self.skipped.append(list(skip))
        self.script, self.ending = self.scripts.pop(0)
        if isinstance(self.ending, UserError):
            raise self.ending
        return self

    def events(self):
        for event in self.script:
            if event is None:
                time.sleep(self.pause)
            if event and event["event"] == "row":
                append_line(self.folder / "points.jsonl", event["row"])
            yield event

    def wait(self):
        return self.ending

    def stop(self):
        self.stopped += 1


def at(point):
    return {"event": "point", "point": point["fingerprint"]}


def done(point):
    row = {"point": point["fingerprint"], "status": "done", "reason": None, "message": None}
    return {"event": "row", "row": row}


def test_a_job_is_told_of_its_runtime(store):
    point = make_point()
    played = Played(([at(point), done(point)], Ending(0)))
    outcome, _ = run(store, [point], runtime=played)
    assert not outcome.failed
    job = json.loads((store.job_folder("shaky-1") / "job.json").read_text())
    assert job["runtime"] == {"name": "played"}
    assert job["load"]["device"] == "inside"
    assert (played.claimed, played.stopped) == (["shaky-1"], 1)


@pytest.mark.parametrize(
    ("ending", "reason", "message"),
    [
        (Ending(-9, out_of_memory="4 GiB were not enough"), "out_of_memory", "4 GiB were not enough"),
        (Ending(1, problem="the engine died"), "exception", "the engine died"),
        (Ending(0, problem="the engine died"), "exception", "the engine died"),
        (Ending(-11), "killed", "the worker was ended by SIGSEGV"),
        (Ending(200), "exception", "the worker ended with status 200: it printed nothing"),
    ],
)
def test_how_a_worker_ended_is_in_the_row_of_its_point(store, ending, reason, message):
    points = [make_point(), make_point(steps=4)]
    played = Played(([at(points[0])], ending), ([at(points[1]), done(points[1])], Ending(0)))
    (store.job_folder("shaky-1")).mkdir(parents=True)
    (store.job_folder("shaky-1") / "worker.log").touch()
    outcome, _ = run(store, points, runtime=played)
    assert [(row["reason"], row["message"]) for row in outcome.failed] == [(reason, message)]
    assert store.rows()[points[1]["fingerprint"]]["status"] == "done"
    assert played.skipped == [[], [points[0]["fingerprint"]]]


def test_a_runtime_that_cannot_start_fails_the_points_of_its_job_in_one_sentence(store):
    points = [make_point(), make_point(steps=4)]
    outcome, _ = run(store, points, runtime=Played(([], UserError("no such image: build it."))))
    assert {(row["reason"], row["message"]) for row in store.rows().values()} == {
        ("bad_request", "no such image: build it.")
    }
    assert len(outcome.failed) == 2


def test_the_time_limit_holds_for_loading(store):
    points = [make_point(), make_point(steps=4)]
    played = Played(([None] * 1000, Ending(0)))
    outcome, _ = run(store, points, time_limit=0.1, runtime=played)
    assert {(row["reason"], row["message"]) for row in outcome.failed} == {
        ("time_limit", "loading: stopped after 0.1 s")
    }
    assert len(outcome.failed) == 2
    assert played.stopped == 1


def test_loading_does_not_count_for_the_first_point(store):
    points = [make_point(), make_point(steps=4)]
    pauses = [None] * 4
    script = [*pauses, at(points[0]), *pauses, done(points[0]), at(points[1]), *pauses, done(points[1]), *pauses]
    outcome, _ = run(store, points, time_limit=0.15, runtime=Played((script, Ending(0))))
    assert not outcome.failed


def test_a_worker_that_hangs_after_its_points_is_stopped_and_fails_none(store):
    points = [make_point(), make_point(steps=4)]
    first = [at(points[0]), done(points[0]), *[None] * 1000]
    played = Played((first, Ending(0)), ([at(points[1]), done(points[1])], Ending(0)))
    outcome, _ = run(store, points, time_limit=0.1, runtime=played)
    assert not outcome.failed
    assert {row["status"] for row in store.rows().values()} == {"done"}


def test_a_worker_that_dies_between_points_does_not_take_finished_ones_along(store):
    points = [make_point(), make_point(steps=4), make_point(steps=5)]
    first = [at(points[0]), done(points[0])]
    outcome, _ = run(store, points, runtime=Played((first, Ending(-9)), ([], Ending(-9))))
    rows = store.rows()
    assert rows[points[0]["fingerprint"]]["status"] == "done"
    assert [rows[point["fingerprint"]]["status"] for point in points[1:]] == ["failed", "failed"]
    assert len(outcome.failed) == 2


def test_events_of_points_that_are_not_of_the_job_are_passed_over(store):
    point = make_point()
    odd = [at({"fingerprint": "unknown"}), {"event": "batch", "point": "unknown"}, {"event": "loaded", "seconds": 1}]
    outcome, _ = run(store, [point], runtime=Played(([*odd, at(point), *odd, done(point)], Ending(0))))
    assert not outcome.failed


def test_a_worker_that_says_again_and_again_that_it_begins_is_stopped(store):
    point = make_point()
    outcome, _ = run(store, [point], time_limit=0.1, runtime=Played(([at(point), None] * 1000, Ending(0))))
    assert [row["reason"] for row in outcome.failed] == ["time_limit"]


def test_a_worker_that_ends_as_if_all_were_done_has_failed(store):
    """Their code may call exit()."""
    points = [make_point(), make_point(steps=4)]
    (store.job_folder("shaky-1")).mkdir(parents=True)
    (store.job_folder("shaky-1") / "worker.log").write_text("good bye\n")
    outcome, _ = run(store, points, runtime=Played(([at(points[0])], Ending(0)), ([], Ending(0))))
    assert len(outcome.failed) == 2
    assert outcome.failed[0]["message"] == "the worker ended with status 0: good bye"


def test_a_long_last_line_of_a_log_does_not_fill_the_row(store):
    (store.job_folder("shaky-1")).mkdir(parents=True)
    (store.job_folder("shaky-1") / "worker.log").write_text("x" * 10 * LONGEST_MESSAGE)
    outcome, _ = run(store, [make_point()], runtime=Played(([], Ending(1))))
    assert len(outcome.failed[0]["message"]) < 2 * LONGEST_MESSAGE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_asked_to_end_stops_the_worker(store, number):
    point = make_point()
    played = Played(([at(point), *[None] * 1000], Ending(0)))
    threading.Timer(0.3, os.kill, [os.getpid(), number]).start()
    with pytest.raises(KeyboardInterrupt):
        run(store, [point], runtime=played)
    assert played.stopped == 1
    assert store.rows() == {}
    assert signal.getsignal(number) is signal.SIG_DFL, "afterwards everything is as it was"


def test_an_ignored_signal_stays_ignored(store):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        point = make_point()
        played = Played(([at(point), *[None] * 20, done(point)], Ending(0)))
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGHUP]).start()
        outcome, _ = run(store, [point], runtime=played)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert not outcome.failed


# --- the local runtime -----------------------------------------------------------------------------------------------


@pytest.fixture
def loud(monkeypatch):
    usual = make_job
    monkeypatch.setitem(globals(), "make_job", lambda *a, **k: replace(usual(*a, **k), adapter="tests.runtimes.loud"))


@pytest.mark.usefixtures("loud")
def test_what_is_printed_past_python_is_no_event(store):
    point = make_point("chatty")
    outcome, _ = run(store, [point])
    assert not outcome.failed
    log = (store.job_folder("shaky-1") / "worker.log").read_text()
    assert "straight to file descriptor 1\n{half a line\n[]\n" in log


@pytest.mark.usefixtures("loud")
@pytest.mark.parametrize("deed", ["silent", "endless"])
def test_a_worker_that_hangs_is_stopped_whatever_it_prints(store, deed):
    began = time.monotonic()
    outcome, _ = run(store, [make_point(deed)], time_limit=4.0)
    assert [row["reason"] for row in outcome.failed] == ["time_limit"]
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("loud")
def test_a_worker_that_dies_is_not_waited_for_because_of_its_children(store):
    began = time.monotonic()
    outcome, _ = run(store, [make_point("orphan")])
    assert "status 7" in outcome.failed[0]["message"]
    assert time.monotonic() - began < 25


def test_failure_reasons_of_allocators():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**14)
    assert failure_reason(caught.value) == "out_of_memory"
    assert failure_reason(torch.cuda.OutOfMemoryError("CUDA out of memory")) == "out_of_memory"
    assert failure_reason(RuntimeError("shape mismatch")) == "exception"
