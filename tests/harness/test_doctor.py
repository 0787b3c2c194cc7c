"""What the doctor says of the container engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import doctor
from harness.errors import MissingPackage, UserError
from harness.runtimes.engine import EngineError
from harness.runtimes.leftovers import Leftover

FACTS = {
    "ServerVersion": "28.1",
    "Driver": "overlay2",
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "SwapLimit": True,
    "Runtimes": {"runc": {}, "nvidia": {}},
    "SecurityOptions": ["name=seccomp,profile=builtin"],
}


class Engine:
    """A client that is closed."""

    closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def engine(monkeypatch):
    found = Engine()
    monkeypatch.setattr(doctor, "connect", lambda: found)
    monkeypatch.setattr(doctor, "info", lambda client: FACTS)
    monkeypatch.setattr(doctor, "leftovers", lambda client: [])
    monkeypatch.setattr(doctor, "clean", lambda client: [])
    return found


def test_an_engine_that_has_everything(engine):
    assert doctor._docker() == [doctor.Finding("Docker", True, "engine 28.1, overlay2 storage")]
    assert engine.closed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PidsLimit": False}, "cannot limit processes"),
        ({"SwapLimit": False}, "cannot limit swap"),
        ({"SecurityOptions": []}, "seccomp is off"),
        ({"Runtimes": {"runc": {}}}, "no NVIDIA runtime"),
    ],
)
def test_what_an_engine_lacks(engine, monkeypatch, changes, said):
    monkeypatch.setattr("harness.runtimes.engine.CDI_FOLDERS", ())
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(doctor, "info", lambda client: {**FACTS, **changes})
    (finding,) = doctor._docker()
    assert finding.ok is None
    assert finding.text.startswith("engine 28.1, overlay2 storage; ")
    assert said in finding.text


def test_a_rootless_engine_is_called_one(engine, monkeypatch):
    options = [*FACTS["SecurityOptions"], "name=rootless"]
    monkeypatch.setattr(doctor, "info", lambda client: {**FACTS, "SecurityOptions": options})
    assert doctor._docker()[0].text.startswith("rootless engine 28.1")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserError("no container engine: start it."), "no container engine: start it; only runtime=docker needs it"),
        (MissingPackage("docker", "runtime=docker"), "pip install docker; only runtime=docker needs it"),
    ],
)
def test_no_engine_is_no_fault(monkeypatch, error, text):
    def refuse():
        raise error

    monkeypatch.setattr(doctor, "connect", refuse)
    (finding,) = doctor._docker()
    assert finding.ok is None
    assert finding.text.endswith(text)


def test_an_engine_that_stops_answering(engine, monkeypatch):
    def refuse(client):
        raise EngineError("the container engine did not list containers: broken pipe.")

    monkeypatch.setattr(doctor, "clean", refuse)
    assert doctor._docker() == [
        doctor.Finding("Docker", None, "the container engine did not list containers: broken pipe.")
    ]
    assert engine.closed


def test_leftovers_of_ours_are_removed_and_those_of_others_named(engine, monkeypatch):
    here = Leftover("1", "tdbench-worker-1", "worker", "user 7 on here", Path("/r/jobs/a"), True)
    far = Leftover("2", "tdbench-2", "worker", "user 7 on there", Path("/r/jobs/b"), False)
    monkeypatch.setattr(doctor, "leftovers", lambda client: [here, far])
    monkeypatch.setattr(doctor, "clean", lambda client: ["removed container tdbench-worker-1"])
    assert doctor._docker()[1:] == [
        doctor.Finding("Container", True, "removed container tdbench-worker-1"),
        doctor.Finding(
            "Container",
            None,
            "tdbench-2 (worker of /r/jobs/b) is of user 7 on there; if nobody waits: docker rm -f tdbench-2",
        ),
    ]
