"""`tdbench convert` without an engine: what is converted, what a stranger's output is refused for, and its messages.

Containers are in tests/docker/test_convert.py.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapters.base import CheckpointError
from adapters.nested import left_out_of
from adapters.weights import ABOUT, read_weights, safetensors_metadata
from harness import convert as host
from harness import convert_output
from harness.convert import convert_command, find_source, is_pickle, make_plan
from harness.convert_output import LONGEST_TEXT, check_files, shown
from harness.errors import UserError
from harness.worker.convert import convert, main
from harness.worker.plain_pickle import Foreign, read
from tests import malicious
from tests.goldens.radd_checkpoints import write_run
from tests.malicious import CARELESS, WAYS, Trap, trap

__all__ = ["trap"]

WEIGHTS = {"model": {"a": torch.ones(2, 3)}, "step": 7}


# --- malicious files -----------------------------------------------------------------------------------------------


KINDS = ("zip", "old", "pickle")


def test_the_malicious_files_of_these_tests_do_harm_where_they_are_unpickled(trap: Trap) -> None:
    """Without this every test below could pass for nothing."""
    traps = {}
    for way, kind in itertools.product(WAYS, KINDS):
        own = Trap(trap.witness.with_name(f"{len(traps)}.witness"), trap.server)
        traps[malicious.write(trap.witness.with_name(f"{len(traps)}.{kind}"), way, own, kind=kind)] = own
    subprocess.run([sys.executable, "-c", CARELESS, *map(str, traps)], check=True)
    for own in traps.values():
        assert set(own.witness.read_text().split()) == {"written", "connected", "read", "code", "forked"}
        with pytest.raises(AssertionError, match="the program ran"):
            own.check_harmless()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_engines_refuse_a_malicious_file(way: str, kind: str, trap: Trap) -> None:
    file = malicious.write(trap.witness.with_name("ckpt.pt"), way, trap, WEIGHTS, kind)
    with pytest.raises(CheckpointError, match=r"more than tensors and plain values|truncated or damaged") as error:
        read_weights(file)
    assert "\n" not in str(error.value)
    trap.check_harmless()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_even_the_converter_runs_nothing_of_a_malicious_file(way: str, kind: str, trap: Trap) -> None:
    """The container is the second wall: here there is none."""
    file = malicious.write(trap.witness.with_name("ckpt.pt"), way, trap, WEIGHTS, kind)
    target = file.with_name("out.safetensors")
    convert(file, target)
    trap.check_harmless()
    found = read_weights(target)
    assert torch.equal(found["model"]["a"], WEIGHTS["model"]["a"])  # type: ignore[index]
    assert found["step"] == 7
    count, listed = left_out_of(safetensors_metadata(target)[ABOUT])
    assert count == len(listed) > 0
    assert all(place.startswith("optimizer") for place, _ in listed)


def test_code_that_is_the_whole_file_leaves_nothing(trap: Trap) -> None:
    file = malicious.write(trap.witness.with_name("ckpt.pt"), "the shell", trap)
    convert(file, file.with_name("out.safetensors"))
    trap.check_harmless()
    assert read_weights(file.with_name("out.safetensors")) is None
    about = safetensors_metadata(file.with_name("out.safetensors"))[ABOUT]
    assert left_out_of(about) == (1, [("", "posix.system")])


class Deep:
    """Of a class that the container does not have."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Listed(list):
    """Filled by `append`, or `extend`."""


def test_objects_of_other_classes_are_left_out_and_listed(tmp_path: Path) -> None:
    value = {
        "weights": [torch.ones(1), Deep(inner=torch.ones(5))],
        "args": Namespace(rate=0.1, deep=Deep()),
        "list": Listed([1, 2]),
        "array": np.zeros(3),
        "path": Path("x"),
        "function": os.getcwd,
        "attributed": torch.nn.Parameter(torch.ones(2)),
    }
    value["attributed"].tag = Deep()
    torch.save(value, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "y.safetensors")
    found = read_weights(tmp_path / "y.safetensors")
    assert found["weights"][1] is None, "what stands behind keeps its place"
    assert found["args"] == Namespace(rate=0.1)
    assert found["attributed"].tolist() == [1.0, 1.0]
    assert set(found) == {"weights", "args", "attributed"}
    listed = dict(left_out_of(safetensors_metadata(tmp_path / "y.safetensors")[ABOUT])[1])
    assert listed["weights.1"] == "tests.harness.test_convert.Deep"
    assert set(listed) == {"weights.1", "args.deep", "list", "array", "path", "function"}
    assert listed["function"] == "posix.getcwd"


