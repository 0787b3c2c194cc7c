"""What a job's container is given: code, weights, data, a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import adapters
from harness.errors import UserError
from harness.runtimes import docker as module
from harness.runtimes.contain import PYTHON, Limits
from harness.runtimes.docker import DockerRuntime, data_paths, gpus_of, packages, python_path

LIMITS = Limits(1 << 30, 2.0)
ROOT = Path(adapters.__file__).parents[1]


def runtime(device: str = "cpu") -> DockerRuntime:
    return DockerRuntime("sha256:1", {"image": "tdbench/native:1", "image_digest": None}, LIMITS, device, object())


def test_facts_for_the_rows():
    limits = {"memory": 1 << 30, "cpus": 2.0, "pids": 512, "tmp": 1 << 30}
    image = {"image": "tdbench/native:1", "image_id": "sha256:1", "image_digest": None}
    assert runtime().facts == {"name": "docker", **image, "limits": limits}
    assert json.dumps(runtime().facts)


@pytest.mark.parametrize(("device", "inside"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:2", "cuda")])
def test_the_only_gpu_given_has_no_number(device, inside):
    assert runtime(device).inside({"device": device, "checkpoint": None})["device"] == inside


def test_paths_are_real_and_the_rest_is_kept(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    load = {"checkpoint": "link", "data": str(tmp_path), "upstream": None, "device": "cpu", "options": {"length": 8}}
    assert runtime().inside(load) == {**load, "checkpoint": str(tmp_path / "weights")}


@pytest.mark.parametrize(
    ("device", "visible", "gpus"),
    [
        ("cpu", None, None),
        ("cpu", "3", None),
        ("cuda", None, "all"),
        ("cuda", "", "all"),
        ("cuda", "3,5", ("3", "5")),
        ("cuda:2", None, ("2",)),
        ("cuda:1", "3, GPU-5", ("GPU-5",)),
    ],
)
def test_gpus_of_a_device(monkeypatch, device, visible, gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_of(device) == gpus


def test_our_code_and_nothing_beside_it():
    found = packages("adapters.radd.adapter")
    assert found == (ROOT / "harness", ROOT / "adapters", ROOT / "benchmarks")
    assert python_path(found) == str(ROOT)


def test_the_package_of_a_third_party_comes_along(tmp_path, monkeypatch):
    (tmp_path / "theirs" / "deep").mkdir(parents=True)
    (tmp_path / "theirs" / "__init__.py").write_text("raise SystemExit('a package must not be imported to be found')")
    (tmp_path / "single.py").write_text("raise SystemExit('nor a module')")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert packages("theirs.deep.adapter")[-1] == tmp_path / "theirs"
    assert packages("single")[-1] == tmp_path / "single.py"
    assert python_path(packages("single")) == f"{ROOT}:{tmp_path}"
    with pytest.raises(UserError, match="'nowhere' of an adapter is not installed"):
        packages("nowhere.adapter")


def test_a_folder_of_weights_the_checkout_and_the_data(tmp_path):
    for name in ("weights", "checkout", "data"):
        (tmp_path / name).mkdir()
    load = {"checkpoint": str(tmp_path / "weights"), "upstream": str(tmp_path / "checkout")}
    assert set(data_paths({**load, "data": str(tmp_path / "data")})) == {
        tmp_path / "weights",
        tmp_path / "checkout",
        tmp_path / "data",
    }
    assert data_paths({"checkpoint": None, "upstream": None, "data": None}) == ()


def test_beside_a_weight_file_lie_settings(tmp_path):
    file = tmp_path / "run" / "checkpoints" / "model.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert data_paths({"checkpoint": str(file)}) == (file.parent,)
    (tmp_path / "run" / ".hydra").mkdir()
    assert data_paths({"checkpoint": str(file)}) == (file.parent, tmp_path / "run" / ".hydra")


class Boxed:
    """In the place of a container: what it would have been given."""

    def __init__(self, client, box, command, log):
        self.box, self.command, self.log = box, command, log


@pytest.fixture
def job(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(module, "Container", Boxed)
    monkeypatch.setattr(module, "clean", lambda client, folder: None)
    for name in ("job", "weights", "data"):
        (tmp_path / name).mkdir()
    load = {"checkpoint": str(tmp_path / "weights"), "data": str(tmp_path / "data"), "device": "cpu"}
    (tmp_path / "job" / "job.json").write_text(json.dumps({"adapter": "adapters.radd.adapter", "load": load}))
    return tmp_path / "job"


def test_a_start(job, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("HF_TOKEN", "secret")
    made = runtime().start(job, ["a", "b"]).container
    assert made.command == [PYTHON, "-m", "harness.worker", str(job), "a", "b"]
    assert made.log == job / "worker.log"
    box = made.box
    assert (box.image, box.write, box.limits, box.gpus, box.kind) == ("sha256:1", (job,), LIMITS, None, "worker")
    code = {ROOT / name for name in ("harness", "adapters", "benchmarks")}
    assert set(box.read) == {*code, job.parent / "weights", job.parent / "data", job / "job.json"}
    assert box.environment["OMP_NUM_THREADS"] == "3"
    assert box.environment["PYTHONPATH"] == str(ROOT)
    assert "HF_TOKEN" not in box.environment
    assert set(box.environment) <= {"PYTHONPATH", *module.INHERITED}
