"""What follows from a comparison, in plain sentences."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harness.compare.finding import Finding
from harness.compare.result import COMPARED, NOTHING, OF_THE_MACHINE, Result
from harness.errors import counted
from harness.paired import ALPHA
from harness.report.data import group_by

_WORDS = {
    "noise": "inside the noise",
    "worse": "worse",
    "accepted": "worse but accepted",
    "better": "better",
    "changed": "changed, neither better nor worse",
}


def sentences(result: Result) -> list[str]:
    """What follows, the verdict first."""
    same = Path(result.a.folder).resolve() == Path(result.b.folder).resolve()
    return [
        _verdict(result),
        *(["A and B are the same folder: this says nothing of a second run."] if same else ()),
        *_of_points(result),
        *_of_texts(result),
        *_of_tests(result),
        *_of_seconds(result),
        *_undecided(result),
        *_apart(result),
        *_unjudged(result),
    ]


def _verdict(result: Result) -> str:
    a, b = f"A ({result.a.run})", f"B ({result.b.run})"
    parts = []
    if result.failing:
        points = {finding.point for finding in result.failing}
        figures = counted(len(result.failing), "figure")
        parts.append(f"is worse beyond noise in {figures} of {counted(len(points), 'point')}")
    if lost := [broken for broken in result.broken if broken.fails]:
        parts.append(f"has no figures of {counted(len(lost), 'point')} that A has finished")
    if parts:
        return f"{b} {' and '.join(parts)}, against {a}."
    if result.code == NOTHING:
        what = f"No figure that is looked at in {b}" if result.points else f"Nothing of {b}"
        return f"{what} could be compared with {a}."
    of_texts = [finding for finding in result.of(*COMPARED, "not tested") if finding.what not in OF_THE_MACHINE]
    done = {finding.verdict for finding in of_texts}
    if done <= {"identical", "same"}:
        return f"{b} is identical to {a} in every figure that was compared, seconds and memory aside."
    worse = len(result.of("worse"))
    aside = f" in what is looked at; {counted(worse, 'other figure')} is worse" if worse else ""
    return f"Nothing of {b} is worse than {a} beyond noise{aside}."


def _of_points(result: Result) -> list[str]:
    alone = f"{len(result.only_a):,} only in A, {len(result.only_b):,} only in B"
    unequal = [
        f", {len(points):,} in both but finished only in {name}"
        for name, points in (("A", result.broken), ("B", result.mended))
        if points
    ]
    return [f"{counted(result.points, 'point')} finished in both, {alone}{''.join(unequal)}."]


def _of_texts(result: Result) -> list[str]:
    same, total = result.identical_texts
    return [f"{same:,} of {total:,} texts are identical."] if total else []


def _of_tests(result: Result) -> list[str]:
    counts = Counter[str](finding.verdict for finding in result.findings if finding.p is not None)
    parts = ", ".join(f"{counts[verdict]} {words}" for verdict, words in _WORDS.items() if counts[verdict])
    return [f"{counted(result.tests, 'test')}: {parts} (p adjusted by Holm, level {ALPHA})."] if parts else []


def _of_seconds(result: Result) -> list[str]:
    """What is said of seconds: by model where conditions are the same, else why not."""
    mine = [finding for finding in result.findings if finding.what == "seconds"]
    shown = [
        f"{f.point.partition(',')[0]} {f.ratio:.2f} times [{f.low:.2f}, {f.high:.2f}]" for f in mine if f.ratio and f.p
    ]
    lines = []
    if shown:
        lines.append(
            f"Seconds of B against A: {'; '.join(shown)}. The intervals are made from the batches of one run each: how "
            "busy the machine was at the time of either is not in them."
        )
    groups = group_by([{"why": f.note} for f in mine if f.verdict == "not compared"], lambda row: row["why"])
    said = (
        f"Seconds of {counted(len(rows), 'point')}: {why}: not called faster or slower." for why, rows in groups.items()
    )
    return [*lines, *said]


def _undecided(result: Result) -> list[str]:
    if not result.undecided:
        return []
    worst = max(result.undecided, key=_blindness)
    figures = counted(len(result.undecided), "figure")
    return [
        f"Inconclusive for {figures}: a change of {result.request.tolerance:.1%} could have gone unseen. The least "
        f"certain is {worst.title} of {worst.point}: only {_blindness(worst):.1%} or more would have been found four "
        "times in five."
    ]


def _apart(result: Result) -> list[str]:
    if not result.apart:
        return []
    figures, names = counted(len(result.apart), "figure"), ", ".join(dict.fromkeys(f.what for f in result.apart))
    return [
        f"Worse by the intervals in {figures} of the whole set, of which no paired test can be made ({names}): they "
        "fail only where --metrics names them."
    ]


def _unjudged(result: Result) -> list[str]:
    figures = len(result.unjudged)
    return (
        [f"Not judged: {counted(figures, 'figure')} that could have failed; the reasons stand below."]
        if figures
        else []
    )


def _blindness(finding: Finding) -> float:
    """The smallest relative change that would have been found."""
    return (finding.detectable or 0.0) / abs(finding.a) if finding.a else float("inf")
