"""The report as Markdown: the verdict, the steps to quality, the tables, what has no figures."""

from __future__ import annotations

from collections.abc import Iterable

from harness.report import quality_steps, verdict
from harness.report.data import kind_label
from harness.report.page import Page
from harness.report.places import Place
from harness.report.problems import Problem, not_run
from harness.report.summary import Remark, remarks
from harness.report.tables import Table, markdown, table_of


def markdown_text(page: Page) -> str:
    """The report as Markdown; nothing is drawn."""
    names = page.names
    places = ((place, remarks(place, names), table_of(place, names)) for place in page.places)
    return markdown_of(page, verdict.build(page), quality_steps.build(page), places)


def markdown_of(
    page: Page,
    said: verdict.Verdict,
    steps: quality_steps.QualitySteps,
    places: Iterable[tuple[Place, list[Remark], Table]],
) -> str:
    """As `markdown_text`, from what is made already.

    Args:
        page: the report.
        said: its verdict.
        steps: its steps to quality.
        places: each with what is said of it and its table.
    """
    data, rows, names = page.data, page.rows, page.names
    parts = [f"# {data.run}", "", f"{data.created} \u00b7 `{data.command}` \u00b7 {kind_label(rows)}", ""]
    parts += [*(f"- {line}" for line in verdict.lines(said)), ""]
    if found := quality_steps.lines(steps):
        parts += ["## Steps to quality", "", *(f"- {line}" for line in found), ""]
    for place, told, table in places:
        if place.alone:
            parts.append(markdown(table))
        else:
            parts += [f"## {place.title}", "", *(f"- {remark}" for remark in told), ""]
            parts.append(markdown(table, level=3))
    problems = not_run(rows, names)
    if problems:
        parts += ["## Points without figures", "", *map(_problem_line, problems), ""]
    return "\n".join(parts)


def _problem_line(problem: Problem) -> str:
    return f"- {'; '.join(problem.points)}: {problem.reason}: {' '.join(problem.why.split())}"
