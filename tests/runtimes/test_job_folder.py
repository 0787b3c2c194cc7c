"""What a worker may leave in its folder, and what is left of that."""

from __future__ import annotations

import os
import stat

import pytest

from harness.runtimes.job_folder import put_right
from harness.runtimes.ownership import take_back
from harness.worker.jsonl import append_line, read_lines


def test_only_plain_files_and_folders_stay(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("ours")
    outside.chmod(0o644)
    folder = tmp_path / "job"
    (folder / "deep").mkdir(parents=True)
    (folder / "file").write_text("x")
    (folder / "deep" / "link").symlink_to(outside)
    (folder / "folder-link").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    assert sorted(take_back(folder)) == ["deep/link", "folder-link", "pipe"]
    assert sorted(path.name for path in folder.rglob("*")) == ["deep", "file"]
    assert outside.read_text() == "ours"
    assert take_back(folder) == []


def test_everything_can_be_read_and_nothing_runs_as_us(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "locked").write_text("x")
    (tmp_path / "program").write_text("x")
    (tmp_path / "closed" / "locked").chmod(0)
    (tmp_path / "program").chmod(0o6755)
    (tmp_path / "closed").chmod(0o2000)
    take_back(tmp_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"closed": 0o2700, "locked": 0o600, "program": 0o755}


def test_a_job_folder_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "link").symlink_to("/")
    (tmp_path / "job").symlink_to(tmp_path / "disk")
    assert take_back(tmp_path / "job") == ["link"]
    assert (tmp_path / "job").is_symlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root lends folders")
def test_root_gets_back_what_it_lent_and_nobody_elses(tmp_path):
    for name, owner in (("lent", 65534), ("foreign", 4321)):
        (tmp_path / name).write_text("x")
        os.chown(tmp_path / name, owner, owner)
    take_back(tmp_path)
    assert (tmp_path / "lent").stat().st_uid == 0
    assert (tmp_path / "foreign").stat().st_uid == 4321


def test_a_sound_folder_is_left_alone(tmp_path):
    append_line(tmp_path / "points.jsonl", {"point": "a", "status": "done"})
    append_line(tmp_path / "batches.jsonl", {"point": "a", "batch": 0})
    append_line(tmp_path / "sessions.jsonl", {"session": "s"})
    with open(tmp_path / "batches.jsonl", "ab") as file:
        file.write(b'{"half a li')
    (tmp_path / "cache.bin").write_text("of a model")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert put_right(tmp_path) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "content", [b"no json\n", b'{"status": "done"}\n', b"[1]\n", b'{"point": ["a"], "status": "done"}\n', b"\xff\n"]
)
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path, content):
    file = tmp_path / "points.jsonl"
    file.write_bytes(b'{"point": "a", "status": "done"}\n' + content)
    (said,) = put_right(tmp_path)
    assert said.startswith("renamed points.jsonl to points.jsonl.damaged: ")
    assert read_lines(file) == []
    assert (tmp_path / "points.jsonl.damaged").exists()


def test_folders_and_files_in_the_place_of_ours(tmp_path):
    (tmp_path / "points.jsonl" / "deep").mkdir(parents=True)
    (tmp_path / "job.json.part").mkdir()
    (tmp_path / "prompts.jsonl").write_text("made up")
    assert len(put_right(tmp_path)) == 3
    assert list(tmp_path.iterdir()) == []
