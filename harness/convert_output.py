"""What a container left in its folder, looked at by its names, kinds and sizes alone; and its words, made harmless."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from adapters.weights import CONVERTED
from harness.errors import UserError

#: Characters of a text of the container's that are shown.
LONGEST_TEXT = 300
_FILE = "a file"
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def check_files(folder: Path, count: int, most_bytes: int, whole: bool = True) -> None:
    """Check that a folder holds the files 0.safetensors, 1.safetensors, ... and nothing else.

    No file is opened and no link followed, and no more files are looked at than there may be.

    Args:
        folder: written by a stranger.
        count: how many files are expected.
        most_bytes: what they may have together.
        whole: whether all is written; while it is, there may be one file more under any name, which is to get its own.

    Raises:
        UserError: for anything else; one line.
    """
    missing = {f"{index}{CONVERTED}" for index in range(count)}
    total = 0
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            kind, size = _facts(entry)
            if kind != _FILE or number > count or (whole and entry.name not in missing):
                raise _hostile(f"it left '{shown(entry.name)}', {kind} that does not belong there")
            missing.discard(entry.name)
            total += size
            if total > most_bytes:
                raise _hostile(f"it wrote more than {most_bytes / 1e6:.0f} MB")
    if whole and missing:
        raise _hostile(f"it left no {min(missing)}")


def _facts(entry: os.DirEntry[str]) -> tuple[str, int]:
    """Kind and size of what stands in a folder; a file that is just getting its name may be gone."""
    try:
        facts = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return _FILE, 0
    kind = _KINDS.get(stat.S_IFMT(facts.st_mode), _FILE)
    return ("a file with two names" if kind == _FILE and facts.st_nlink != 1 else kind), facts.st_size


def _hostile(what: str) -> UserError:
    return UserError(
        f"the container of the conversion did what it should not: {what}. Nothing was kept; the file may be hostile."
    )


def shown(text: str) -> str:
    """A stranger's text as it may go to a terminal: one line, no control characters, not long."""
    line = "".join(c if c.isprintable() else " " for c in text).strip()
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 3] + "..."