def test_a_whole_module_has_no_tensors_that_we_could_see(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    assert isinstance(read(tmp_path / "x.pt"), Foreign)


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda f: f.write_bytes(b""), "cannot be read"),
    "text": (lambda f: f.write_bytes(b"hello there"), "cannot be read"),
    "truncated": (lambda f: (torch.save(WEIGHTS, f), f.write_bytes(f.read_bytes()[:300])), "cannot be read"),
    "cut pickle": (lambda f: f.write_bytes(pickle.dumps(list(range(300)), 2)[:200]), "cannot be read"),
    "sparse": (lambda f: torch.save([torch.eye(2).to_sparse()], f), "cannot hold .*sparse"),
    "without data": (lambda f: torch.save([torch.zeros(2, device="meta")], f), "cannot hold .*meta"),
    "a program": (lambda f: torch.jit.script(torch.nn.Linear(2, 2)).save(f), "program of TorchScript"),
    "another archive": (lambda f: zipfile.ZipFile(f, "w").close(), "cannot be read"),
    "a persistent name": (lambda f: f.write_bytes(b"\x80\x02X\x01\x00\x00\x00aQ."), "cannot be read"),
    "absurd number": (lambda f: torch.save([1 << 100_000], f), "cannot be read"),
    "name with a zero": (lambda f: f.write_bytes(b"\x80\x04\x8c\x01a\x8c\x01\x00\x93."), "cannot be read"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "says"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_converted_is_said_in_one_event(
    make: Callable[[Path], Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(WEIGHTS, tmp_path / "good.pt")
    make(tmp_path / "bad.pt")
    assert main([str(tmp_path), str(tmp_path / "good.pt"), str(tmp_path / "bad.pt"), "never reached"]) == 2
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["event"], event["file"]) for event in events] == [("file", 0), ("file", 1), ("refused", 1)]
    assert re.search(says, events[2]["message"])
    assert "\n" not in events[2]["message"]
    assert (tmp_path / "0.safetensors").is_file()


def worker(*arguments: Path, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """The converter in a process of its own, which ends when its standard input does."""
    command = [sys.executable, "-m", "harness.worker.convert", *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, cwd=Path(host.__file__).parents[1])


def test_the_worker_ends_with_its_host(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never.pt")  # opening it takes until somebody writes
    assert worker(tmp_path, tmp_path / "never.pt", stdin=subprocess.DEVNULL).wait(60) == 3


def test_the_worker_names_its_files_by_number(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pt")
    torch.save([1], tmp_path / "b.pt")
    (tmp_path / "out").mkdir()
    with worker(tmp_path / "out", *sorted(tmp_path.glob("*.pt"))) as process:
        assert process.wait() == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.safetensors", "1.safetensors"]
    assert read_weights(tmp_path / "out" / "1.safetensors") == [1]


# --- what is a pickle, what is to be done --------------------------------------------------------------------------


def test_pickles_are_known_by_their_content(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "weights.bin")
    torch.save(WEIGHTS, tmp_path / "old", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.dat").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "cut.bin").write_bytes((tmp_path / "weights.bin").read_bytes()[:100])
    (tmp_path / "protocol0.pkl").write_bytes(pickle.dumps({"a": 1}, protocol=0))
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    np.savez(tmp_path / "arrays.npz", a=np.ones(2))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "vocab.bin").write_bytes(b"\x00\x01")
    (tmp_path / "empty").touch()
    found = {path.name for path in tmp_path.iterdir() if is_pickle(path)}
    assert found == {"weights.bin", "old", "plain.dat", "cut.bin", "protocol0.pkl"}


def test_a_folder_is_sorted(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    (root / ".tdbench.json").write_text("{}")
    plan = make_plan(root)
    assert plan.pickles == (Path("checkpoints-meta/checkpoint.pth"),)
    assert plan.others == (Path(".hydra/config.yaml"), Path("tokenizer.json"))
    assert make_plan(root / "checkpoints-meta" / "checkpoint.pth").pickles == (Path("checkpoint.pth"),)


def test_links_are_followed_as_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "blob")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "pytorch_model.bin").symlink_to(tmp_path / "blob")
    assert make_plan(tmp_path / "snapshot").pickles == (Path("pytorch_model.bin"),)


def test_nothing_to_convert(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="holds no pickle, so there is nothing to convert"):
        make_plan(tmp_path)


def test_what_is_converted_already_is_not_written_over(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "x.pt")
    (tmp_path / "x.pt.safetensors").touch()
    with pytest.raises(UserError, match=r"holds both x\.pt and x\.pt\.safetensors: remove one"):
        make_plan(tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "'nowhere' is not there: give a folder, a file, or MODEL:CHECKPOINT of .*radd"),
        ("/no/such:folder", "is not there"),
        ("radd:none-such", "unknown checkpoint of radd 'none-such'"),
        ("none_such:tiny", "unknown model 'none_such'"),
        ("unigram:none", "unigram:none has no weights"),
    ],
)
def test_a_source_that_is_not_there(source: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        find_source(source)


def test_a_published_checkpoint_that_was_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="tdbench fetch plaid:plaid-1b"):
        find_source("plaid:plaid-1b")


def test_a_checkpoint_of_the_card_is_found() -> None:
    assert find_source("plaid:tiny").is_dir()


# --- the command, as far as it gets without an engine ----------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    torch.save(WEIGHTS, tmp_path / "source" / "ckpt.pt")
    return tmp_path / "source"


def test_without_an_engine_nothing_is_opened(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened on the host"))
    with pytest.raises(UserError, match="no container engine") as error:
        convert_command(str(source), tmp_path / "to")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "to").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"source"}, "nothing may be left"


