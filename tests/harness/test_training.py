"""The trainer, on a tiny trainable of our own: resume, records, budgets, bad input."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adapters.base import Trainable, TrainBatch, TrainSpec
from adapters.cards import Card
from adapters.tokenizers import Text8Tokenizer
from harness.config import build
from harness.errors import BusyError, UserError
from harness.store import RunStore
from harness.training import trainer
from harness.training.batches import Windows, encode
from harness.training.config import TrainConfig, make_recipe
from harness.training.data import BLOCK
from harness.training.ema import MovingAverage
from harness.training.progress import TrainProgress
from harness.training.trainer import TrainReport, train

LENGTH = 8
BATCH = 4
STEPS = 12


class Tied(nn.Module):
    """A bigram model whose output matrix is its embedding; dropout, so that the global generator matters too."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, size, bias=False)
        self.out.weight = self.embedding.weight
        self.drop = nn.Dropout(0.1)
        # A running figure that the loss keeps, as Plaid's does.
        self.register_buffer("seen", torch.zeros(()))


class FakeTrainable(Trainable):
    """Predicts each next token through noise. Class attributes make it fail at a chosen loss."""

    lookahead = 1
    calls = 0
    stop_at = -1
    nan_at = -1

    def __init__(self, spec: TrainSpec) -> None:
        self.module = Tied(spec.vocab_size, int(spec.size["hidden"]))

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        tokens = batch.tokens
        assert tokens.shape == (BATCH, LENGTH + 1)
        FakeTrainable.calls += 1
        if FakeTrainable.calls == FakeTrainable.stop_at:
            raise KeyboardInterrupt
        module = self.module
        hidden = module.embedding(tokens[:, :-1])
        noise = torch.randn(hidden.shape, generator=generator)
        logits = module.out(module.drop(torch.tanh(module.mix(hidden + 0.1 * noise))))
        module.seen += torch.is_grad_enabled()
        loss = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()) / (1 + 0.01 * module.seen)
        return loss * math.nan if FakeTrainable.calls == FakeTrainable.nan_at else loss

    def export(self, folder: Path, ema: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        weights = {**{f"raw.{k}": v for k, v in self.module.state_dict().items()}, **ema}
        save_file({k: v.detach().clone().contiguous() for k, v in weights.items()}, folder / "weights.safetensors")
        (folder / "facts.json").write_text(json.dumps(dict(facts)))


class Silent(TrainProgress):
    """Keeps what it is told in a string."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        super().__init__(self.text)


@pytest.fixture(autouse=True)
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model named 'fake', which fails nowhere."""
    adapter = types.ModuleType("fake_model.adapter")
    adapter.trainable = FakeTrainable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_model", types.ModuleType("fake_model"))
    monkeypatch.setitem(sys.modules, "fake_model.adapter", adapter)
    monkeypatch.setattr(trainer, "get_card", lambda name: CARD)
    monkeypatch.setattr(FakeTrainable, "calls", 0)
    monkeypatch.setattr(FakeTrainable, "stop_at", -1)
    monkeypatch.setattr(FakeTrainable, "nan_at", -1)


CARD = Card(
    name="fake",
    title="Fake",
    role="model",
    family=None,
    module="fake_model",
    folder=Path(),
    train={"size": {"hidden": 8}, "learning_rate": 0.01, "batch_size": BATCH, "warmup": 3, "loss": "a description"},
)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("the quick brown fox jumps over the lazy dog and runs away from it again. " * 20)
    return file


def config(text: Path, out: Path, **changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "model": "fake",
        "benchmark": "text",
        "data": str(text),
        "length": LENGTH,
        "tokens": STEPS * BATCH * LENGTH,
        "threads": 1,
        "out": str(out),
        "save_every": 0,
        "log_every": 5,
    }
    return TrainConfig(**{**settings, **changes})


def run(text: Path, out: Path, **changes: Any) -> TrainReport:
    return train(config(text, out, **changes), Silent())


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "weights.safetensors")


def same(a: Path, b: Path) -> bool:
    return (a / "weights.safetensors").read_bytes() == (b / "weights.safetensors").read_bytes()


