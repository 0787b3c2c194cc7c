"""What a reader does with the page, by pointer and by keyboard."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import Visit


def column(page: Any, table: str, title: str) -> list[str]:
    """The cells of a column as shown, rows that are filtered out left out."""
    found: list[str] = page.evaluate(
        """([table, title]) => {
          const heads = [...document.querySelectorAll(`#${table} thead th`)];
          const head = heads.find((th) => th.textContent.trim() === title);
          const rows = [...document.querySelectorAll(`#${table} tbody tr:not(.group)`)].filter((row) => !row.hidden);
          return rows.map((row) => row.cells[head.cellIndex].firstChild.textContent.trim());
        }""",
        [table, title],
    )
    return found


def head(page: Any, table: str, title: str) -> Any:
    return page.locator(f"#{table} thead button", has_text=title).first


def numbers(cells: list[str]) -> list[float]:
    return [float(cell) for cell in cells if cell != "\u2013"]


# --- tables ----------------------------------------------------------------------------------------------------------


def test_sort_goes_up_then_down_and_unknown_stays_last(visit: Visit) -> None:
    page = visit("small")
    button = head(page, "generation", "generative perplexity")
    button.click()
    up = column(page, "generation", "generative perplexity")
    assert numbers(up) == sorted(numbers(up))
    assert up[-1] == "\u2013"
    assert button.locator("xpath=..").get_attribute("aria-sort") == "ascending"
    button.click()
    down = column(page, "generation", "generative perplexity")
    assert numbers(down) == numbers(up)[::-1]
    assert down[-1] == "\u2013"
    head(page, "generation", "steps").click()
    assert page.locator("#generation thead [aria-sort]").count() == 1


def test_sort_keeps_rows_in_their_group(visit: Visit) -> None:
    page = visit("differing")
    groups = """() => [...document.querySelectorAll("#generation tbody")]
      .map((body) => [...body.querySelectorAll("tr[id]")].map((row) => row.id).sort())"""
    before = page.evaluate(groups)
    assert len(before) == 2
    head(page, "generation", "generative perplexity").click()
    assert page.evaluate(groups) == before
    for body in page.locator("#generation tbody").all():
        assert "group" in (body.locator("tr").first.get_attribute("class") or "")


def test_filters_by_model_and_scheduler(visit: Visit) -> None:
    page = visit("small")
    tools = page.locator(".tools[data-for=generation]")
    tools.get_by_label("Model").select_option("radd")
    tools.get_by_label("Scheduler").select_option("confidence")
    assert page.locator("#generation tbody tr:visible").count() == 3
    assert tools.locator("output").text_content() == "3 of 15 rows"
    tools.get_by_label("Model").select_option("")
    tools.get_by_label("Scheduler").select_option("")
    assert tools.locator("output").text_content() == "15 of 15 rows"


def test_further_columns_are_switched_on_and_off(visit: Visit) -> None:
    page = visit("small")
    details = page.locator(".tools[data-for=generation]").get_by_label("details")
    timing = page.locator("#generation th.g-timing").first
    assert not timing.is_visible()
    details.check()
    assert timing.is_visible()
    details.uncheck()
    assert not timing.is_visible()


def test_plots_can_be_thinned_out(visit: Visit) -> None:
    page = visit("small")
    drawn = page.locator("#plots .plot").first.locator("[class^=s]")
    before = len([part for part in drawn.all() if part.is_visible()])
    page.locator("#plots .tools[data-plots]").first.get_by_label("radd").uncheck()
    after = len([part for part in drawn.all() if part.is_visible()])
    assert 0 < after < before


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["big", "both", "differing"])
def test_every_link_leads_somewhere_and_ids_are_unique(visit: Visit, name: str) -> None:
    page = visit(name)
    ids: list[str] = page.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert sorted(ids) == sorted(set(ids))
    links: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('a[href]')].map((a) => a.getAttribute('href') || a.href.baseVal)"
    )
    inner = {link[1:] for link in links if link.startswith("#")}
    assert inner - set(ids) == set()
    files = {link for link in links if not link.startswith("#")}
    assert {file for file in files if "/" in file and not file.startswith("https://")} == set()


def test_a_link_to_a_row_shows_it_marked_below_the_bars(visit: Visit) -> None:
    page = visit("big")
    page.locator(".tools[data-for=generation]").get_by_label("Model").select_option("model_a")
    row = page.locator("#generation tr[data-m=model_i]").nth(3)
    assert not row.is_visible()
    anchor = row.get_attribute("id")
    page.evaluate("(anchor) => { location.hash = anchor; }", anchor)
    page.wait_for_timeout(200)
    assert row.is_visible(), "a filter would hide it"
    top, heading = row.bounding_box()["y"], page.locator("#generation thead th").first.bounding_box()
    assert heading["y"] + heading["height"] - 1 <= top < 900
    plain = page.locator("#generation tr[data-m=model_i]").nth(4)
    colour = "(e) => getComputedStyle(e.cells[2]).backgroundColor"
    assert row.evaluate(colour) != plain.evaluate(colour)


def test_the_bar_follows_the_reader(visit: Visit) -> None:
    page = visit("both", 390)
    page.locator("#commands h2").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.getElementById('samples').offsetTop)")
    page.wait_for_selector("#sections a[href='#samples'][aria-current]")
    box = page.locator("#sections a[aria-current]").bounding_box()
    assert 0 <= box["x"] < 390


# --- keyboard --------------------------------------------------------------------------------------------------------


def focused(page: Any) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        """() => { const e = document.activeElement;
          return { tag: e.tagName, text: e.textContent.trim().slice(0, 60), region: e.getAttribute("aria-label") || "",
                   table: e.closest("table") ? e.closest("table").id : "" }; }"""
    )
    return found


def test_the_first_key_offers_to_skip_to_the_verdict(visit: Visit) -> None:
    page = visit("small")
    page.keyboard.press("Tab")
    assert focused(page)["text"] == "Skip to the verdict"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#verdict"


def test_keys_reach_the_table_and_sort_it(visit: Visit) -> None:
    page = visit("small", anchor="#figures")
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(focused(page))
        if seen[-1]["table"] == "generation" and "generative" in seen[-1]["text"]:
            break
    assert any("scrolls sideways" in one["region"] for one in seen), "the table can be scrolled by arrow keys"
    assert seen[-1]["tag"] == "BUTTON"
    page.keyboard.press("Enter")
    cells = numbers(column(page, "generation", "generative perplexity"))
    assert cells == sorted(cells)
    shape = page.evaluate(
        "() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth; }"
    )
    assert shape.startswith("solid")
    assert shape != "solid0px"


# --- states on the way ----------------------------------------------------------------------------------------------


def test_arrow_keys_step_through_a_text(visit: Visit) -> None:
    page = visit("big")
    slider = page.locator("#trace input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    first = page.locator("#trace .states").inner_text()
    assert set(first.split()) == {"\u2588"}, "nothing but masks before the first step"
    page.keyboard.press("End")
    last = page.locator("#trace .states").inner_text()
    assert "\u2588" not in last
    masks = []
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
        masks.append(page.locator("#trace mark.mask").count())
        assert page.locator("#trace mark.new").count() > 0
    assert masks == sorted(masks)
    assert masks[-1] > 0
    assert "steps" in page.locator("#trace output").inner_text()


# --- samples ---------------------------------------------------------------------------------------------------------


def embedded(page: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.locator("#samples-data").text_content())
    return found


def test_columns_begin_with_real_data_and_one_of_each_model(visit: Visit) -> None:
    page = visit("big")
    chosen = [s.evaluate("(s) => s.selectedOptions[0].text") for s in page.locator("#columns select").all()]
    assert chosen[0] == "data"
    assert [name.split(" ")[0] for name in chosen[1:]] == ["model_a", "model_b", "model_c"]
    assert len({name.partition(" \u00b7 ")[2] for name in chosen[1:]}) == 1, "the same steps and scheduler"


def test_any_texts_stand_side_by_side_for_one_number(visit: Visit) -> None:
    page = visit("small")
    entries = embedded(page)["entries"]
    wanted = [i for i, e in enumerate(entries) if e["samples"]][:2]
    columns = page.locator("#columns article")
    for n, entry in enumerate(wanted):
        columns.nth(n).locator("select").select_option(str(entry))
    for step in range(3):
        for n, entry in enumerate(wanted):
            assert columns.nth(n).locator(".text").inner_text() == entries[entry]["samples"][step]["t"]
        page.get_by_label("next sample").click()
    page.locator("#samples-number").select_option("0")
    page.get_by_label("previous sample").click()
    assert page.locator("#samples-number").input_value() == "5", "round to the last"


def test_repetition_and_masks_are_marked(visit: Visit) -> None:
    page = visit("small")
    assert page.locator("#found mark.rep").count() > 5
    assert set(page.locator("#found mark.mask").all_inner_texts()) == {"\u2588"}


def test_search_finds_marks_and_counts(visit: Visit) -> None:
    page = visit("small")
    texts = [s["t"] for e in embedded(page)["entries"] for s in e["samples"]]
    expected = [text for text in texts if "green bird" in text]
    assert expected
    page.get_by_label("Search").fill("GREEN  bird")
    count = sum(text.count("green bird") for text in texts)
    assert (
        page.locator("#find output").inner_text()
        == f"{count} hit{'s' * (count > 1)} in {len(expected)} of {len(texts)} texts"
    )
    shown = """() => [...document.querySelectorAll("#found .text")]
      .map((text) => [...text.querySelectorAll(".hit")].map((mark) => mark.textContent).join(""))"""
    assert all("green bird" in hits for hits in page.evaluate(shown))
    page.get_by_label("Search").fill("no such words")
    assert page.locator("#find output").inner_text() == f"0 hits in 0 of {len(texts)} texts"
    assert page.locator("#found article").count() == 0
    page.get_by_label("Search").fill(".*(")
    assert "0 hits" in page.locator("#find output").inner_text(), "letters, not a pattern"


def test_filters_and_more_show_every_text_once(visit: Visit) -> None:
    page = visit("small")
    find = page.locator("#find")
    find.get_by_label("Model").select_option("radd")
    find.get_by_label("Steps").select_option("64")
    assert find.locator("output").inner_text() == "12 texts"
    find.get_by_label("Steps").select_option("")
    while page.locator("#more").is_visible():
        page.locator("#more").click()
    assert find.locator("output").inner_text() == "36 texts"
    assert page.locator("#found article").count() == 36


def test_seed_and_benchmark_change_what_is_offered(visit: Visit) -> None:
    page = visit("both")
    page.locator("#samples-place").select_option(label="toy_paraphrase \u00b7 seq2seq")
    assert page.locator("#given").inner_text().startswith("source")
    page.locator("#samples-seed").select_option("2")
    assert "seed 2" in page.locator("#found .facts").first.inner_text()
    names = page.locator("#columns select option").all_inner_texts()
    assert any("MBR of 3" in name for name in names)
    assert not any(name.startswith("radd") for name in names)
