"""A comparison as one HTML page in the looks of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.compare.finding import MEANING, Finding, Verdict
from harness.compare.result import NOTHING, OF_THE_MACHINE, SAME, WORSE, Result, gates
from harness.compare.text import HEAD, SHOWN, cells, grouped_reasons, relative
from harness.compare.words import sentences
from harness.paired import ALPHA
from harness.report.data import unique
from harness.report.format import DASH
from harness.report.render import shell, templates
from harness.report.text import visible
from harness.worker.jsonl import write_text

#: What stands beside the title, by exit code.
LABELS = {SAME: "nothing worse beyond noise", WORSE: "worse", NOTHING: "nothing compared"}
#: Rows of the table of all figures at most; the command prints every one with --tsv.
MOST = 3_000
_SAME: tuple[Verdict, ...] = ("identical", "same")
_UNTESTED: tuple[Verdict, ...] = ("not tested", "not compared")
_SIGNS: dict[Verdict, str] = {"better": "\u25b2", "worse": "\u25bc", "accepted": "\u25bd", "changed": "\u25c6"}


class Cell(NamedTuple):
    """One figure of the overview: what is printed, the verdict as a class and in words."""

    text: str
    kind: str
    title: str


class Line(NamedTuple):
    """One row of a table of figures."""

    cells: tuple[str, ...]
    finding: Finding
    kind: str
    fails: bool


class Table(NamedTuple):
    """Rows under a heading."""

    title: str
    lines: list[Line]


def write_page(result: Result, folder: Path) -> Path:
    """Write index.html into `folder`, which is made where it is missing.

    Raises:
        OSError: when it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = (
        templates()
        .get_template("compare.html")
        .render(
            result=result,
            label=LABELS[result.code],
            sentences=sentences(result),
            overview=_overview(result.findings),
            changed=[Table(title, rows) for verdict, title in SHOWN if (rows := _lines(result, result.of(verdict)))],
            figures=_lines(result, result.findings[:MOST]),
            left_out=max(0, len(result.findings) - MOST),
            reasons=[
                (verdict, what, note, count)
                for verdict in ("not compared", "not tested")
                for what, note, count in grouped_reasons(result.of(verdict))
            ],
            choices={key: unique(values) for key, values in _choices(result.findings).items()},
            head=HEAD,
            meaning=MEANING,
            gate=_gate(result),
            **shell(),
        )
    )
    write_text(folder / "index.html", visible(text))
    return folder / "index.html"


def _lines(result: Result, findings: Sequence[Finding]) -> list[Line]:
    return [
        Line(
            cells(finding),
            finding,
            _kind(finding.verdict),
            finding.verdict == "worse" and gates(finding, result.request),
        )
        for finding in findings
    ]


def _choices(findings: Sequence[Finding]) -> dict[str, list[str]]:
    return {"v": [f.verdict for f in findings], "s": [f.title for f in findings], "m": [f.point for f in findings]}


def _kind(verdict: str) -> str:
    return verdict.replace(" ", "-")


class Overview(NamedTuple):
    """Points down, figures across; `same` points and figures are left out, which are the same in everything."""

    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    same: int


def _overview(findings: Sequence[Finding]) -> Overview:
    """Every point with every figure that is not the same; costs that were not tested are left to the other tables."""
    shown = [f for f in findings if f.verdict not in _UNTESTED or f.what not in OF_THE_MACHINE]
    moved = [finding for finding in shown if finding.verdict not in _SAME]
    by_cell = {(finding.point, finding.title): _cell(finding) for finding in shown}
    columns, points = (unique(getattr(finding, key) for finding in moved) for key in ("title", "point"))
    rows = [(point, [by_cell.get((point, title), Cell("", "none", "")) for title in columns]) for point in points]
    return Overview(columns, rows, len({finding.point for finding in shown}) - len(points))


def _cell(finding: Finding) -> Cell:
    if finding.verdict in _SAME:
        return Cell("=", "same", MEANING[finding.verdict])
    words = (_SIGNS.get(finding.verdict), relative(finding.change))
    text = DASH if finding.verdict == "not compared" else " ".join(word for word in words if word)
    return Cell(text, _kind(finding.verdict), finding.note or MEANING[finding.verdict])


def _gate(result: Result) -> list[str]:
    """What could have failed, in words."""
    request = result.request
    asked = (
        ", ".join(request.metrics) if request.metrics else "every figure with a better and a worse, likelihoods and NFE"
    )
    lines = [f"Looked at for worse: {asked}. Controls fail nothing."]
    share = f"a change of {request.tolerance:.1%} for the worse, and " if request.tolerance else ""
    lines.append(f"Accepted: {share}what chance makes (adjusted p of {ALPHA} or more).")
    if request.max_slowdown is None:
        lines.append("Seconds fail nothing: no --max-slowdown was given.")
    else:
        lines.append(f"Seconds fail when B takes more than {request.max_slowdown:g} times as long, the whole interval.")
    return [*lines, f"Exit code {result.code}."]
