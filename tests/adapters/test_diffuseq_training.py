"""DiffuSeq's training: the loss, the choice of noise levels, and the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import AdapterError, GenerateRequest, LoadSpec, Prompt, TrainBatch, TrainSpec
from adapters.diffuseq import adapter
from adapters.diffuseq.training import HISTORY, DiffuseqTrainable
from adapters.diffuseq.vocabulary import OWN_SPECIAL
from adapters.tokenizers import wrap_tokenizer

SIZE = {"hidden": 16, "blocks": 1, "heads": 2, "embed": 8, "T": 20, "dropout": 0.0}


def trainable(vocab: int = 9, length: int = 12, **size: Any) -> DiffuseqTrainable:
    torch.manual_seed(0)
    return DiffuseqTrainable(TrainSpec(vocab, length, {**SIZE, **size}))


def batch(made: DiffuseqTrainable, count: int = 6) -> TrainBatch:
    rows = [made.pair_row([4] * (i % 3), [5, 6, 7][: i % 4]) for i in range(count)]
    given = torch.arange(made.length) < torch.tensor([n for _, n in rows])[:, None]
    return TrainBatch(torch.tensor([ids for ids, _ in rows]), given)


def test_the_loss_is_the_authors_three_terms() -> None:
    made = trainable()
    rows = batch(made, 3)
    bar, network = made.alpha_bar, made.module.eval()
    t = torch.tensor([0, 7, 19])
    first, second = torch.randn(3, 12, 8), torch.randn(3, 12, 8)
    losses = made.losses_at(rows, t, first, second)
    assert rows.given is not None
    for i in range(3):
        words = network.embedding[rows.tokens[i]]
        z_0 = words + float((1 - bar[0]).sqrt()) * first[i]
        z_t = float(bar[t[i]].sqrt()) * z_0 + float((1 - bar[t[i]]).sqrt()) * second[i]
        z_t[rows.given[i]] = z_0[rows.given[i]]
        out = network(z_t[None], torch.tensor([float(t[i]) * 50]))[0]
        squared = ((words if i == 0 else z_0) - out).square().mean()
        nats = -network.logits(z_0).log_softmax(-1)[torch.arange(12), rows.tokens[i]].mean()
        last = bar[-1] * z_0.square().mean()
        assert losses[i].item() == pytest.approx((squared + nats + last).item(), rel=1e-4)


def test_levels_are_even_until_all_have_a_history_and_then_by_their_losses() -> None:
    made = trainable()
    network = made.module
    levels = torch.arange(20)
    for _ in range(HISTORY - 1):
        network.remember(levels, levels.float() + 1)
    network.remember(levels[:-1], levels[:-1].float() + 1)
    assert network.level_weights().tolist() == [1 / 20] * 20
    network.remember(levels[-1:], torch.tensor([20.0]))
    weights = network.level_weights()
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[19] / weights[0]) == pytest.approx(20, rel=0.02)
    for _ in range(HISTORY):  # the oldest are forgotten
        network.remember(torch.tensor([0]), torch.tensor([1000.0]))
    assert float(network.level_weights()[0]) > 0.8


def test_weighted_levels_have_the_mean_of_even_ones() -> None:
    made = trainable()
    rows = batch(made, 512)
    for _ in range(HISTORY):
        made.module.remember(torch.arange(20), torch.linspace(0.5, 1.5, 20))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weighted = float(torch.stack([made.loss(rows, generator) for _ in range(6)]).mean())
        made.module.eval()
        even = float(torch.stack([made.loss(rows, generator) for _ in range(6)]).mean())
    assert weighted == pytest.approx(even, rel=0.03)


def test_measuring_remembers_nothing() -> None:
    made = trainable()
    made.module.eval()
    made.loss(batch(made), torch.Generator().manual_seed(0))
    assert int(made.module.loss_counts.sum()) == 0
    made.module.train()
    made.loss(batch(made), torch.Generator().manual_seed(0))
    assert int(made.module.loss_counts.sum()) == 6
    uniform = trainable(sampler="uniform")
    uniform.loss(batch(uniform), torch.Generator().manual_seed(0))
    assert int(uniform.module.loss_counts.sum()) == 0


def test_a_few_steps_lower_the_loss() -> None:
    made = trainable()
    generator = torch.Generator().manual_seed(0)
    rows = batch(made, 32)
    optimizer = torch.optim.AdamW(made.module.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = made.loss(rows, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_every_parameter_is_trained_and_none_decays() -> None:
    made = trainable()
    made.loss(batch(made), torch.Generator().manual_seed(0)).backward()
    assert all(p.grad is not None for p in made.module.parameters())
    (group,) = made.parameter_groups()
    assert len(group.parameters) == len(list(made.module.parameters()))
    assert group.weight_decay == 0


@pytest.mark.parametrize(("size", "message"), [({"heads": 3}, "multiple of heads"), ({"sampler": "x"}, "sampler 'x'")])
def test_sizes_that_make_no_sense(size: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        trainable(**size)


def test_running_text_is_refused() -> None:
    made = trainable()
    with pytest.raises(AdapterError, match="pairs"):
        made.loss(TrainBatch(torch.zeros(2, 12, dtype=torch.int64)), torch.Generator())


def test_the_tokenizer_has_the_authors_ids() -> None:
    made = adapter.training_tokenizer(["the", "cat", "."])
    assert json.loads(made.to_str())["model"]["vocab"] == {
        **{word: i for i, word in enumerate(OWN_SPECIAL)},
        "the": 4,
        "cat": 5,
        ".": 6,
    }
    assert wrap_tokenizer(made).encode("the  cat .") == [4, 5, 6]
    for words in (["a", "a"], ["a b"], [""], ["[PAD]"]):
        with pytest.raises(ValueError, match="occurs twice"):
            adapter.training_tokenizer(words)


def test_what_was_trained_can_write(tmp_path: Path) -> None:
    made = trainable()
    adapter.training_tokenizer(["a", "b", "c", "d", "."]).save(str(tmp_path / "tokenizer.json"))
    made.export(tmp_path, made.module.state_dict(), {"steps": 5})
    model = adapter.load(LoadSpec(tmp_path))
    assert not model.notes
    request = GenerateRequest(1, 12, 4, "ddpm_diffuseq", task="seq2seq", prompts=(Prompt(source="a b ."),))
    (row,) = model.generate(request).tokens
    assert row[:6] == [0, 4, 5, 8, 1, 1]