def test_without_the_image(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "connect", lambda: None)
    monkeypatch.setattr(host, "find_image", lambda *_: None)
    with pytest.raises(UserError, match=r"image native is not built.* tdbench images native"):
        convert_command(str(source), tmp_path / "to")


def test_a_target_that_is_not_empty(source: Path, tmp_path: Path) -> None:
    for target in (source, source / "ckpt.pt"):
        with pytest.raises(UserError, match="is there and not empty"):
            convert_command(str(source), target)


def test_a_target_that_cannot_be_made(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*/to: "):
        convert_command(str(source), source / "ckpt.pt" / "to")


@pytest.mark.parametrize(
    ("given", "says"),
    [({"minutes": 0}, "--minutes .* got '0'"), ({"minutes": float("nan")}, "nan"), ({"memory": -1}, "--memory .*-1")],
)
def test_amounts_that_make_no_sense(given: dict[str, float], says: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        convert_command(str(source), tmp_path / "to", **given)  # type: ignore[arg-type]


# --- what a container leaves --------------------------------------------------------------------------------------


def link(folder: Path) -> None:
    (folder / "0.safetensors").symlink_to("/etc/passwd")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "0.safetensors")


def bound_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # such a path must be short
        try:
            server.bind("0.safetensors")
        finally:
            os.chdir(here)


def two_names(folder: Path) -> None:
    (folder / "0.safetensors").touch()
    (folder / "1.safetensors").hardlink_to(folder / "0.safetensors")


def huge(folder: Path) -> None:
    with open(folder / "0.safetensors", "wb") as file:
        file.truncate(1 << 40)  # takes no room


def thousands(folder: Path) -> None:
    for index in range(3000):
        (folder / f"{index}.safetensors").touch()


LEFT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "link": (link, "'0.safetensors', a symbolic link"),
    "folder": (lambda folder: (folder / "0.safetensors").mkdir(), "'0.safetensors', a folder"),
    "pipe": (pipe, "'0.safetensors', a pipe"),
    "socket": (bound_socket, "'0.safetensors', a socket"),
    "two names": (two_names, "a file with two names"),
    "huge": (huge, "wrote more than 1 MB"),
    "thousands": (thousands, r"'\d+.safetensors', a file that does not belong"),
    "other name": (lambda folder: (folder / "ckpt.pt").touch(), "'ckpt.pt', a file that does not belong"),
    "evil name": (lambda folder: (folder / "a\x1b[2Jb\nc").touch(), r"'a \[2Jb c', a file"),
    "less": (lambda folder: (folder / "0.safetensors").touch(), "left no 1.safetensors"),
    "nothing": (lambda folder: None, "left no 0.safetensors"),
}


