"""One report of several runs and machines, and of runs that this version did not write."""

from __future__ import annotations

import dataclasses
import errno
import json
import pkgutil
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness import comparable
from harness.cli import main
from harness.config import ReportConfig
from harness.errors import UserError
from harness.report.data import Names, ReportData, rows_of
from harness.report.merge import BY_POINT, default_name, merge, read_runs, runs_as_one
from harness.report.page import Page
from harness.report.render import write_report
from harness.store import RunStore
from tests.harness.stored_run import CPU, SAMPLES, stored_run

OTHER = {**CPU, "cpu": "Other CPU"}


def merged(results: Path, *names: str) -> ReportData:
    runs, problems = read_runs(results, names)
    return merge(runs, "all", "tdbench report", problems)


def rows(data: ReportData, **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows_of(data.table) if all(row.get(key) == value for key, value in wanted.items())]


@pytest.fixture
def two(tmp_path: Path) -> ReportData:
    """The same sweep on two machines, which gave the same texts."""
    stored_run(tmp_path, "a")
    stored_run(tmp_path, "b", machine=OTHER, slower=3.0)
    return merged(tmp_path, "a", "b")


def test_every_field_of_a_report_is_merged() -> None:
    handled = {
        *BY_POINT,
        "run",
        "command",
        "created",
        "table",
        "sources",
        "environment",
        "benchmarks",
        "scores",
        "cards",
    }
    handled |= {"notes", "imports", "given", "runs", "missing"}
    assert {field.name for field in dataclasses.fields(ReportData)} == handled


def test_a_point_of_two_machines_stays_two_rows(two: ReportData) -> None:
    mine = rows(two, model="shaky", steps=4, seed=0)
    assert [(row["run"], row["machine"]) for row in mine] == [("a", "Invented CPU, 4 CPUs"), ("b", "Other CPU, 4 CPUs")]
    fingerprints = [row["fingerprint"] for row in rows_of(two.table)]
    assert len(set(fingerprints)) == len(fingerprints)
    for fingerprint in (row["fingerprint"] for row in mine):
        assert len(two.samples[fingerprint]) == 8
        assert len(two.values[fingerprint]["valid"].rows) == SAMPLES
    assert set(two.scores["point"]) <= set(fingerprints)


def test_controls_that_say_the_same_are_kept_once_and_that_is_said(two: ReportData) -> None:
    assert [row["run"] for row in rows(two, role="control")] == ["a"]
    assert two.missing == ["1 point of b: control with the same figures as in a, kept once."]


def test_names_tell_the_runs_apart(two: ReportData) -> None:
    names = Names(rows_of(two.table))
    assert [names.row(row) for row in rows(two, model="shaky", steps=4, seed=0)] == [
        "shaky · fine run=a · 4 steps · seed 0",
        "shaky · fine run=b · 4 steps · seed 0",
    ]
    assert names.row(rows(two, role="control")[0]) == "data"


def test_seconds_of_machines_are_kept_apart_and_quality_is_ranked_together(two: ReportData) -> None:
    b = rows(two, run="b", kind="generate")
    assert {row[comparable.REASON] for row in b} == {"time: machine Other CPU, 4 CPUs, others Invented CPU, 4 CPUs"}
    page = Page(two)
    entries = [entry for entry in page.entries(page.places[0]) if entry.role == "model"]
    assert all(entry.rankable for entry in entries)
    assert len({entry.clock for entry in entries}) == 2
    assert {entry.rows[0]["run"]: entry.clock for entry in entries}.keys() == {"a", "b"}


