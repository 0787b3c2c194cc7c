"""Base images, with an engine that answers as registries do."""

from __future__ import annotations

from types import SimpleNamespace

import docker
import pytest

from harness.errors import UserError
from harness.images.base import obtain_base

NAME = "nvidia/cuda:1-base@sha256:" + "1" * 64


def engine(*, pulled=(), there=False, architecture="amd64", error=None):
    """An engine that says this while it pulls, and has the image afterwards where `there`."""
    state = {"there": False, "pulls": []}

    def inspect_image(name: str) -> dict:
        if not state["there"]:
            raise docker.errors.ImageNotFound("404", explanation=f"No such image: {name}")
        return {"Id": "sha256:" + "2" * 64, "Architecture": architecture}

    def pull(name: str, **words):
        state["pulls"].append((name, words))
        if error:
            raise error
        yield from pulled
        state["there"] = there

    return SimpleNamespace(api=SimpleNamespace(inspect_image=inspect_image, pull=pull), state=state)


def test_a_missing_base_is_pulled_once_with_a_line_for_each_layer(capsys) -> None:
    said = [
        {"status": "Pulling from nvidia/cuda", "id": "1-base"},
        *({"status": "Downloading", "id": "aa", "progressDetail": {"current": n}} for n in range(50)),
        {"status": "Pull complete", "id": "aa"},
        {"status": "Status: Downloaded newer image"},
    ]
    client = engine(pulled=said, there=True)
    assert obtain_base(client, NAME).id == "sha256:" + "2" * 64
    assert obtain_base(client, NAME).name == NAME
    assert client.state["pulls"] == [(NAME, {"stream": True, "decode": True})]
    assert capsys.readouterr().err.splitlines() == [
        f"base image: pulling {NAME}",
        "  1-base: Pulling from nvidia/cuda",
        "  aa: Pull complete",
        "  Status: Downloaded newer image",
    ]


DENIED = docker.errors.NotFound("404", explanation="pull access denied for a/b,\nrepository does not exist")
PROXY = docker.errors.APIError("500", explanation='Get "https://r/v2/": proxyconnect tcp: connection refused')


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (engine(pulled=[{"status": "x"}, {"error": "manifest unknown: manifest unknown"}]), "manifest unknown"),
        (engine(error=DENIED), "pull access denied for a/b, repository does not exist"),
        (engine(error=PROXY), "proxyconnect tcp: connection refused"),
        (engine(error=ConnectionResetError(104, "Connection reset by peer")), "Connection reset by peer"),
        (engine(pulled=[{"status": "done"}]), "the registry gave another one"),
        (engine(pulled=[{"error": "x" * 5000}]), r"x{197}\.\.\.\)"),
    ],
    ids=["digest", "no such", "proxy", "broken", "other", "long"],
)
def test_what_cannot_be_pulled_is_one_line_that_says_what_to_do(engine, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        obtain_base(engine, NAME)
    said = str(caught.value)
    assert said.startswith(f"the base image {NAME} cannot be pulled (")
    assert said.endswith("load it with docker load, or name one that is there with --base IMAGE.")
    assert "\n" not in said


def test_a_base_of_another_processor_is_refused() -> None:
    with pytest.raises(UserError, match="is for arm64, and the images are for amd64"):
        obtain_base(engine(there=True, architecture="arm64"), NAME)
