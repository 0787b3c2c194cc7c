"""Which containers nobody waits for, with an engine that is only played."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.runtimes import leftovers as module
from harness.runtimes.leftovers import FOLDER, HOST, PID, STARTED, USER, clean, labels, leftovers, remove

docker = pytest.importorskip("docker")


class Engine:
    """Containers by name, with their labels."""

    def __init__(self, **containers: dict[str, str]) -> None:
        self.containers = containers
        self.api = SimpleNamespace(containers=self._list, remove_container=self._remove)

    def _list(self, all, filters):
        assert all
        assert filters == {"label": ["tdbench"]}
        return [{"Id": name, "Names": [f"/{name}"], "Labels": found} for name, found in self.containers.items()]

    def _remove(self, name, force, v):
        assert force
        assert v
        if name not in self.containers:
            raise docker.errors.NotFound("404", explanation=f"No such container: {name}")
        del self.containers[name]


@pytest.fixture
def mine(tmp_path) -> dict[str, str]:
    return labels("worker", tmp_path / "job")


@pytest.fixture
def dead(mine) -> dict[str, str]:
    """Labels of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return {**mine, PID: str(process.pid)}


def test_a_container_of_a_living_harness_is_awaited(mine):
    engine = Engine(mine=mine)
    assert leftovers(engine) == []
    assert clean(engine) == []
    assert list(engine.containers) == ["mine"]


def test_of_a_dead_one_it_is_removed(mine, dead, tmp_path):
    engine = Engine(mine=mine, gone=dead)
    (left,) = leftovers(engine)
    assert (left.name, left.kind, left.folder, left.ours) == ("gone", "worker", tmp_path / "job", True)
    (line,) = clean(engine)
    assert "gone" in line
    assert str(tmp_path / "job") in line
    assert list(engine.containers) == ["mine"]


@pytest.mark.parametrize(
    "changes",
    [{STARTED: "12345.00"}, {"tdbench.boot": "another boot"}, {PID: ""}, {STARTED: "soon"}],
    ids=["another process got the number", "the machine was restarted", "no number", "no time"],
)
def test_a_process_id_alone_is_not_enough(mine, changes):
    assert len(clean(Engine(old={**mine, **changes}))) == 1


def test_the_start_of_a_process_may_be_read_a_little_differently(mine):
    engine = Engine(mine={**mine, STARTED: f"{float(mine[STARTED]) + 0.9:.2f}"})
    assert leftovers(engine) == []


def test_of_other_machines_and_users_they_are_only_named(dead, monkeypatch):
    engine = Engine(far={**dead, HOST: "another-host"}, other={**dead, USER: "4321"})
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert [(left.name, left.ours) for left in leftovers(engine)] == [("far", False), ("other", False)]
    assert leftovers(engine)[0].owner == f"user {dead[USER]} on another-host"
    assert clean(engine) == []
    assert len(engine.containers) == 2


def test_root_cleans_for_every_user_of_its_machine(dead, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    engine = Engine(far={**dead, HOST: "another-host"}, other={**dead, USER: "4321"})
    clean(engine)
    assert list(engine.containers) == ["far"]


def test_what_was_written_is_taken_back(dead, tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "trap").symlink_to("/etc/passwd")
    clean(Engine(gone=dead))
    assert list(folder.iterdir()) == []


def test_a_label_without_a_folder_touches_none(dead, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("/etc/passwd")
    engine = Engine(gone={key: value for key, value in dead.items() if key != FOLDER})
    assert len(clean(engine)) == 1
    assert (tmp_path / "link").is_symlink()


def test_a_folder_of_ours_alone_is_cleared_of_everything(mine, dead, tmp_path):
    others = {**mine, FOLDER: str(tmp_path / "job2")}
    far = {**mine, HOST: "another-host"}
    engine = Engine(mine=mine, gone=dead, others=others, far=far)
    assert len(clean(engine, tmp_path / "job")) == 2
    assert list(engine.containers) == ["others", "far"]


def test_removing_what_is_not_there_is_fine():
    remove(Engine(), "gone")


def test_without_a_boot_id_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "BOOT_FILE", tmp_path / "none")
    made = labels("worker", Path("/job"))
    assert made["tdbench.boot"] == ""
    assert made[HOST] == socket.gethostname()
    assert leftovers(Engine(mine=made)) == []