def test_other_data_is_marked(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", steps=(4, 16, 64))
    stored_run(tmp_path, "b", points={"data": "d2"})
    data = merged(tmp_path, "a", "b")
    reasons = {row[comparable.REASON] for row in rows(data, run="b", model="shaky", kind="generate")}
    assert reasons == {"data d2, others d1"}


def test_a_copy_is_kept_once(tmp_path: Path) -> None:
    store = stored_run(tmp_path, "a")
    shutil.copytree(store.folder, tmp_path / "copied")
    data = merged(tmp_path, "a", "copied")
    assert {row["run"] for row in rows_of(data.table)} == {"a"}
    assert data.missing[0] == "5 points of copied: copied from a, kept once."
    assert [run.points for run in data.runs] == [6, 0]


def test_of_a_half_finished_copy_the_finished_points_are_kept(tmp_path: Path) -> None:
    store = stored_run(tmp_path, "a")
    shutil.copytree(store.folder, tmp_path / "early")
    for name in ("points.jsonl", "batches.jsonl"):
        path = tmp_path / "early" / "jobs" / "shaky-1" / name
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    data = merged(tmp_path, "early", "a")
    assert [row["status"] for row in rows_of(data.table)] == ["done"] * 6
    assert len(data.table) == 6


def test_copies_with_other_scores_stay_and_are_said(tmp_path: Path) -> None:
    store = stored_run(tmp_path, "a", likelihood=False)
    shutil.copytree(store.folder, tmp_path / "b")
    path = tmp_path / "b" / "scores.jsonl"
    path.write_text(path.read_text().replace("aa11", "bb22"))
    data = merged(tmp_path, "a", "b")
    assert len(rows(data, model="shaky")) == 8
    assert any("but they say otherwise" in line for line in data.missing)


def test_a_second_measurement_on_the_same_machine_stays(tmp_path: Path) -> None:
    stored_run(tmp_path, "a")
    stored_run(tmp_path, "b")
    data = merged(tmp_path, "a", "b")
    assert len(rows(data, model="shaky", steps=4)) == 4
    assert comparable.GROUP in data.table
    assert {row[comparable.REASON] for row in rows(data, kind="generate")} == {None}


def test_runs_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    stored_run(tmp_path, "a")
    stored_run(tmp_path / "there", "a", machine=OTHER)
    data = merged(tmp_path, "a", str(tmp_path / "there" / "a"))
    assert [run.run for run in data.runs] == ["a", "a-2"]
    assert any("is called a-2 here" in line for line in data.missing)


def test_a_run_named_twice_is_read_once(tmp_path: Path) -> None:
    stored_run(tmp_path, "a")
    runs, problems = read_runs(tmp_path, ["a", str(tmp_path / "a"), "a"])
    assert (len(runs), problems) == (1, [])


def test_a_run_that_is_not_there_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(tmp_path, "a")
    where = [f"results={tmp_path}", f"reports={tmp_path / 'reports'}"]
    assert main(["report", "run=a,nope", *where]) == 1
    assert "no run 'nope'" in capsys.readouterr().err
    assert "no run &#39;nope&#39;" in (tmp_path / "reports" / "a" / "index.html").read_text()
    assert main(["report", "run=nope,nix", *where]) == 2
    assert main(["report", "run=nope", *where]) == 2


def test_report_command_merges_names_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(tmp_path, "a")
    stored_run(tmp_path / "there", "b", machine=OTHER)
    where = [f"results={tmp_path}", f"reports={tmp_path / 'reports'}"]
    assert main(["report", f"run=a,{tmp_path / 'there' / 'b'}", *where]) == 0
    page = (tmp_path / "reports" / "a+b" / "index.html").read_text()
    assert str(tmp_path / "reports" / "a+b") in capsys.readouterr().out
    for said in ("The 2 runs of this report", "Invented CPU, 4 CPUs, 2 threads", "Other CPU, 4 CPUs, 2 threads"):
        assert said in page
    assert "tdbench bench run=a" in page
    assert "tdbench bench run=b" in page
    assert main(["report", "run=a,a", "name=mine", *where]) == 0
    assert (tmp_path / "reports" / "mine" / "index.html").is_file()
    assert main(["report", "run=a", "name=../mine", *where]) == 2


def test_the_name_of_many_runs_is_short_and_their_own() -> None:
    names = [f"a-long-name-of-a-run-{i}" for i in range(9)]
    assert len(default_name(names)) <= 64
    assert default_name(names) != default_name([*names[:-1], "other"])
    assert default_name(["a", "b"]) == "a+b"


def test_facts_on_which_runs_differ_stand_under_their_runs(tmp_path: Path) -> None:
    for name, version in (("a", 1), ("b", 2)):
        path = stored_run(tmp_path, name).benchmark_data("toy") / "benchmark.json"
        facts = json.loads(path.read_text()) | {"version": version, "entropy_rate_nats_per_token": 1.5}
        path.write_text(json.dumps(facts))
        plan = tmp_path / name / "run.json"
        plan.write_text(plan.read_text().replace('"torch": "2.0"', f'"torch": "2.{version}"'))
    data = merged(tmp_path, "a", "b")
    assert "version" not in data.benchmarks["toy"]
    assert data.benchmarks["toy"]["entropy_rate_nats_per_token"] == 1.5
    assert data.benchmarks["toy in run b"] == {"version": 2}
    assert data.environment["run b"] == {"packages": {"torch": "2.2"}}
    assert data.environment["python"] == "3.11"


# --- runs that this version did not write ---------------------------------------------------------------------------


def edited(store: RunStore, name: str, change: Any) -> None:
    """Every line of a file changed by a function."""
    path = store.folder / name if (store.folder / name).exists() else store.job_folder("shaky-1") / name
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(line)) + "\n" for line in lines))


