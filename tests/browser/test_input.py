"""Input that is harmful, or of which half is missing: the page opens, runs nothing of it, and says what it lacks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Visit


def use_everything(page: Any) -> None:
    """Press every button, open every list, choose the last of every choice."""
    page.evaluate(
        """() => {
          document.querySelectorAll("details").forEach((list) => { list.open = true; });
          document.querySelectorAll("button").forEach((button) => button.click());
          document.querySelectorAll("select").forEach((select) => {
            if (select.options.length) select.selectedIndex = select.options.length - 1;
            select.dispatchEvent(new Event("change"));
          });
          document.querySelectorAll("input[type=checkbox]").forEach((box) => box.click());
          document.querySelectorAll("input[type=range]").forEach((range) => {
            range.value = range.min;
            range.dispatchEvent(new Event("input"));
          });
        }"""
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_harmful_texts_are_shown_and_not_run(visit: Visit, width: int) -> None:
    page = visit("hostile", width)
    use_everything(page)
    page.locator("#find input").fill("<script>")
    assert page.locator("#find output").inner_text().startswith("1")
    assert page.evaluate("window.evil") is None
    assert page.locator("img").count() == 0
    assert page.locator("[onclick], [onerror], [style*=color]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_cannot_be_seen_gets_a_sign_and_keeps_to_itself(visit: Visit) -> None:
    page = visit("hostile")
    text = page.locator("#found .text").first
    shown = text.inner_text()
    assert "\u2400\u2407\u241b[31m" in shown
    assert "\u5bfc\u5165\u6587\u672c" in shown
    assert "\ufffd" in shown
    assert "&amp;" in shown, "not read as markup"
    assert text.get_attribute("dir") == "auto"
    assert text.evaluate("(e) => getComputedStyle(e).unicodeBidi") in ("isolate", "plaintext")
    assert page.evaluate("!/[\\u0000-\\u0008\\u000b-\\u001f]/.test(document.body.textContent)")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "This run has no points yet."),
        ("nothing_finished", "No finished point with a quality figure yet."),
        ("one_model", "of 1 model"),
        ("one_step", "16 steps"),
        ("no_metrics", "Nothing is scored yet"),
        ("not_finite", "\u221e"),
        ("newer", "energy joules"),
    ],
)
def test_what_is_missing_is_said(visit: Visit, name: str, said: str) -> None:
    page = visit(name)
    assert said in page.locator("body").text_content()
    assert page.locator("h1").inner_text()
    use_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_status_of_a_later_version_is_shown_as_it_is(visit: Visit) -> None:
    page = visit("newer")
    assert "quarantined" in page.locator("#generation").text_content()
