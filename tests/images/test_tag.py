"""The tag of an image: a hash of everything that goes in."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from harness.images import image
from harness.images.base import Base
from harness.images.recipe import read_recipe
from harness.images.requirements import Requirement
from harness.images.wheelhouse import Wheel
from tests.images.trial import Trial

BASE = Base("some/base:1", "sha256:" + "a" * 64)


@pytest.fixture
def ready(trial: Trial, monkeypatch, tmp_path: Path):
    """What a build of the trial image would get, for facts that differ from the usual ones."""
    wheel = tmp_path / "some.whl"
    wheel.touch()

    def prepare(
        variant: str = "cuda",
        base: Base = BASE,
        own: str | None = "3.11.2",
        sha256: str = "b" * 64,
        network: bool = False,
    ) -> image.Ready:
        monkeypatch.setattr(image, "own_python", lambda *_: own)
        monkeypatch.setattr(image, "fetch_url", lambda *_: (wheel, ""))
        monkeypatch.setattr(image, "collect", lambda *_: (Wheel(wheel, Requirement("torch", "2.0.0", (sha256,))),))
        return image.prepare(None, read_recipe("trial"), variant, base, network, io.StringIO())  # type: ignore[arg-type]

    return prepare


def test_the_same_inputs_give_the_same_tag_whatever_the_base_is_called(ready) -> None:
    assert re.fullmatch(r"tdbench/trial:[0-9a-f]{12}", ready().tag)
    assert ready().tag == ready().tag == ready(base=Base("other/name:2", BASE.id)).tag


def test_each_input_changes_the_tag(ready, trial: Trial) -> None:
    tags = [
        ready().tag,
        ready(variant="cpu").tag,
        ready(base=Base(BASE.name, "sha256:" + "c" * 64)).tag,
        ready(own="3.11.3").tag,
        ready(own=None).tag,
        ready(own=read_recipe("trial").archive.version).tag,
        ready(sha256="d" * 64).tag,
        ready(network=True).tag,
    ]
    trial.append("ENV MORE=1")
    tags.append(ready().tag)
    assert len(set(tags)) == len(tags)


def test_labels_and_arguments_say_what_was_built(ready, trial: Trial, monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    found = ready(variant="cpu", own=None)
    assert found.arguments == {"BASE": BASE.name, "PYTHON": "3.11"}
    archive = read_recipe("trial").archive
    assert f'tdbench.python="{archive.version}"' in found.files["Dockerfile"].decode()
    assert f'tdbench.base="{BASE.name}" tdbench.base-id="{BASE.id}"' in found.files["Dockerfile"].decode()
    # The proxy is for a build with network alone, and not among the labels.
    with_network = ready(network=True)
    assert with_network.arguments["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "proxy.example" not in with_network.files["Dockerfile"].decode()
