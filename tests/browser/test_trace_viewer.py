"""Stepping through the states of a text, in a real browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.traces import Trace
from harness.report import write_report
from harness.worker.trace import StoredTrace
from tests.harness.report.test_convergence import first_row, traced_run
from tests.harness.report_fixture import synthetic_run

STATES = ["\u2588 \u2588 \u2588", "the <b>cat</b> \u2588", "the <b>cat</b> \u05d0\u05d1", "a dog sat"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = traced_run()
    stored = StoredTrace(64, Trace([0, 1, 12, 64], [], [[text, "other"] for text in STATES]), False)
    data = dataclasses.replace(data, traces={**data.traces, first_row(data): stored})
    return write_report(data, tmp_path_factory.mktemp("report"))


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    """The page with the hand-made trace chosen; a complaint of the browser fails the test."""
    complaints: list[str] = []
    found = chromium.new_page(viewport={"width": 390, "height": 900})
    found.set_default_timeout(5_000)
    found.on("console", lambda message: complaints.append(message.text))
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.goto(report.as_uri())
    found.select_option("#trace [data-key=model]", "radd")
    found.select_option("#trace [data-key=method]", "ancestral")
    found.select_option("#trace [data-key=steps]", "64")
    found.focus("#trace input[type=range]")
    found.keyboard.press("Home")
    yield found
    found.close()
    assert complaints == []


def text(page: Any) -> str:
    return str(page.text_content("#trace .states"))


def marked(page: Any, kind: str) -> list[str]:
    return [str(found) for found in page.locator(f"#trace mark.{kind}").all_text_contents()]


def test_the_keyboard_steps_through_the_states(page: Any) -> None:
    assert text(page) == STATES[0]
    assert page.text_content("#trace output") == "after 0 of 64 steps \u00b7 first state, 3 masks"
    page.keyboard.press("ArrowRight")
    assert text(page) == STATES[1]
    assert page.text_content("#trace output") == "after 1 of 64 steps \u00b7 2 changed, 1 mask"
    assert page.get_attribute("#trace input[type=range]", "aria-valuetext") == "after 1 of 64 steps"
    page.keyboard.press("End")
    assert text(page) == STATES[3]


def test_what_changed_is_marked_and_text_stays_text(page: Any) -> None:
    page.keyboard.press("ArrowRight")
    assert marked(page, "new") == ["the <b>cat</b>"]
    assert marked(page, "mask") == ["\u2588"]
    assert page.locator("#trace .states b").count() == 0
    page.keyboard.press("ArrowRight")
    assert (marked(page, "new"), marked(page, "mask")) == (["\u05d0\u05d1"], [])


def test_buttons_move_and_play(page: Any) -> None:
    page.click("#trace [data-move='1']")
    assert text(page) == STATES[1]
    page.click("#trace [data-play]")
    assert page.text_content("#trace [data-play]") == "Pause"
    page.locator("#trace [data-play]", has_text="Play").wait_for()
    assert text(page) == STATES[3]


def test_nothing_plays_for_readers_who_want_no_motion(chromium: Any, report: Path) -> None:
    page = chromium.new_page(reduced_motion="reduce")
    page.goto(report.as_uri())
    assert page.is_hidden("#trace [data-play]")
    assert page.is_visible("#trace [data-move='1']")
    page.close()


def test_another_text_can_be_chosen(page: Any) -> None:
    page.select_option("#trace [data-key=text]", "1")
    assert text(page) == "other"


def test_plots_of_another_step_count_can_be_chosen(page: Any) -> None:
    shown = "#convergence [data-choice]:not([hidden])"
    assert page.locator(shown).count() == 1
    first = page.get_attribute(shown, "data-choice")
    page.select_option("[data-inside]", "1")
    assert page.locator(shown).count() == 1
    assert page.get_attribute(shown, "data-choice") != first


def test_of_many_lines_those_of_the_first_method_are_shown_at_first(chromium: Any, tmp_path: Path) -> None:
    data = traced_run(synthetic_run(("a", "b", "c", "d", "e")))
    page = chromium.new_page()
    page.goto(write_report(data, tmp_path).as_uri())
    boxes = page.locator("#convergence [data-plots] input[data-key=s]")
    assert [boxes.nth(i).is_checked() for i in range(2)] == [True, False]
    hidden = page.locator("#fig-inside-settled .off").count()
    assert hidden > 0
    boxes.nth(1).check()
    assert page.locator("#fig-inside-settled .off").count() == 0
    assert page.locator("#plots .off").count() == 0, "the other plots are left alone"
    page.close()
