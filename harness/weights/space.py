"""Room on the disk: asked for before gigabytes come, and said in one line where there is too little."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.download import CACHE_VARIABLE
from harness.errors import UserError
from harness.worker.jsonl import DISK_FULL

#: Bytes that are left free: a disk without any stops more than this download.
RESERVE = 256 << 20
_MOVE = f"Make room there, or keep downloads elsewhere: {CACHE_VARIABLE}=FOLDER."


def readable(size: float) -> str:
    """Bytes as people read them, in powers of 1000 as disks and downloads are counted."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if size >= 99.5 or units[0] == "bytes" else f"{size:.3g} {units[0]}"


def check_space(folder: Path, need: int, what: str, about: bool = False) -> None:
    """Refuse what does not fit.

    Args:
        folder: where it goes; it need not be there yet.
        need: bytes.
        what: what needs them, to begin the message.
        about: whether `need` is an estimate.

    Raises:
        UserError: with what is needed and what is free.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if need + RESERVE > free:
        kind = "about " if about else ""
        raise UserError(f"{what} needs {kind}{readable(need)} in {folder}, where {readable(free)} are free. {_MOVE}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line.

    Raises:
        UserError: for a full disk, a missing permission and the like.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise UserError(f"no space is left in {folder}; what came so far is kept. {_MOVE}") from None
        raise UserError(
            f"cannot write into {folder}: {error.strerror or error}. Choose another with {CACHE_VARIABLE}=FOLDER."
        ) from None
