"""`tdbench images` where no engine is needed, or none is there."""

from __future__ import annotations

import pytest

from harness.devices import Gpu
from harness.errors import UserError
from harness.images import command, images_command
from tests.images.trial import Trial


@pytest.fixture
def no_engine(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")


@pytest.mark.parametrize("gpus", [(), (Gpu("A", 1),)])
def test_a_dry_run_needs_no_engine_and_follows_the_machine(trial: Trial, no_engine, monkeypatch, capsys, gpus) -> None:
    monkeypatch.setattr(command, "gpus", lambda: gpus)
    trial.default("BASE", "some/base:1")
    assert images_command(dry_run=True) == 0
    shown = capsys.readouterr()
    variant = "cuda" if gpus else "cpu"
    assert shown.out.splitlines()[1].split("\t") == ["trial", variant, "to be built", "some/base:1", "2", "2 wheels"]
    assert shown.err.startswith("note: no container engine")


def test_without_an_engine_nothing_is_built(trial: Trial, no_engine) -> None:
    with pytest.raises(UserError, match="no container engine"):
        images_command(["trial"])


def test_names_are_checked_before_anything_is_done(trial: Trial, no_engine, tmp_path) -> None:
    with pytest.raises(UserError, match=r"unknown image 'trail'. Did you mean 'trial'\?"):
        images_command(["trial", "trail"])
    with pytest.raises(UserError, match="unknown variant 'gpu'"):
        images_command(["trial"], variant="gpu")
    Trial(trial.containers, trial.links, "second")
    with pytest.raises(UserError, match="one image's build context, and 2 images were named"):
        images_command(context=tmp_path / "context.tar")
    assert not (tmp_path / "context.tar").exists()
