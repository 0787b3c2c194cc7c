"""An engine that is not there, does not answer or refuses: one line that says what to do."""

from __future__ import annotations

import builtins
import os
import socket

import pytest

from harness.errors import UserError
from harness.runtimes.engine import (
    EngineError,
    NoContainer,
    asking,
    connect,
    engine_problem,
    gpu_driver,
    limit_problem,
    security_options,
)

docker = pytest.importorskip("docker")
requests = pytest.importorskip("requests")
LIMITS = {"MemoryLimit": True, "PidsLimit": True, "CpuCfsQuota": True}


@pytest.fixture
def closed(tmp_path):
    """A socket that nobody listens at any more."""
    path = tmp_path / "closed.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("unix://{}/none.sock", r"no container engine: there is no socket unix://.*none.sock.*runtime=local"),
        ("unix://{}/closed.sock", r"engine at unix://.*closed.sock does not answer: start Docker"),
        ("tcp://127.0.0.1:1", r"engine at tcp://127.0.0.1:1 does not answer"),
        ("carrier-pigeon://x", r"no container engine at carrier-pigeon://x \(Invalid .*\): .*DOCKER_HOST"),
    ],
)
def test_no_engine(monkeypatch, tmp_path, closed, host, said):
    monkeypatch.setenv("DOCKER_HOST", host.format(tmp_path))
    with pytest.raises(UserError, match=said) as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert engine_problem() == str(caught.value)


def test_no_permission_for_the_socket(monkeypatch, closed):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{closed}")
    assert "no permission" in engine_problem()
    assert "usermod -aG docker" in engine_problem()


def test_no_package(monkeypatch):
    usual = builtins.__import__

    def without(name, *rest, **options):
        if name == "docker":
            raise ImportError(name)
        return usual(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="pip install docker"):
        connect()


def api_error(text: str, status: int = 500, kind=docker.errors.APIError):
    response = requests.Response()
    response.status_code = status
    return kind("a long text with an address", response=response, explanation=text)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (api_error("no space left on device"), "disk is full.*docker system df"),
        (api_error('could not select device driver "" with capabilities: [[gpu]]'), "nvidia-ctk"),
        (api_error("invalid mount config: bind source path does not exist: /x"), "/x.*must run on this machine"),
        (api_error("No such image: sha256:1", 404, docker.errors.ImageNotFound), "sha256:1.*tdbench images"),
        (api_error("something\nelse"), "did not start a container: something else"),
        (requests.exceptions.ReadTimeout("Read timed out. (read timeout=120)"), "did not start.*Read timed out"),
        (requests.exceptions.ConnectionError(ConnectionResetError(104, "Connection reset by peer")), "reset by peer"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    ],
)
def test_refusals_are_one_line(error, said):
    with pytest.raises(EngineError, match=said) as caught, asking("start a container"):
        raise error
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, NoContainer)


def test_a_container_that_is_gone():
    with pytest.raises(NoContainer), asking("stop it"):
        raise api_error("No such container: abc", 404, docker.errors.NotFound)


def test_other_errors_are_not_the_engines():
    with pytest.raises(ZeroDivisionError), asking("count"):
        os.getpid() / 0


def test_what_an_engine_cannot_limit():
    assert limit_problem(LIMITS) is None
    said = limit_problem({**LIMITS, "MemoryLimit": False, "PidsLimit": None})
    assert "cannot limit memory, processes," in said
    assert "runtime=local" in said


@pytest.mark.parametrize(
    ("facts", "driver"),
    [
        ({"Runtimes": {"runc": {}}}, None),
        ({"Runtimes": None}, None),
        ({"Runtimes": {"nvidia": {}}}, "nvidia"),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}, "cdi"),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "intel.com/npu=all"}]}, None),
    ],
)
def test_how_gpus_are_handed_out(monkeypatch, facts, driver):
    monkeypatch.setattr("harness.runtimes.engine.CDI_FOLDERS", ())
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert gpu_driver(facts) == driver


def test_gpus_that_only_files_tell_of(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.runtimes.engine.CDI_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert gpu_driver({}) is None
    (tmp_path / "nvidia.yaml").touch()
    assert gpu_driver({}) == "cdi"
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-container-runtime-hook")
    assert gpu_driver({}) == "nvidia"


def test_security_options():
    options = ["name=seccomp,profile=default", "name=rootless", "name=cgroupns"]
    assert security_options({"SecurityOptions": options}) == {"seccomp", "rootless", "cgroupns"}
    assert security_options({"SecurityOptions": None}) == set()
