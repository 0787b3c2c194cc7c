"""Asking for room, and saying what the disk refuses."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import UserError
from harness.weights import space
from harness.weights.space import check_space, readable, writing


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_368_861, "1.37 MB"),
        (649_000_000, "649 MB"),
        (999_600_000, "1 GB"),
        (4_700_000_000, "4.7 GB"),
        (72_345_000_000, "72.3 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_for_people(size: float, text: str) -> None:
    assert readable(size) == text


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000_000))
    monkeypatch.setattr(space, "RESERVE", 100_000_000)


def test_room_is_asked_for_where_the_folder_will_be(free: None, tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    check_space(folder, 900_000_000, "x")
    with pytest.raises(UserError) as caught:
        check_space(folder, 900_000_001, "toy:big")
    assert str(caught.value) == (
        f"toy:big needs 900 MB in {folder}, where 1 GB are free. Make room there, or keep downloads elsewhere: "
        "TDBENCH_CACHE=FOLDER."
    )
    with pytest.raises(UserError, match="toy:big needs about 2 TB"):
        check_space(folder, 2 * 10**12, "toy:big", about=True)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space is left in /there; what came so far is kept. Make room"),
        (errno.EDQUOT, "no space is left in /there"),
        (errno.EACCES, "cannot write into /there: Permission denied. Choose another with TDBENCH_CACHE=FOLDER"),
        (errno.EROFS, "cannot write into /there: Read-only file system"),
    ],
)
def test_what_the_disk_refuses(number: int, message: str) -> None:
    with pytest.raises(UserError, match=message), writing(Path("/there")):
        raise OSError(number, os.strerror(number))


def test_other_errors_pass() -> None:
    with pytest.raises(UserError, match="mine"), writing(Path("/there")):
        raise UserError("mine")
