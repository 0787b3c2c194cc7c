"""The packages of the images: pinned, complete for what a worker imports there, and code that their Python can read."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement as Wanted

from adapters.cards import all_cards
from harness.images.requirements import Requirement, read_requirements

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "containers"
#: Models that have an image of their own, and the one for all.
MODELS = tuple(sorted(name for name in all_cards() if (CONTAINERS / name / "requirements.in").is_file()))
NATIVE = "native"
IMAGES = (*MODELS, NATIVE)
#: Ours.
PACKAGES = ("adapters", "harness")
#: What is installed under another name than it is imported.
INSTALLED_AS = {"yaml": "pyyaml"}
#: Versions of the native image that are not those of constraints.txt (its requirements.in says why).
UNLIKE_CONSTRAINTS = {"omegaconf"}
OLD = (3, 8)


@cache
def pinned(image: str) -> tuple[Requirement, ...]:
    return read_requirements(CONTAINERS / image / "requirements.txt")


def versions(image: str) -> dict[str, str]:
    return {one.name: one.version for one in pinned(image)}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(file: Path) -> dict[str, str]:
    """Name and version of the lines name==version of a file, as far as they are for Python 3.11 on Linux."""
    lines = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    wanted = [Wanted(line) for line in lines if line]
    here = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux"}
    return {
        plain(one.name): str(one.specifier).removeprefix("==")
        for one in wanted
        if one.marker is None or one.marker.evaluate(here)
    }


# --- the lists ------------------------------------------------------------------------------------------------------


def test_every_model_with_an_upstream_engine_has_an_image() -> None:
    assert {name for name, card in all_cards().items() if "upstream" in card.engines} == set(MODELS)


@pytest.mark.parametrize("image", IMAGES)
def test_every_package_is_pinned_with_hashes_and_named_once(image: str) -> None:
    assert [one.name for one in pinned(image) if not one.hashes] == []
    names = [one.name for one in pinned(image)]
    assert sorted(set(names)) == names
    assert "\n--only-binary :all:\n" in (CONTAINERS / image / "requirements.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("image", IMAGES)
def test_what_was_asked_for_is_pinned(image: str) -> None:
    wanted = listed(CONTAINERS / image / "requirements.in")
    assert "torch" in wanted
    assert wanted.items() <= versions(image).items()


@pytest.mark.parametrize("image", IMAGES)
def test_it_is_the_cuda_set(image: str) -> None:
    names = versions(image)
    assert "triton" in names
    assert any(name.startswith("nvidia-cudnn") for name in names)


@pytest.mark.parametrize("image", IMAGES)
def test_it_was_made_for_the_python_of_the_image(image: str) -> None:
    command = (CONTAINERS / image / "requirements.txt").read_text(encoding="utf-8").splitlines()[0]
    dockerfile = (CONTAINERS / image / "Dockerfile").read_text(encoding="utf-8")
    (python,) = set(re.findall(r"^ARG PYTHON=(\S+)$", dockerfile, re.MULTILINE))
    assert re.findall(r"--python-version (\S+)", command) == [python]
    assert f"containers/{image}/requirements.in" in command


@pytest.mark.parametrize("model", MODELS)
def test_it_has_what_the_authors_code_imports(model: str) -> None:
    wanted = {plain(name) for name in all_cards()[model].upstream.packages}
    assert wanted <= versions(model).keys()
    assert wanted <= versions(NATIVE).keys()  # image=native


def test_the_native_image_has_the_versions_this_project_is_tested_with() -> None:
    ours, tested = versions(NATIVE), listed(ROOT / "constraints.txt")
    unlike = {name for name in ours.keys() & tested.keys() if ours[name] != tested[name]}
    assert unlike == UNLIKE_CONSTRAINTS
    assert ours.keys() <= tested.keys()


# --- what a worker imports ------------------------------------------------------------------------------------------


def file_of(module: str) -> Path | None:
    """Source of a module of ours; None where it is none (a name in a module)."""
    place = ROOT.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def imports(file: Path) -> frozenset[str]:
    """Modules that a file imports, inside functions too, but not what only a type checker reads."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return frozenset(found)


