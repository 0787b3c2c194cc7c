"""What a model takes, as its card says it: training, code, dependencies, and what it took to run it here.

Every field may be missing: then it is not known here, which is shown as such and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from harness.errors import UserError

#: How lines of code are counted, for the authors' code and for ours.
COUNTED = "non-blank lines of the *.py files"


@dataclass(frozen=True)
class Stated:
    """A published fact.

    Attributes:
        text: in words.
        source: where it was published.
        brief: the same in a few words, for a table; None: `text` is short enough.
        gpu_days: of a training, GPUs times days as published; None where either is not stated.
    """

    text: str
    source: str
    brief: str | None = None
    gpu_days: float | None = None


@dataclass(frozen=True)
class CodeSize:
    """Python files and their non-blank lines; `commit` where they were counted at another one than the card pins."""

    files: int
    lines: int
    commit: str | None = None


@dataclass(frozen=True)
class Needs:
    """What the authors' code asks for.

    Attributes:
        source: the file of theirs that says so.
        python: version, None where none is stated.
        torch: version.
        cuda: version.
        packages: how many packages that file lists.
        compiled: what must be compiled besides.
    """

    source: str
    python: str | None = None
    torch: str | None = None
    cuda: str | None = None
    packages: int | None = None
    compiled: str | None = None


@dataclass(frozen=True)
class Effort:
    """What a model takes.

    Attributes:
        paper: year and month of the paper's first version ("2023-05"), which its arXiv number tells.
        last_commit: date of the pinned commit.
        data: what it was trained on, with its size.
        compute: GPUs, hours and steps of the training.
        weights_licence: of the published weights.
        code: Python code of the authors at the pinned commit.
        needed: what of it sampling and likelihood need: the files of `UpstreamCard.files`.
        cuda_files: how many of the authors' Python files name CUDA.
        needs: dependencies.
        took: what it took to run their code here, one sentence each.
    """

    paper: str | None = None
    last_commit: date | None = None
    data: tuple[Stated, ...] = ()
    compute: tuple[Stated, ...] = ()
    weights_licence: Stated | None = None
    code: CodeSize | None = None
    needed: CodeSize | None = None
    cuda_files: int | None = None
    needs: Needs | None = None
    took: tuple[str, ...] = ()


def read_effort(data: Mapping[str, Any], where: str) -> Effort:
    """The `effort` of a card.

    Args:
        data: the mapping, {} where the card has none.
        where: file name, for messages.

    Raises:
        UserError: for an unknown key, a fact without a source, or a paper's month that is none.
    """
    values = dict(data)
    try:
        for name in ("data", "compute"):
            values[name] = tuple(Stated(**fact) for fact in values.get(name, ()))
        for name, kind in (("weights_licence", Stated), ("code", CodeSize), ("needed", CodeSize), ("needs", Needs)):
            if values.get(name) is not None:
                values[name] = kind(**values[name])
        effort = Effort(**{**values, "took": tuple(values.get("took", ()))})
    except TypeError as error:
        raise UserError(f"{where}, effort: {error}.") from None
    _check_dates(effort, where)
    return effort


def _check_dates(effort: Effort, where: str) -> None:
    if effort.last_commit is not None and type(effort.last_commit) is not date:
        raise UserError(f"{where}, effort: last_commit is '{effort.last_commit}', not a date like 2023-05-29.")
    try:
        month_of(effort)
    except ValueError:
        raise UserError(f"{where}, effort: paper is '{effort.paper}', not a year and month like '2023-05'.") from None


def month_of(effort: Effort) -> date | None:
    """The first day of the paper's month, None where it is not known."""
    return date.fromisoformat(f"{effort.paper}-01") if effort.paper is not None else None


def measure(*folders: Path) -> CodeSize:
    """Python files below the folders and their non-blank lines."""
    files = sorted({file for folder in folders for file in folder.rglob("*.py")})
    lines = sum(bool(line.strip()) for file in files for line in file.read_text(encoding="utf-8").splitlines())
    return CodeSize(len(files), lines)
