"""One headless Chromium for all tests of the page, and pages that fail a test which makes them complain."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report import ReportData, write_report
from tests.browser import runs

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: Sum of the layout shifts that no input has caused (https://web.dev/articles/cls), before any script of the page runs.
WATCH = """
  window.shifts = 0;
  new PerformanceObserver((list) => {
    list.getEntries().forEach((shift) => { if (!shift.hadRecentInput) window.shifts += shift.value; });
  }).observe({ type: "layout-shift", buffered: true });
  addEventListener("securitypolicyviolation", (event) => console.error("policy: " + event.violatedDirective));
"""

Write = Callable[[str], Path]
#: Opens a report: name of a run in `runs`, then width, theme and media.
Visit = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes the report of a run, once, and gives its index.html."""
    folder = tmp_path_factory.mktemp("reports")
    known: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in known:
            data: ReportData = getattr(runs, name)()
            with pytest.MonkeyPatch.context() as patch:
                # What stands beside the page takes as long to write as the page.
                patch.setattr("harness.export.files.data_files", lambda page: {})
                known[name] = write_report(data, folder / name)
        return known[name]

    return write


@pytest.fixture
def visit(chromium: Any, written: Write) -> Iterator[Visit]:
    """Opens reports; what any of them writes to the console, or fetches, fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def listen(page: Any) -> None:
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: complaints.append(request.url) if "http" in request.url[:5] else None)

    def open_report(name: str, width: int = 1280, theme: str = "light", anchor: str = "", **more: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5_000)
        listen(page)
        page.add_init_script(WATCH)
        page.goto(written(name).as_uri() + anchor)
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert complaints == []
