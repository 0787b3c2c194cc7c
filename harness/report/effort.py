"""Not made yet."""

from __future__ import annotations

from typing import Any

from harness.report.page import Page


def build(page: Page) -> Any:
    return None
