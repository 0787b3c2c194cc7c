"""Errors that a person reads.

TdbenchError
├── UserError          the request cannot be met as given: one line, exit code 2
│   └── BusyError      another process holds the run folder
└── MissingPackage     an optional package is needed: names the command that installs it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TdbenchError(Exception):
    """Base of all errors raised on purpose; its text is one complete line for a person."""


class UserError(TdbenchError):
    """What was wrong, which value, and what to do. Shown without a traceback, exit code 2."""


class BusyError(UserError):
    """Another process is working in the same run folder."""


class MissingPackage(UserError):
    """An optional package is not installed.

    Args:
        package: distribution name, as pip knows it.
        needed_for: what cannot be done without it.
    """

    def __init__(self, package: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the package '{package}': pip install {package}")


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """A `UserError` for an unknown name, with the nearest known one.

    Args:
        kind: what the name stands for, as in "scheduler".
        name: what the user typed.
        known: the names that would have been accepted.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return UserError(f"unknown {kind} '{name}'. {hint}Known: {', '.join(names) or 'none'}.")


def counted(count: int, word: str) -> str:
    """A count with its noun: "1 line", "2 lines"."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")
