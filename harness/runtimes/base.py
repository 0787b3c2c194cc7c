"""What every runtime offers: a worker for a job folder, what it reports, and how it ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from harness.store import Record


@dataclass(frozen=True)
class Ending:
    """How a worker ended.

    Attributes:
        status: exit status; negative for a signal, as in `subprocess`.
        out_of_memory: one line with the limit where the engine killed it for memory, else None.
        problem: one line where nobody can say how it ended (the engine died, somebody removed the container).
    """

    status: int
    out_of_memory: str | None = None
    problem: str | None = None


class Worker(Protocol):
    """One running worker."""

    def events(self) -> Iterator[Record | None]:
        """Its events until it has ended; None each time nothing came for a while, so that the caller can look at the
        clock."""

    def wait(self) -> Ending:
        """How it ended; waits for that."""

    def stop(self) -> None:
        """End it if it still runs, and release what belongs to it. Harmless a second time."""


class Runtime(Protocol):
    """A place where workers run.

    Attributes:
        facts: what rows record of it: {"name": "local"}, or the name, image and limits of containers.
    """

    @property
    def facts(self) -> Record: ...

    def inside(self, load: Record) -> Record:
        """The fields of `adapters.base.LoadSpec` as the worker sees them: paths, and the name of its device."""

    def claim(self, folder: Path) -> None:
        """Make a job folder the caller's alone: what a killed run left working there is ended, what it left lying there
        is safe to read and to write to.

        Args:
            folder: a job folder that nobody else uses.
        """

    def start(self, folder: Path, skip: Sequence[str]) -> Worker:
        """Start a worker.

        Args:
            folder: the job folder with job.json.
            skip: points that it leaves out.

        Raises:
            UserError: where it cannot be started; one line that says what to do.
        """


_TEXT_OR_NONE = (str, type(None))
#: The events of a worker, with what each holds at least. Anybody's code may write to the same stream.
EVENTS: Mapping[str, Mapping[str, Any]] = {
    "loaded": {},
    "not_loaded": {"reason": str, "message": str},
    "point": {"point": str},
    "batch": {"point": str},
    "row": {"row": dict},
}
ROW = {"point": str, "status": str, "reason": _TEXT_OR_NONE, "message": _TEXT_OR_NONE}


def events_of(
    lines: Iterable[bytes | None], log: BinaryIO, known: Mapping[str, Mapping[str, Any]] = EVENTS
) -> Iterator[Record | None]:
    """Events in a worker's output, those that are `known`. Any other line goes to the log, and None comes in its place,
    so that noise does not keep the caller from the clock.
    """
    for line in lines:
        event = None if line is None else _event(line, known)
        if line is not None and event is None:
            write_log(log, line + b"\n")
        yield event


def _event(line: bytes, known: Mapping[str, Mapping[str, Any]]) -> Record | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kind = event.get("event") if isinstance(event, dict) else None
    if not isinstance(kind, str) or kind not in known or not holds(event, known[kind]):
        return None
    return event if kind != "row" or holds(event["row"], ROW) else None


def holds(value: Any, fields: Mapping[str, Any]) -> bool:
    """Whether a value that was read is a mapping with these fields, each of its type."""
    return isinstance(value, dict) and all(
        name in value and isinstance(value[name], kind) for name, kind in fields.items()
    )


def write_log(log: BinaryIO, text: bytes) -> None:
    """Add to a log; a full disk has no room for it, a closed one no use, and neither must end what is logged."""
    with contextlib.suppress(OSError, ValueError):
        log.write(text)
