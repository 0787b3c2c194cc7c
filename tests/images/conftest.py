"""A folder of containers of the tests' own; pip finds packages in a folder beside it and nowhere else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from harness.images import recipe
from harness.runtimes.engine import connect, engine_problem
from tests.engine import own_engine
from tests.images.trial import Trial


@pytest.fixture
def trial(tmp_path, monkeypatch) -> Trial:
    """The image "trial", the only one of `harness.images` in this test."""
    return _trial(tmp_path, monkeypatch, "trial")


def _trial(tmp_path, monkeypatch, name: str) -> Trial:
    made = Trial(tmp_path / "containers", tmp_path / "links", name)
    monkeypatch.setattr(recipe, "CONTAINERS", made.containers)
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.links))
    return made


@pytest.fixture(scope="package")
def engine():
    """A client of the engine."""
    with own_engine():
        problem = engine_problem()
        if problem:
            pytest.skip(f"no images are built: {problem}")
        client = connect()
        yield client
        client.close()


@pytest.fixture(scope="package")
def base(engine) -> str:
    """Name of a base image with Python 3.11."""
    names = [tag for image in engine.images.list("tdbench-base") for tag in image.tags]
    if not names:
        pytest.skip("no images are built: there is no base image, and containers/base.sh was not run")
    return sorted(names)[0]


@pytest.fixture
def built(tmp_path, monkeypatch, engine) -> Iterator[Trial]:
    """As `trial`, under a name that no other test has; its images are removed afterwards."""
    name = f"trial-{uuid.uuid4().hex[:8]}"
    yield _trial(tmp_path, monkeypatch, name)
    for image in engine.images.list(filters={"label": f"tdbench.image={name}"}):
        engine.images.remove(image.id, force=True)
