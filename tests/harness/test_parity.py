"""``tdbench parity`` with a fake model and a fake checkout of its authors' code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adapters.cards import Card, read_card
from adapters.parity import Case
from harness import parity as command
from harness.config import build
from harness.errors import UserError
from harness.parity import ParityConfig, parity, read_golden, run_worker, write_golden
from harness.upstream import Checkout
from harness.worker import parity as worker

TWIN = Path(__file__).parents[1] / "fakes" / "twin"
RIGHT = "def forward(x):\n    return 2 * x\n"
DEADLY = "import os\ndef forward(x):\n    print('some words')\n    os.kill(os.getpid(), 9)\n"


def in_this_process(place: Path) -> subprocess.CompletedProcess[str]:
    """A phase without the seconds that a process takes to start."""
    return subprocess.CompletedProcess([], worker.main(place), "", "")


@pytest.fixture
def authors_apart(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' worker is a process, as it is for users."""
    real = run_worker

    def run(place: Path) -> subprocess.CompletedProcess[str]:
        return real(place) if place.name == "record" else in_this_process(place)

    monkeypatch.setattr(command, "run_worker", run)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings that name a checkpoint; the authors' code is tmp_path/authors/twin_net.py."""
    card: Card = read_card(TWIN, "tests.fakes.twin")
    monkeypatch.setattr(command, "get_card", lambda name: card)
    authors = tmp_path / "authors"
    monkeypatch.setattr(command, "find_checkout", lambda card, config: Checkout(authors, None, "d" * 64, ("not git",)))
    monkeypatch.setattr(command, "run_worker", in_this_process)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "any").write_text("x")
    authors.mkdir()
    return [f"checkpoint={tmp_path / 'weights'}", "tokenizer=text8", "rounds=0"]


def write(tmp_path: Path, code: str) -> None:
    (tmp_path / "authors" / "twin_net.py").write_text(code)


def test_twins_agree_and_are_timed(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, RIGHT)
    assert parity("twin", [*words[:-1], "rounds=1", "steps=2", "batch_size=3"], None) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["double", "doubled", "0.0e+00", "0.0001", "ok"] in lines
    assert ["run", "tokens", "0", "differ", "equal", "ok"] in lines
    assert ["run", "nfe", "0", "differ", "equal", "ok"] in lines
    assert "note: not git" in out
    assert "sample: 2 outputs, 0 failed; 0 of 2 exact outputs differ" in out
    timed = {line.split("  ")[0]: line.split()[-1] for line in out.splitlines() if line}
    assert (
        timed["sampling, evaluations"]
        == timed["sampling, digest of tokens"]
        == timed["likelihood, evaluations"]
        == "ok"
    )
    assert float(timed["sampling (twin_draw, 2 steps), s"]) > 0  # the ratio
    assert "sampling, peak memory, MiB" in timed


def test_a_difference_beyond_tolerance_is_status_1(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, RIGHT.replace("2 *", "2.001 *"))
    assert parity("twin", [*words, "kinds=network"], None) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("double"))
    assert line.split() == ["double", "doubled", "5.0e-04", "0.0001", "FAILED"]


def test_a_difference_within_tolerance_is_shown(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, RIGHT.replace("2 *", "2.0001 *"))
    assert parity("twin", [*words, "kinds=network"], None) == 0
    assert "5.0e-05" in capsys.readouterr().out


def test_other_tokens_fail_on_the_cpu(words: list[str], tmp_path: Path) -> None:
    write(tmp_path, RIGHT.replace("2 *", "1.5 *"))
    assert parity("twin", [*words, "kinds=sample"], None) == 1


def test_other_tokens_in_a_timed_run_fail_too(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, RIGHT.replace("2 *", "1.5 *"))
    assert parity("twin", [*words[:-1], "rounds=1", "kinds=[]"], None) == 1
    assert any(line.split()[-1] == "FAILED" for line in capsys.readouterr().out.splitlines() if "digest" in line)


def test_a_missing_package_is_named(words: list[str], tmp_path: Path) -> None:
    write(tmp_path, "import no_such_package\n" + RIGHT)
    with pytest.raises(UserError, match=r"'no_such_package'.*pip install twin-things.*containers/twin") as error:
        parity("twin", words, None)
    assert "\n" not in str(error.value)


def test_a_checkout_without_the_module_is_named(words: list[str]) -> None:
    with pytest.raises(UserError, match="twin_net"):
        parity("twin", words, None)


@pytest.mark.usefixtures("authors_apart")
def test_a_dead_worker_is_one_line(words: list[str], tmp_path: Path) -> None:
    write(tmp_path, DEADLY)
    with pytest.raises(UserError, match=r"upstream worker of twin died in phase 'record'.*killed by signal 9") as error:
        parity("twin", words, None)
    assert "\n" not in str(error.value)


def test_a_failing_worker_says_its_last_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Traceback (most recent call last):\n  ...\nRuntimeError: no such luck\n\n"
    monkeypatch.setattr(command, "run_worker", lambda place: subprocess.CompletedProcess([], 1, said, ""))
    with pytest.raises(UserError, match=r"in phase 'cases' \(exit status 1\): RuntimeError: no such luck$"):
        parity("twin", words, None)


def test_what_is_recorded_can_be_read(words: list[str], tmp_path: Path) -> None:
    write(tmp_path, RIGHT)
    assert parity("twin", words, tmp_path / "goldens") == 0
    found = read_golden(tmp_path / "goldens" / "twin-weights.json")
    assert [case.name for case, _ in found] == ["double", "loss twin", "run"]
    recorded = found[0][1]
    assert torch.equal(recorded["out/doubled"], 2 * recorded["in/given"])
    assert found[2][1]["out/nfe"].tolist() == [3, 3]
    facts = json.loads((tmp_path / "goldens" / "twin-weights.json").read_text())
    assert facts["upstream"]["files"] == "d" * 64
    assert facts["versions"]["torch"]
    assert facts["largest_difference_when_recorded"] == {"network": 0, "step": None, "loss": 0, "sample": 0}


def test_goldens_keep_every_dtype_and_shape(tmp_path: Path) -> None:
    one = {"in/a": torch.arange(6).view(2, 3), "out/b": torch.tensor(1.5), "out/c": torch.zeros(0, 4)}
    two = {"in/mask": torch.tensor([True, False]), "out/b": torch.tensor([torch.nan], dtype=torch.float64)}
    cases = [Case("one", "step", {"x": [1]}), Case("two", "loss", {}, tolerance=0.5)]
    file = write_golden(tmp_path, "x", cases, {"one": one, "two": two}, {"model": "x"})
    found = read_golden(file)
    assert [case for case, _ in found] == cases
    for recorded, (_, again) in zip((one, two), found, strict=True):
        assert recorded.keys() == again.keys()
        for key in recorded:
            torch.testing.assert_close(recorded[key], again[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("kinds=nets", "kind 'nets'"),
        ("rounds=-1", "rounds must be 0 or more"),
        ("steps=0", "steps must be a whole number"),
        ("length=0", "length must be"),
        ("dtype=float8", "dtype 'float8'"),
        ("upstream.pat=x", "upstream.pat"),
        ("rounds=many", "rounds"),
    ],
)
def test_bad_settings(word: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        build(ParityConfig, [word])
    assert says in str(error.value)


def test_a_model_without_upstream_engine_is_refused() -> None:
    with pytest.raises(UserError, match="gpt2 has no upstream engine"):
        parity("gpt2", [], None)


def test_reading_settings_imports_no_torch() -> None:
    code = "import sys, harness.parity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
