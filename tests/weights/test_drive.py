"""Google Drive through gdown itself; only its hosts are ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import requests

from adapters.sources import DriveFileSource, DriveFolderSource
from harness.errors import UserError
from harness.weights.drive import DriveFile, drive_items
from harness.weights.ranged import Unreachable
from tests.weights.site import PAGE, Site

FILE, FOLDER, INNER = "1gj9OpGlM9OzbbrCIOfia8Ve6GMDd2Vxa", "1vnhJIUqPQva_x_sH2h5a0moCc1NYmEpr", "1" * 33
BODY = bytes(range(256)) * 3000
CONFIRM = (
    f'<html><form id="download-form" action="https://drive.usercontent.google.com/download">'
    f'<input type="hidden" name="id" value="{FILE}"><input type="hidden" name="confirm" value="t"></form></html>'
)
QUOTA = '<html><p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></html>'
HTML: dict[str, str | None] = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture(autouse=True)
def drive(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The server in the place of Google's."""
    get = requests.Session.get

    def local(self: requests.Session, url: str, **options: Any) -> requests.Response:
        return get(self, re.sub(r"https://drive(\.usercontent)?\.google\.com", site.url, url), **options)

    monkeypatch.setattr(requests.Session, "get", local)
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)  # gdown waits as long between two tries
    return site


