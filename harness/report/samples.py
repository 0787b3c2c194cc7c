"""What the sample browser shows, kept small enough for one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.report.data import Names, ReportData, Row, clean, of_kind
from harness.report.tables import why_null

#: Characters of sample text (and as many of traces) that a report holds at most.
BUDGET = 500_000
_LONGEST = 6_000


class Browser(NamedTuple):
    """The browser's data: entries for the page's script, and plain words on what was left out."""

    entries: list[dict[str, Any]]
    note: str


def browser(data: ReportData, rows: Sequence[Row], names: Names) -> Browser:
    """The samples to embed.

    Every point keeps equally many samples, so that each sample can be seen across all of them. When the texts together
    pass `BUDGET` characters, fewer samples a point are kept, then texts are cut.
    """
    points = [r for r in of_kind(rows, "generate", done=False) if _is_shown(r, data)]
    texts = {_key(r): list(data.samples.get(_key(r), ())) for r in points}
    limit = max(200, min(_LONGEST, BUDGET // max(1, len(texts))))
    most = max((len(t) for t in texts.values()), default=0)
    keep = next((n for n in range(most, 1, -1) if _size(texts, n, limit) <= BUDGET), min(most, 1))
    traces = _kept_traces(data.traces, set(texts))
    entries = [
        {
            "model": names.model(r),
            "method": names.method(r),
            "control": r.get("role") == "control",
            "label": str(r.get("checkpoint_kind") or "none"),
            "steps": clean(r.get("steps")),
            "seed": clean(r.get("seed")),
            "why": "" if texts[_key(r)] else why_null(r, ""),
            "samples": [_sample(s, limit) for s in texts[_key(r)][:keep]],
            "traces": traces.get(_key(r), []),
        }
        for r in points
    ]
    return Browser(entries, _note(entries, keep, most, limit))


def _key(row: Row) -> str:
    return str(row.get("fingerprint"))


def _is_shown(row: Row, data: ReportData) -> bool:
    """Points with samples, and failed ones, whose place in the row would otherwise be taken by the next step count."""
    return bool(data.samples.get(_key(row))) or (bool(data.samples) and row.get("status") == "failed")


def _size(texts: Mapping[str, Sequence[Mapping[str, Any]]], keep: int, limit: int) -> int:
    return sum(min(len(str(s.get("text") or "")), limit) for mine in texts.values() for s in mine[:keep])


def _sample(sample: Mapping[str, Any], limit: int) -> dict[str, Any]:
    text = str(sample.get("text") or "")
    return {
        "i": clean(sample.get("index")),
        "nfe": clean(sample.get("nfe")),
        "cut": len(text) > limit,
        "t": text[:limit],
    }


def _kept_traces(traces: Mapping[str, Sequence[Sequence[str]]], known: set[str]) -> dict[str, list[list[str]]]:
    """By fingerprint, the states of each traced sample; whole points in order until the budget is used up."""
    kept = {}
    left = BUDGET
    for fingerprint, states in traces.items():
        left -= sum(len(text) for state in states for text in state)
        if fingerprint in known and states and left >= 0:
            kept[fingerprint] = [list(sample) for sample in zip(*states, strict=True)]
    return kept


def _note(entries: Sequence[Mapping[str, Any]], keep: int, most: int, limit: int) -> str:
    if not entries:
        return "No samples are stored yet."
    words = (
        [f"The first {keep} samples of each point are here."]
        if keep > 1
        else ["The first sample of each point is here."]
    )
    if keep < most:
        words.append("Fewer than usual, to keep this file small.")
    if any(s["cut"] for e in entries for s in e["samples"]):
        words.append(f"Texts longer than {limit:,} characters are cut and say so.")
    return " ".join([*words, "All of them lie in the run's folder under results."])


def script_json(value: Any) -> str:
    """JSON that is safe inside a `<script>` element whatever the texts hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
