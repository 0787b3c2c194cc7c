"""What the sample browser shows, kept small enough for one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness import comparable
from harness.report.data import Names, ReportData, Row, clean, of_kind, row_label
from harness.report.tables import why_null
from harness.report.text import visible

#: Characters of sample text that a report holds at most.
BUDGET = 500_000
_LONGEST = 6_000
#: Points that have samples in it at most.
POINTS = 1_000
#: Texts that can stand side by side.
COLUMNS = 4


class Browser(NamedTuple):
    """The browser's data: entries for the page's script, what was given for sample 0, 1, ... by the title of a place,
    and plain words on how these samples were picked and what was left out.
    """

    entries: list[dict[str, Any]]
    given: dict[str, list[dict[str, Any]]]
    note: str

    @property
    def columns(self) -> range:
        """Numbers of the columns for texts side by side."""
        return range(1, min(COLUMNS, len(self.entries)) + 1)

    @property
    def alone(self) -> bool:
        """Whether there is neither a benchmark nor a seed to choose."""
        chosen = {(entry["place"], entry["seed"]) for entry in self.entries if entry["seed"] is not None}
        return len(chosen) <= 1


def browser(data: ReportData, rows: Sequence[Row], names: Names) -> Browser:
    """The samples to embed.

    Every point keeps equally many samples, so that each sample can be seen across all of them. When the texts together
    pass `BUDGET` characters, fewer samples a point are kept, then texts are cut.
    """
    known = [r for r in of_kind(rows, "generate", done=False) if _is_shown(r, data)]
    points = known[:POINTS]
    texts = {_key(r): list(data.samples.get(_key(r), ())) for r in points}
    beside = sum(len(_strings(mine[0])) for mine in texts.values() if mine)
    limit = max(200, min(_LONGEST, BUDGET // max(1, beside)))
    most = max((len(t) for t in texts.values()), default=0)
    keep = next((n for n in range(most, 1, -1) if _size(texts, n, limit) <= BUDGET), min(most, 1))
    entries = [
        {
            "place": _place(r),
            "model": visible(names.model(r)),
            "method": visible(names.method(r)),
            "control": r.get("role") == "control",
            "label": row_label(r),
            "steps": clean(r.get("steps")),
            "seed": clean(r.get("seed")),
            "why": "" if texts[_key(r)] else why_null(r, ""),
            "samples": [_sample(s, limit) for s in texts[_key(r)][:keep]],
        }
        for r in points
    ]
    return Browser(entries, _given(data, points, keep, limit), _note(entries, keep, most, limit, len(known)))


def _place(row: Row) -> str:
    _, benchmark, task = comparable.place(row)
    return visible(f"{benchmark or 'unknown benchmark'} \u00b7 {task}")


def _given(data: ReportData, points: Sequence[Row], keep: int, limit: int) -> dict[str, list[dict[str, Any]]]:
    """By place of text written from a source: source and references of each sample that is kept, once for all rows."""
    benchmarks = {_place(r): str(r.get("benchmark")) for r in points if r.get("task") == "seq2seq"}
    return {
        place: [
            {"s": _cut(line["source"], limit), "r": [_cut(text, limit) for text in line["references"]]}
            for line in data.sources[benchmark][:keep]
        ]
        for place, benchmark in benchmarks.items()
        if benchmark in data.sources
    }


def _key(row: Row) -> str:
    return str(row.get("fingerprint"))


def _is_shown(row: Row, data: ReportData) -> bool:
    """Points with samples, and failed ones, whose place in the row would otherwise be taken by the next step count."""
    return bool(data.samples.get(_key(row))) or (bool(data.samples) and row.get("status") == "failed")


def _size(texts: Mapping[str, Sequence[Mapping[str, Any]]], keep: int, limit: int) -> int:
    return sum(min(len(text), limit) for mine in texts.values() for s in mine[:keep] for text in _strings(s))


def _strings(sample: Mapping[str, Any]) -> list[str]:
    """What is embedded of a sample: its text, and the candidates it was chosen from."""
    return [str(text or "") for text in (sample.get("text"), *(sample.get("candidates") or ()))]


def _sample(sample: Mapping[str, Any], limit: int) -> dict[str, Any]:
    text = str(sample.get("text") or "")
    out = {
        "i": clean(sample.get("index")),
        "nfe": clean(sample.get("nfe")),
        "cut": len(text) > limit,
        "t": _cut(text, limit),
    }
    if sample.get("left_off"):
        out["off"] = sample["left_off"]
    if sample.get("candidates"):
        out |= {"c": [_cut(t, limit) for t in sample["candidates"]], "chosen": clean(sample.get("chosen"))}
    return out


def _cut(text: Any, limit: int) -> str:
    return visible(str(text or "")[:limit])


def _note(entries: Sequence[Mapping[str, Any]], keep: int, most: int, limit: int, known: int) -> str:
    if not entries:
        return "No samples are stored yet."
    words = (
        [f"The first {keep} samples of each point and seed are here, by their number: none was picked by hand."]
        if keep > 1
        else ["The first sample of each point and seed is here: none was picked by hand."]
    )
    if known > len(entries):
        words.append(f"Of {known:,} points the first {len(entries):,} are here, to keep this file small.")
    elif keep < most:
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
