"""Plaid's training loss: its parts, where gradients flow, and what is written in the end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.base import AdapterError, TrainBatch, TrainSpec
from adapters.cards import get_card
from adapters.plaid.adapter import trainable
from adapters.plaid.checkpoint import load_network
from adapters.plaid.training import Noised, PlaidTrainable

SIZE = {"hidden": 32, "blocks": 2, "heads": 2, "embed_dim": 8, "bias_warmup": 4}
VOCAB, LENGTH, BATCH = 23, 10, 12


def fresh(**changes: Any) -> PlaidTrainable:
    torch.manual_seed(0)
    made = trainable(TrainSpec(VOCAB, LENGTH, {**SIZE, **changes}))
    assert isinstance(made, PlaidTrainable)
    return made


def tokens(seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, (BATCH, LENGTH), generator=torch.Generator().manual_seed(seed))


def loss(made: PlaidTrainable, seed: int = 2) -> Tensor:
    return made.loss(TrainBatch(tokens()), torch.Generator().manual_seed(seed))


def noised(made: PlaidTrainable, conditioned: Tensor, first: int = 4) -> Noised:
    return Noised(made.module.network, tokens(), first, conditioned, torch.Generator().manual_seed(3))


def test_a_new_network_guesses_tokens_evenly() -> None:
    """Without the output prior all logits are 0: log V to reconstruct, and the mean embedding as prediction."""
    made = fresh()
    batch = noised(made, torch.zeros(BATCH, dtype=torch.bool))
    logits, prediction = batch.predict(0.0)
    assert torch.equal(logits, torch.zeros_like(logits))
    table = made.module.network.embedding_matrix()
    assert torch.allclose(prediction, table.mean(0).expand_as(prediction), atol=1e-6)
    assert loss(made).item() > math.log(VOCAB)


def test_the_same_seed_gives_the_same_loss_and_another_another() -> None:
    assert loss(fresh()) == loss(fresh())
    assert loss(fresh()) != loss(fresh(), seed=3)


def test_self_conditioned_rows_train_the_transformer_alone() -> None:
    made = fresh()
    for name, parameter in made.module.network.model.named_parameters():
        if parameter.abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.1 if "bias" not in name else 1.0)
    batch = noised(made, torch.ones(BATCH, dtype=torch.bool))
    logits, prediction = batch.predict(1.0)
    total = logits.logsumexp(-1).sum() + batch.diffusion(prediction).sum() + batch.prior()
    total.backward()
    network = made.module.network
    for part in (network.noise_schedule, network.gamma_bounds, network.embedding_matrix):
        assert all(p.grad is None or not p.grad.any() for p in part.parameters())
    assert all(p.grad is not None and p.grad.any() for p in network.model.parameters())


def test_other_rows_train_all_but_what_is_told() -> None:
    made = fresh()
    torch.nn.init.normal_(made.module.network.model.output_linear.weight, std=0.1)
    batch = noised(made, torch.zeros(BATCH, dtype=torch.bool))
    batch.diffusion(batch.predict(1.0)[1])[4:].sum().backward()
    network = made.module.network
    for part in (network.noise_schedule, network.gamma_bounds, network.embedding_matrix):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters())
    # The previous prediction is 0 in these rows.
    assert not network.model.selfcond_linear.weight.grad.any()


def test_the_schedule_descends_on_the_square_of_the_losses() -> None:
    """Its gradient is that of the sum of squares, where all else has that of the sum."""
    plain, squared, weighed = fresh(), fresh(), fresh()
    rows = torch.zeros(BATCH, dtype=torch.bool)
    for made in (plain, squared, weighed):
        torch.nn.init.normal_(made.module.network.model.output_linear.weight, std=0.1, generator=torch.Generator())
        batch = noised(made, rows)
        losses = batch.diffusion(batch.predict(1.0)[1])[4:]
        if made is weighed:
            batch.weigh_schedule(losses.detach())
        (losses.square() if made is squared else losses).sum().backward()
    for name in ("W1", "b1", "W2"):
        got = getattr(weighed.module.network.noise_schedule, name).grad
        assert torch.allclose(got, getattr(squared.module.network.noise_schedule, name).grad, rtol=1e-4, atol=1e-7)
    bounds = [made.module.network.gamma_bounds.gamma_1.grad for made in (plain, squared, weighed)]
    assert torch.allclose(bounds[2], bounds[0])
    assert not torch.allclose(bounds[1], bounds[0])


def test_rows_at_t_0_teach_the_schedule_nothing() -> None:
    made = fresh()
    batch = noised(made, torch.zeros(BATCH, dtype=torch.bool), first=BATCH - 1)
    batch.predict(1.0)[0][: BATCH - 1].logsumexp(-1).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in made.module.network.noise_schedule.parameters())
    assert made.module.network.gamma_bounds.gamma_0.grad.any()


def test_times_are_spread_evenly_behind_those_at_0() -> None:
    batch = noised(fresh(), torch.zeros(BATCH, dtype=torch.bool))
    times = batch._times(BATCH, 4, torch.Generator().manual_seed(3))
    assert times[:4].tolist() == [0.0] * 4
    assert torch.allclose(times[4:].diff(), torch.full((7,), 1 / 8, dtype=torch.float64))
    assert 0 <= times[4] < 1 / 8


def test_the_split_follows_the_deviations_of_both_losses() -> None:
    moments = fresh().module.moments
    assert moments.reconstruction_rows(BATCH) == 1
    generator = torch.Generator().manual_seed(4)
    for _ in range(2000):
        draws = torch.randn(2, 8, generator=generator, dtype=torch.float64)
        moments.update(5 + 3 * draws[0], 2 + draws[1])
    assert moments.reconstruction_rows(100) == pytest.approx(75, abs=3)
    assert moments.reconstruction_rows(2) == 1
    assert int(moments.step) == 2000


def test_measuring_the_loss_remembers_nothing() -> None:
    made = fresh()
    before = {name: value.clone() for name, value in made.module.moments.state_dict().items()}
    with torch.no_grad():
        loss(made)
    assert all(torch.equal(value, before[name]) for name, value in made.module.moments.state_dict().items())
    loss(made)
    assert int(made.module.moments.step) == 1
    assert "moments.step" in made.module.state_dict()


def test_the_output_prior_is_raised_over_the_first_steps() -> None:
    made = fresh()
    seen = []
    original = Noised.predict

    def watched(self: Noised, bias_scale: float) -> tuple[Tensor, Tensor]:
        seen.append(bias_scale)
        return original(self, bias_scale)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Noised, "predict", watched)
        for _ in range(6):
            loss(made)
        with torch.no_grad():
            loss(fresh())
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_rates_are_the_authors_relative_to_each_other() -> None:
    made = fresh()
    assert fresh(matrix_rate=0.25).parameter_groups()[0].rate == 2.0
    groups = made.parameter_groups()
    every = [id(p) for group in groups for p in group.parameters]
    assert sorted(every) == sorted(id(p) for p in made.module.parameters())
    assert [round(group.rate, 3) for group in groups] == [8.0, 1.0, 7.143, 7.143, 7.143]
    assert {tuple(p.shape) for p in groups[0].parameters} == {(96, 32), (32, 32), (128, 32), (32, 128)}
    # A decay of 4e-5 a step at a rate of 1.4e-3, and 1e-3 at 1e-2.
    per_step = [1.4e-3 * group.rate * (group.weight_decay or 0.0) for group in groups]
    assert per_step == pytest.approx([4e-5, 4e-5, 0.0, 1e-3, 0.0])


def test_it_learns_a_language_of_one_sentence() -> None:
    made = fresh()
    text = (torch.arange(LENGTH) * 3 % VOCAB).expand(BATCH, -1)
    optimizer = torch.optim.AdamW(
        [
            {"params": g.parameters, "lr": 1.4e-3 * g.rate, "weight_decay": g.weight_decay}
            for g in made.parameter_groups()
        ]
    )
    generator = torch.Generator().manual_seed(5)
    losses = []
    for _ in range(40):
        value = made.loss(TrainBatch(text), generator)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_what_is_written_is_the_averaged_network(tmp_path: Path) -> None:
    made = fresh()
    averaged = {name: value + 0.5 for name, value in made.module.named_parameters()}
    made.export(tmp_path / "out", {**made.module.state_dict(), **averaged}, {"steps": 3})
    network, length = load_network(tmp_path / "out", {}, "cpu", torch.float32)
    assert (network.size, length) == (made.size, LENGTH)
    assert all(torch.equal(p, averaged[f"network.{name}"]) for name, p in network.named_parameters())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {"n_heads": 2, "seq_len": LENGTH, "tdbench": {"steps": 3}}


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"hidden": 0}, "hidden 0 must be a whole number from 1"),
        ({"embed_dim": None}, "embed_dim None"),
        ({"heads": 32}, "hidden 32 must be an even multiple of heads 32"),
    ],
)
def test_sizes_that_cannot_be(size: dict[str, Any], words: str) -> None:
    with pytest.raises(AdapterError, match=words):
        fresh(**size)


def test_one_row_has_no_two_parts() -> None:
    with pytest.raises(AdapterError, match="batches of at least 2 rows"):
        fresh().loss(TrainBatch(tokens()[:1]), torch.Generator())


def test_the_card_trains_a_small_one() -> None:
    size = get_card("plaid").train["size"]
    made = trainable(TrainSpec(166, 64, size))
    assert 150_000 < sum(p.numel() for p in made.module.parameters()) < 250_000
