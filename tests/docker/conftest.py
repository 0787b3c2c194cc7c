"""Real containers. Each test skips, saying why, where no engine answers or the native image is not built.

TDBENCH_TEST_IMAGE names another image to use for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.images import find_image
from harness.runtimes.engine import connect, engine_problem
from tests.docker.jobs import Bench, Containers
from tests.engine import own_engine


@pytest.fixture(scope="package")
def engine():
    """A client of the engine."""
    with own_engine():
        problem = engine_problem()
        if problem:
            pytest.skip(f"no containers: {problem}")
        client = connect()
        yield client
        client.close()


@pytest.fixture(scope="package")
def image(engine) -> str:
    """Id of the image that the native engine runs in."""
    name = os.environ.get("TDBENCH_TEST_IMAGE")
    if name:
        return engine.images.get(name).id
    found = find_image(engine, "native", "cpu")
    if found is None:
        pytest.skip("the native image is not built: make images NAMES=native")
    return found.id


@pytest.fixture(scope="package")
def containers(engine) -> Containers:
    return Containers(engine)


@pytest.fixture
def bench(tmp_path, image, containers) -> Iterator[Bench]:
    """A run folder of the test's own; no container of it may be left when the test ends."""
    yield Bench(tmp_path, image)
    assert containers.of(tmp_path) == [], "a container was left behind"


@pytest.fixture(scope="module")
def shared(tmp_path_factory, image, containers) -> Iterator[Bench]:
    """The same for the tests of a module together."""
    folder: Path = tmp_path_factory.mktemp("shared")
    yield Bench(folder, image)
    assert containers.of(folder) == [], "a container was left behind"
