"""What a container is made with, and how its ending is told."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.runtimes import ownership
from harness.runtimes.base import Ending
from harness.runtimes.contain import ENVIRONMENT, Box, Limits, create_arguments, ending, open_log

pytest.importorskip("docker")

#: What an ordinary engine says of itself.
FACTS = {
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "Runtimes": {"runc": {}},
    "SecurityOptions": ["name=seccomp,profile=default"],
}
NVIDIA = {**FACTS, "Runtimes": {"runc": {}, "nvidia": {}}}
LIMITS = Limits(memory=3 << 30, cpus=1.5, pids=77, tmp=5 << 20)


@pytest.fixture
def box(tmp_path, monkeypatch) -> Box:
    for name in ("weights", "job"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 99)
    monkeypatch.setattr(os, "getgroups", lambda: [99, 4321])
    return Box("sha256:1", (tmp_path / "weights",), (tmp_path / "job",), LIMITS, environment={"PYTHONPATH": "/code"})


def arguments(box: Box, facts=FACTS) -> dict:
    return create_arguments(box, ["python", "-m", "thing"], facts)


def test_the_walls(box):
    made = arguments(box)
    assert made["image"] == "sha256:1"
    assert (made["entrypoint"], made["command"]) == (["python"], ["-m", "thing"])
    wanted = {
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "ipc_mode": "private",
        "user": "1234:99",
        "mem_limit": 3 << 30,
        "memswap_limit": 3 << 30,
        "pids_limit": 77,
        "nano_cpus": 1_500_000_000,
        "tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=5242880"},
        "use_config_proxy": False,
        "init": True,
        "stdin_open": True,
        "device_requests": [],
    }
    assert {key: made[key] for key in wanted} == wanted
    assert made["log_config"]["Type"] == "none"
    assert dict(made["ulimits"][0]) == {"Name": "core", "Soft": 0, "Hard": 0}
    for key in ("privileged", "cap_add", "devices", "pid_mode", "volumes", "ports", "userns_mode"):
        assert not made.get(key), key


def test_mounts_are_no_strings_that_a_colon_could_split(box, tmp_path):
    found = [(m["Target"], m["Source"], m["Type"], m["ReadOnly"]) for m in arguments(box)["mounts"]]
    job, weights = str(tmp_path / "job"), str(tmp_path / "weights")
    assert found == [(job, job, "bind", False), (weights, weights, "bind", True)]


def test_nothing_of_our_environment_goes_inside(box, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    environment = arguments(box)["environment"]
    assert environment["PYTHONPATH"] == "/code"
    assert environment["HOME"] == "/tmp"
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    assert all(environment[name].startswith("/tmp/") for name in environment if "CACHE" in name)
    assert set(environment) == {*ENVIRONMENT, "PYTHONPATH", "NVIDIA_VISIBLE_DEVICES"}


def test_labels_name_the_process_that_waits(box, tmp_path):
    labels = arguments(replace(box, kind="convert"))["labels"]
    assert labels["tdbench"] == "convert"
    assert labels["tdbench.pid"] == str(os.getpid())
    assert labels["tdbench.folder"] == str(tmp_path / "job")
    assert {"tdbench.host", "tdbench.boot", "tdbench.started"} <= set(labels)


def test_only_groups_that_own_what_is_mounted_go_inside(box, tmp_path, monkeypatch):
    assert arguments(box)["group_add"] == []
    stat = os.stat

    def owned(path, **options):
        found = stat(path, **options)
        if str(path) != str(tmp_path / "weights"):
            return found
        return os.stat_result((*found[:5], 4321, *found[6:]))

    monkeypatch.setattr(os, "stat", owned)
    assert arguments(box)["group_add"] == ["4321"]


def test_root_becomes_nobody(box, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    made = arguments(box)
    assert made["user"] == "65534:65534"
    assert "group_add" not in made


def test_root_is_told_what_nobody_cannot_read(box, tmp_path, monkeypatch):
    (tmp_path / "weights" / "model.bin").touch(0o600)
    assert arguments(box), "another user than root runs as itself"
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(UserError, match=r"weights/model.bin cannot be read by user 65534.*chmod -R o\+rX"):
        arguments(box)


def test_what_is_lent_need_not_be_readable_before(box, tmp_path, monkeypatch):
    (tmp_path / "job" / "job.json").touch(0o600)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert arguments(replace(box, read=(*box.read, tmp_path / "job" / "job.json")))


def test_in_a_rootless_engine_its_root_is_the_caller(box):
    made = arguments(box, {**FACTS, "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]})
    assert made["user"] == "0:0"
    assert "group_add" not in made


def test_engines_that_map_users_or_label_files(box):
    made = arguments(box, {**FACTS, "SecurityOptions": ["name=userns", "name=selinux"]})
    assert made["userns_mode"] == "host"
    assert made["security_opt"] == ["no-new-privileges", "label=disable"]


@pytest.mark.parametrize(
    ("gpus", "facts", "request_"),
    [
        ("all", NVIDIA, {"Driver": "", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]]}),
        (("2",), NVIDIA, {"Driver": "", "Count": 0, "DeviceIDs": ["2"], "Capabilities": [["gpu"]]}),
        (
            ("0", "GPU-1"),
            {**FACTS, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]},
            {"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1"]},
        ),
    ],
)
def test_gpus(box, gpus, facts, request_):
    made = arguments(replace(box, gpus=gpus), facts)
    (found,) = made["device_requests"]
    assert {key: found[key] for key in request_} == request_
    assert "NVIDIA_VISIBLE_DEVICES" not in made["environment"]


def test_no_gpu_where_none_was_asked_for(box):
    assert arguments(box, NVIDIA)["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_an_engine_without_gpus_says_what_to_do(box, monkeypatch):
    monkeypatch.setattr("harness.runtimes.engine.CDI_FOLDERS", ())
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"nvidia-ctk.*device=cpu"):
        arguments(replace(box, gpus="all"))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"ExitCode": 0, "OOMKilled": False}, Ending(0)),
        ({"ExitCode": 1, "OOMKilled": False}, Ending(1)),
        ({"ExitCode": 139, "OOMKilled": False}, Ending(-11)),
        ({"ExitCode": 137}, Ending(-9)),
        ({"ExitCode": 255, "OOMKilled": False}, Ending(255)),
        ({"ExitCode": 0, "OOMKilled": True}, Ending(0)),
    ],
)
def test_endings(state, told):
    assert ending(state, LIMITS) == told


@pytest.mark.parametrize(("memory", "shown"), [(4 << 30, "4.0 GiB"), (256 << 20, "256 MiB")])
def test_an_ending_for_memory_names_the_limit(memory, shown):
    told = ending({"ExitCode": 137, "OOMKilled": True}, replace(LIMITS, memory=memory))
    assert told.status == -9
    assert told.out_of_memory == (
        f"the container was ended at its memory limit of {shown}: raise memory=, or lower batch_size="
    )


def test_a_log_is_not_opened_through_a_link(tmp_path):
    with open_log(tmp_path / "log") as log:
        log.write(b"one")
    with open_log(tmp_path / "log") as log:
        log.write(b"two")
    assert (tmp_path / "log").read_bytes() == b"onetwo"
    (tmp_path / "link").symlink_to(tmp_path / "log")
    with pytest.raises(OSError, match="symbolic links"):
        open_log(tmp_path / "link")


def test_folders_are_lent_to_nobody_by_root_alone(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, follow_symlinks: given.append((Path(path).name, uid)))
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    ownership.lend(tmp_path, (1234, 99))
    assert given == []
    monkeypatch.setattr(os, "getuid", lambda: 0)
    ownership.lend(tmp_path, (0, 0))
    assert given == [], "root inside a rootless engine is the caller"
    ownership.lend(tmp_path, (65534, 65534))
    assert given == [(tmp_path.name, 65534), ("file", 65534)]


def test_a_file_system_that_knows_no_owners(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(UserError, match=r"cannot give .* to user 65534.*as a normal user"):
        ownership.lend(tmp_path, (65534, 65534))
