"""Images built by a real engine, in seconds: a tiny torch, a tiny package, a base image with Python."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.images import Image, ensure_image, find_image, image, images_command
from harness.images.base import local_base, obtain_base, own_python
from harness.images.build import build
from harness.images.context import context
from harness.images.recipe import content_digest, read_recipe
from harness.images.requirements import Requirement
from harness.images.wheelhouse import Wheel
from tests.images.trial import Trial, make_wheel, sha256

pytestmark = pytest.mark.slow


def run(engine, built: Image, *command: str) -> str:
    return (
        engine.containers.run(built.id, list(command), network_mode="none", read_only=True, remove=True)
        .decode()
        .strip()
    )


def layers(engine, built: Image) -> list[str]:
    return engine.images.get(built.id).attrs["RootFS"]["Layers"]


@pytest.fixture
def no_build(monkeypatch):
    """From now on nothing may be built."""

    def start() -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("built again")

        monkeypatch.setattr(image, "build", refuse)

    return start


def test_an_image_is_built_once_and_found_by_what_is_in_it(engine, base, built: Trial, no_build) -> None:
    assert find_image(engine, built.name, "cpu") is None
    made = ensure_image(engine, built.name, "cpu", base)
    facts = engine.images.get(made.id)
    assert facts.tags == [made.tag]
    assert made.tag.startswith(f"tdbench/{built.name}:")
    assert len(made.tag.rpartition(":")[2]) == 12
    assert (made.name, made.variant, made.base, made.size) == (built.name, "cpu", base, facts.attrs["Size"])
    assert {key: value for key, value in facts.labels.items() if key.startswith("tdbench.")} == {
        "tdbench.image": built.name,
        "tdbench.content": content_digest(built.name),
        "tdbench.variant": "cpu",
        "tdbench.base": base,
        "tdbench.base-id": engine.images.get(base).id,
        "tdbench.python": made.python,
    }
    no_build()
    assert ensure_image(engine, built.name, "cpu", base) == made
    assert ensure_image(engine, built.name, "cpu") == made
    assert find_image(engine, built.name, "cpu") == made
    assert find_image(engine, built.name, "cuda") is None
    built.write(built.requirements, "# a remark\n" + built.requirements.read_text())
    assert find_image(engine, built.name, "cpu") == made
    built.append("ENV MORE=1")
    assert find_image(engine, built.name, "cpu") is None


def test_what_is_in_an_image(engine, base, built: Trial) -> None:
    made = ensure_image(engine, built.name, "cpu", base)
    config = engine.images.get(made.id).attrs["Config"]
    assert config["User"] == "65534:65534"
    assert not config["Entrypoint"]
    assert (
        run(
            engine,
            made,
            "python",
            "-c",
            "import sys, torch, tiny; print(sys.prefix, torch.__version__, tiny.__version__)",
        )
        == "/opt/tdbench 2.0.0+cpu 1.0"
    )
    assert run(engine, made, "python", "-c", "import platform; print(platform.python_version())") == made.python
    # Nothing of the build stays, and byte code is there, which the read-only root could not take later.
    assert (
        run(
            engine,
            made,
            "sh",
            "-c",
            "find / -xdev -name 'tiny*.whl' 2>/dev/null; ls -d /build* 2>/dev/null; true",
        )
        == ""
    )
    assert (
        run(engine, made, "sh", "-c", "ls /opt/tdbench/lib/python3.11/site-packages/tiny/__pycache__")
        == "__init__.cpython-311.pyc"
    )


def test_a_changed_package_leaves_the_layer_of_torch(engine, base, built: Trial) -> None:
    before = layers(engine, ensure_image(engine, built.name, "cpu", base))
    built.require(built.torch, make_wheel(built.links, "tiny", "1.1"))
    made = ensure_image(engine, built.name, "cpu", base)
    after = layers(engine, made)
    assert run(engine, made, "python", "-c", "import tiny; print(tiny.__version__)") == "1.1"
    different = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert len(different) == 1
    assert different[0] == before.index(before[different[0]]) > len(layers(engine, engine.images.get(base)))


def test_the_newest_that_serves_the_device_is_taken(engine, base, built: Trial) -> None:
    cuda = ensure_image(engine, built.name, "cuda", base)
    assert cuda.variant == "cuda"
    assert run(engine, cuda, "python", "-c", "import torch; print(torch.__version__)") == "2.0.0"
    assert find_image(engine, built.name, "cpu") == cuda  # the CPU is served by it too
    time.sleep(1)  # the engine's clock has whole seconds
    assert images_command([built.name], base, variant="cpu") == 0
    assert find_image(engine, built.name, "cpu").variant == "cpu"
    assert find_image(engine, built.name, "cuda:1") == cuda


def test_a_base_is_its_content_not_its_name(engine, base, built: Trial, no_build) -> None:
    made = ensure_image(engine, built.name, "cpu", base)
    assert find_image(engine, built.name, "cpu", made.tag) is None
    assert find_image(engine, built.name, "cpu", "127.0.0.1:9/nobody/nothing:1") is None
    no_build()
    engine.images.get(base).tag(f"tdbench/{built.name}-base", "1")
    assert ensure_image(engine, built.name, "cpu", f"tdbench/{built.name}-base:1") == made
    engine.images.remove(f"tdbench/{built.name}-base:1")


def test_a_failing_step_shows_its_line(engine, base, built: Trial) -> None:
    built.only('RUN echo fine && echo "the moon is made of cheese" >&2 && exit 3')
    with pytest.raises(UserError) as caught:
        ensure_image(engine, built.name, "cpu", base)
    assert (
        'RUN echo fine && echo "the moon is made of cheese" >&2 && exit 3 failed: the moon is made of cheese. The whole'
        in str(caught.value)
    )
    log = Path(str(caught.value).rpartition(" ")[2])
    assert log.name == f"{built.name}.log"
    assert "returned a non-zero code: 3" in log.read_text()
    assert find_image(engine, built.name, "cpu") is None
    assert not [
        each
        for each in engine.containers.list(all=True)
        if each.attrs["Image"] == engine.images.get(base).id and each.status == "exited"
    ]


def test_a_cuda_build_is_refused_inside_a_build_too(engine, base, built: Trial, tmp_path: Path) -> None:
    # As pip might bring it with --network, where nothing of it is seen before.
    torch = Wheel(built.torch, Requirement("torch", "2.0.0", (sha256(built.torch),)))
    files = context(read_recipe(built.name), "cpu", None, [torch], {"a": "b"})
    with (
        open(tmp_path / "build.log", "w") as log,
        pytest.raises(UserError, match="the index gave a CUDA build of torch: set"),
    ):
        build(engine, files, f"tdbench/{built.name}:1", {"BASE": base}, False, log)


def test_packages_that_do_not_go_together_do_not_make_an_image(engine, base, built: Trial) -> None:
    needy = make_wheel(built.links, "needy", "1.0", requires=("missing-package",))
    built.require(built.torch, needy)
    with pytest.raises(
        UserError, match=r"RUN python -m pip .* failed: needy 1\.0 requires missing-package, which is not installed"
    ):
        ensure_image(engine, built.name, "cpu", base)


def test_a_base_that_cannot_be_pulled(engine, built: Trial) -> None:
    name = "127.0.0.1:9/nobody/nothing:1"
    with pytest.raises(UserError) as caught:
        ensure_image(engine, built.name, "cpu", name)
    said = str(caught.value)
    assert said.startswith(f"the base image {name} cannot be pulled (")
    assert "connection refused" in said
    assert said.endswith("load it with docker load, or name one that is there with --base IMAGE.")
    assert "\n" not in said


def test_a_base_that_is_no_name(engine, built: Trial) -> None:
    with pytest.raises(UserError, match="Not A Name"):
        ensure_image(engine, built.name, "cpu", "Not A Name")


def test_the_python_of_a_base(engine, base) -> None:
    found = obtain_base(engine, base)
    assert found == local_base(engine, base)
    assert own_python(engine, found, "3.11").startswith("3.11.")
    assert own_python(engine, found, "3.7") is None
    assert engine.containers.list(all=True, filters={"label": "tdbench=probe"}) == []


def test_a_base_without_the_python_gets_the_pinned_one(engine, base, built: Trial, tmp_path: Path, monkeypatch) -> None:
    # A stand-in for the archive: a program of that name which is the base's own Python.
    program = tmp_path / "python3.10"
    program.write_text('#!/bin/sh\nexec python3.11 "$@"\n')
    program.chmod(0o755)
    with tarfile.open(tmp_path / "python.tar.gz", "w:gz") as archive:
        archive.add(program, "python/bin/python3.10")
    asked = []
    monkeypatch.setattr(image, "fetch_url", lambda *pin: asked.append(pin) or (tmp_path / "python.tar.gz", pin[1]))
    built.only("COPY . /build/\nRUN sh /build/install.sh python 3.10")
    built.default("PYTHON", "3.10")
    made = ensure_image(engine, built.name, "cpu", base)
    pinned = read_recipe(built.name).archive
    assert asked == [(pinned.url, pinned.sha256)]
    assert made.python == pinned.version
    assert run(engine, made, "ls", "/opt/python/bin") == "python3.10"
    assert run(engine, made, "/opt/tdbench/bin/python", "-c", "import sys; print(sys.prefix)") == "/opt/tdbench"


def test_without_the_python_and_its_archive_there_is_a_clear_line(engine, base, built: Trial) -> None:
    built.default("PYTHON", "3.10")
    built.archive("3.10", url="http://127.0.0.1:9/python.tar.gz")
    with pytest.raises(
        UserError, match=r"cannot be fetched .* A base image with a Python 3\.10 of its own needs no download"
    ):
        ensure_image(engine, built.name, "cpu", base)


def test_two_processes_build_once(engine, base, built: Trial, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.images import ensure_image, recipe;"
        "from harness.runtimes.engine import connect; recipe.CONTAINERS = Path(sys.argv[1]);"
        "print(ensure_image(connect(), *sys.argv[2:]).id)"
    )
    command = [sys.executable, "-c", code, str(built.containers), built.name, "cpu", base]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert ends[0][0] == ends[1][0]
    assert sum("Step 1/" in said or "FROM" in said for _, said in ends) == 1


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table(engine, base, built: Trial, capsys) -> None:
    assert images_command([built.name], base, variant="cpu", dry_run=True) == 0
    assert find_image(engine, built.name, "cpu") is None
    heads, planned = capsys.readouterr().out.splitlines()
    assert heads.split("\t") == ["image", "variant", "tag", "base", "packages", "to download"]
    assert planned.split("\t") == [built.name, "cpu", "to be built", base, "2", "2 wheels"]
    assert images_command([], base, variant="cpu") == 0
    first = capsys.readouterr().out.splitlines()
    made = find_image(engine, built.name, "cpu")
    assert first[0].split("\t") == ["image", "tag", "id", "size", "variant", "seconds"]
    assert first[1].split("\t")[:3] == [built.name, made.tag, made.id]
    assert images_command([], base, variant="cpu") == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t")[-1] == "0 (there already)"
    assert images_command([built.name], base, variant="cpu", dry_run=True) == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t") == [built.name, "cpu", made.tag, base, "2", "nothing"]


def test_images_that_were_built_are_listed_though_a_later_one_fails(engine, base, built: Trial, capsys) -> None:
    broken = Trial(built.containers, built.links, f"{built.name}-z")
    broken.only("RUN false")
    with pytest.raises(UserError, match="RUN false failed"):
        images_command([], base, variant="cpu")
    assert [row.split("\t")[0] for row in capsys.readouterr().out.splitlines()] == ["image", built.name]


def test_a_written_context_builds_the_same_elsewhere(engine, base, built: Trial, tmp_path: Path, capsys) -> None:
    place = tmp_path / "context.tar"
    assert images_command([built.name], base, variant="cpu", context=place) == 0
    printed = capsys.readouterr().out.strip()
    assert printed.endswith(f" - < {place}")
    with place.open("rb") as file:
        words = dict(word.split("=", 1) for word in printed.split() if word.startswith(("BASE=", "PYTHON=")))
        engine.images.build(fileobj=file, custom_context=True, buildargs=words, network_mode="none",
                            tag=printed.split("--tag ")[1].split()[0], rm=True)  # fmt: skip
    assert find_image(engine, built.name, "cpu").variant == "cpu"
