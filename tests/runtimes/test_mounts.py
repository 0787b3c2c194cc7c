"""Which paths a container is shown, and which it is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.runtimes.mounts import Bind, binds, link_targets, real_place, unreadable


@pytest.fixture
def tree(tmp_path) -> Path:
    for name in ("code/part/module.py", "weights/model.bin", "job/job.json", "other/file"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_each_path_under_its_own_name_the_written_ones_writable(tree):
    found = binds([tree / "weights", tree / "code"], [tree / "job"])
    assert found == [
        Bind(f"{tree}/code", f"{tree}/code", True),
        Bind(f"{tree}/job", f"{tree}/job", False),
        Bind(f"{tree}/weights", f"{tree}/weights", True),
    ]


def test_a_path_is_mounted_once(tree):
    read = [tree / "code", tree / "code" / "part", tree / "code" / "part" / "module.py", tree / "code"]
    assert [bind.target for bind in binds(read, [])] == [f"{tree}/code"]


def test_what_only_begins_alike_is_another_path(tree):
    (tree / "code2").mkdir()
    assert len(binds([tree / "code", tree / "code2"], [])) == 2


def test_a_writable_folder_inside_a_read_only_one_and_the_other_way_round(tree):
    found = binds([tree, tree / "job" / "job.json"], [tree / "job"])
    assert [(bind.target, bind.read_only) for bind in found] == [(str(tree), True), (f"{tree}/job", False)]
    found = binds([tree / "job" / "job.json"], [tree / "job"])
    assert [(bind.target, bind.read_only) for bind in found] == [(f"{tree}/job", False), (f"{tree}/job/job.json", True)]


def test_a_path_with_a_colon(tree):
    odd = tree / "a:b:rw"
    odd.mkdir()
    assert binds([odd], []) == [Bind(str(odd), str(odd), True)]


def test_relative_paths_become_absolute(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert binds([Path("code")], [])[0].target == str(tree / "code")


def test_a_link_that_is_named_shows_what_it_leads_to(tree):
    (tree / "link").symlink_to(tree / "weights")
    assert binds([tree / "link"], []) == [Bind(f"{tree}/link", f"{tree}/weights", True)]


def test_a_link_to_what_is_shown_already_is_still_mounted(tree):
    """Inside a mounted folder it leads to another place than its name says."""
    (tree / "code" / "tiny").symlink_to(tree / "weights")
    assert [bind.source for bind in binds([tree / "code", tree / "code" / "tiny"], [])] == [
        f"{tree}/code",
        f"{tree}/weights",
    ]


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/opt", "/tmp", "~", "~/.."])
def test_folders_with_more_than_weights_are_refused(path):
    with pytest.raises(UserError, match="folder of its own"):
        binds([Path(path).expanduser()], [])


def test_a_link_to_a_home_folder_is_refused(tree):
    (tree / "link").symlink_to(Path.home())
    with pytest.raises(UserError, match="folder of its own"):
        binds([tree / "link"], [])


def test_a_missing_path_is_named(tree):
    with pytest.raises(UserError, match=r"no/such does not exist"):
        binds([tree / "no/such"], [])


def test_what_is_read_is_not_written(tree):
    (tree / "link").symlink_to(tree / "weights")
    for written in (tree / "weights", tree / "link"):
        with pytest.raises(UserError, match="both read and written"):
            binds([tree / "weights"], [written])


def test_real_place_keeps_the_last_name_of_a_file(tree):
    (tree / "link").symlink_to(tree / "weights")
    (tree / "weights" / "other.bin").symlink_to(tree / "other" / "file")
    assert real_place(tree / "link") == tree / "weights"
    assert real_place(tree / "link" / "other.bin") == tree / "weights" / "other.bin"


@pytest.fixture
def hub(tmp_path) -> Path:
    """The cache of the Hub with one model: links in a snapshot, one of them in a folder."""
    model = tmp_path / "hub" / "models--x--y"
    snapshot = model / "snapshots" / "0123"
    (snapshot / "part").mkdir(parents=True)
    (model / "blobs").mkdir()
    for name, up in (("config.json", "../.."), ("part/model.bin", "../../..")):
        (model / "blobs" / name.replace("/", "-")).write_text(name)
        (snapshot / name).symlink_to(Path(up) / "blobs" / name.replace("/", "-"))
    return snapshot


def test_the_blobs_of_a_hub_cache_come_along(hub):
    blobs = hub.parents[1] / "blobs"
    assert sorted(link_targets(hub)) == [blobs / "config.json", blobs / "part-model.bin"]
    assert link_targets(hub / "config.json") == (blobs / "config.json",)


def test_links_within_the_folder_need_nothing(tree):
    (tree / "weights" / "latest.bin").symlink_to("model.bin")
    (tree / "weights" / "gone").symlink_to("/no/such/file")
    assert link_targets(tree / "weights") == ()


@pytest.mark.parametrize("leads_to", ["other/file", "other"])
def test_a_link_out_of_the_folder_is_refused(tree, leads_to):
    (tree / "weights" / "key").symlink_to(tree / leads_to)
    with pytest.raises(UserError, match=r"weights/key is a link to .*cp -rL"):
        link_targets(tree / "weights")


def test_a_link_in_a_snapshot_to_elsewhere_is_refused(hub, tree):
    (hub / "key").symlink_to(tree / "other" / "file")
    with pytest.raises(UserError, match="key is a link to"):
        link_targets(hub)


def test_unreadable_names_the_first_file_or_folder(tree):
    assert unreadable([str(tree / "code"), str(tree / "weights")]) is None
    (tree / "weights" / "model.bin").chmod(0o600)
    assert unreadable([str(tree / "code"), str(tree / "weights")]) == f"{tree}/weights/model.bin"
    (tree / "code" / "part").chmod(0o700)
    assert unreadable([str(tree / "code")]) == f"{tree}/code/part"


def test_unreadable_leaves_out_caches_and_what_is_hidden(tree):
    for name in ("__pycache__", ".git"):
        place = tree / "code" / name
        place.mkdir()
        (place / "file").write_text("x")
        (place / "file").chmod(0o600)
    os.symlink("/no/such/file", tree / "code" / "dangling")
    assert unreadable([str(tree / "code")]) is None
