"""The wheelhouse: what pip brings, kept and verified; no network anywhere."""

from __future__ import annotations

import os
import subprocess
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.images import wheelhouse
from harness.images.recipe import read_recipe
from harness.images.requirements import Requirement
from harness.images.wheelhouse import Wheel, collect, lacking_wheels
from tests.images.trial import Trial, make_wheel, sha256


def fetch(packages: Sequence[Requirement], python: str = "3.11") -> tuple[Wheel, ...]:
    with open(wheelhouse.cache_folder().parent / "the.log", "w") as log:
        return collect(packages, python, log)


def get(trial: Trial, variant: str = "cuda", python: str = "3.11") -> list[str]:
    """Names of the wheels that an image gets."""
    packages = read_recipe("trial").packages(variant)
    wheels = fetch(packages, python)
    assert [wheel.exactly.name for wheel in wheels] == [one.name for one in packages]
    assert all(sha256(wheel.path) in wheel.exactly.hashes for wheel in wheels)
    assert all(wheel.path.parent == wheelhouse.wheelhouse() for wheel in wheels)
    return sorted(wheel.path.name for wheel in wheels)


def kept() -> list[str]:
    return sorted(os.listdir(wheelhouse.wheelhouse()))


@pytest.fixture
def no_pip(monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pip was asked")

    monkeypatch.setattr(wheelhouse.subprocess, "run", refuse)


def test_wheels_are_downloaded_once(trial: Trial, request) -> None:
    names = ["tiny-1.0-py3-none-any.whl", "torch-2.0.0-py3-none-any.whl"]
    assert lacking_wheels(read_recipe("trial").requirements, "3.11") == 2
    assert get(trial) == names
    assert kept() == names
    assert lacking_wheels(read_recipe("trial").requirements, "3.11") == 0
    request.getfixturevalue("no_pip")
    assert get(trial) == names


def test_a_cpu_image_gets_the_cpu_build(trial: Trial) -> None:
    assert get(trial, "cuda") == ["tiny-1.0-py3-none-any.whl", "torch-2.0.0-py3-none-any.whl"]
    assert get(trial, "cpu") == ["tiny-1.0-py3-none-any.whl", "torch-2.0.0+cpu-py3-none-any.whl"]
    exactly = fetch(read_recipe("trial").packages("cpu"), "3.11")[1].exactly
    assert (
        exactly.line
        == f"torch===2.0.0+cpu --hash=sha256:{sha256(wheelhouse.wheelhouse() / 'torch-2.0.0+cpu-py3-none-any.whl')}"
    )


def test_an_index_without_cpu_builds_is_refused(trial: Trial) -> None:
    (trial.links / "torch-2.0.0+cpu-py3-none-any.whl").unlink()
    with pytest.raises(
        UserError, match=r"gave a CUDA build of torch 2\.0\.0, and a CPU image needs a CPU build: set PIP_EXTRA"
    ):
        get(trial, "cpu")


def test_a_damaged_wheel_is_downloaded_again(trial: Trial) -> None:
    wheelhouse.wheelhouse().mkdir(parents=True)
    (wheelhouse.wheelhouse() / trial.tiny.name).write_bytes(b"half a wh")
    tiny = Requirement("tiny", "1.0", (sha256(trial.tiny),))
    assert sha256(fetch([tiny])[0].path) == tiny.hashes[0]


def test_a_wheel_placed_by_hand_is_used(trial: Trial, no_pip) -> None:
    wheelhouse.cache_folder().mkdir()
    trial.links.rename(wheelhouse.wheelhouse())
    get(trial)


def test_a_file_with_another_hash_is_not_taken(trial: Trial) -> None:
    make_wheel(trial.links, "tiny", "1.0", files={"tiny/extra.py": "evil = True\n"})
    with pytest.raises(UserError, match=r"pip cannot get the wheels of 1 packages|DO NOT MATCH THE HASHES"):
        get(trial)
    assert trial.tiny.name not in kept()


def test_what_came_before_a_failure_is_kept(trial: Trial) -> None:
    trial.tiny.unlink()
    with pytest.raises(UserError) as caught:
        get(trial)
    said = str(caught.value)
    assert said.startswith(
        "pip cannot get the wheels of tiny: No matching distribution found for tiny===1.0. Check the network"
    )
    assert "\n" not in said
    assert str(wheelhouse.wheelhouse()) in said
    assert said.endswith("the.log")
    assert "No matching distribution" in Path(said.rpartition(" ")[2]).read_text()
    assert kept() == [trial.torch.name]


def test_each_large_wheel_is_kept_as_soon_as_it_came(trial: Trial) -> None:
    triton = make_wheel(trial.links, "triton", "3")
    trial.require(trial.torch, triton)
    triton.unlink()
    with pytest.raises(UserError, match="cannot get the wheels of triton: No matching"):
        get(trial)
    assert kept() == [trial.torch.name]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "OSError: [Errno 28] No space left on device\n",
            r"no room for the wheels of torch in .*: free some, or set TDBENCH_CACHE",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken\nERROR: No matching distribution for torch\n",
            r"wheels of torch: No matching distribution for torch \(no connection to the index\)\. Check",
        ),
        ("/usr/bin/python3: No module named pip\n", "wheels of torch: /usr/bin/python3: No module named pip. Check"),
        ("", "wheels of torch: it said nothing. Check"),
    ],
    ids=["full disk", "no network", "no pip", "silence"],
)
def test_what_pip_complains_of_is_one_line(trial: Trial, monkeypatch, said: str, expected: str) -> None:
    monkeypatch.setattr(wheelhouse.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, None, said))
    with pytest.raises(UserError, match=expected) as caught:
        get(trial)
    assert "\n" not in str(caught.value)


