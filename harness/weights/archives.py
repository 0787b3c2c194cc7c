"""Unpacking archives of strangers: plain files inside the folder and nothing else.

Only the bytes of regular files are taken, written into new files of ours: no links, devices, owners or modes.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Self

from adapters.sources import is_safe
from harness.errors import UserError
from harness.weights.space import check_space, writing

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_ZIP = (".zip",)
#: Files in one archive; no checkpoint comes near this.
MOST_FILES = 100_000
_CHUNK = 1 << 20
#: What macOS puts beside the files of a zip.
_JUNK = ("__MACOSX/", ".DS_Store", "._")
#: Refuses what leaves the folder too; in Python since 3.11.4.
_FILTER: Callable[[tarfile.TarInfo, str], object] | None = getattr(tarfile, "data_filter", None)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError)


class BadArchive(UserError):
    """An archive that is damaged, or holds what is not unpacked."""


@dataclass(frozen=True)
class _Member:
    """One entry of an archive.

    Attributes:
        name: as stored.
        size: bytes of its content.
        kind: "file", "folder", or in words what else it is.
        open: its content.
    """

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked. A .pt file is a zip too, and is none of these."""
    return name.lower().endswith(_TAR + _ZIP)


def unpack(pieces: Sequence[Path], name: str, folder: Path) -> Path:
    """Unpack an archive into an empty folder.

    Args:
        pieces: its files in order; joined they are the archive.
        name: its name, which tells its kind.
        folder: made; removed again where anything is refused.

    Returns:
        The folder with the content: where all of it is in one single folder, that one.

    Raises:
        BadArchive: for a damaged archive, or one that holds anything but plain files inside the folder.
        UserError: where the disk is too small or refuses.
    """
    read = _zip_members if name.lower().endswith(_ZIP) else _tar_members
    done = False
    try:
        with writing(folder):
            folder.mkdir(parents=True)
            with _Joined(pieces) as raw, io.BufferedReader(raw, _CHUNK) as stream:
                _write(_guarded(read(stream, name, folder), name), name, folder)
        done = True
    finally:
        if not done:
            shutil.rmtree(folder, ignore_errors=True)
    return _single(folder)


def _single(folder: Path) -> Path:
    inside = list(folder.iterdir())
    return _single(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder


def _guarded(members: Iterator[_Member], archive: str) -> Iterator[_Member]:
    """The members, damage said in one line."""
    with _reading(archive):
        yield from members


@contextmanager
def _reading(archive: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise _damage(archive, error) from None
    except OSError as error:
        if error.errno is not None:  # of the disk, not of the archive
            raise
        raise _damage(archive, error) from None


def _damage(archive: str, error: Exception) -> BadArchive:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return BadArchive(f"{archive} is truncated or damaged ({reason!a}). It was removed: fetch it again.")


def _write(members: Iterable[_Member], archive: str, folder: Path) -> None:
    for number, member in enumerate(members):
        _check(member, number, archive)
        path = folder / PurePosixPath(member.name)
        if member.kind == "folder" or any(part.startswith(_JUNK) for part in (member.name, path.name)):
            continue
        check_space(folder, member.size, f"{member.name!a} in {archive}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as target:
                _copy(member, target, archive)
        except (FileExistsError, NotADirectoryError):
            raise BadArchive(f"{archive} holds {member.name!a} twice: it is not unpacked.") from None


def _check(member: _Member, number: int, archive: str) -> None:
    name = ascii(member.name)
    if number >= MOST_FILES:
        raise BadArchive(f"{archive} holds more than {MOST_FILES} files: it is not unpacked.")
    if not is_safe(member.name) and not (member.kind == "folder" and member.name.strip("./") == ""):
        raise BadArchive(f"{archive} holds {name}, which would be written outside its folder: it is not unpacked.")
    if member.kind not in ("file", "folder"):
        raise BadArchive(f"{archive} holds {name}, which is {member.kind}: it is not unpacked.")


def _copy(member: _Member, target: IO[bytes], archive: str) -> None:
    with _reading(archive), member.open() as content:
        shutil.copyfileobj(content, target, _CHUNK)
    if target.tell() != member.size:
        raise BadArchive(f"{archive} is truncated or damaged ({member.name!a} is short). It was removed.")
    target.flush()
    os.fsync(target.fileno())


# --- tar ------------------------------------------------------------------------------------------------------------


class _StrictInfo(tarfile.TarInfo):
    """tarfile takes a broken header behind the first one for the end; here it is damage."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _tar_members(stream: IO[bytes], name: str, folder: Path) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r:*", tarinfo=_StrictInfo) as archive:
        for info in archive:
            kind = _tar_kind(info)
            if kind == "file" and is_safe(info.name) and _FILTER is not None:
                _filtered(info, name, folder)

            def content(info: tarfile.TarInfo = info) -> IO[bytes]:
                return archive.extractfile(info) or io.BytesIO()

            yield _Member(info.name, info.size, kind, content)
        # The check sum of compressed data stands behind the last member.
        while archive.fileobj is not None and archive.fileobj.read(_CHUNK):
            pass


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"a link to {info.linkname!a}"
    if info.isdir():
        return "folder"
    return "file" if info.isreg() and not info.issparse() else "a device, a pipe or a sparse file"


def _filtered(info: tarfile.TarInfo, name: str, folder: Path) -> None:
    try:
        assert _FILTER is not None
        _FILTER(info, str(folder))
    except tarfile.TarError as error:
        raise BadArchive(f"{name} holds {info.name!a}: {str(error)!a}. It is not unpacked.") from None


# --- zip ------------------------------------------------------------------------------------------------------------


def _zip_members(stream: IO[bytes], name: str, folder: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as archive:
        infos = archive.infolist()
        check_space(folder, sum(info.file_size for info in infos), f"what {name} holds")
        for info in infos:

            def content(info: zipfile.ZipInfo = info) -> IO[bytes]:
                return archive.open(info)

            yield _Member(info.filename, info.file_size, _zip_kind(info), content)


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(mode):
        return "a link"
    if info.is_dir():
        return "folder"
    return "file" if mode in (0, stat.S_IFREG) else "a device or a pipe"


# --- several files as one -------------------------------------------------------------------------------------------


class _Joined(io.RawIOBase):
    """Several files read as one, without a copy of them."""

    def __init__(self, pieces: Sequence[Path]) -> None:
        self._files = [open(piece, "rb") for piece in pieces]  # noqa: SIM115 (closed in `close`)
        self._sizes = [os.fstat(file.fileno()).st_size for file in self._files]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: sum(self._sizes)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        start = 0
        for file, size in zip(self._files, self._sizes, strict=True):
            if self._at < start + size:
                file.seek(self._at - start)
                view = memoryview(buffer)[: start + size - self._at]
                count = file.readinto(view)
                self._at += count
                return count
            start += size
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