def add_file(site: Site, drive_id: str, name: str, body: bytes = BODY, path: str = "uc") -> None:
    site.add(f"/{path}?id={drive_id}", body, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def add_folder(site: Site, drive_id: str, *links: tuple[str, str], title: str = "Folder") -> None:
    inside = "".join(f'<a href="{address}">{name}</a>' for address, name in links)
    page = f"<html><head><title>{title}</title></head>{inside}</html>"
    site.add(f"/embeddedfolderview?id={drive_id}", page.encode(), headers=HTML)


def file_link(drive_id: str, name: str) -> tuple[str, str]:
    return f"https://drive.google.com/file/d/{drive_id}/view", name


def test_one_file_with_its_name(site: Site, tmp_path: Path) -> None:
    add_file(site, FILE, "diffuseq_qqp.zip")
    (item,) = drive_items(DriveFileSource(drive_file=FILE, sha256={"diffuseq_qqp.zip": "a" * 64}))
    assert (item.name, item.target, item.archive) == ("diffuseq_qqp.zip", "diffuseq_qqp.zip", True)
    assert item.origin == f"drive {FILE}/diffuseq_qqp.zip"
    assert item.sha256 == "a" * 64
    item.remote.download(tmp_path / "new" / "w.zip")
    assert (tmp_path / "new" / "w.zip").read_bytes() == BODY
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["w.zip"]


def test_a_large_file_whose_scan_for_viruses_must_be_waived(site: Site, tmp_path: Path) -> None:
    site.add(f"/uc?id={FILE}", CONFIRM.encode(), headers=HTML)
    add_file(site, FILE, "w.pt", path="download")
    (item,) = drive_items(DriveFileSource(drive_file=FILE))
    item.remote.download(tmp_path / "w.pt")
    assert (tmp_path / "w.pt").read_bytes() == BODY


def test_a_broken_connection_is_resumed(site: Site, tmp_path: Path) -> None:
    add_file(site, FILE, "w.pt", BODY * 3)
    site.files[f"/uc?id={FILE}"].breaks = [len(BODY) * 2]
    DriveFile(FILE).download(tmp_path / "w.pt")
    assert (tmp_path / "w.pt").read_bytes() == BODY * 3
    assert any("Range" in headers for headers in site.gets(f"/uc?id={FILE}"))


def test_the_next_command_goes_on(site: Site, tmp_path: Path) -> None:
    add_file(site, FILE, "w.pt", BODY * 3)
    site.files[f"/uc?id={FILE}"].breaks = [len(BODY) * 2, *[0] * 20]
    with pytest.raises(Unreachable, match=rf"Google Drive does not give .*/d/{FILE}/view: the transfer broke off"):
        DriveFile(FILE).download(tmp_path / "w.pt")
    site.files[f"/uc?id={FILE}"].breaks = []
    site.asked.clear()
    DriveFile(FILE).download(tmp_path / "w.pt")
    assert (tmp_path / "w.pt").read_bytes() == BODY * 3
    assert any("Range" in headers for headers in site.gets(f"/uc?id={FILE}"))


def test_a_folder_with_folders(site: Site, tmp_path: Path) -> None:
    inner = (f"https://drive.google.com/drive/folders/{INNER}", "run_13-20:27:29")
    add_folder(site, FOLDER, file_link(FILE, "readme.txt"), inner)
    add_folder(site, INNER, file_link("2" * 33, "ema.pt"), title="run_13-20:27:29")
    add_file(site, FILE, "readme.txt", b"hello")
    add_file(site, "2" * 33, "ema.pt")
    items = drive_items(DriveFolderSource(drive_folder=FOLDER))
    assert [item.target for item in items] == ["readme.txt", "run_13-20:27:29/ema.pt"]
    for item in items:
        item.remote.download(tmp_path / item.target)
    assert (tmp_path / "run_13-20:27:29" / "ema.pt").read_bytes() == BODY


def test_a_folder_with_one_single_folder_is_that(site: Site) -> None:
    add_folder(site, FOLDER, (f"https://drive.google.com/drive/folders/{INNER}", "run"))
    add_folder(site, INNER, file_link("2" * 33, "ema.pt"), file_link("3" * 33, "args.json"), title="run")
    items = drive_items(DriveFolderSource(drive_folder=FOLDER))
    assert {item.name: item.target for item in items} == {"run/ema.pt": "ema.pt", "run/args.json": "args.json"}


def test_an_archive_is_unpacked_where_it_is_all_there_is(site: Site) -> None:
    add_folder(site, FOLDER, file_link("2" * 33, "outputs.zip"))
    assert [item.archive for item in drive_items(DriveFolderSource(drive_folder=FOLDER))] == [True]
    add_folder(site, FOLDER, file_link("2" * 33, "outputs.zip"), file_link("3" * 33, "ema.pt"))
    assert [item.archive for item in drive_items(DriveFolderSource(drive_folder=FOLDER))] == [False, False]


def test_an_empty_folder(site: Site) -> None:
    add_folder(site, FOLDER)
    with pytest.raises(UserError, match=f"the folder https://drive.google.com/drive/folders/{FOLDER} is empty"):
        drive_items(DriveFolderSource(drive_folder=FOLDER))


@pytest.mark.parametrize(
    ("body", "headers", "status", "why"),
    [
        (QUOTA.encode(), HTML, 200, "it was fetched too often today: try again tomorrow"),
        (PAGE, HTML, 200, "it is not public, or was fetched too often: try again tomorrow, or in a browser"),
        (PAGE, HTML, 404, "it is not public, or was fetched too often"),
        (b"?", {"Content-Type": None}, 200, "gave something else: a proxy answers in Google Drive's place"),
    ],
)
def test_what_drive_refuses(
    site: Site, tmp_path: Path, body: bytes, headers: dict[str, str | None], status: int, why: str
) -> None:
    site.add(f"/uc?id={FILE}", body, status=status, headers=headers)
    for ask in (
        lambda: drive_items(DriveFileSource(drive_file=FILE)),
        lambda: DriveFile(FILE).download(tmp_path / "w"),
    ):
        with pytest.raises(Unreachable, match=why) as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert f"https://drive.google.com/file/d/{FILE}/view" in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_a_folder_that_is_not_public(site: Site) -> None:
    with pytest.raises(Unreachable, match="it is not public, or was fetched too often"):
        drive_items(DriveFolderSource(drive_folder=FOLDER))


def test_no_connection(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.ConnectionError("secret of a proxy")

    monkeypatch.setattr(requests.Session, "get", refuse)
    with pytest.raises(Unreachable, match=r"/view: no connection, or it broke\.$"):
        drive_items(DriveFileSource(drive_file=FILE))
    with pytest.raises(Unreachable, match="Google Drive does not give") as caught:
        DriveFile(FILE).download(tmp_path / "w")
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write into"):
        DriveFile(FILE).download(tmp_path / "file" / "w")
