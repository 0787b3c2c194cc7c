"""The report as Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report import markdown, render, svg
from harness.report.page import Page
from tests.harness.report_fixture import both_run


def test_markdown_alone_is_that_of_the_report_and_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = both_run()
    render.write_page(Page(data), tmp_path)

    def drawn(*_: object) -> str:
        raise AssertionError("Markdown has no plots")

    monkeypatch.setattr(svg, "inline_svg", drawn)
    assert markdown.markdown_text(Page(data)) == (tmp_path / "table.md").read_text(encoding="utf-8")
