"""Room on the disk: asked for before, and said where it runs out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import UserError
from harness.weights import is_fetched, place_of
from harness.weights.fetch import fetch_weights
from harness.weights.place import working_folder
from tests.weights.common import BODY, RELEASE, URL, files_in, release
from tests.weights.conftest import CardMaker
from tests.weights.site import Site
from tests.weights.test_archives import tar_of


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_room_is_asked_for_before_anything_comes(site: Site, model: CardMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own figures, and for an archive what it holds too."""
    parts = release(site, tar_of(("model.pt", BODY)))
    packed = sum(len(part.body) for part in parts)
    with_free(monkeypatch, packed + 60_000 - 1)
    with pytest.raises(UserError, match=r"toy:big needs about 110 kB in .*where 110 kB are free.*TDBENCH_CACHE"):
        fetch_weights(*model({**RELEASE, "about": 1, "unpacked": 60_000}))
    assert not any(method == "GET" for method, _, _ in site.asked)
    with_free(monkeypatch, packed + 60_000)
    fetch_weights(*model({**RELEASE, "about": 1, "unpacked": 60_000}))


def test_the_cards_estimate_is_asked_for_where_the_server_says_nothing(
    site: Site, model: CardMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add(URL, BODY, headers={"Content-Length": None})
    with_free(monkeypatch, 10**6)
    with pytest.raises(UserError, match="toy:big needs about 2 GB"):
        fetch_weights(*model({"url": site.url + URL, "about": 2 * 10**9}))
    fetch_weights(*model({"url": site.url + URL}))
    assert f"size unknown: {site.url}{URL}" in capsys.readouterr().err


def test_what_came_already_is_not_asked_for_again(
    site: Site, model: CardMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = site.add(URL, BODY, breaks=[30_000, *[0] * 20])
    card, entry = model({"url": site.url + URL})
    with pytest.raises(UserError, match="goes on from there"):
        fetch_weights(card, entry)
    served.breaks = []
    with_free(monkeypatch, 21_000)
    fetch_weights(card, entry)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_disk_that_is_full(site: Site, model: CardMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one: what was asked for beforehand is too little, since the server does not say the size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        monkeypatch.setenv("TDBENCH_CACHE", str(disk / "cache"))
        served = site.add(URL, BODY * 40, headers={"Content-Length": None})
        card, entry = model({"url": site.url + URL})
        with pytest.raises(UserError, match=r"no space is left in .*; what came so far is kept\. Make room") as caught:
            fetch_weights(card, entry)
        assert "\n" not in str(caught.value)
        assert not is_fetched(card, entry)
        served.headers = {}
        with pytest.raises(UserError, match=r"toy:big needs \d+ kB in .*, where \d+ (kB|bytes) are free"):
            fetch_weights(card, entry)
        site.add(URL, BODY)
        shutil.rmtree(working_folder(place_of(card, "big")))
        assert files_in(fetch_weights(card, entry)) == {"model.pt": BODY}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_cache_that_cannot_be_written(model: CardMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write into .*file.*: Not a directory\. Choose another with TDBENCH"):
        fetch_weights(*model({"url": "http://127.0.0.1:1/model.pt"}))
