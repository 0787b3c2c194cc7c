"""How the page looks and how fast it is: widths, themes, print, size, time, nothing that moves."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Visit, Write

#: Largest report that is meant to be sent around.
MEGABYTES = 5
#: What the page may take on a slow and busy machine; on an idle one it is well below a second.
SECONDS = 3.0

#: Contrast of the text of elements with what is painted behind them (WCAG 2.2, relative luminance).
CONTRAST = """(selector) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgb("Canvas");
  };
  const light = ([r, g, b]) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  return [...document.querySelectorAll(selector)].map((element) => {
    const [a, b] = [rgb(getComputedStyle(element).color), behind(element)].map(light).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}"""


def measured(page: Any) -> dict[str, float]:
    """Seconds from the start of loading."""
    found: dict[str, float] = page.evaluate(
        """async () => {
          const [loading] = performance.getEntriesByType("navigation");
          const paint = await new Promise((done) => {
            const watch = new PerformanceObserver((list) => done(list.getEntries()[0].startTime));
            watch.observe({ type: "paint", buffered: true });
          });
          const { domContentLoadedEventEnd, loadEventEnd } = loading;
          return { ready: domContentLoadedEventEnd / 1000, loaded: loadEventEnd / 1000, paint: paint / 1000 };
        }"""
    )
    return found


def scroll_through(page: Any) -> None:
    """Bring everything into view once."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 700):
        page.evaluate("(top) => scrollTo(0, top)", top)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_the_largest_run_is_small_and_quick(visit: Visit, written: Write, record_property: Any) -> None:
    megabytes = written("big").stat().st_size / 1e6
    times = measured(visit("big"))
    record_property("report", {"megabytes": megabytes, **times})
    print(f"big: {megabytes:.2f} MB, {times}")
    assert megabytes < MEGABYTES
    assert max(times.values()) < SECONDS


def test_ten_thousand_rows_still_open(visit: Visit, written: Write) -> None:
    page = visit("many")
    assert written("many").stat().st_size < MEGABYTES * 1e6
    assert page.locator("#generation tbody tr").count() == 1_000
    assert "9000 more are in table.csv only" in page.locator("#figures").text_content()
    assert "10000 commands" in page.locator("#commands").text_content()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["big", "both", "differing"])
def test_nothing_is_wider_than_the_window_and_nothing_moves(visit: Visit, name: str, width: int) -> None:
    page = visit(name, width)
    scroll_through(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("window.shifts") < 0.01


@pytest.mark.parametrize("anchor", ["#samples", "#figures", "#convergence"])
def test_nothing_moves_where_a_reader_lands_by_a_link(visit: Visit, anchor: str) -> None:
    page = visit("both", 390, anchor=anchor)
    page.wait_for_timeout(200)
    assert page.evaluate("window.shifts") < 0.05
    assert 0 <= page.locator(anchor).bounding_box()["y"] < 120, "below the bar of links, not under it"


def test_themes_differ_and_can_be_read(visit: Visit) -> None:
    pages = {}
    for theme in ("light", "dark"):
        page = visit("big", theme=theme)
        pages[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        for selector in (
            "body",
            "p",
            ".small",
            ".meta",
            ".soft",
            ".tag",
            "a[href]",
            "td",
            "caption",
            "figcaption",
            ".facts",
            "mark.new",
        ):
            worst = min(page.evaluate(CONTRAST, selector), default=21.0)
            assert worst >= 4.5, f"{selector} in the {theme} theme: {worst:.2f}"
    assert pages["light"] == "rgb(255, 255, 255)"
    assert pages["dark"] != pages["light"]


def test_first_column_leaves_room_on_a_phone(visit: Visit) -> None:
    page = visit("both", 390)
    for table in page.locator("table.figures").all():
        box = table.locator("tbody .first").first.bounding_box()
        if box:
            assert box["width"] < 0.5 * 390


def test_print_has_all_rows_and_no_controls(visit: Visit) -> None:
    page = visit("both")
    page.emulate_media(media="print")
    assert not [tools for tools in page.locator(".tools").all() if tools.is_visible()]
    assert not page.locator("#sections").is_visible()
    for region in page.locator(".scroll:visible").all():
        assert region.evaluate("(e) => getComputedStyle(e).overflowX") == "visible"
    assert len(page.pdf()) > 20_000


def test_without_scripts_everything_but_samples_is_there(visit: Visit) -> None:
    page = visit("both", java_script_enabled=False)
    assert page.locator("#generation-toy-unconditional tbody tr").first.is_visible()
    assert page.locator("#generation-toy-unconditional th.g-timing").first.is_visible(), (
        "all columns, as none can be asked for"
    )
    assert not [tools for tools in page.locator(".tools").all() if tools.is_visible()]
    assert page.get_by_text("The samples need JavaScript.").is_visible()


def test_sections_stand_in_the_order_of_a_short_reading(visit: Visit) -> None:
    page = visit("both")
    ids = [section.get_attribute("id") for section in page.locator("main > section").all()]
    wanted = [
        "verdict",
        "plots",
        "quality_steps",
        "convergence",
        "effort",
        "ledger",
        "samples",
        "figures",
        "likelihoods",
    ]
    assert ids[: len(wanted)] == wanted
    tops = [page.locator(f"#{name}").bounding_box()["y"] for name in wanted]
    assert all(a < b for a, b in pairwise(tops))


def policy_of(path: Path) -> str:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', path.read_text(encoding="utf-8"))
    assert found
    return found[1]


def test_the_policy_stops_what_is_not_ours(chromium: Any, written: Write, tmp_path: Path) -> None:
    """The same page with a script, a style and a handler of somebody else: none of them does anything."""
    text = written("small").read_text(encoding="utf-8")
    theirs = "<script>document.title = 'theirs'</script><style>body { color: rgb(1, 2, 3) }</style>"
    theirs += "<p id='their' style='color: rgb(1, 2, 3)' onclick=\"document.title = 'theirs'\">their text</p>"
    path = tmp_path / "index.html"
    path.write_text(text.replace("<main>", f"<main>{theirs}"), encoding="utf-8")
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.locator("#their").click()
    assert "synthetic" in page.title()
    assert page.locator("#their").evaluate("(e) => getComputedStyle(e).color") != "rgb(1, 2, 3)"
    page.close()
    assert "unsafe" not in policy_of(path)
