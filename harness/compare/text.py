"""A comparison as text for a terminal, as tab-separated values and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.compare.finding import MEANING, Finding
from harness.compare.request import Request
from harness.compare.result import Result, gates
from harness.compare.words import sentences
from harness.errors import counted
from harness.report.data import RunFacts, group_by
from harness.report.format import DASH, figure, interval
from harness.report.text import visible

#: Verdicts that a person wants to see row by row without asking for all, with their headings.
SHOWN = (
    ("worse", "Worse in B"),
    ("accepted", "Worse in B, by no more than is accepted"),
    ("better", "Better in B"),
    ("changed", "Changed in B, neither better nor worse"),
)
HEAD = ("point", "figure", "A", "B", "change", "95 % of the difference", "p", "adjusted")
_COLUMNS = (
    *("point", "what", "better", "role", "a", "b", "change", "low", "high", "p", "adjusted", "detectable", "count"),
    *("verdict", "gates", "note"),
)


def printed(result: Result, form: str | None = None, all_rows: bool = False) -> str:
    """What the command prints: "tsv", "json" or, for None, text; no control character of a run gets to a terminal."""
    text = {"tsv": tsv, "json": as_json}[form](result) if form else terminal(result, all_rows)
    return visible(text) + ("" if text.endswith("\n") else "\n")


def terminal(result: Result, all_rows: bool = False) -> str:
    """Plain text: what differs, what follows, and the rows that changed; with `all_rows` every row."""
    lines = [*_head(result), ""]
    lines += [*sentences(result), ""]
    groups = MEANING if all_rows else [verdict for verdict, _ in SHOWN]
    titles = dict(SHOWN)
    for verdict in groups:
        rows = result.of(verdict)
        if rows:
            lines += [
                f"{titles.get(verdict, verdict.capitalize())} ({len(rows)}):",
                *_table([cells(f) for f in rows]),
                "",
            ]
    lines += _points(result)
    lines += _reasons(result)
    return "\n".join(lines).rstrip() + "\n"


def cells(finding: Finding) -> tuple[str, ...]:
    """A finding as the cells of a table, in the order of `HEAD`."""
    return (
        finding.point,
        finding.title,
        figure(finding.a, finding.form),
        figure(finding.b, finding.form),
        relative(finding.change),
        ends(finding),
        probability(finding.p),
        probability(finding.adjusted),
    )


def relative(change: float | None) -> str:
    """A relative change: per cent, or how many times as much from ten times on."""
    if change is None:
        return DASH
    return f"{change:+.1%}" if change < 9 else f"\u00d7{change + 1:,.0f}"


def ends(finding: Finding) -> str:
    """The interval: of the difference, of seconds that of the ratio."""
    text = interval(finding.low, finding.high)
    return f"\u00d7 {text}" if text and finding.what == "seconds" else text or DASH


def probability(p: float | None) -> str:
    """A p as a person reads it."""
    if p is None:
        return DASH
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def made_of(run: RunFacts) -> str:
    """Name, date and machine of a run in one line."""
    words = [run.run, run.created.replace("T", " ").replace("+00:00", " UTC"), "; ".join(run.machines)]
    return " \u00b7 ".join(word for word in words if word)


def _head(result: Result) -> list[str]:
    lines = [f"A  {made_of(result.a)}", f"B  {made_of(result.b)}"]
    lines += [f"note: {name}: {remark}" for name, run in (("A", result.a), ("B", result.b)) for remark in run.remarks]
    if result.differs:
        rows = [("what differs", "A", "B"), *((f"{d.kind}: {d.what}", d.a, d.b) for d in result.differs)]
        lines += ["", *_table(rows)]
    return lines


def _points(result: Result) -> list[str]:
    lines: list[str] = []
    if result.broken:
        lines += ["Finished in A, not in B:"]
        lines += [f"  {b.point}: {b.state}{f': {b.why}' if b.why else ''}" for b in result.broken] + [""]
    if result.mended:
        lines += ["Finished in B, not in A:", *(f"  {name}" for name in result.mended), ""]
    for name, alone in (("A", result.only_a), ("B", result.only_b)):
        if alone:
            groups = group_by([{"point": point, "why": why} for point, why in alone], lambda row: row["why"])
            lines.append(f"Only in {name}:")
            for why, rows in groups.items():
                more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
                lines.append(f"  {'; '.join(row['point'] for row in rows[:3])}{more}{f' ({why})' if why else ''}")
            lines.append("")
    return lines


def _reasons(result: Result) -> list[str]:
    """Why figures were not compared or not tested, each reason once."""
    lines = []
    for verdict, title in (("not compared", "Not compared"), ("not tested", "Not tested")):
        reasons = grouped_reasons(result.of(verdict))
        if reasons:
            lines += [f"{title}:", *(f"  {what}: {reason} ({counted(n, 'point')})" for what, reason, n in reasons), ""]
    return lines


def grouped_reasons(findings: Sequence[Finding]) -> list[tuple[str, str, int]]:
    """Figures, the reason they share, and how many points it is of."""
    rows = [{"title": f.title, "note": f.note, "point": f.point} for f in findings]
    found = group_by(rows, lambda row: row["note"])
    return [
        (", ".join(dict.fromkeys(row["title"] for row in mine)), note, len({row["point"] for row in mine}))
        for note, mine in found.items()
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns as wide as their widest cell; the headings of findings where they have as many cells."""
    head = [HEAD] if rows and len(rows[0]) == len(HEAD) else []
    lines = [*head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]


def _values(finding: Finding, request: Request) -> dict[str, Any]:
    values = asdict(finding) | {"change": finding.change, "gates": gates(finding, request)}
    return {name: values[name] for name in _COLUMNS}


def tsv(result: Result) -> str:
    """Every finding as a line of tab-separated values; unknown is empty."""
    lines = ["\t".join(_COLUMNS)]
    for finding in result.findings:
        values = _values(finding, result.request).values()
        lines.append(
            "\t".join(
                " ".join("" if value is None else str(value).split()) if isinstance(value, str) else _plain(value)
                for value in values
            )
        )
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def as_json(result: Result) -> str:
    """Everything, for other programs; unknown is null."""
    return json.dumps(
        {
            "request": asdict(result.request),
            "exit_code": result.code,
            "summary": sentences(result),
            "a": asdict(result.a),
            "b": asdict(result.b),
            "points": result.points,
            "texts": [text._asdict() for text in result.texts],
            "differs": [difference._asdict() for difference in result.differs],
            "findings": [_finite(_values(finding, result.request)) for finding in result.findings],
            "broken": [broken._asdict() for broken in result.broken],
            "mended": list(result.mended),
            "only_a": [alone._asdict() for alone in result.only_a],
            "only_b": [alone._asdict() for alone in result.only_b],
        },
        ensure_ascii=False,
        indent=1,
        allow_nan=False,
    )


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinities."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
