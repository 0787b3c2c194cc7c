"""Experiment trackers: written to stores on this machine and read back through each tracker's own interface."""

from __future__ import annotations

import dataclasses
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import MissingPackage, UserError
from harness.export.trackers.base import Answer, Request, key
from harness.export.trackers.to_mlflow import to_mlflow
from harness.export.trackers.to_trackio import to_trackio
from harness.export.trackers.to_wandb import to_wandb
from harness.report import ReportData
from harness.report.page import Page
from tests.harness.report_fixture import both_run, synthetic_run

TRACKERS = {"mlflow": to_mlflow, "trackio": to_trackio, "wandb": to_wandb}
HOSTILE = "a/../b'; --\x00\u202e\u4e2d =1"


@pytest.fixture
def small() -> ReportData:
    return synthetic_run(models=("radd",), steps=(4, 64))


@pytest.fixture(autouse=True)
def _nothing_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_DIR", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    # wandb's own files outside its folder
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-own"))


def request_of(
    data: ReportData, tmp_path: Path, project: str = "p", results: Path | None = None, **more: Any
) -> Request:
    report = tmp_path / "report"
    report.mkdir(exist_ok=True)
    (report / "index.html").write_text("<p>a report</p>", encoding="utf-8")
    return Request(Page(data), project, results or tmp_path / "results", report, **more)


def rescored(data: ReportData) -> ReportData:
    """The run with another figure in one row."""
    table = data.table.copy()
    table.loc[table.index[0], "gen_ppl"] = 1234.5
    return dataclasses.replace(data, table=table)


def counts(answer: Answer) -> tuple[int, int, int]:
    return answer.new, answer.updated, answer.same


# --- what all of them are given -------------------------------------------------------------------------------------


def test_lines_are_records_that_differ_in_steps_alone(tmp_path: Path) -> None:
    request = request_of(both_run(), tmp_path)
    lines = {line[0].title: [record.steps for record in line] for line in request.lines}
    assert sum(map(len, lines.values())) == len(request.records)
    assert [steps for title, steps in lines.items() if title.startswith("radd, toy") and "confidence" in title] == [
        [4, 16, 64]
    ]
    assert [steps for title, steps in lines.items() if "ddim MBR of 3" in title] == [[4, 16]]


