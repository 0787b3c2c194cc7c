"""Archives of strangers: the honest ones whole, the others not at all."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import UserError
from harness.weights import archives, space
from harness.weights.archives import BadArchive, is_archive, unpack

BODY = bytes(range(256)) * 300
Member = tuple[str, bytes] | tarfile.TarInfo


def tar_of(*members: Member, mode: str = "w:gz") -> bytes:
    """A tar of (name, content) pairs and of raw entries."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            content = b"" if isinstance(member, tarfile.TarInfo) else member[1]
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Unpack bytes, cut into so many pieces, under a name."""
    monkeypatch.setattr(space, "RESERVE", 0)

    def run(packed: bytes, name: str = "w.tar.gz", pieces: int = 1) -> Path:
        size = -(-len(packed) // pieces)
        files = [tmp_path / f"piece{i}" for i in range(pieces)]
        for i, file in enumerate(files):
            file.write_bytes(packed[i * size : (i + 1) * size])
        return unpack(files, name, tmp_path / "out")

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


MEMBERS = (("model.pt", BODY), ("sub/b.json", b"{}"), ("empty", b""))


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("w.tar", tar_of(*MEMBERS, mode="w")),
        ("w.tar.gz", tar_of(*MEMBERS)),
        ("W.TGZ", tar_of(*MEMBERS)),
        ("w.tar.xz", tar_of(*MEMBERS, mode="w:xz")),
        ("w.tar.bz2", tar_of(*MEMBERS, mode="w:bz2")),
        ("w.zip", zip_of(*MEMBERS)),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_an_honest_archive(unpacked: Callable[..., Path], name: str, packed: bytes, pieces: int) -> None:
    assert is_archive(name)
    assert content(unpacked(packed, name, pieces)) == dict(MEMBERS)


def test_pieces_of_a_byte_each(unpacked: Callable[..., Path]) -> None:
    packed = tar_of(("a", b"1"))
    assert content(unpacked(packed, pieces=len(packed))) == {"a": b"1"}


def test_a_weight_file_is_no_archive() -> None:
    """What torch.save writes is a zip."""
    assert not any(is_archive(name) for name in ("model.pt", "ckpt.pth", "pytorch_model.bin", "a.safetensors", "tar"))


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_single_folder_is_the_content(unpacked: Callable[..., Path], pack: Callable[..., bytes]) -> None:
    packed = pack(("./", b""), ("./plaid1b/", b""), ("./plaid1b/w/model.pt", BODY)) if pack is zip_of else pack(
        entry("./", tarfile.DIRTYPE), entry("./plaid1b", tarfile.DIRTYPE), ("./plaid1b/w/model.pt", BODY)
    )  # fmt: skip
    name = "w.zip" if pack is zip_of else "w.tar.gz"
    assert content(unpacked(packed, name)) == {"model.pt": BODY}


def test_what_macos_adds_is_left_out(unpacked: Callable[..., Path]) -> None:
    packed = zip_of(("run/model.pt", BODY), ("__MACOSX/run/._model.pt", b"x"), ("run/.DS_Store", b"x"))
    assert content(unpacked(packed, "w.zip")) == {"model.pt": BODY}


def test_names_with_colons_and_letters_of_all_kinds(unpacked: Callable[..., Path]) -> None:
    members = (("run_20221113-20:27:29/a.pt", b"1"), ("übung/ß 漢.json", b"2"))
    assert content(unpacked(tar_of(*members))) == dict(members)


def test_neither_modes_nor_owners_are_taken_over(unpacked: Callable[..., Path]) -> None:
    info = tarfile.TarInfo("run.sh")
    info.mode, info.uid, info.gid = 0o7777, 4242, 4242
    path = unpacked(tar_of(info)) / "run.sh"
    assert path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX | 0o111) == 0
    assert path.stat().st_uid == os.getuid()


HOSTILE = {
    "up": (("../evil", b"x"), "'../evil', which would be written outside its folder"),
    "deep": (("a/../../evil", b"x"), "outside its folder"),
    "absolute": (("/tmp/evil", b"x"), "outside its folder"),
    "backslash": (("..\\evil", b"x"), "outside its folder"),
    "drive": (("C:\\evil", b"x"), "outside its folder"),
    "newline": (("a\nb", b"x"), r"'a\\nb', which"),
}


@pytest.mark.parametrize("how", HOSTILE)
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_path_that_leaves_the_folder(
    unpacked: Callable[..., Path], tmp_path: Path, pack: Callable[..., bytes], how: str
) -> None:
    member, message = HOSTILE[how]
    before = sorted(tmp_path.parent.iterdir())
    with pytest.raises(BadArchive, match=message) as caught:
        unpacked(pack(("good", b"1"), member), "w.zip" if pack is zip_of else "w.tar.gz")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert sorted(tmp_path.parent.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["piece0"]


@pytest.mark.parametrize(
    ("info", "what"),
    [
        (entry("l", tarfile.SYMTYPE, "/etc/passwd"), "a link to '/etc/passwd'"),
        (entry("l", tarfile.SYMTYPE, "../../x"), "a link to '../../x'"),
        (entry("l", tarfile.SYMTYPE, "good"), "a link to 'good'"),
        (entry("l", tarfile.LNKTYPE, "/etc/passwd"), "a link to '/etc/passwd'"),
        (entry("l", tarfile.FIFOTYPE), "a device, a pipe"),
        (entry("l", tarfile.CHRTYPE), "a device, a pipe"),
        (entry("l", tarfile.BLKTYPE), "a device, a pipe"),
        (entry("../l", tarfile.DIRTYPE), "outside its folder"),
    ],
)
def test_links_and_devices_are_refused(
    unpacked: Callable[..., Path], tmp_path: Path, info: tarfile.TarInfo, what: str
) -> None:
    with pytest.raises(BadArchive, match=what):
        unpacked(tar_of(("good", b"1"), info, ("l/inside", b"2")))
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(unpacked: Callable[..., Path]) -> None:
    info = zipfile.ZipInfo("l")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(BadArchive, match="holds 'l', which is a link"):
        unpacked(zip_of((info, b"/etc/passwd")), "w.zip")


def test_an_encrypted_zip(unpacked: Callable[..., Path]) -> None:
    packed = bytearray(zip_of(("a", b"secret")))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(signature) + offset] |= 1
    with pytest.raises(BadArchive, match="holds 'a', which is encrypted"):
        unpacked(bytes(packed), "w.zip")


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a", "./a", "a/b"])
def test_a_file_that_comes_twice(unpacked: Callable[..., Path], pack: Callable[..., bytes], second: str) -> None:
    with pytest.raises(BadArchive, match="twice"):
        unpacked(pack(("a", b"1"), (second, b"2")), "w.zip" if pack is zip_of else "w.tar.gz")


def test_too_many_files(unpacked: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    assert len(content(unpacked(tar_of(*((str(i), b"") for i in range(3)))))) == 3
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(BadArchive, match="more than 3 files"):
        unpacked(tar_of(*((str(i), b"") for i in range(4))))


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_more_than_the_disk_holds(
    unpacked: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[..., bytes]
) -> None:
    """A bomb: a few bytes packed, more than there is room for unpacked."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(UserError, match=r"needs 2 MB in .*, where 1 MB are free"):
        unpacked(pack(("a", b"1"), ("zeros", bytes(2_000_000))), "w.zip" if pack is zip_of else "w.tar.gz")
    assert not (tmp_path / "out").exists()


