"""Training on pairs: rows, own tokenizers, parameter groups, resume, refusals."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adapters.base import AdapterError, ParameterGroup, Trainable, TrainBatch, TrainSpec
from adapters.cards import Card
from adapters.tokenizers import load_tokenizer, word_tokenizer
from benchmarks.paraphrase.lexicon import lexicon
from harness.errors import UserError
from harness.training import trainer
from harness.training.batches import Rows
from harness.training.config import TrainConfig
from harness.training.progress import TrainProgress
from harness.training.trainer import TrainReport, train

LENGTH = 48
BATCH = 4
STEPS = 6
SPECIALS = ("[PAD]", "[SEP]")


def own_tokenizer(words: list[str]) -> tokenizers.Tokenizer:
    """Special tokens first, as a model's own tokenizer has them."""
    tokenizer = word_tokenizer([*SPECIALS, *words])
    return tokenizer


class PairTrainable(Trainable):
    """Predicts a target from its row through one linear layer; what it is given is kept for the tests."""

    pairs = True
    loss_unit = "squared error"
    seen: ClassVar[list[TrainBatch]] = []
    stop_at = -1

    def __init__(self, spec: TrainSpec) -> None:
        self.length = spec.length
        self.module = nn.Sequential(nn.Embedding(spec.vocab_size, 4), nn.Linear(4, spec.vocab_size))

    def pair_row(self, source: list[int], target: list[int]) -> tuple[list[int], int]:
        ids = [*source, 2, *target]
        return ids + [1] * (self.length - len(ids)), len(source) + 1

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        assert batch.given is not None
        self.seen.append(batch)
        if len(self.seen) == PairTrainable.stop_at:
            raise KeyboardInterrupt
        noise = torch.rand((), generator=generator)
        logits = self.module(batch.tokens)[~batch.given]
        return cross_entropy(logits, batch.tokens[~batch.given]) * (1 + noise)

    def export(self, folder: Path, ema: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        weights = {**{f"raw.{k}": v.detach().clone() for k, v in self.module.state_dict().items()}, **ema}
        save_file(weights, folder / "weights.safetensors")


class Silent(TrainProgress):
    """Keeps what it is told in a string."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        super().__init__(self.text)


CARD = Card(
    name="fake",
    title="Fake",
    role="model",
    family=None,
    module="fake_model",
    folder=Path(),
    train={"size": {}, "learning_rate": 0.01, "batch_size": BATCH, "warmup": 1},
)


@pytest.fixture(autouse=True)
def adapter(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The adapter of a model named 'fake', which is trained on pairs."""
    module = types.ModuleType("fake_model.adapter")
    module.trainable = PairTrainable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_model", types.ModuleType("fake_model"))
    monkeypatch.setitem(sys.modules, "fake_model.adapter", module)
    monkeypatch.setattr(trainer, "get_card", lambda name: CARD)
    monkeypatch.setattr(PairTrainable, "seen", [])
    monkeypatch.setattr(PairTrainable, "stop_at", -1)
    return module


def run(out: Path, **changes: Any) -> TrainReport:
    settings: dict[str, Any] = {
        "model": "fake",
        "benchmark": "toy_paraphrase",
        "benchmark_options": {"train_pairs": 50},
        "tokens": STEPS * BATCH * LENGTH,
        "threads": 1,
        "out": str(out),
        "save_every": 0,
    }
    return train(TrainConfig(**{**settings, **changes}), Silent())


def test_pairs_are_laid_out_by_the_model(tmp_path: Path) -> None:
    report = run(tmp_path / "out", tokenizer="words")
    tokenizer = load_tokenizer("folder", tmp_path / "out")
    batch = PairTrainable.seen[0]
    assert batch.given is not None
    assert batch.tokens.shape == batch.given.shape == (BATCH, LENGTH)
    assert batch.tokens.dtype == torch.int64
    for ids, given in zip(batch.tokens.tolist(), batch.given.tolist(), strict=True):
        count = sum(given)
        assert given == [True] * count + [False] * (LENGTH - count)
        assert ids[count - 1] == 2
        source, target = tokenizer.decode(ids[: count - 1]), tokenizer.decode(ids[count:])
        assert source.endswith(" .")
        assert " ." in target
    assert report.tokens == STEPS * BATCH * LENGTH
    note = json.loads((tmp_path / "out/training.json").read_text())
    assert note["loss_unit"] == "squared error"
    assert "squared error" in (tmp_path / "out/loss.svg").read_text()


def test_the_models_own_tokenizer_has_all_words_of_the_benchmark(tmp_path: Path, adapter: types.ModuleType) -> None:
    adapter.training_tokenizer = own_tokenizer  # type: ignore[attr-defined]
    run(tmp_path / "out")
    saved = tokenizers.Tokenizer.from_file(str(tmp_path / "out/tokenizer.json")).get_vocab()
    assert saved["[PAD]"] == 1
    assert set(lexicon().words) < set(saved)  # words that 50 pairs do not hold, too
    assert len(saved) == len(lexicon().words) + 3
    batch = PairTrainable.seen[0]
    assert (batch.tokens == 1).any()


def test_a_tokenizer_of_its_own_allows_no_other(tmp_path: Path, adapter: types.ModuleType) -> None:
    adapter.training_tokenizer = own_tokenizer  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="fake makes a tokenizer of its own from words: tokenizer=auto or words"):
        run(tmp_path / "out", tokenizer="bpe:300")