# --- resume -----------------------------------------------------------------------------------------------------------


def interrupt(text: Path, out: Path, at: int, **changes: Any) -> None:
    FakeTrainable.calls, FakeTrainable.stop_at = 0, at
    with pytest.raises(KeyboardInterrupt):
        run(text, out, **changes)
    FakeTrainable.stop_at = -1


@pytest.mark.parametrize("save_every", [0, 1000])
def test_a_killed_run_arrives_at_the_weights_of_an_uninterrupted_one(
    text: Path, tmp_path: Path, save_every: int
) -> None:
    whole = run(text, tmp_path / "whole")
    interrupt(text, tmp_path / "cut", 4, save_every=save_every)
    interrupt(text, tmp_path / "cut", 5, save_every=save_every)
    FakeTrainable.calls = 0
    cut = run(text, tmp_path / "cut", save_every=save_every)
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert [(p.step, p.loss) for p in cut.curve] == [(p.step, p.loss) for p in whole.curve]
    assert cut.heldout_loss == whole.heldout_loss
    behind = 0 if save_every else 3 + 4  # steps done before the two kills and saved
    assert FakeTrainable.calls == STEPS - behind + 64  # and the held-out batches


def test_a_half_written_state_is_not_taken(text: Path, tmp_path: Path) -> None:
    run(text, tmp_path / "whole")
    interrupt(text, tmp_path / "cut", 6)
    (tmp_path / "cut/state/state.pt.part").write_bytes(b"half")
    run(text, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_a_kill_while_exporting_is_continued(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(text, tmp_path / "whole")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FakeTrainable, "export", killed)
        with pytest.raises(KeyboardInterrupt):
            run(text, tmp_path / "cut")
    FakeTrainable.calls = 0
    run(text, tmp_path / "cut")
    assert FakeTrainable.calls == 64  # no step was taken again
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_a_finished_training_is_not_done_again(text: Path, tmp_path: Path) -> None:
    first = run(text, tmp_path / "out")
    calls = FakeTrainable.calls
    assert run(text, tmp_path / "out", log_every=3) == first
    assert FakeTrainable.calls == calls


def test_another_configuration_is_refused(text: Path, tmp_path: Path) -> None:
    interrupt(text, tmp_path / "out", 4)
    kept = (tmp_path / "out/state/state.pt").read_bytes()
    with pytest.raises(UserError, match=r"unfinished training with other settings .*seed=0"):
        run(text, tmp_path / "out", seed=1)
    assert (tmp_path / "out/state/state.pt").read_bytes() == kept
    run(text, tmp_path / "out", log_every=1)
    with pytest.raises(UserError, match="another finished training"):
        run(text, tmp_path / "out", seed=1)


def test_another_text_is_refused(text: Path, tmp_path: Path) -> None:
    interrupt(text, tmp_path / "out", 4)
    text.write_text("something else entirely, and more of it. " * 20)
    with pytest.raises(UserError, match="another text"):
        run(text, tmp_path / "out")


def test_a_damaged_state_is_one_line(text: Path, tmp_path: Path) -> None:
    interrupt(text, tmp_path / "out", 4)
    state = tmp_path / "out/state/state.pt"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read"):
        run(text, tmp_path / "out")


def test_two_trainings_in_one_folder(text: Path, tmp_path: Path) -> None:
    with RunStore(tmp_path / "out/state").locked(), pytest.raises(BusyError, match="another process is training"):
        run(text, tmp_path / "out")


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_the_seed_decides(text: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(text, tmp_path / name, seed=seed)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_how_often_it_saves_and_logs_changes_nothing(text: Path, tmp_path: Path) -> None:
    run(text, tmp_path / "a")
    run(text, tmp_path / "b", save_every=1000, log_every=1)
    assert same(tmp_path / "a", tmp_path / "b")


def test_the_folder_holds_the_checkpoint_and_its_record(text: Path, tmp_path: Path) -> None:
    report = run(text, tmp_path / "out", tokenizer="bpe:270")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"weights.safetensors", "facts.json", "tokenizer.json", "training.json", "loss.csv", "loss.svg"}
    note = json.loads((tmp_path / "out/training.json").read_text())
    assert (note["steps"], note["tokens"]) == (STEPS, STEPS * BATCH * LENGTH)
    assert (note["tokenizer"], note["length"], note["recipe"]["learning_rate"]) == ("folder", LENGTH, 0.01)
    assert set(note["sha256"]) == {"weights.safetensors", "facts.json", "tokenizer.json"}
    assert note["parameters"] == report.parameters == note["vocab_size"] * 8 + 8 * 8 + 8  # the tied matrix once
    assert {"torch"} <= set(note["environment"]["packages"])
    assert json.loads((tmp_path / "out/facts.json").read_text())["steps"] == STEPS
    rows = list(csv.DictReader((tmp_path / "out/loss.csv").open()))
    assert [int(row["step"]) for row in rows] == [5, 10, 12]
    assert [float(row["loss"]) for row in rows] == [point.loss for point in report.curve]
    assert "<svg" in (tmp_path / "out/loss.svg").read_text()


def test_text8_needs_no_tokenizer_file(text: Path, tmp_path: Path) -> None:
    run(text, tmp_path / "out")
    assert not (tmp_path / "out/tokenizer.json").exists()
    assert json.loads((tmp_path / "out/training.json").read_text())["tokenizer"] == "text8"


def test_the_recorded_command_asks_for_the_same(text: Path, tmp_path: Path) -> None:
    wanted = config(text, tmp_path / "out", size={"hidden": 16}, betas=[0.8, 0.9], save_every=1.5)
    words = wanted.command().split()
    assert words[:2] == ["tdbench", "train"]
    assert build(TrainConfig, words[2:]) == wanted


def test_training_learns(text: Path, tmp_path: Path) -> None:
    report = run(text, tmp_path / "out", tokens=400 * BATCH * LENGTH, log_every=100, save_every=1000)
    assert report.curve[0].loss < math.log(27)
    assert report.heldout_loss < 0.75 * report.curve[0].loss


def test_progress_in_plain_lines(text: Path, tmp_path: Path) -> None:
    progress = Silent()
    train(config(text, tmp_path / "out"), progress)
    lines = progress.text.getvalue().splitlines()
    assert lines[0] == "train fake: 12 steps"
    assert lines[1].startswith("[ 41%, 0:0")
    assert "left] step 5: loss" in lines[1]
    assert "tokens/s" in lines[1]
    assert "held-out loss" in lines[-1]


def test_a_budget_in_minutes_is_the_same_as_its_tokens(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.loop.SPEED_SECONDS", 0.01)
    timed = run(text, tmp_path / "timed", minutes=0.001, tokens=None)
    assert timed.steps >= 1
    run(text, tmp_path / "counted", tokens=timed.tokens)
    assert same(tmp_path / "timed", tmp_path / "counted")


# --- divergence and bad input -----------------------------------------------------------------------------------------


def test_divergence_keeps_the_last_good_state(text: Path, tmp_path: Path) -> None:
    FakeTrainable.nan_at = 6
    with pytest.raises(UserError, match=r"diverged at step 5: the loss is nan .*learning_rate= below 0\.01"):
        run(text, tmp_path / "out")
    state = torch.load(tmp_path / "out/state/state.pt", weights_only=True)
    assert state["step"] == 5
    assert all(tensor.isfinite().all() for tensor in state["module"].values())
    assert not (tmp_path / "out/training.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 0}, "tokens must be a whole number, 1 or more, got '0'"),
        ({"tokens": 5, "minutes": 1}, "give one of them"),
        ({"tokens": None, "minutes": 0}, "minutes must be above 0"),
        ({"tokens": None, "minutes": math.inf}, "minutes must be a number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"normalize": "text9"}, "Did you mean 'text8'"),
        ({"tokenizer": "bpe:100"}, "at least 257"),
        ({"tokenizer": "bpe"}, "at least 257"),
        ({"tokenizer": "word"}, "Did you mean 'words'"),
        ({"size": 3}, "size must be a mapping"),
        ({"save_every": -1}, "save_every must be at least 0"),
    ],
)
def test_bad_settings(text: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(text, tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"betas": [0.9]}, "betas must be two numbers"),
        ({"betas": [0.9, 1.0]}, "betas must be below 1"),
        ({"ema": 1.0}, "ema must be below 1"),
        ({"warmup": -1}, "warmup must be a whole number"),
        ({"size": {"hiden": 4}}, "unknown size of fake 'hiden'. Did you mean 'hidden'"),
        ({"benchmark": "txt"}, "Did you mean 'text'"),
        ({"data": "/nowhere/at/all.txt"}, "no such file"),
        ({"length": 100_000, "batch_size": 1}, "too short|less than one window|shorter"),
        ({"device": "tpu"}, "unknown device"),
    ],
)
def test_bad_requests(text: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(text, tmp_path / "out", **changes)
    assert not (tmp_path / "out/training.json").exists()


def test_a_model_without_a_train_entry(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(name="data", title="", role="control", family=None, module="x", folder=Path())
    monkeypatch.setattr(trainer, "get_card", lambda name: card)
    with pytest.raises(UserError, match="data cannot be trained here"):
        run(text, tmp_path / "out")


def test_a_folder_that_cannot_be_made(text: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write into"):
        run(text, tmp_path / "file/out")


# --- parts ------------------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls(text: Path, tmp_path: Path) -> None:
    recipe = make_recipe(config(text, tmp_path, warmup=10, min_learning_rate=0.002), CARD, LENGTH)
    rates = [recipe.learning_rate_at(step, 101) for step in range(101)]
    assert rates[:10] == pytest.approx([0.001 * (i + 1) for i in range(10)])
    assert rates[10] == 0.01
    assert rates[55] == pytest.approx(0.006)  # half way down
    assert rates[-1] == pytest.approx(0.002)
    assert recipe.learning_rate_at(0, 1) == 0.01


def test_settings_come_before_the_card_and_the_card_before_defaults(text: Path, tmp_path: Path) -> None:
    recipe = make_recipe(config(text, tmp_path, learning_rate=0.5), CARD, 99)
    assert (recipe.learning_rate, recipe.batch_size, recipe.ema, recipe.length) == (0.5, BATCH, 0.999, LENGTH)
    with pytest.raises(UserError, match="Did you mean 'clip'"):
        make_recipe(config(text, tmp_path), Card(**{**vars(CARD), "train": {"clipp": 1.0}}), LENGTH)


def test_the_average_follows_its_formula() -> None:
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average = MovingAverage(module, 0.25)
    expected = 0.0
    for n in range(1, 6):
        module.weight.data.fill_(float(n))
        average.update()
        decay = min(0.25, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert average.shadow["weight"].item() == pytest.approx(expected, rel=1e-6)
    with average.applied():
        assert module.weight.item() == pytest.approx(expected, rel=1e-6)
        assert not module.training
    assert module.weight.item() == 5.0
    assert module.training


def test_a_tied_weight_is_averaged_under_both_names() -> None:
    module = Tied(5, 3)
    average = MovingAverage(module, 0.9)
    module.embedding.weight.data.add_(1)
    average.update()
    state = average.state_dict()
    assert set(state) == set(module.state_dict())
    assert torch.equal(state["embedding.weight"], state["out.weight"])
    assert not torch.equal(state["out.weight"], module.out.weight)


def test_windows_come_from_every_place() -> None:
    stream = torch.arange(6, dtype=torch.int32)
    batch = Windows(stream, 3).draw(200, torch.Generator().manual_seed(0))
    windows = batch.tokens
    assert batch.given is None
    assert windows.dtype == torch.int64
    assert sorted({tuple(row) for row in windows.tolist()}) == [(i, i + 1, i + 2) for i in range(4)]


def test_a_long_text_is_encoded_as_a_whole() -> None:
    word = "abcdefg "
    text = word * (2 * BLOCK // len(word) + 5)
    assert np.array_equal(encode(text, Text8Tokenizer()), np.tile(np.r_[1:8, 0], len(text) // len(word)))
    assert encode("ab cd", Text8Tokenizer()).tolist() == [1, 2, 0, 3, 4]
