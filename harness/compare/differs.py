"""What two runs were made with that is not the same: settings, versions, machines, data, weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.compare.pairing import Pair
from harness.compare.sides import Side
from harness.errors import counted
from harness.report.data import as_text
from harness.report.render import flatten

#: Where a run lies says nothing of what it is.
_NOT_SETTINGS = ("run", "results", "reports")
#: How busy the machine was is no property of it; what workers say is read from their sessions.
_NOT_ENVIRONMENT = ("load_average", "worker.", "job.")
#: More entries than this that one run alone records are counted, not listed.
_MOST_ALONE = 3


class Difference(NamedTuple):
    """One thing that is not the same: "setting", "environment", "data", "weights" or "points"."""

    kind: str
    what: str
    a: str
    b: str


def differences(a: Side, b: Side, pairs: Sequence[Pair], fields: Sequence[str]) -> list[Difference]:
    """Everything that differs, what was asked for first.

    Args:
        a: the one run.
        b: the other.
        pairs: points that were set against each other.
        fields: those in which paired points may differ.
    """
    return [
        *_of_points(pairs, fields),
        *_unlike("setting", _settings(a), _settings(b)),
        *_without_repeats(_unlike("environment", _environment(a), _environment(b))),
        *_unlike("data", _data(a), _data(b)),
        *_unlike("weights", a.weights(), b.weights()),
    ]


def _unlike(kind: str, a: Mapping[str, str], b: Mapping[str, str]) -> list[Difference]:
    left_out: set[str] = set()
    counts: list[Difference] = []
    for mine, other, words in ((a, b, ("{} recorded", "not recorded")), (b, a, ("not recorded", "{} recorded"))):
        lone = mine.keys() - other.keys()
        if len(lone) > _MOST_ALONE:
            left_out |= lone
            counts.append(Difference(kind, "others", *(text.format(len(lone)) for text in words)))
    found = [
        Difference(kind, key, a.get(key, "not recorded"), b.get(key, "not recorded"))
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key) and key not in left_out
    ]
    return found + counts


def _without_repeats(found: Sequence[Difference]) -> list[Difference]:
    """Without what workers say where the two hosts differ in the same."""
    hosts = {(f"worker.{line.what}", line.a, line.b) for line in found}
    return [line for line in found if (line.what, line.a, line.b) not in hosts]


def _settings(side: Side) -> dict[str, str]:
    return {key: as_text(value) or "empty" for key, value in side.config.items() if key not in _NOT_SETTINGS}


def _environment(side: Side) -> dict[str, str]:
    """Facts of the host, and those of its workers, which are mostly the same: said where any worker has another."""
    host = {key: text for key, text in flatten(side.data.environment) if not key.startswith(_NOT_ENVIRONMENT)}
    workers: dict[str, dict[str, None]] = {}
    for session in side.sessions():
        facts = {**session["environment"], **{key: session.get(key) for key in ("memory_kind", "runtime")}}
        for key, text in flatten(facts):
            workers.setdefault(key, {})[text] = None
    return host | {f"worker.{key}": ", ".join(texts) for key, texts in workers.items()}


def _data(side: Side) -> dict[str, str]:
    facts = side.data.benchmarks.items()
    found = {f"{name}, digest": str(mine["digest"])[:16] for name, mine in facts if mine.get("digest")}
    return found | {f"{name}, version": str(mine["version"]) for name, mine in facts if mine.get("version")}


def _of_points(pairs: Sequence[Pair], fields: Sequence[str]) -> Iterator[Difference]:
    """What paired points differ in, each pair of values once, with how many points it is of."""
    counts: dict[tuple[str, str, str], int] = {}
    for pair in pairs:
        for name in fields:
            for key, first, second in _entries(name, pair.a.get(name), pair.b.get(name)):
                counts[key, first, second] = counts.get((key, first, second), 0) + 1
    for (key, first, second), count in counts.items():
        yield Difference("points", f"{key} ({counted(count, 'point')})", first, second)


def _entries(name: str, a: Any, b: Any) -> Iterator[tuple[str, str, str]]:
    """The entries of mappings that differ, else the values themselves."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _entries(f"{name}.{key}", a.get(key), b.get(key))
    elif a != b:
        yield name, as_text(a) or "none", as_text(b) or "none"
