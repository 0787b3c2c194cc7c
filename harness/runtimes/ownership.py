"""Whose the files are that a container reads and writes.

A container runs as the user who called us, so its files are theirs. For root that would be root inside: there it is the
user nobody, whom the job folder is lent for that time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.runtimes.engine import security_options

#: User and group "nobody".
NOBODY = 65534
#: What no file that a container wrote may keep.
SET_ID = stat.S_ISUID | stat.S_ISGID


def container_user(facts: Mapping[str, Any]) -> tuple[int, int]:
    """User and group id of a container's processes.

    Args:
        facts: what the engine says of itself.
    """
    if "rootless" in security_options(facts):
        return 0, 0  # its root is the caller outside
    return (os.getuid(), os.getgid()) if os.getuid() else (NOBODY, NOBODY)


def lend(folder: Path, user: tuple[int, int]) -> None:
    """Give a folder to the container's user, where that is somebody else than the caller.

    Raises:
        UserError: where the file system does not allow it.
    """
    if os.getuid() or user[0] == os.getuid():
        return
    try:
        for path in (str(folder), *_entries(folder)):
            os.chown(path, *user, follow_symlinks=False)
    except OSError as error:
        raise UserError(
            f"cannot give {folder} to user {user[0]}, as whom the container runs for root ({error.strerror}): start "
            "tdbench as a normal user, or put the results on another file system with results=."
        ) from None


def take_back(folder: Path) -> list[str]:
    """Make a folder the caller's again after a container wrote there: only plain files and folders stay, which the
    caller can read and change.

    A link or pipe would otherwise lead our own reading and writing to places outside of the folder.

    Returns:
        what was removed, relative to the folder.
    """
    removed = []
    folder = folder.resolve()
    for path in (str(folder), *_entries(folder)):
        facts = os.lstat(path)
        mode = facts.st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            os.unlink(path)
            removed.append(os.path.relpath(path, folder))
            continue
        if facts.st_uid == NOBODY and os.getuid() == 0:
            os.chown(path, os.getuid(), os.getgid(), follow_symlinks=False)
        have = stat.S_IMODE(mode)
        wanted = have | stat.S_IRWXU if stat.S_ISDIR(mode) else have & ~SET_ID | stat.S_IRUSR | stat.S_IWUSR
        if have != wanted:
            os.chmod(path, wanted)
    return removed


def _entries(folder: Path) -> Iterator[str]:
    """Everything below a folder, a folder before what is in it, links not followed."""
    for parent, folders, files in os.walk(folder):
        yield from (os.path.join(parent, name) for name in [*folders, *files])
