"""The files of a split of pairs: the user's own, or the source's, fetched as they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpora.files import Found, fetch, is_archive
from benchmarks.pairs.settings import PairCorpus, PairSplit
from harness.download import sha256_of
from harness.errors import UserError

JSON_LINES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


@dataclass(frozen=True)
class PairFiles:
    """Where the pairs of a split are.

    Attributes:
        files: one file of JSON lines; sources and targets in turn; or one archive.
        members: members of the archive with sources and targets in turn; empty where `files` are read themselves.
        origin: where they came from, in words.
    """

    files: tuple[Path, ...]
    members: tuple[str, ...] = ()
    origin: str = "benchmark.path"

    def facts(self) -> list[dict[str, Any]]:
        """What benchmark.json says of them."""
        return [Found(file, sha256_of(file), self.origin, None).fact() for file in self.files]


def local_split(split: PairSplit, path: Path, evaluated: bool) -> PairFiles | None:
    """The user's files of a split, None where there are none.

    Args:
        split: which one.
        path: the user's file or folder.
        evaluated: whether it is the split that a single file is taken for.

    Raises:
        UserError: for a single file that cannot hold pairs.
    """
    if path.is_dir():
        return _in_folder(split, path)
    if is_archive(path):
        return PairFiles((path,), split.members) if split.members else None
    if not path.name.endswith(JSON_LINES):
        raise UserError(
            f"benchmark.path={path} holds one side of the pairs at most: give a file of JSON lines, or a folder."
        )
    return PairFiles((path,)) if evaluated else None


def _in_folder(split: PairSplit, path: Path) -> PairFiles | None:
    for pattern in split.names:
        matches = sorted(file for file in path.glob(pattern) if file.is_file())
        if matches:
            return PairFiles((matches[0],))
    for sides in filter(None, (split.sides, split.members)):
        matches = [next(iter(sorted(path.glob(pattern))), path / pattern) for pattern in sides]
        there = [match for match in matches if match.is_file()]
        if len(there) == len(matches):
            return PairFiles(tuple(matches))
        if there:
            lacking = ", ".join(pattern for pattern, match in zip(sides, matches, strict=True) if match not in there)
            raise UserError(f"benchmark.path={path} has {there[0].name}, but not its other side: {lacking}.")
    return None


def files_of(corpus: PairCorpus, path: Path | None, evaluated: str) -> dict[str, PairFiles]:
    """Splits that there are files for, fetched where the user gives none, in the YAML's order.

    Raises:
        UserError: where the evaluated split has none, and where a file cannot be fetched.
    """
    found = {}
    for name, split in corpus.splits.items():
        files = _fetched(split) if path is None else local_split(split, path, name == evaluated)
        if files is not None:
            found[name] = files
    if evaluated not in found:
        wanted = _wanted(corpus.splits[evaluated])
        given = f"benchmark.path={path}" if path else "the benchmark's source"
        raise UserError(f"{given} has no file for the split '{evaluated}': looked for {wanted}.")
    return found


def _wanted(split: PairSplit) -> str:
    return ", or ".join([*split.names, " and ".join(split.sides)])


def _fetched(split: PairSplit) -> PairFiles | None:
    if not split.files:
        return None
    found = [fetch(remote, [_wanted(split)]) for remote in split.files]
    return PairFiles(tuple(file.path for file in found), split.members, ", ".join(file.source for file in found))
