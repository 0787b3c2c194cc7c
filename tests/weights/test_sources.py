"""What cards may say of where weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.cards import Card, UpstreamCard, all_cards, read_card
from adapters.sources import (
    DriveFileSource,
    DriveFolderSource,
    HubSource,
    ReleaseSource,
    RepositorySource,
    UrlSource,
    is_safe,
    read_sources,
)
from harness.errors import UserError
from harness.weights.items import describe, web_files

COMMIT, DIGEST, DRIVE = "a" * 40, "b" * 64, "1vnhJIUqPQva_x_sH2h5a0moCc1NYmEpr"


def test_each_kind() -> None:
    given = [
        {"hub": "owner/name", "revision": COMMIT, "files": ["a.json", "b.bin"], "sha256": {"b.bin": DIGEST}},
        {"drive_file": DRIVE, "about": 1000},
        {"drive_folder": DRIVE},
        {"github": "owner/name", "release": "v1.0", "parts": ["w.tar.gz.00", "w.tar.gz.01"], "unpacked": 5},
        {"repository": {"misc/t.json": "tokenizer.json"}, "size": 12},
        {"url": "https://example.org/a/w.pt?download=1"},
    ]
    hub, file, folder, release, repository, url = read_sources(given, "card")
    assert isinstance(hub, HubSource)
    assert hub.targets == {"a.json": "a.json", "b.bin": "b.bin"}
    assert isinstance(file, DriveFileSource)
    assert (file.about, file.size, file.names) == (1000, None, None)
    assert isinstance(folder, DriveFolderSource)
    assert isinstance(release, ReleaseSource)
    assert (release.names, release.joined) == (("w.tar.gz.00", "w.tar.gz.01"), "w.tar.gz")
    assert isinstance(repository, RepositorySource)
    assert repository.names == ("misc/t.json",)
    assert isinstance(url, UrlSource)
    assert url.file_name == "w.pt"
    assert UrlSource(url="https://example.org/get?id=1", name="w.zip").file_name == "w.zip"


def test_one_source_needs_no_list_and_none_is_none() -> None:
    assert read_sources({"hub": "owner/name"}, "card") == (HubSource(hub="owner/name"),)
    assert read_sources(None, "card") == ()


@pytest.mark.parametrize(
    ("parts", "joined"),
    [(["w.pt"], "w.pt"), (["w.v2"], "w.v2"), (["w.zip.part1", "w.zip.part2"], "w.zip"), (["w.0", "w.1"], "w")],
)
def test_the_name_of_joined_parts(parts: list[str], joined: str) -> None:
    assert ReleaseSource(github="o/n", release="v1", parts=tuple(parts)).joined == joined


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hob": "owner/name"}, "it must name one of hub, drive_file, .*; it names none"),
        ({"hub": "owner/name", "url": "https://a.b/c"}, "it names hub, url"),
        ("owner/name", "'owner/name' is not a mapping"),
        ({"hub": "name"}, "hub is 'name', not owner/name"),
        ({"hub": 5}, "hub is 5, not owner/name"),
        ({"hub": "owner/name", "revision": "main"}, "revision is 'main', not a commit of 40 hex digits"),
        ({"hub": "owner/name", "file": "a"}, "hub has no key file; it has about, files, hub"),
        ({"hub": "owner/name", "files": ["../a"]}, r"'\.\./a' names no file inside a folder"),
        ({"hub": "owner/name", "files": []}, "an empty list names no file"),
        ({"hub": "owner/name", "files": "a.json"}, "files is 'a.json', not texts by names"),
        ({"hub": "owner/name", "about": "650 MB"}, "about is '650 MB', not a number of bytes"),
        ({"hub": "owner/name", "size": True}, "size is True, not a number of bytes"),
        ({"hub": "owner/name", "size": 0}, "size is 0, not a number of bytes"),
        ({"hub": "owner/name", "sha256": {"a": "123"}}, "the sha256 of a is '123', not 64 hex digits"),
        ({"hub": "owner/name", "sha256": DIGEST}, "not texts by names"),
        (
            {"hub": "owner/name", "files": ["a.json"], "sha256": {"b.json": DIGEST}},
            "it has a sha256 of b.json, which is not among a.json",
        ),
        ({"drive_file": "https://drive.google.com/file/d/x/view"}, "not the id of a Google Drive file"),
        ({"drive_folder": ""}, "not the id of a Google Drive folder"),
        ({"github": "owner/name", "parts": ["a"]}, "missing 1 required keyword-only argument: 'release'"),
        ({"github": "owner/name", "release": "v1", "parts": "a"}, "parts is 'a', not a list of names"),
        ({"github": "owner/name", "release": "v1", "parts": []}, "not a list of names"),
        ({"github": "owner/name", "release": "v1", "parts": ["a/b"]}, "a part is 'a/b', not the name of a file"),
        ({"github": "owner/name", "release": "../v1", "parts": ["a"]}, "release is '../v1', not a tag"),
        ({"repository": {"a": "/etc/passwd"}}, "'/etc/passwd' names no file inside a folder"),
        ({"repository": ["a"]}, "not texts by names"),
        ({"url": "ftp://example.org/a"}, "not an http or https address"),
        ({"url": "https://example.org/"}, "not an http or https address"),
        ({"url": "https://example.org/a/"}, "the end of url is '', not the name of a file"),
        ({"url": "https://example.org/a", "name": "../b"}, "name is '../b', not the name of a file"),
        ({"url": "https://example.org/a", "name": ".."}, "name is '..', not the name of a file"),
    ],
)
def test_what_a_source_may_not_say(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_sources(given, "card.yaml, checkpoint 'big'")
    assert str(caught.value).startswith("card.yaml, checkpoint 'big': bad source: ")
    assert "\n" not in str(caught.value)


def test_a_bad_source_names_its_card(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(
        "name: toy\ntitle: Toy\nrole: model\nfamily: null\n"
        "checkpoints:\n  big: {kind: published, source: {hub: nobody}}\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=r"card\.yaml, checkpoint 'big': bad source: hub is 'nobody'"):
        read_card(tmp_path, "toy")


@pytest.mark.parametrize(
    ("repo", "commit"),
    [
        (None, COMMIT),
        ("https://gitlab.com/o/n", COMMIT),
        ("https://github.com/o", COMMIT),
        ("https://github.com/o/n", None),
    ],
)
def test_files_of_a_repository_that_the_card_does_not_pin(repo: str | None, commit: str | None) -> None:
    card = Card("toy", "Toy", "model", None, "toy", Path(), upstream=UpstreamCard(repo=repo, commit=commit))
    with pytest.raises(UserError, match="the card of toy takes files from its repository, and pins no commit"):
        describe(RepositorySource(repository={"a": "a"}), card)


@pytest.mark.parametrize("repo", ["https://github.com/o/n", "https://github.com/o/n.git", "https://github.com/o/n/"])
def test_addresses_of_a_repository(repo: str) -> None:
    card = Card("toy", "Toy", "model", None, "toy", Path(), upstream=UpstreamCard(repo=repo, commit=COMMIT))
    (file,) = web_files(RepositorySource(repository={"misc/t.json": "t.json"}), card)
    assert file.url == f"https://raw.githubusercontent.com/o/n/{COMMIT}/misc/t.json"


@pytest.mark.parametrize("path", ["a", "a/b.pt", "./a", "a b", "ü.json", "a..b", "x_20221113-20:27:29/w.pt", "a/./b"])
def test_paths_that_stay_inside(path: str) -> None:
    assert is_safe(path)


OUTSIDE = ["", ".", "/", "/a", "..", "../a", "a/../../b", "a/.."]
OUTSIDE_ELSEWHERE = ["\\a", "..\\a", "a\\..\\b", "C:\\a", "c:a"]


@pytest.mark.parametrize("path", [*OUTSIDE, *OUTSIDE_ELSEWHERE, "a\0b", "a\nb", "\udc80"])
def test_paths_that_do_not(path: str) -> None:
    assert not is_safe(path)


def test_every_published_checkpoint_says_where_it_is_and_about_how_big() -> None:
    published = [e for card in all_cards().values() for e in card.checkpoints.values() if e.kind == "published"]
    assert len(published) >= 12
    for entry in published:
        assert entry.source, entry.name
        assert all(source.size or source.about for source in entry.source), entry.name