def newer(store: RunStore, **fields: Any) -> None:
    path = store.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2, **fields}))


def test_a_run_of_ours_has_nothing_left_out_and_is_identical_to_itself(tmp_path: Path) -> None:
    """Made by the stages themselves: fails where a stage writes a field that `harness.reading` does not know."""
    small = ["steps=2", "samples=4", "batch_size=2", "likelihood_samples=2", "draws=1", "controls=data"]
    where = [f"results={tmp_path}", f"reports={tmp_path / 'reports'}"]
    assert main(["bench", "model=radd", "run=a", "metrics=toy_valid_sentences,unigram_entropy", *small, *where]) == 0
    (data,), _ = read_runs(tmp_path, ["a"])
    assert data.missing == []
    assert main(["compare", "a", "a", "--results", str(tmp_path), "--reports", str(tmp_path / "reports")]) == 0


def test_a_newer_schema_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    store = stored_run(tmp_path, "a", steps=(4, 16, 64))
    newer(store, colour="blue")
    edited(store, "scores.jsonl", lambda line: line | {"ci_method": "bca"})
    edited(store, "points.jsonl", lambda line: line | ({"status": "skipped"} if "-16-0-" in line["point"] else {}))
    edited(store, "batches.jsonl", lambda line: line if "-64-1-" not in line["point"] else {"point": line["point"]})
    (data,), _ = read_runs(tmp_path, ["a"])
    said = "\n".join(data.missing)
    assert "run.json has schema 2, this version reads 1" in said
    assert "scores.jsonl: 14 lines whose field 'ci_method' is not known here" in said
    assert "points.jsonl: 1 row with a status that is not known here, 'skipped'" in said
    assert "batches.jsonl: 4 lines without a readable batch" in said
    states = {row["fingerprint"]: (row["status"], row["message"]) for row in rows(data, kind="generate")}
    (skipped,) = [state for name, state in states.items() if "-16-0-" in name]
    assert skipped == ("not_available", "the run says 'skipped', which this version does not know")
    assert rows(data, model="shaky", steps=64, seed=1)[0]["status"] == "pending", "its lines could not be read"
    page = write_report(data, tmp_path / "page").read_text()
    assert "&#39;skipped&#39;" in page
    assert "schema 2" in page


def test_only_reading_forgives_another_schema(tmp_path: Path) -> None:
    newer(stored_run(tmp_path, "a"))
    with pytest.raises(UserError, match="schema 2, this version 1"):
        RunStore.open(tmp_path, "a").plan  # noqa: B018
    assert main(["score", "run=a", f"results={tmp_path}"]) == 2