def test_words_of_natural_pairs(tmp_path: Path, adapter: types.ModuleType) -> None:
    adapter.training_tokenizer = own_tokenizer  # type: ignore[attr-defined]
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"src": f"{name} a b", "trg": "c d"}) + "\n")
    run(tmp_path / "out", benchmark="qqp", benchmark_path=str(tmp_path), benchmark_options={}, length=16, tokens=64)
    saved = tokenizers.Tokenizer.from_file(str(tmp_path / "out/tokenizer.json")).get_vocab()
    assert set(saved) - {"<|endoftext|>"} == {*SPECIALS, "train", "valid", "a", "b", "c", "d"}


def test_a_killed_run_arrives_at_the_same_weights(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    PairTrainable.seen.clear()
    PairTrainable.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    PairTrainable.stop_at = -1
    run(tmp_path / "cut")
    one, two = (tmp_path / name / "weights.safetensors" for name in ("whole", "cut"))
    assert one.read_bytes() == two.read_bytes()


def test_a_benchmark_of_running_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trained on pairs .* 'toy' has running text alone: benchmark=toy_paraphrase"):
        run(tmp_path / "out", benchmark="toy", benchmark_options={"train_tokens": 1000})


def test_a_model_of_running_text_reads_the_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairTrainable, "pairs", False)
    windows: list[Tensor] = []

    def loss(self: PairTrainable, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        assert batch.given is None
        windows.append(batch.tokens)
        return cross_entropy(self.module(batch.tokens).flatten(0, 1), batch.tokens.flatten())

    monkeypatch.setattr(PairTrainable, "loss", loss)
    run(tmp_path / "out")
    assert windows[0].shape == (BATCH, LENGTH)


def test_groups_have_rates_and_decays_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: dict[str, Tensor] = {}

    def groups(self: PairTrainable) -> list[ParameterGroup]:
        fresh.update({name: value.detach().clone() for name, value in self.module.state_dict().items()})
        embedding, rest = list(self.module[0].parameters()), list(self.module[1].parameters())  # type: ignore[index]
        return [ParameterGroup(embedding, rate=0.0), ParameterGroup(rest, weight_decay=0.3)]

    monkeypatch.setattr(PairTrainable, "parameter_groups", groups)
    run(tmp_path / "out")
    trained = load_file(tmp_path / "out/weights.safetensors")
    assert torch.equal(trained["raw.0.weight"], fresh["0.weight"])
    assert not torch.equal(trained["raw.1.weight"], fresh["1.weight"])


def test_a_parameter_outside_all_groups_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        PairTrainable, "parameter_groups", lambda self: [ParameterGroup(list(self.module[0].parameters()))]
    )
    with pytest.raises(ValueError, match="does not hold every trained parameter once"):
        run(tmp_path / "out")


def test_rows_of_another_width_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairTrainable, "pair_row", lambda self, source, target: ([*source, *target], len(source)))
    with pytest.raises(ValueError, match="not 48"):
        run(tmp_path / "out")


def test_a_pair_that_the_model_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: PairTrainable, source: list[int], target: list[int]) -> tuple[list[int], int]:
        raise AdapterError("no room")

    monkeypatch.setattr(PairTrainable, "pair_row", refuse)
    with pytest.raises(UserError, match="training pair 1: no room"):
        run(tmp_path / "out")


def test_no_pairs_to_train_on(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"src": "a", "trg": "b"}\n')
    with pytest.raises(UserError, match="the benchmark has no training pairs"):
        run(tmp_path / "out", benchmark="qqp", benchmark_path=str(tmp_path), benchmark_options={})


def test_rows_are_drawn_from_all() -> None:
    tokens = torch.arange(12, dtype=torch.int32).reshape(3, 4)
    rows = Rows(tokens, torch.tensor([1, 0, 4], dtype=torch.int32))
    batch = rows.draw(100, torch.Generator().manual_seed(0))
    assert batch.given is not None
    found = {(tuple(row), tuple(given)) for row, given in zip(batch.tokens.tolist(), batch.given.tolist(), strict=True)}
    assert found == {
        ((0, 1, 2, 3), (True, False, False, False)),
        ((4, 5, 6, 7), (False,) * 4),
        ((8, 9, 10, 11), (True,) * 4),
    }
