"""Readers by ear and by keyboard: axe-core's rules, and what they do not cover."""

from __future__ import annotations

from importlib import resources
from itertools import pairwise
from typing import Any

import pytest

from tests.browser.conftest import Visit


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, as axe-playwright-python brings it."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return resources.files(package).joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds, lines of plots left out: an image is judged as a whole."""
    page.evaluate(axe)
    rules = "{ type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }"
    options = f"{{ runOnly: {rules}, resultTypes: ['violations'] }}"
    found = page.evaluate(f"async () => (await axe.run({{ exclude: ['.plot > *'] }}, {options})).violations")
    return [f"{v['id']}: {node['html'][:160]} {node['failureSummary'][:200]}" for v in found for node in v["nodes"][:3]]


@pytest.mark.parametrize(("name", "width", "theme"), [("both", 1280, "light"), ("differing", 390, "dark")])
def test_axe_finds_nothing_with_everything_open(visit: Visit, axe: str, name: str, width: int, theme: str) -> None:
    page = visit(name, width, theme)
    page.evaluate("() => document.querySelectorAll('details').forEach((list) => { list.open = true; })")
    assert violations(page, axe) == []


def test_axe_would_find_something(visit: Visit, axe: str) -> None:
    page = visit("empty")
    page.evaluate("() => document.querySelector('main').append(document.createElement('button'))")
    assert any("button-name" in found for found in violations(page, axe))


def test_headings_go_down_one_level_at_a_time(visit: Visit) -> None:
    page = visit("both")
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, h4, h5')].map((h) => Number(h.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_tables_have_headings_on_both_sides_and_plots_have_words(visit: Visit) -> None:
    page = visit("both")
    assert page.evaluate("() => [...document.querySelectorAll('th')].filter((th) => !th.scope).length") == 0
    bodies = "() => [...document.querySelectorAll('tbody tr')].filter((row) => !row.querySelector('th')).length"
    assert page.evaluate(bodies) == 0
    labels = page.evaluate(
        "() => [...document.querySelectorAll('svg.plot')].map((plot) => plot.getAttribute('aria-label'))"
    )
    assert labels
    assert all(len(label or "") > 40 for label in labels), "they state the finding, not the kind of picture"


def test_every_control_has_a_name(visit: Visit) -> None:
    page = visit("both")
    nameless = """() => [...document.querySelectorAll('select, input, button')].filter((control) =>
      !(control.textContent.trim() && control.tagName === 'BUTTON') && !control.closest('label')
      && !control.getAttribute('aria-label')).map((control) => control.outerHTML.slice(0, 80))"""
    assert page.evaluate(nameless) == []