def test_torn_and_damaged_lines_are_counted(tmp_path: Path) -> None:
    store = stored_run(tmp_path, "a")
    for path in (store.folder / "scores.jsonl", store.job_folder("shaky-1") / "batches.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(['{"point": \n', "7\n", *lines]) + '{"point": "torn')
    (data,), _ = read_runs(tmp_path, ["a"])
    assert sorted(data.missing) == [
        "batches.jsonl: 1 half-written last line left out.",
        "batches.jsonl: 2 damaged lines left out.",
        "scores.jsonl: 1 half-written last line left out.",
        "scores.jsonl: 2 damaged lines left out.",
    ]
    assert {row["status"] for row in rows_of(data.table)} == {"done"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"points": "many"}, "run.json has no readable points"),
        ({"points": [{"fingerprint": 3}]}, "run.json: 1 point without a readable fingerprint, model"),
        ({"environment": None, "config": []}, "run.json has no readable environment"),
        ({"points": [["x"]]}, "run.json: 1 point without a readable content"),
    ],
)
def test_a_plan_of_other_shape_still_opens(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    newer(stored_run(tmp_path, "a"), **fields)
    (data,), _ = read_runs(tmp_path, ["a"])
    assert any(line.startswith(said) for line in data.missing), data.missing
    assert said in write_report(data, tmp_path / "page").read_text()


def test_points_of_a_new_kind_are_said(tmp_path: Path) -> None:
    store = stored_run(tmp_path, "a")
    plan = json.loads((store.folder / "run.json").read_text())
    newer(store, points=[*plan["points"], plan["points"][0] | {"kind": "edit", "fingerprint": "e"}])
    (data,), _ = read_runs(tmp_path, ["a"])
    assert "run.json: 1 point of a kind that is not known here, 'edit', left out." in data.missing
    assert len(data.table) == 6


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_a_run_without_a_readable_plan_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    store = stored_run(tmp_path, "a")
    (store.folder / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run 'a': .*run\.json is "):
        read_runs(tmp_path, ["a"])


def test_a_newer_run_of_which_nothing_can_be_made_is_left_out_of_several(tmp_path: Path) -> None:
    stored_run(tmp_path, "a")
    newer(stored_run(tmp_path, "b"), imports=[{"made": "otherwise"}])
    runs, problems = read_runs(tmp_path, ["a", "b"])
    assert [data.run for data in runs] == ["a"]
    assert re.match(r"run 'b' has schema 2, of which this version can make nothing .*: left out\.", problems[0])


def test_runs_as_one_of_a_single_run_is_that_run(tmp_path: Path) -> None:
    stored_run(tmp_path, "a")
    data, problems = runs_as_one(ReportConfig(run="a", results=str(tmp_path)), "tdbench report run=a")
    assert (data.run, data.command, problems) == ("a", "tdbench bench run=a", [])
    assert "run" not in data.table.columns


def test_machines_of_one_run_are_told_apart_and_unknown_ones_are_not() -> None:
    def row(machine: str | None, steps: int) -> dict[str, Any]:
        return {
            "model": "m",
            "kind": "generate",
            "scheduler": "s",
            "steps": steps,
            "machine": machine,
            "status": "done",
        }

    resumed = Names([row("A", 4), row("B", 8)])
    assert resumed.row(row("B", 8)) == "m · s machine=B · 8 steps"
    with_failed = Names([row("A", 4), row(None, 8)])
    assert with_failed.row(row("A", 4)) == "m · s · 4 steps"


def test_a_point_that_does_not_say_its_role_is_left_out(tmp_path: Path) -> None:
    store = stored_run(tmp_path, "a")
    plan = json.loads((store.folder / "run.json").read_text())
    (control,) = [point for point in plan["points"] if point["role"] == "control"]
    del control["role"]
    newer(store, points=plan["points"])
    (data,), _ = read_runs(tmp_path, ["a"])
    assert "data" not in set(data.table["model"]), "a control must not pass for a model"
    assert "run.json: 1 point without a readable role, left out." in data.missing


@pytest.mark.parametrize(
    ("name", "reader"), [("run.json", "pathlib.Path.is_file"), ("scores.jsonl", "harness.reading.open_plain")]
)
def test_a_file_that_may_not_be_read_leaves_its_run_out(
    tmp_path: Path, name: str, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_run(tmp_path, "a")
    stored_run(tmp_path, "b")
    locked = tmp_path / "b" / name
    read = pkgutil.resolve_name(reader)

    def refused(path: Path, *rest: Any) -> Any:
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *rest)

    monkeypatch.setattr(reader, refused)
    runs, problems = read_runs(tmp_path, ["a", "b"])
    assert [data.run for data in runs] == ["a"]
    assert problems == [f"run 'b': {locked} cannot be read: Permission denied. Change its permissions: left out."]
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        read_runs(tmp_path, ["b"])
