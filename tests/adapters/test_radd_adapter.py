"""RADD behind the common interface: loading, generating, scoring, training, its card."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from adapters.base import (
    AdapterError,
    CheckpointError,
    GenerateRequest,
    LikelihoodRequest,
    LoadSpec,
    Model,
    Prompt,
    TrainBatch,
    TrainSpec,
)
from adapters.cards import read_card
from adapters.masked.denoiser import seeded
from adapters.radd import adapter
from adapters.tokenizers import word_tokenizer
from tests.goldens.radd_checkpoints import LENGTH, SIZE, network, write_hub

FOLDER = Path(adapter.__file__).parent
CARD = read_card(FOLDER, "adapters.radd")
TINY = {"hidden": 16, "blocks": 1, "heads": 2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hub(tmp_path_factory.mktemp("radd") / "hub")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return adapter.load(LoadSpec(checkpoint))


def test_card_lists_what_the_adapter_offers() -> None:
    assert {n for n, s in CARD.schedulers.items() if not s.family} == set(adapter.SCHEDULERS)
    assert list(CARD.estimators) == list(adapter.ESTIMATORS)
    assert CARD.upstream.commit == "60b772df3ad4bc0213e867ec62923fe90359b93d"


def test_loaded_model_knows_its_size(model: Model) -> None:
    assert (model.max_length, model.default_length) == (LENGTH, LENGTH)
    assert model.parameter_count == sum(p.numel() for p in network().parameters())
    assert model.same_as("euler") == "ancestral"


@pytest.mark.parametrize("scheduler", ["radd_direct", "radd_ordered", "ancestral"])
def test_generate(model: Model, scheduler: str) -> None:
    request = GenerateRequest(count=2, length=LENGTH, steps=LENGTH, scheduler=scheduler, seed=3)
    first, second = model.generate(request), model.generate(request)
    assert first.tokens == second.tokens
    assert all(0 <= token < SIZE.tokens for row in first.tokens for token in row)
    assert all(1 <= nfe <= LENGTH for nfe in first.nfe)
    assert first.generated_tokens == [LENGTH, LENGTH]


def test_infill_keeps_what_is_given(model: Model) -> None:
    prompt = Prompt("w3 w4", "w5")
    request = GenerateRequest(1, LENGTH, 4, "radd_direct", task="infill", prompts=(prompt,))
    result = model.generate(request)
    assert result.tokens[0][:2] + result.tokens[0][-1:] == [3, 4, 5]
    assert result.generated_tokens == [LENGTH - 3]


def test_ordered_has_no_prefix_task(model: Model) -> None:
    request = GenerateRequest(1, LENGTH, LENGTH, "radd_ordered", task="prefix", prompts=(Prompt("w3"),))
    with pytest.raises(AdapterError, match="use 'ordered'"):
        model.generate(request)


def test_bounds_agree_in_the_mean(model: Model) -> None:
    """t-DSE, lambda-DCE and k-DCE estimate one bound (RADD, theorem 2); a random network scores about log V a token."""
    text = " ".join(f"w{1 + (5 * i) % 30}" for i in range(LENGTH))
    nats = {}
    for name in adapter.ESTIMATORS:
        result = model.likelihood(LikelihoodRequest((text,), name, {"draws": 64}, seed=1))
        assert result.kind == "upper_bound"
        nats[name] = result.texts[0].nats / LENGTH
    assert nats["t_dse"] == pytest.approx(nats["lambda_dce"], rel=0.05)
    assert nats["k_dce"] == pytest.approx(nats["lambda_dce"], rel=0.05)
    assert nats["t_dce"] == pytest.approx(nats["lambda_dce"], rel=0.1)
    assert nats["k_dce"] == pytest.approx(math.log(SIZE.tokens), rel=0.3)


def test_tokenizer_of_another_size_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = write_hub(tmp_path / "hub")
    word_tokenizer(["a", "b"]).save(str(folder / "tokenizer.json"))
    with pytest.raises(AdapterError, match="37"):
        adapter.load(LoadSpec(folder))


def test_bad_load_specs(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="needs a checkpoint"):
        adapter.load(LoadSpec(None))
    with pytest.raises(AdapterError, match="float8"):
        adapter.load(LoadSpec(checkpoint, dtype="float8"))
    with pytest.raises(CheckpointError):
        adapter.load(LoadSpec(tmp_path / "nowhere"))


def test_fresh_loss_is_uniform_and_learning_lowers_it() -> None:
    torch.manual_seed(0)
    fresh = adapter.trainable(TrainSpec(vocab_size=20, length=12, size=TINY))
    tokens = (torch.arange(12) * 3 % 20).expand(64, 12)
    generator = seeded(1, "cpu")
    with torch.no_grad():
        before = torch.stack([fresh.loss(TrainBatch(tokens), generator) for _ in range(30)]).mean()
    assert float(before) == pytest.approx(math.log(20), rel=0.05)  # the output layer starts at zero
    optimizer = torch.optim.AdamW(fresh.module.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        fresh.loss(TrainBatch(tokens), generator).backward()
        optimizer.step()
    with torch.no_grad():
        after = fresh.loss(TrainBatch(tokens), generator)
    assert float(after) < 0.5 * float(before)


def test_export_is_a_checkpoint_of_the_averaged_weights(tmp_path: Path) -> None:
    fresh = adapter.trainable(TrainSpec(vocab_size=SIZE.tokens, length=LENGTH, size=TINY))
    ema = {name: p.detach() + 1 for name, p in fresh.module.named_parameters()}
    fresh.export(tmp_path / "out", ema, {"seed": 4})
    word_tokenizer(f"w{i}" for i in range(1, SIZE.tokens)).save(str(tmp_path / "out" / "tokenizer.json"))
    loaded = adapter.load(LoadSpec(tmp_path / "out"))
    assert loaded.default_length == LENGTH
    weight = loaded.networks[0].module.__self__.output_layer.linear.weight  # type: ignore[attr-defined]
    assert (weight == 1).all()


def test_trainable_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(AdapterError, match="heads"):
        adapter.trainable(TrainSpec(vocab_size=9, length=8, size={**TINY, "heads": 3}))