def test_a_record_has_figures_intervals_costs_and_what_it_was_made_with(small: ReportData, tmp_path: Path) -> None:
    record = next(r for r in request_of(small, tmp_path).records if r.steps == 64 and r.method == "confidence")
    row = small.table[(small.table["steps"] == 64) & (small.table["scheduler"] == "confidence")].iloc[0]
    assert record.metrics["quality/gen_ppl"] == row["gen_ppl"]
    assert record.metrics["interval/gen_ppl_low"] == row["gen_ppl_low"]
    assert record.metrics["cost/seconds_per_sequence"] == row["seconds_per_sequence"]
    assert "quality/mauve" not in record.metrics, "unknown is left out, never 0"
    assert record.params["options"] == row["options"]
    assert record.tags["fingerprints"] == row["fingerprint"]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_one_line_with_the_command(
    name: str, small: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackage, match=f"pip install {name}"):
        TRACKERS[name](request_of(small, tmp_path))


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_an_address_is_only_for_mlflow(name: str, small: ReportData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out --tracking-uri"):
        TRACKERS[name](request_of(small, tmp_path, uri="http://example.org"))


def test_trackio_is_not_sent_elsewhere_unasked(
    small: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/space")
    with pytest.raises(UserError, match="leave out TRACKIO_SPACE_ID"):
        to_trackio(request_of(small, tmp_path))


def test_keys_are_accepted_everywhere() -> None:
    assert key("evaluate:x\x00=\u4e2d y") == "evaluate_x___ y"


# --- each of them ---------------------------------------------------------------------------------------------------


def twice_and_changed(
    export: Callable[[Request], Answer], data: ReportData, tmp_path: Path, results: Path | None = None
) -> list[tuple[int, ...]]:
    """Counts of the first export, of the same again, and of the run with another figure."""
    again = [data, data, rescored(data)]
    return [counts(export(request_of(mine, tmp_path, "again", results))) for mine in again]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One MLflow store for all tests: making its tables takes a while. Each test has a project of its own."""
    return tmp_path_factory.mktemp("results")


class TestMlflow:
    """Runs nested in one."""

    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("mlflow", reason="mlflow is not installed")
        pytest.importorskip("sqlalchemy", reason="sqlalchemy, for MLflow's local store, is not installed")

    @staticmethod
    def runs(results: Path, project: str) -> tuple[Any, list[Any]]:
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{results / 'mlflow.db'}")
        return client, client.search_runs([client.get_experiment_by_name(project).experiment_id])

    def test_runs_are_read_back(self, small: ReportData, tmp_path: Path, results: Path) -> None:
        request = request_of(small, tmp_path, results=results)
        assert counts(to_mlflow(request)) == (1 + len(request.records), 0, 0)
        client, runs = self.runs(results, "p")
        parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
        assert [item.path for item in client.list_artifacts(parent.info.run_id, "report")] == ["report/index.html"]
        nested = [run for run in runs if run is not parent]
        assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}
        assert {run.info.status for run in runs} == {"FINISHED"}
        found = next(
            r for r in nested if r.data.params.get("steps") == "64" and r.data.params["scheduler"] == "confidence"
        )
        row = small.table[(small.table["steps"] == 64) & (small.table["scheduler"] == "confidence")].iloc[0]
        assert found.data.metrics["quality/gen_ppl"] == pytest.approx(row["gen_ppl"])
        assert client.get_metric_history(found.info.run_id, "quality/gen_ppl")[0].step == 64
        assert found.data.params["model"] == "radd"

    def test_the_second_time_does_nothing_and_changes_are_brought_in(
        self, small: ReportData, tmp_path: Path, results: Path
    ) -> None:
        first, second, third = twice_and_changed(to_mlflow, small, tmp_path, results)
        assert second == (0, 0, first[0])
        assert third == (0, 1, first[0] - 1)
        _, runs = self.runs(results, "again")
        assert len(runs) == first[0]
        assert 1234.5 in [run.data.metrics.get("quality/gen_ppl") for run in runs]

    def test_hostile_names(self, small: ReportData, tmp_path: Path, results: Path) -> None:
        data = dataclasses.replace(small, run=HOSTILE, table=small.table.assign(model=HOSTILE))
        assert counts(to_mlflow(request_of(data, tmp_path, HOSTILE, results=results)))[0] > 1
        assert counts(to_mlflow(request_of(data, tmp_path, HOSTILE, results=results)))[0] == 0

    def test_a_store_that_cannot_be_is_one_line(self, small: ReportData, tmp_path: Path, results: Path) -> None:
        with pytest.raises(UserError, match="MLflow at nonsense://x: ") as caught:
            to_mlflow(request_of(small, tmp_path, uri="nonsense://me:secret@x"))
        assert "\n" not in str(caught.value)


class TestTrackio:
    """Lines over steps."""

    @pytest.fixture(autouse=True)
    def _needs(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        if "trackio" not in sys.modules:  # it reads this once
            os.environ["TRACKIO_DIR"] = str(tmp_path_factory.mktemp("trackio"))
        pytest.importorskip("trackio", reason="trackio is not installed")

    def test_runs_are_read_back(self, small: ReportData, tmp_path: Path) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        request = request_of(small, tmp_path, project="read")
        answer = to_trackio(request)
        assert counts(answer) == (len(request.lines), 0, 0)
        runs = {run.name: run for run in trackio.Api().runs("read")}
        assert len(runs) == len(request.lines) + 1, "and the report"
        name = next(name for name in runs if "confidence" in name)
        assert runs[name].config["scheduler"] == "confidence"
        logs = SQLiteStorage.get_logs("read", name)
        rows = small.table[small.table["scheduler"] == "confidence"]
        assert [log["step"] for log in logs] == [4, 64]
        assert [log["quality/gen_ppl"] for log in logs] == pytest.approx(list(rows["gen_ppl"]))

    def test_the_second_time_does_nothing_and_changes_are_brought_in(self, small: ReportData, tmp_path: Path) -> None:
        first, second, third = twice_and_changed(to_trackio, small, tmp_path)
        assert second == (0, 0, first[0])
        assert third == (0, 1, first[0] - 1)
        import trackio

        names = [run.name for run in trackio.Api().runs("again")]
        assert len(names) == len(set(names)) == first[0] + 1, "and one report"

    def test_hostile_names(self, small: ReportData, tmp_path: Path) -> None:
        data = dataclasses.replace(small, run=HOSTILE, table=small.table.assign(model=HOSTILE))
        assert counts(to_trackio(request_of(data, tmp_path, project="hostile")))[0] > 1


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md), which
    offline runs have behind a head of seven bytes that counts to the first block.
    """
    at, block, record = 0, 32768, b""
    while at + 7 <= len(data):
        left = block - (at + 7) % block
        if left < 7:
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        if kind == 0:
            return
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


class TestWandb:
    """Lines over steps, offline."""

    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("wandb", reason="wandb is not installed")

    def test_runs_are_read_back(self, small: ReportData, tmp_path: Path) -> None:
        request = request_of(small, tmp_path)
        assert counts(to_wandb(request)) == (len(request.lines), 0, 0)
        found = [self.read(file) for file in (tmp_path / "results").glob("wandb/offline-run-*/*.wandb")]
        assert len(found) == len(request.lines) + 1, "and the report"
        config, history = next((c, h) for c, h in found if c.get("scheduler") == '"confidence"')
        rows = small.table[small.table["scheduler"] == "confidence"]
        assert [float(line["steps"]) for line in history] == [4, 64]
        assert [float(line["quality/gen_ppl"]) for line in history] == pytest.approx(list(rows["gen_ppl"]))
        assert config["model"] == '"radd"'

    @staticmethod
    def read(file: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
        """Configuration and history of an offline run, values as JSON."""
        from wandb.proto import wandb_internal_pb2

        config: dict[str, str] = {}
        history: list[dict[str, str]] = []
        for data in log_records(file.read_bytes()[7:]):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            config |= {item.key: item.value_json for item in record.run.config.update}
            if record.HasField("history"):
                history.append({"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item})
        return config, history

    def test_the_second_time_does_nothing_and_changes_are_new_runs(self, small: ReportData, tmp_path: Path) -> None:
        first, second, third = twice_and_changed(to_wandb, small, tmp_path)
        assert second == (0, 0, first[0])
        assert third == (1, 0, first[0] - 1)

    def test_hostile_names(self, small: ReportData, tmp_path: Path) -> None:
        data = dataclasses.replace(small, run=HOSTILE, table=small.table.assign(model=HOSTILE))
        assert counts(to_wandb(request_of(data, tmp_path)))[0] > 1