@pytest.mark.parametrize(("leave", "says"), LEFT.values(), ids=LEFT)
def test_output_that_should_not_be_is_refused_in_one_line(
    leave: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    leave(tmp_path)
    with pytest.raises(UserError, match=says) as error:
        check_files(tmp_path, 2, 1_000_000)
    assert str(error.value).isprintable()


def test_output_as_expected(tmp_path: Path) -> None:
    (tmp_path / "0.safetensors").write_bytes(bytes(10))
    (tmp_path / ".tmpx").write_bytes(b"")
    check_files(tmp_path, 2, 10, whole=False)
    with pytest.raises(UserError, match=r"left '\.tmpx', a file that does not belong"):
        check_files(tmp_path, 2, 10)
    (tmp_path / ".tmpx").rename(tmp_path / "1.safetensors")
    check_files(tmp_path, 2, 10)
    with pytest.raises(UserError, match="wrote more than"):
        check_files(tmp_path, 2, 9)


@pytest.mark.parametrize("name", ["link", "folder", "pipe", "socket", "two names", "huge", "thousands"])
def test_what_should_not_be_is_seen_while_it_is_written(name: str, tmp_path: Path) -> None:
    leave, _ = LEFT[name]
    leave(tmp_path)
    with pytest.raises(UserError, match="did what it should not"):
        check_files(tmp_path, 2, 1_000_000, whole=False)


def test_a_file_may_get_its_name_while_it_is_looked_at(tmp_path: Path) -> None:
    gone = SimpleNamespace(name="x", stat=lambda **_: os.stat(tmp_path / "gone"))
    assert convert_output._facts(gone) == ("a file", 0)  # type: ignore[arg-type]


def test_texts_of_strangers_are_shown_harmlessly() -> None:
    assert shown("a\x1b]0;x\x07\r\n\u202eb\x9b") == "a ]0;x    b"
    assert len(shown("x" * 10_000)) == LONGEST_TEXT


def about(layout: Any, count: Any = 0, first: Any = ()) -> dict[str, str]:
    return {ABOUT: json.dumps({"layout": layout, "left_out": {"count": count, "first": first}})}


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "a pickle": lambda file: torch.save(WEIGHTS, file),
    "empty": lambda file: file.touch(),
    "no text": lambda file: save_file({"a": torch.ones(1)}, file),
    "no layout": lambda file: save_file({"a": torch.ones(1)}, file, metadata={ABOUT: "{}"}),
    "unknown tensor": lambda file: save_file({"a": torch.ones(1)}, file, metadata=about({"tensor": "b"})),
    "count of text": lambda file: save_file({"a": torch.ones(1)}, file, metadata=about({"tensor": "a"}, "many")),
    "list of numbers": lambda file: save_file({"a": torch.ones(1)}, file, metadata=about({"tensor": "a"}, 1, [1])),
}


@pytest.mark.parametrize("write", HOSTILE.values(), ids=HOSTILE)
def test_files_that_are_no_conversions_are_refused(write: Callable[[Path], Any], tmp_path: Path) -> None:
    write(tmp_path / "0.safetensors")
    with pytest.raises(UserError, match=r"x\.pt is not converted, its container failed or is hostile") as error:
        host._read(Path("x.pt"), tmp_path / "0.safetensors")
    assert str(error.value).isprintable()
