"""`tdbench convert` in real containers, and malicious weights in both runtimes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from adapters.cards import get_card
from adapters.plaid.checkpoint import load_network as load_plaid
from adapters.radd.checkpoint import load_network as load_radd
from adapters.weights import read_weights
from harness import convert as host
from harness.convert import convert_command
from harness.errors import UserError
from harness.points import Job
from harness.runtimes.contain import PYTHON
from tests import malicious
from tests.docker.jobs import Bench, Containers, deed
from tests.goldens.radd_checkpoints import write_run
from tests.malicious import CARELESS, WAYS, Trap, trap

pytestmark = pytest.mark.slow
__all__ = ["trap"]

Convert = Callable[..., int]
WEIGHTS = {"model": {"a": torch.ones(2, 3)}, "step": 7}


@pytest.fixture
def convert(image: str, containers: Containers, tmp_path: Path) -> Iterator[Convert]:
    """The command with the image of these tests. It must leave no container and no temporary folder."""
    tmp_path.chmod(0o755)
    yield lambda source, to, **options: convert_command(str(source), to, image=image, **options)
    assert containers.of(tmp_path) == [], "a container was left behind"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "a temporary folder was left behind"


# --- converting -----------------------------------------------------------------------------------------------------


def test_a_training_run_of_radd(convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real use: its numpy numbers keep it from being read in the image of the authors' code."""
    run = write_run(tmp_path / "run")
    assert convert(run, tmp_path / "to") == 0
    said = capsys.readouterr()
    assert "checkpoint.pth -> checkpoint.pth.safetensors: 51 tensors" in said.out
    assert "converting checkpoints-meta/checkpoint.pth" in said.err
    files = sorted(str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file())
    assert files == [".hydra/config.yaml", "checkpoints-meta/checkpoint.pth.safetensors", "tokenizer.json"]
    for path in (tmp_path / "to").rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid()), "files are the caller's"
    one, other = (load_radd(folder, "cpu", torch.float32)[0].state_dict() for folder in (run, tmp_path / "to"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_by_its_name(convert: Convert, tmp_path: Path) -> None:
    convert("plaid:tiny", tmp_path / "to")
    tiny = get_card("plaid").folder / "tiny"
    assert not list((tmp_path / "to").glob("*.pt"))
    one, other = (load_plaid(folder, {}, "cpu", torch.float32)[0].state_dict() for folder in (tiny, tmp_path / "to"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_linked_file_into_an_empty_folder(convert: Convert, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "blob")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "ckpt.pt").symlink_to("../blob")
    (tmp_path / "to").mkdir()
    convert(tmp_path / "snapshot" / "ckpt.pt", tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["ckpt.pt.safetensors"]
    assert read_weights(tmp_path / "to" / "ckpt.pt.safetensors")["step"] == 7


def test_files_are_watched_while_they_are_written(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large enough for several looks; the writer gives a file its name only when it is whole."""
    looks: list[bool] = []
    check = host.check_files
    monkeypatch.setattr(host, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(
        host, "check_files", lambda *given, whole=True: (looks.append(whole), check(*given, whole=whole))
    )
    torch.save({f"w{index}": torch.zeros(25_000_000) for index in range(3)}, tmp_path / "ckpt.pt")
    convert(tmp_path / "ckpt.pt", tmp_path / "to")
    assert looks.count(False) > 1
    assert looks[-1] is True
    assert (tmp_path / "to" / "ckpt.pt.safetensors").stat().st_size > 300_000_000


def test_a_damaged_file(convert: Convert, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "ckpt.pt")
    (tmp_path / "ckpt.pt").write_bytes((tmp_path / "ckpt.pt").read_bytes()[:300])
    with pytest.raises(UserError, match=r"ckpt\.pt is not converted: it cannot be read") as error:
        convert(tmp_path / "ckpt.pt", tmp_path / "to")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "to").exists()


# --- malicious files ------------------------------------------------------------------------------------------------


def test_malicious_files_give_their_tensors_and_do_no_harm(
    convert: Convert, tmp_path: Path, trap: Trap, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").mkdir()
    for index, way in enumerate(WAYS):
        malicious.write(tmp_path / "source" / f"{index}.pt", way, trap, WEIGHTS)
    convert(tmp_path / "source", tmp_path / "to")
    trap.check_harmless()
    assert capsys.readouterr().out.count("  left out: optimizer") >= len(WAYS)
    for index in range(len(WAYS)):
        found = read_weights(tmp_path / "to" / f"{index}.pt.safetensors")
        assert torch.equal(found["model"]["a"], torch.ones(2, 3))


def test_a_file_that_is_nothing_but_malice_is_refused(convert: Convert, tmp_path: Path, trap: Trap) -> None:
    malicious.write(tmp_path / "ckpt.pt", "the shell", trap)
    with pytest.raises(UserError, match=r"ckpt\.pt holds no tensors, but posix\.system: refused"):
        convert(tmp_path / "ckpt.pt", tmp_path / "to")
    trap.check_harmless()
    assert not (tmp_path / "to").exists()


def test_where_it_did_run_the_container_holds_it(
    convert: Convert, tmp_path: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second wall by itself: in the place of the converter a program that unpickles as it should not. Inside, the
    folder that can be written stands for the witness."""
    inside = Trap(Path("WITNESS"), trap.server)
    for index, way in enumerate(WAYS):
        malicious.write(tmp_path / f"{index}.pt", way, inside)
    program = "import os; os.chdir(sys.argv.pop(1))\n"
    careless = CARELESS.replace("for file", program + "for file", 1)
    monkeypatch.setattr(host, "command", lambda out, files: [PYTHON, "-c", careless, str(out), *map(str, files)])
    seen: list[set[str]] = []
    check = host.check_files
    monkeypatch.setattr(
        host, "check_files", lambda out, *rest, **options: (_look(out, seen), check(out, *rest, **options))
    )
    with pytest.raises(UserError, match="did what it should not: it left 'WITNESS'"):
        convert(tmp_path, tmp_path / "to")
    assert {"written", "forked"} <= seen[-1] <= {"written", "forked", "read"}, "it ran, and reached nothing of ours"
    trap.check_harmless()
    assert not (tmp_path / "to").exists()


def _look(out: Path, seen: list[set[str]]) -> None:
    if (out / "WITNESS").exists():
        seen.append(set((out / "WITNESS").read_text().split()))


def _job(checkpoint: Path, point: dict) -> Job:
    load = {"checkpoint": str(checkpoint), "device": "cpu", "dtype": "float32", "tokenizer": "text8", "options": {}}
    return Job("nanodd", "toy", "adapters.nanodd.adapter", "", load, [point], [])


@pytest.mark.parametrize("local", [True, False], ids=["local", "docker"])
@pytest.mark.parametrize("way", ["the shell", "while a dictionary is filled"])
def test_the_native_engine_refuses_malicious_weights(bench: Bench, trap: Trap, way: str, local: bool) -> None:
    bench.folder.chmod(0o755)
    folder = bench.folder / "weights"
    folder.mkdir()
    malicious.write(folder / "ckpt.pt", way, trap, WEIGHTS)
    point = deed("nanodd_d3pm", job="nanodd")
    bench.run(_job(folder, point), local=local)
    row = bench.row(point)
    assert (row["status"], row["reason"]) == ("failed", "bad_checkpoint")
    assert "holds more than tensors and plain values; it is refused" in row["message"]
    assert "tdbench convert" in row["message"]
    trap.check_harmless()


# --- containers that go wrong or bad --------------------------------------------------------------------------------

#: Programs in the place of the converter, run in the folder that they can write to; what is said of each.
PROGRAMS: dict[str, tuple[str, str]] = {
    "a link": ("os.symlink('/etc/passwd', NAME)", "'0.safetensors', a symbolic link"),
    "a pipe": ("os.mkfifo(NAME)", "'0.safetensors', a pipe"),
    "a folder": ("os.mkdir(NAME)", "'0.safetensors', a folder"),
    "thousands": ("[open(str(i), 'w') for i in range(5000)]", "a file that does not belong"),
    "a huge file": ("open(NAME, 'wb').truncate(1 << 40)", "wrote more than"),
    "a file nobody may read": ("os.close(os.open(NAME, os.O_CREAT, 0))", "failed or is hostile"),
    "a pickle": ("import pickle; pickle.dump([1], open(NAME, 'wb'))", "no safetensors file"),
    "nothing": ("pass", "left no 0.safetensors"),
    "an error": ("sys.exit('a bad\\x1b[2J day')", r"exit status 1: a bad \[2J day"),
    "a signal": ("os.kill(os.getpid(), 9)", "exit status -9"),
    "a message": ("say(event='refused', file=0, message='a\\x1b[2Jb\\nc')", r"ckpt\.pt is not converted: a \[2Jb c\."),
    "senseless events": ("say(event='file', file=99); say(event='refused', file='x'); say(event=5)", "left no"),
    "too much memory": ("x = [bytearray(1 << 24) for _ in range(1000)]", "needs more memory .*--memory"),
    "no end": ("time.sleep(600)", "not converted within 0.05 minutes"),
    "noise without end": ("while True: print('noise')", r"not converted within 0.05 minutes|without end"),
    "a log without end": ("while True: print('x' * 10000, file=sys.stderr)", "writes without end into its log"),
    "a file without end": ("while True: time.sleep(0.01); open(NAME, 'ab').write(bytes(1 << 20))", "wrote more"),
}
#: What each begins with.
START = """
import json, os, sys, time
os.chdir(sys.argv[1])
NAME = "0.safetensors"
def say(**event): print(json.dumps(event), flush=True)
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_whatever_a_container_does_one_line_says_it(
    name: str, convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, says = PROGRAMS[name]
    monkeypatch.setattr(host, "command", lambda out, files: [PYTHON, "-c", START + program, str(out)])
    torch.save(WEIGHTS, tmp_path / "ckpt.pt")
    limits = {"minutes": 0.05} if "minutes" in says else {"memory": 0.5}
    with pytest.raises(UserError, match=says) as error:
        convert(tmp_path / "ckpt.pt", tmp_path / "to", **limits)
    assert str(error.value).isprintable()
    assert not (tmp_path / "to").exists()
