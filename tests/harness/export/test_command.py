"""`tdbench export`, from the command line to the files."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.cli import main
from harness.config import ReportConfig
from harness.export import command
from harness.export.request import ALL_FILES, FORMATS, TRACKERS
from harness.report import ReportData, write_report
from tests.harness.report_fixture import synthetic_run

TABLES = {"table.csv", "scores.csv", "table.parquet", "table.json", "table.tex", "table.md"}


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> ReportData:
    """A run that is read in place of any stored one."""
    data = dataclasses.replace(synthetic_run(steps=(4, 64)), run="r")
    monkeypatch.setattr(command, "runs_as_one", lambda config, words: (data, []))
    return data


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_all_files_by_default(stored: ReportData, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--to", str(tmp_path / "out"), "--model-id", "radd=me/mine"]
    assert main(["export", "r", *words]) == 0
    assert files(tmp_path / "out") == {*TABLES, "hub/me--mine/model-index.yaml"}
    said = capsys.readouterr()
    assert "export: 7 files in" in said.out
    assert "nothing for the Hub of nanodd:tiny" in said.err


@pytest.mark.parametrize("name", [name for name in ALL_FILES if name not in ("eval_results", "model_index")])
def test_one_format_writes_its_files_alone(name: str, stored: ReportData, tmp_path: Path) -> None:
    assert main(["export", "r", "--to", str(tmp_path), "--format", name]) == 0
    assert files(tmp_path) == {file for file in TABLES if file in FORMATS[name]}


def test_files_are_those_beside_the_report(stored: ReportData, tmp_path: Path) -> None:
    write_report(stored, tmp_path / "reports" / "r")
    before = {name: (tmp_path / "reports" / "r" / name).read_bytes() for name in TABLES}
    assert main(["export", "r", "--reports", str(tmp_path / "reports")]) == 0
    assert before == {name: (tmp_path / "reports" / "r" / name).read_bytes() for name in TABLES}


def test_report_files_agree_with_each_other(stored: ReportData, tmp_path: Path) -> None:
    folder = write_report(stored, tmp_path / "r").parent
    by_csv, by_parquet = pd.read_csv(folder / "table.csv"), pd.read_parquet(folder / "table.parquet")
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))["rows"]
    assert list(by_csv["fingerprint"]) == list(by_parquet["fingerprint"]) == [row["fingerprint"] for row in rows]
    pd.testing.assert_series_equal(by_csv["gen_ppl"], by_parquet["gen_ppl"])
    assert [row["gen_ppl"] for row in rows] == [None if v != v else v for v in by_parquet["gen_ppl"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "parqet"], "unknown format 'parqet'. Did you mean 'parquet'?"),
        (["--format", "json", "--to", "a-file/out"], "cannot write into a-file/out: "),
        (["--model-id", "plaid=me/mine"], "fits 0 checkpoints of the run"),
        (["--format", "trackio", "--tracking-uri", "x"], "leave out --tracking-uri"),
    ],
)
def test_bad_requests_are_one_line(
    words: list[str],
    said: str,
    stored: ReportData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert main(["export", "r", *words]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tdbench: ")]
    assert len(error) == 1
    assert said in error[0]


def test_an_unknown_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "nothing", "--results", str(tmp_path)]) == 2
    assert "no run 'nothing'" in capsys.readouterr().err


def test_several_runs_are_handed_to_the_merge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def merged(config: Any, words: str) -> tuple[ReportData, list[str]]:
        asked.append(config.run)
        return synthetic_run(), ["b could not be read"]

    monkeypatch.setattr(command, "runs_as_one", merged)
    assert main(["export", "a", "b", "--format", "csv", "--to", str(tmp_path)]) == 1, "one run is not in it"
    assert asked == [["a", "b"]]


def test_every_tracker_is_known() -> None:
    assert set(command.TRACKERS) == set(TRACKERS)
    assert set(FORMATS) == {*ALL_FILES, *TRACKERS}


def test_make_export_names_the_run() -> None:
    words = ["make", "-n", "-o", ".venv/.ready", "export", "RUN=a,b", "FORMAT=csv,json", "TO=my folder"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "tdbench export a b --format 'csv,json' --to 'my folder'" in done.stdout


def test_runs_may_be_joined_by_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def merged(config: ReportConfig, words: str) -> tuple[ReportData, list[str]]:
        asked.append(config.run)
        return synthetic_run(), []

    monkeypatch.setattr(command, "runs_as_one", merged)
    assert main(["export", "a,b", "/elsewhere/c", "--to", str(tmp_path), "--format", "csv, json"]) == 0
    assert asked == [["a", "b", "/elsewhere/c"]]
    assert files(tmp_path) == {"table.csv", "scores.csv", "table.json"}