def test_wheels_fit_the_images_python_and_not_ours(trial: Trial) -> None:
    old = make_wheel(trial.links, "binary", "1", "cp38-cp38-manylinux_2_17_x86_64")
    new = make_wheel(trial.links, "binary", "1", "cp311-cp311-manylinux_2_28_x86_64")
    make_wheel(trial.links, "binary", "1", "cp311-cp311-macosx_11_0_arm64")
    requirement = Requirement("binary", "1", (sha256(old), sha256(new)))
    for python, wheel in (("3.8", old), ("3.11", new), ("3.8", old)):
        assert [each.path.name for each in fetch([requirement], python)] == [wheel.name]


def test_every_common_tag_is_known_to_pip_and_found_again(trial: Trial, request) -> None:
    tags = (
        "cp38-cp38-manylinux1_x86_64", "cp38-cp38-manylinux2014_x86_64", "cp38-cp38-linux_x86_64", "py2.py3-none-any",
        "cp36-abi3-manylinux_2_28_x86_64", "cp38-none-manylinux_2_5_x86_64", "py3-none-any",
        "py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64",
    )  # fmt: skip
    wheels = [make_wheel(trial.links, f"binary{number}", "1", tag) for number, tag in enumerate(tags)]
    packages = [Requirement(f"binary{number}", "1", (sha256(wheel),)) for number, wheel in enumerate(wheels)]
    assert len(fetch(packages, "3.8")) == len(tags)
    request.getfixturevalue("no_pip")
    assert len(fetch(packages, "3.8")) == len(tags)


@pytest.mark.parametrize("by_hand", [False, True])
def test_wheels_of_other_systems_are_refused(trial: Trial, by_hand: bool) -> None:
    place = wheelhouse.wheelhouse() if by_hand else trial.links
    tags = (
        "cp39-cp39-manylinux1_x86_64",
        "cp38-cp38-manylinux_2_34_x86_64",
        "cp38-cp38-win_amd64",
        "cp38-cp38-musllinux_1_1_x86_64",
    )
    digests = tuple(sha256(make_wheel(place, "binary", "1", tag)) for tag in tags)
    with pytest.raises(UserError, match="pip cannot get the wheels of binary: No matching distribution found"):
        fetch([Requirement("binary", "1", digests)], "3.8")


def test_source_is_not_built(trial: Trial) -> None:
    (trial.links / "source-1.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match="No matching distribution found for source==1"):
        fetch([Requirement("source", "1")], "3.11")


def test_odd_files_are_left_alone(trial: Trial, no_pip) -> None:
    wheelhouse.cache_folder().mkdir()
    trial.links.rename(wheelhouse.wheelhouse())
    (wheelhouse.wheelhouse() / "notes.whl").write_text("not a wheel")
    get(trial)
    assert "notes.whl" in kept()


def test_leftovers_of_killed_downloads_go_but_not_those_under_way(trial: Trial) -> None:
    place = wheelhouse.wheelhouse()
    old, young = place / ".part-old", place / ".part-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "torch.whl").write_bytes(b"")
    os.utime(old, (time.time() - 3 * 24 * 3600,) * 2)
    fetch([Requirement("tiny", "1.0", (sha256(trial.tiny),))])
    assert not old.exists()
    assert young.exists()


def test_a_cuda_build_is_known_by_its_library(tmp_path: Path) -> None:
    for names, expected in ((["torch/lib/libtorch_cuda_cpp.so"], True), (["torch/lib/libtorch_cpu.so"], False)):
        with zipfile.ZipFile(tmp_path / "torch.whl", "w") as archive:
            for name in names:
                archive.writestr(name, "")
        assert wheelhouse.has_cuda(tmp_path / "torch.whl") is expected
