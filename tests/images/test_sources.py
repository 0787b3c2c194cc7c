"""What is in containers/: every pin is there, and the images differ only where they must."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harness.images import image_names
from harness.images.recipe import CONTAINERS, read_recipe

NAMES = image_names()
STEPS = re.compile(r"^(?!#|ARG (BASE|PYTHON)=).*\n", re.MULTILINE)


def test_the_engine_of_every_model_has_an_image() -> None:
    assert set(NAMES) >= {"native", "nanodd", "radd", "plaid", "diffuseq"}


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_pinned_by_tag_and_digest(name: str) -> None:
    assert re.fullmatch(r"nvidia/cuda:[\d.]+-base-ubuntu22\.04@sha256:[0-9a-f]{64}", read_recipe(name).base)


@pytest.mark.parametrize("name", NAMES)
def test_every_package_has_one_version_and_hashes(name: str) -> None:
    requirements = read_recipe(name).requirements
    assert "torch" in [one.name for one in requirements]
    assert len({one.name for one in requirements}) == len(requirements)
    assert [one.name for one in requirements if not one.hashes] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_was_asked_for_is_what_was_pinned(name: str) -> None:
    asked = (CONTAINERS / name / "requirements.in").read_text()
    wanted = set(re.findall(r"^([\w.-]+==\S+)", asked, re.MULTILINE))
    pinned = {f"{one.name}=={one.version}" for one in read_recipe(name).requirements}
    assert wanted
    assert wanted <= pinned


@pytest.mark.parametrize("name", NAMES)
def test_dockerfiles_differ_in_their_arguments_alone(name: str) -> None:
    def steps(of: str) -> list[str]:
        text = (CONTAINERS / of / "Dockerfile").read_text()
        return [match[0] for match in STEPS.finditer(text)]

    assert steps(name) == steps("native")
    assert len(steps(name)) > 20


def test_every_pinned_python_says_where_it_is() -> None:
    pins = yaml.safe_load((CONTAINERS / "python.yaml").read_text())
    assert set(pins) == {read_recipe(name).python for name in NAMES}
    for python, pin in pins.items():
        assert set(pin) == {"version", "url", "sha256"}
        assert re.fullmatch(rf"{re.escape(python)}\.\d+", pin["version"])
        assert re.fullmatch(r"[0-9a-f]{64}", pin["sha256"])
        assert Path(pin["url"]).name.startswith(f"cpython-{pin['version']}%2B")
        assert pin["url"].endswith("-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz")