def test_a_zip_of_many_files_is_refused_by_their_sum(
    unpacked: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(UserError, match=r"what w\.zip holds needs 1\.2 MB"):
        unpacked(zip_of(*((str(i), bytes(400_000)) for i in range(3))), "w.zip")


def test_a_tar_that_announces_the_absurd(unpacked: Callable[..., Path]) -> None:
    """The size in its header alone: ten petabytes."""
    info = tarfile.TarInfo("big")
    info.size = 10**16
    packed = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(UserError, match=r"'big' in w\.tar\.gz needs 10000 TB"):
        unpacked(packed)


NOISE = os.urandom(40_000)


@pytest.mark.parametrize("cut", [0, 1, 100, 20_000, -9, -1])
@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("w.tar.gz", tar_of(("a", NOISE), ("b", NOISE))),
        ("w.tar.xz", tar_of(("a", NOISE), ("b", NOISE), mode="w:xz")),
        ("w.tar.bz2", tar_of(("a", NOISE), ("b", NOISE), mode="w:bz2")),
        ("w.zip", zip_of(("a", NOISE), ("b", NOISE))),
    ],
)
def test_a_truncated_archive(unpacked: Callable[..., Path], tmp_path: Path, name: str, packed: bytes, cut: int) -> None:
    with pytest.raises(BadArchive, match=r"^w\.\w+(\.\w+)? is truncated or damaged \(.*It was removed") as caught:
        unpacked(packed[:cut], name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("blocks", [1, 5, 80, 81, 90])
def test_a_truncated_plain_tar(unpacked: Callable[..., Path], blocks: int) -> None:
    """Between two members too, where tarfile sees the end."""
    packed = tar_of(("a", NOISE), ("b", NOISE), mode="w")
    with pytest.raises(BadArchive, match="truncated or damaged"):
        unpacked(packed[: blocks * 512], "w.tar")


@pytest.mark.parametrize("name", ["w.tar.gz", "w.zip"])
def test_a_damaged_archive(unpacked: Callable[..., Path], name: str) -> None:
    pack = zip_of if name == "w.zip" else tar_of
    packed = bytearray(pack(("a", NOISE), ("b", NOISE)))
    packed[30_000] ^= 0xFF
    with pytest.raises(BadArchive, match="truncated or damaged"):
        unpacked(bytes(packed), name)


def test_a_check_sum_behind_the_last_file(unpacked: Callable[..., Path]) -> None:
    packed = bytearray(tar_of(("a", NOISE)))
    packed[-5] ^= 0xFF
    with pytest.raises(BadArchive, match="truncated or damaged"):
        unpacked(bytes(packed))


def test_a_header_that_is_broken_behind_the_first(unpacked: Callable[..., Path]) -> None:
    """tarfile alone would take it for the end, and half of the files for all."""
    packed = bytearray(tar_of(("a", bytes(512)), ("b", NOISE), mode="w"))
    packed[1024 + 150] ^= 0xFF
    with pytest.raises(BadArchive, match="truncated or damaged"):
        unpacked(bytes(packed), "w.tar")


def test_a_zip_that_lies_about_sizes(unpacked: Callable[..., Path], tmp_path: Path) -> None:
    """Ten bytes said, a megabyte packed: no more than was said is written."""
    packed = bytearray(zip_of(("a", bytes(1_000_000))))
    struct.pack_into("<I", packed, packed.index(b"PK\x01\x02") + 24, 10)
    with pytest.raises(BadArchive, match="truncated or damaged"):
        unpacked(bytes(packed), "w.zip")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_holds_less_than_it_says(unpacked: Callable[..., Path]) -> None:
    packed = bytearray(zip_of(("a", bytes(1000))))
    struct.pack_into("<I", packed, packed.index(b"PK\x01\x02") + 24, 2000)
    with pytest.raises(BadArchive, match="truncated or damaged"):
        unpacked(bytes(packed), "w.zip")


@pytest.mark.parametrize("name", ["w.tar.gz", "w.zip"])
@pytest.mark.parametrize("packed", [b"", b"no archive at all" * 100, b"<html>"])
def test_no_archive_at_all(unpacked: Callable[..., Path], name: str, packed: bytes) -> None:
    with pytest.raises(BadArchive, match="truncated or damaged"):
        unpacked(packed, name)
