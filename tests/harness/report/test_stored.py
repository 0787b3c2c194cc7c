"""From the folder of a run to the page, where the files hold what nobody planned for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.reading import TolerantStore
from harness.report import write_report
from harness.report.merge import read_run
from harness.report.page import Page as ReportPage
from tests.harness.stored_run import stored_run
from tests.harness.test_report import Page

LONE = "half \ud800 of a pair"
EVIL = "</script><script>evil()</script><img src=x onerror=evil()>"

Line = dict[str, Any]


def edited(path: Path, change: Callable[[Line], Line]) -> None:
    """A file of JSON lines with each line changed; written as another program might: NaN and all in ASCII."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(change(line)) + "\n" for line in lines), encoding="utf-8")


def page_of(folder: Path, out: Path) -> tuple[Page, str]:
    data = read_run(TolerantStore(folder), "a")
    text = write_report(data, out).read_text(encoding="utf-8")
    return Page(text), text


def test_halves_of_surrogate_pairs_anywhere_still_give_a_page(tmp_path: Path) -> None:
    folder = stored_run(tmp_path).folder

    def say(line: Line) -> Line:
        return {**line, "status": "failed", "reason": "exception", "message": LONE, "notes": [LONE]}

    edited(folder / "jobs/shaky-1/points.jsonl", say)
    edited(folder / "scores.jsonl", lambda line: {**line, "settings": {LONE: LONE}})
    plan = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    plan["environment"][LONE] = LONE
    (folder / "run.json").write_text(json.dumps(plan), encoding="utf-8")
    _, text = page_of(folder, tmp_path / "report")
    assert "half ? of a pair" in text


def test_tokens_that_are_no_json_numbers_are_no_figures(tmp_path: Path) -> None:
    folder = stored_run(tmp_path).folder
    worst = dict(zip(("value", "low", "high"), (float("nan"), float("inf"), float("-inf")), strict=True))
    edited(folder / "scores.jsonl", lambda line: {**line, **worst, "samples": None})
    _, text = page_of(folder, tmp_path / "report")
    assert "NaN" not in text
    assert ">nan" not in text


def test_models_schedulers_and_texts_stay_text(tmp_path: Path) -> None:
    folder = stored_run(tmp_path, points={"scheduler": EVIL, "options": {EVIL: EVIL}}).folder
    (job,) = (folder / "jobs").iterdir()
    edited(job / "points.jsonl", lambda line: {**line, "notes": [EVIL]})
    page, text = page_of(folder, tmp_path / "report")
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert [attrs for tag, attrs in page.tags if tag == "script" and "type" not in attrs] == [{}]
    assert "evil()" in text, "shown, not dropped"
    for file in (tmp_path / "report").glob("*.svg"):
        assert "<script" not in file.read_text(encoding="utf-8"), file.name


@pytest.mark.parametrize("change", [{"task": "infilling"}, {"role": "judge"}, {"steps": 0}, {"scheduler": None}])
def test_rows_of_a_later_version_stand_where_they_can(tmp_path: Path, change: dict[str, Any]) -> None:
    """One row in three is changed, so that it shares its benchmark, and its likelihood its task, with others."""
    folder = stored_run(tmp_path).folder
    plan = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for i, point in enumerate(plan["points"]):
        point.update(change if i % 3 == 2 else {})
    (folder / "run.json").write_text(json.dumps(plan), encoding="utf-8")
    page, _ = page_of(folder, tmp_path / "report")
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))


def test_places_that_are_spelled_alike_have_ids_of_their_own(tmp_path: Path) -> None:
    folder = stored_run(tmp_path).folder
    plan = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for i, point in enumerate(plan["points"]):
        point["task"] = ("in fill", "in_fill", "in/fill")[i % 3]
    (folder / "run.json").write_text(json.dumps(plan), encoding="utf-8")
    places = ReportPage(read_run(TolerantStore(folder), "a")).places
    assert len({place.id for place in places}) == len(places) > 3
