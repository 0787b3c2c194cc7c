"""Reads runs that this version did not write: of a newer schema, copied from another machine, with damaged lines.

What can be read is read; whatever is left out is counted and said (`TolerantStore.unread`). Nothing is written here:
the stages that write hold on to `RunStore`, which refuses what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

from harness.errors import UserError, counted
from harness.store import SCHEMA, Record, RunStore
from harness.worker.jsonl import loads, open_plain

Kinds = tuple[type, ...]
_TEXT: Kinds = (str,)
_WORDS: Kinds = (str, type(None))
_WHOLE: Kinds = (int,)
_AMOUNT: Kinds = (int, float, type(None))
_ANY: Kinds = (object,)


class Shape(NamedTuple):
    """What lines of a file look like: fields without which a line says nothing, with their types, and all others."""

    needed: Mapping[str, Kinds]
    others: frozenset[str] = frozenset()

    def lacks(self, line: Mapping[str, Any]) -> list[str]:
        """Needed fields that are missing, or of another type."""
        return [name for name, kinds in self.needed.items() if name not in line or not isinstance(line[name], kinds)]

    def unknown(self, line: Mapping[str, Any]) -> list[str]:
        """Fields that this version does not know."""
        return [name for name in line if name not in self.needed and name not in self.others]


SHAPES = {
    "points.jsonl": Shape(
        {"point": _TEXT, "status": _TEXT, "warmup_seconds": (list, type(None)), "notes": (list,)}
        | dict.fromkeys(("reason", "message", "same_as"), _WORDS),
        frozenset({"session"}),
    ),
    "batches.jsonl": Shape(
        {"point": _TEXT, "batch": _WHOLE, "session": _WORDS}
        | dict.fromkeys(("seconds", "network_seconds", "peak_memory_bytes"), _AMOUNT),
        frozenset({"network_calls", "evaluations", "samples", "likelihoods", "bound", "trace", "file", "sha256"}),
    ),
    "sessions.jsonl": Shape(
        {"session": _TEXT, "environment": (dict,)},
        frozenset({"job", "checkpoint_sha256", "load_seconds", "parameters", "memory_kind", "runtime"}),
    ),
    "traces.jsonl": Shape(
        {"point": _TEXT, "steps": _WHOLE, "of_samples": (bool,), "seconds": _AMOUNT}
        | dict.fromkeys(("done", "texts", "tokens", "changes"), (list,)),
        frozenset({"session"}),
    ),
    "convergence.jsonl": Shape(
        {"point": _TEXT, "steps": _WHOLE, "sequences": _WHOLE, "of_samples": (bool,), "metric": _WORDS}
        | {"reasons": (dict,), "states": (list,)},
        frozenset({"version", "settings", "trace_digest", "seconds"}),
    ),
    "scores.jsonl": Shape(
        {"point": _TEXT, "metric": _TEXT, "value": _AMOUNT, "low": _AMOUNT, "high": _AMOUNT, "reason": _WORDS}
        | {"better": _TEXT, "unit": _WORDS},
        frozenset({"version", "settings", "samples_digest", "detail", "samples"}),
    ),
}
#: What is needed of the entries of a batch, by the field that holds them.
_ENTRIES = {
    "samples": Shape({"index": _WHOLE, "text": _TEXT, "nfe": _AMOUNT, "generated_tokens": _AMOUNT}),
    "likelihoods": Shape(
        dict.fromkeys(("nats", "standard_error", "nfe"), _AMOUNT)
        | dict.fromkeys(("index", "tokens", "bytes", "chars", "words"), _WHOLE)
    ),
}
#: Of run.json. Further fields of a point are columns of the table and never lost.
_POINT = Shape(
    dict.fromkeys(("fingerprint", "model", "role", "kind", "benchmark", "job"), _TEXT)
    | dict.fromkeys(("samples", "batch_size", "steps"), (int, type(None)))
)
_VALUES = {
    "status": ("done", "failed", "not_available", "same_as"),
    "better": ("higher", "lower", "none"),
    "kind": ("generate", "likelihood"),
}
#: Of run.json: what is put where a field is missing or of another type.
_PLAN: Record = {"command": "", "created": "", "environment": {}, "config": {}, "points": []}


class _LeftOut(NamedTuple):
    """What was left out of which file; `noun` is what is counted, "" where nothing is."""

    file: str
    noun: str
    rest: str

    def said(self, count: int) -> str:
        words = [counted(count, self.noun)] if self.noun else []
        return f"{self.file}{':' if self.noun else ''} {' '.join([*words, self.rest])}"


@dataclass(frozen=True)
class TolerantStore(RunStore):
    """One run folder, read as far as it can be.

    Attributes:
        folder: results/<run>.
    """

    @classmethod
    def open(cls, results: Path, run: str) -> Self:
        """As `RunStore.open`; `UserError` also for a folder that may not be read."""
        try:
            return super().open(results, run)
        except PermissionError as error:
            raise may_not_be_read(run, error) from None

    # What was left out -> where: each line once, however often its file is read.
    _left_out: dict[_LeftOut, set[tuple[Path, int]]] = field(default_factory=dict, repr=False, compare=False)

    def unread(self) -> list[str]:
        """What was left out so far, a phrase each; [] for a run that this version wrote and nothing damaged."""
        return [what.said(len(places)) for what, places in self._left_out.items()]

    def _leave_out(self, path: Path, number: int, noun: str, rest: str) -> None:
        self._left_out.setdefault(_LeftOut(path.name, noun, rest), set()).add((path, number))

    @cached_property
    def plan(self) -> Record:
        """run.json with what is missing in it filled in; points that say too little are left out.

        Raises:
            UserError: when the file is no JSON object.
        """
        path = self.folder / "run.json"
        try:
            stored = loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"run '{self.run}': {path} is damaged: {error}.") from None
        if not isinstance(stored, dict):
            raise UserError(f"run '{self.run}': {path} is not the plan of a run.")
        if stored.get("schema") != SCHEMA:
            rest = f"this version reads {SCHEMA}: what it does not know is not shown"
            self._leave_out(path, 0, "", f"has schema {stored.get('schema')}, {rest}")
        plan: Record = {**stored}
        for name, empty in _PLAN.items():
            if not isinstance(stored.get(name), type(empty)):
                plan[name] = empty
                self._leave_out(path, 0, "", f"has no readable {name}")
        plan["points"] = [point for i, point in enumerate(plan["points"]) if self._is_point(point, path, i)]
        return plan

    def _is_point(self, point: Any, path: Path, number: int) -> bool:
        """Whether a point says enough to be shown; where not, it is counted."""
        lacking = _POINT.lacks(point) if isinstance(point, dict) else ["content"]
        if lacking:
            self._leave_out(path, number, "point", f"without a readable {', '.join(lacking)}, left out")
        elif point["kind"] not in _VALUES["kind"]:
            self._leave_out(
                path, number, "point", f"of a kind that is not known here, '{_short(point['kind'])}', left out"
            )
            return False
        return not lacking

    def benchmark_facts(self, benchmark: str) -> Record:
        """As `RunStore.benchmark_facts`; {} for a damaged file."""
        try:
            return super().benchmark_facts(benchmark)
        except ValueError:
            path = self.benchmark_data(benchmark) / "benchmark.json"
            self._leave_out(path, 0, "", f"of {benchmark} is damaged: its facts are missing")
            return {}

    def lines(self, path: Path) -> Iterator[Record]:
        """The records of a file that can be read and used."""
        shape = SHAPES.get(path.name)
        for number, line in self._whole_lines(path):
            lacking = shape.lacks(line) + _lacking_entries(line, path) if shape else []
            if lacking:
                words = ", ".join(dict.fromkeys(lacking))
                self._leave_out(path, number, "line", f"without a readable {words}, left out")
                continue
            for name in shape.unknown(line) if shape else ():
                self._leave_out(path, number, "line", f"whose field '{_short(name)}' is not known here")
            known = self._with_known_values(line, path, number)
            if known is not None:
                yield known

    def _with_known_values(self, line: Record, path: Path, number: int) -> Record | None:
        """The line; a status that this version does not know becomes a row that says so, other values leave it out."""
        if path.name == "points.jsonl" and line["status"] not in _VALUES["status"]:
            status = _short(line["status"])
            self._leave_out(path, number, "row", f"with a status that is not known here, '{status}'")
            message = f"the run says '{status}', which this version does not know"
            return {**line, "status": "not_available", "reason": "unknown_status", "message": message}
        if path.name == "scores.jsonl" and line["better"] not in _VALUES["better"]:
            better = _short(line["better"])
            self._leave_out(path, number, "figure", f"of which '{better}' is better, which is not known here, left out")
            return None
        return line

    def _whole_lines(self, path: Path) -> Iterator[tuple[int, Record]]:
        if not path.exists():
            return
        with open_plain(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                if not raw.endswith(b"\n"):
                    self._leave_out(path, number, "half-written last line", "left out")
                    return
                try:
                    line = loads(raw.decode("utf-8"))
                except ValueError:
                    line = None
                if isinstance(line, dict):
                    yield number, line
                else:
                    self._leave_out(path, number, "damaged line", "left out")


def may_not_be_read(run: str, error: PermissionError) -> UserError:
    """What to tell a person whose system does not let a file of a run be read."""
    return UserError(f"run '{run}': {error.filename} cannot be read: {error.strerror}. Change its permissions.")


def _lacking_entries(line: Mapping[str, Any], path: Path) -> list[str]:
    """What the samples or likelihoods of a batch lack, [] for a line of another file."""
    if path.name != "batches.jsonl":
        return []
    if not _ENTRIES.keys() & line.keys():
        return [" or ".join(_ENTRIES)]
    found = []
    for name, shape in _ENTRIES.items():
        entries = line.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            found.append(name)
        else:
            found += [f"{lacking} of {name}" for entry in entries for lacking in shape.lacks(entry)]
    return found


def _short(value: Any) -> str:
    """A value from a file inside a sentence, cut to a readable length."""
    return str(value)[:40]