def reached(*modules: str) -> tuple[dict[str, Path], set[str]]:
    """Our modules that these import, themselves included, and the packages of others."""
    ours: dict[str, Path] = {}
    others: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        top, _, rest = module.partition(".")
        if top not in PACKAGES:
            others.add(top)
        elif module not in ours and (file := file_of(module)):
            ours[module] = file
            waiting += [*imports(file), *([module.rpartition(".")[0]] if rest else [])]
    return ours, others - set(sys.stdlib_module_names) - {"__future__"}


WORKER = ("harness.worker.__main__", "harness.worker.parity")


def engine(model: str) -> tuple[dict[str, Path], set[str]]:
    return reached(*WORKER, all_cards()[model].offer("upstream").module)


@pytest.mark.parametrize("model", MODELS)
def test_an_image_has_every_package_that_its_worker_imports(model: str) -> None:
    packages = {plain(INSTALLED_AS.get(name, name)) for name in engine(model)[1]}
    assert {"torch", "numpy"} <= packages
    assert packages <= versions(model).keys()


def test_the_native_image_has_every_package_that_any_worker_imports() -> None:
    modules = [card.offer(name).module for card in all_cards().values() for name in card.engines]
    ours, others = reached(*WORKER, "harness.worker.convert", *modules)
    assert "adapters.causal" in ours
    packages = {plain(INSTALLED_AS.get(name, name)) for name in others}
    assert {"transformers", "safetensors"} <= packages
    assert packages <= versions(NATIVE).keys()


# --- Python 3.8 -----------------------------------------------------------------------------------------------------


def old_files() -> list[Path]:
    """What is written for old images: the files that pyproject.toml has ruff read as Python 3.8."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["ruff"]["per-file-target-version"]
    assert set(patterns.values()) == {"py38"}
    return sorted({file for pattern in patterns for file in ROOT.glob(pattern) if file.suffix == ".py"})


def test_everything_that_an_old_image_imports_is_written_for_it() -> None:
    needed = {file for model in MODELS for file in engine(model)[0].values()}
    assert ROOT / "adapters" / "base.py" in needed
    assert needed - set(old_files()) == set()


@pytest.mark.parametrize("file", old_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_workers_code_is_python_3_8(file: Path) -> None:
    ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=OLD)


def old_python() -> str | None:
    """An interpreter of Python 3.8: on the path or pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in (shutil.which("python3.8"), *map(str, sorted(pyenv.glob("versions/3.8.*/bin/python3.8")))):
        # pyenv's stand-in on the path fails where no 3.8 is chosen.
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


@pytest.fixture(scope="module")
def python_3_8() -> str:
    found = old_python()
    if found is None:
        pytest.skip("there is no Python 3.8 here, on the path or in pyenv")
    return found


def run_old(python: str, *words: str) -> str:
    done = subprocess.run([python, "-I", *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_3_8_compiles_the_workers_code(python_3_8: str, tmp_path: Path) -> None:
    program = (
        "import py_compile, sys\n"
        "for i, file in enumerate(sys.argv[2:]): py_compile.compile(file, f'{sys.argv[1]}/{i}.pyc', doraise=True)"
    )
    files = [str(file) for file in old_files()]
    run_old(python_3_8, "-c", program, str(tmp_path), *files)
    assert len(list(tmp_path.glob("*.pyc"))) == len(files)


@pytest.mark.parametrize("model", MODELS)
def test_python_3_8_imports_the_engine(model: str, python_3_8: str) -> None:
    """Compiling does not tell of `dict[str, int]` outside of annotations, or of a name that came later."""
    ours, others = engine(model)
    modules = sorted(set(ours) - {"harness.worker.__main__"})
    script = str(Path(__file__).with_name("old_python.py"))
    told = run_old(python_3_8, script, str(ROOT), ",".join(sorted(others)), *modules)
    assert told == f"{len(modules)} modules\n"
