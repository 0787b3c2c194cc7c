"""What goes into an image, as one digest; and what a CPU image takes of the packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.images import content_digest, image_names
from harness.images.recipe import read_recipe
from harness.images.requirements import Requirement, for_cpu, read_requirements
from tests.images.trial import Trial, make_wheel

H1, H2 = "1" * 64, "2" * 64


def test_the_digest_changes_with_what_goes_in_and_with_nothing_else(trial: Trial) -> None:
    before = content_digest("trial")
    assert len(before) == 64
    trial.write(trial.requirements, "# a remark\n" + trial.requirements.read_text() + "\n# another\n")
    trial.write(trial.folder / "requirements.in", "tiny\n")
    trial.archive("3.8", version="3.8.99")
    assert content_digest("trial") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda trial: trial.require(trial.torch),
        lambda trial: trial.require(trial.torch, make_wheel(trial.links, "tiny", "1.1")),
        lambda trial: trial.write(trial.requirements, trial.requirements.read_text() + "more==1\n"),
        lambda trial: trial.append("ENV MORE=1"),
        lambda trial: trial.default("BASE", "other:1"),
        lambda trial: trial.default("PYTHON", "3.10"),
        lambda trial: trial.write(trial.containers / "install.sh", "exit 1\n"),
        lambda trial: trial.archive("3.11", version="3.11.99"),
        lambda trial: trial.archive("3.11", sha256=H2),
    ],
    ids=["fewer", "version", "more", "Dockerfile", "BASE", "PYTHON", "install.sh", "python version", "python hash"],
)  # fmt: skip
def test_the_digest_knows_each_input(trial: Trial, change) -> None:
    before = content_digest("trial")
    change(trial)
    assert content_digest("trial") != before


def test_the_digest_knows_a_hash(trial: Trial) -> None:
    before = content_digest("trial")
    text = trial.requirements.read_text()
    start = text.index("sha256:") + len("sha256:")
    trial.write(trial.requirements, text[:start] + H1 + text[start + 64 :])
    assert content_digest("trial") != before


def test_a_recipe_reads_its_arguments(trial: Trial) -> None:
    trial.default("BASE", "registry.example:5000/base:1@sha256:" + H1)
    trial.default("PYTHON", "3.8")
    recipe = read_recipe("trial")
    assert (recipe.base, recipe.python) == ("registry.example:5000/base:1@sha256:" + H1, "3.8")
    assert recipe.archive.version == "3.8.20"


def test_image_names_are_folders_with_a_dockerfile(trial: Trial) -> None:
    (trial.containers / "notes").mkdir()
    assert image_names() == ("trial",)


def test_an_unknown_image_names_the_nearest(trial: Trial) -> None:
    with pytest.raises(UserError, match=r"unknown image 'trail'. Did you mean 'trial'\?"):
        read_recipe("trail")


def test_what_a_recipe_lacks_is_said(trial: Trial) -> None:
    trial.default("PYTHON", "3.7")
    with pytest.raises(UserError, match=r"python.yaml has no Python 3.7. It has: 3.8, 3.10, 3.11"):
        read_recipe("trial")
    trial.write(trial.dockerfile, "FROM scratch\n")
    with pytest.raises(UserError, match="Dockerfile has no line 'ARG PYTHON="):
        read_recipe("trial")
    trial.requirements.unlink()
    with pytest.raises(UserError, match=r"the image trial lacks .*requirements.txt"):
        read_recipe("trial")


# --- requirements ---------------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> tuple[Requirement, ...]:
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    return read_requirements(path)


def test_requirements_as_pip_compile_writes_them(tmp_path: Path) -> None:
    text = f"""# Made by: a tool
--only-binary :all:

torch==2.0.1+cu118 \\
    --hash=sha256:{H2} \\
    --hash=sha256:{H1}
    # via -r requirements.in
Typing_Extensions==4.1 --hash=sha256:{H1}  # why
plain==1!2.0rc1
"""
    assert read(tmp_path, text) == (
        Requirement("plain", "1!2.0rc1"),
        Requirement("torch", "2.0.1+cu118", (H1, H2)),
        Requirement("typing-extensions", "4.1", (H1,)),
    )


def test_with_hashes_a_version_means_that_one_and_no_local_build_of_it(tmp_path: Path) -> None:
    hashes = f"--hash=sha256:{H1} --hash=sha256:{H2}"
    assert read(tmp_path, f"torch==2.0 {hashes}")[0].line == f"torch===2.0 {hashes}"
    assert read(tmp_path, "torch==2.0")[0].line == "torch==2.0"


@pytest.mark.parametrize(
    "line",
    ["torch", "torch>=2", "torch==2.*", "torch==2 ; python_version < '3.9'", "-r other.txt", "torch @ https://host/torch.whl",
     "--index-url https://host/simple", "torch==2 --hash=md5:0", f"torch==2 --hash=sha256:{'0' * 63}", "extra[all]==1"],
)  # fmt: skip
def test_anything_but_a_pin_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match="is not of the form name==version"):
        read(tmp_path, f"fine==1\n{line}\n")


def test_a_cpu_image_has_no_cuda_packages_and_any_cpu_torch() -> None:
    names = ["cuda-bindings", "cudatext", "numpy", "nvidia-cublas-cu12", "torch", "torchmetrics", "triton"]
    found = for_cpu(Requirement(name, "2.0+cu118", (H1,)) for name in names)
    assert [one.name for one in found] == ["cudatext", "numpy", "torch", "torchmetrics"]
    assert found[2] == Requirement("torch", "2.0", (), cpu=True)
    assert all(one.hashes == (H1,) for one in found if one.name != "torch")


def test_heavy_is_torch_and_cuda() -> None:
    heavy = [
        name
        for name in ("numpy", "nvidia-nccl-cu12", "torch", "triton", "torchmetrics")
        if Requirement(name, "1").heavy
    ]
    assert heavy == ["nvidia-nccl-cu12", "torch", "triton"]
