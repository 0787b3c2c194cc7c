"""Append-only JSON lines that survive a kill at any moment, and files written whole or not at all.

A job folder is written by a worker that may run a stranger's code, so nothing here follows a link or waits at a pipe
that was put in place of a file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import IO, Any, Dict, Iterable, Iterator, List, Mapping

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

#: Error numbers of a disk or quota with no room left.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class UnsafeFile(Exception):
    """In place of a file there is a link, a pipe or a folder; the text is one line for a person."""


def open_plain(path: Path, mode: str) -> IO[Any]:
    """Open a regular file as `open` does, in UTF-8 where it is a text.

    Raises:
        UnsafeFile: where the name is of something else than a regular file.
        OSError: as `open` does.
    """
    try:
        file = open(str(path), mode, encoding=None if "b" in mode else "utf-8", opener=_no_link)  # noqa: SIM115
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise UnsafeFile(_UNSAFE.format(path)) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnsafeFile(_UNSAFE.format(path))
    return file


_UNSAFE = "{} is no regular file: what ran in this folder may have put it there. Look at it, remove it, run again."


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def append_line(path: Path, record: Dict[str, Any], force: bool = True) -> None:
    """Append one record. A half-written last line left by a kill is cut off first.

    Args:
        path: made where it is missing.
        record: anything JSON can hold; no NaN.
        force: also wait until the disk has it. Without, the line survives the death of the process at once, that of
            the machine only after the next forced write to the file.

    Raises:
        OSError: when the line cannot be written whole (a full disk); what was there before stays readable.
    """
    line = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    with open_plain(path, "ab+") as file:
        end = _whole_end(file)
        if end != file.seek(0, os.SEEK_END):
            file.truncate(end)
        file.seek(end)
        file.write(line)
        file.flush()
        if force:
            os.fsync(file.fileno())


def json_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as the text of such a file."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def force_to_disk(path: Path) -> None:
    """Wait until the disk has everything written to a file so far; nothing where there is no file."""
    if path.exists():
        with open_plain(path, "ab") as file:
            os.fsync(file.fileno())


def _whole_end(file: Any) -> int:
    """Offset behind the last newline."""
    end = int(file.seek(0, os.SEEK_END))
    position = end
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + int(newline) + 1
        position = start
    return 0


def loads(text: str) -> Any:
    """A JSON text. Halves of surrogate pairs, which UTF-8 cannot hold and this project never writes, become "?".

    Raises:
        ValueError: when it is no JSON.
    """
    value = json.loads(text)
    if not _SURROGATE.search(text):
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8"))


def read_lines(path: Path) -> List[Dict[str, Any]]:
    """All whole records of a file, [] where there is none. A half-written last line is left out.

    Raises:
        ValueError: when a line other than the last is damaged; names file and line.
    """
    return list(iter_lines(path))


def iter_lines(path: Path) -> Iterator[Dict[str, Any]]:
    """As `read_lines`, one record at a time."""
    if not os.path.lexists(str(path)):
        return
    with open_plain(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield loads(line.decode("utf-8"))
            except ValueError as error:
                raise ValueError("{}, line {} is damaged: {}".format(path, number, error)) from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, atomically: a reader sees the old file or the new one."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a reader sees the old file or the new one."""
    temporary = path.with_name(path.name + ".part")
    with open_plain(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(str(temporary), str(path))
