from __future__ import annotations

import pytest
import torch

from adapters.base import AdapterError
from adapters.masked.denoiser import Denoiser, MaskedNetwork, seeded
from adapters.masked.samplers import SCHEDULERS, Sampling, best, remaining, reveal_euler, reveal_posterior
from adapters.masked.schedules import D3PM, Geometric, LogLinear
from tests.adapters.masked.exact import denoiser, frequencies, joint

N = 20_000


def sample(
    model: Denoiser, name: str, steps: int, count: int = N, start=None, seed: int = 0, **options
) -> torch.Tensor:
    tokens = torch.full((count, model.network.length), model.mask_id) if start is None else start
    model.counted.reset(len(tokens))
    return SCHEDULERS[name](model, tokens, Sampling(steps, seeded(seed, "cpu"), options))


EXACT_ONE_BY_ONE = [
    ("first_hitting", 3, {}),
    *(("ordered", 3, {"order": o}) for o in ("forward", "backward", "random")),
]


@pytest.mark.parametrize(("name", "steps", "options"), EXACT_ONE_BY_ONE, ids=lambda value: str(value))
def test_one_token_at_a_time_draws_the_joint_distribution(name, steps, options):
    table = joint()
    shares = frequencies(sample(denoiser(table), name, steps, **options), table)
    torch.testing.assert_close(shares, table.double() / table.sum(), atol=0.012, rtol=0)


@pytest.mark.parametrize("schedule", [LogLinear(), Geometric(), D3PM(1000)], ids=lambda s: s.name)
@pytest.mark.parametrize("name", ["ancestral", "euler"])
def test_many_steps_draw_the_joint_distribution(name, schedule):
    table = joint()
    # Euler needs many steps where the geometric rate is steep; both converge to the joint.
    shares = frequencies(sample(denoiser(table, schedule), name, 400), table)
    torch.testing.assert_close(shares, table.double() / table.sum(), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["ancestral", "confidence", "margin", "entropy"])
def test_one_step_draws_the_product_of_marginals(name):
    table = joint()
    shares = frequencies(sample(denoiser(table), name, 1), table)
    p = table.double() / table.sum()
    product = torch.einsum("a,b,c->abc", p.sum((1, 2)), p.sum((0, 2)), p.sum((0, 1)))
    torch.testing.assert_close(shares, product, atol=0.012, rtol=0)


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
@pytest.mark.parametrize("takes_time", [False, True])
def test_nothing_stays_masked_and_given_tokens_stand(name, takes_time):
    table = joint(length=5)
    model = denoiser(table, takes_time=takes_time)
    start = torch.full((64, 5), model.mask_id)
    start[:, 0], start[:, 4] = 1, 0
    for steps in (5,) if name == "first_hitting" else (1, 2, 3):
        tokens = sample(model, name, steps, start=start)
        assert (tokens != model.mask_id).all()
        assert (tokens[:, 0] == 1).all()
        assert (tokens[:, 4] == 0).all()
    assert start[0].tolist() == [1, 2, 2, 2, 0], "the caller's tokens must not be written on"


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_a_finished_sequence_costs_nothing(name):
    model = denoiser(joint())
    start = torch.zeros((4, 3), dtype=torch.int64)
    start[0, 1] = model.mask_id
    tokens = sample(model, name, 3, start=start)
    assert model.counted.nfe == [1, 0, 0, 0]
    assert (tokens[1:] == 0).all()


def test_ancestral_evaluates_only_when_something_is_revealed():
    """E-NFE = N (1 - (1 - 1/N)^L) under a linear schedule (RADD, arXiv 2406.03736)."""
    length, steps = 4, 16
    model = denoiser(joint(length=length))
    sample(model, "ancestral", steps, count=4000)
    expected = steps * (1 - (1 - 1 / steps) ** length)
    assert sum(model.counted.nfe) / 4000 == pytest.approx(expected, rel=0.02)
    assert max(model.counted.nfe) <= length


@pytest.mark.parametrize("schedule", [LogLinear(), D3PM(10)], ids=lambda s: s.name)
def test_nfe_of_the_others(schedule):
    model = denoiser(joint(length=4), schedule)
    for name, steps in (("ordered", 2), ("ordered", 4), ("confidence", 3), ("confidence", 4), ("first_hitting", 4)):
        sample(model, name, steps, count=8)
        assert model.counted.nfe == [steps] * 8, name


def test_the_same_seed_gives_the_same_tokens_and_another_does_not():
    model = denoiser(joint(length=6))
    first, again, other = (sample(model, "ancestral", 6, count=50, seed=s) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("schedule", [LogLinear(), D3PM(1000)], ids=lambda s: s.name)
def test_euler_is_ancestral_under_a_linear_schedule(schedule):
    t, s = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.55, dtype=torch.float64)
    assert schedule.linear
    assert float(reveal_euler(schedule, t, s)) == pytest.approx(float(reveal_posterior(schedule, t, s)), abs=1e-12)
    table = joint(length=5)
    pair = [sample(denoiser(table, schedule), name, 7, count=200) for name in ("ancestral", "euler")]
    assert torch.equal(*pair)


def test_euler_differs_under_the_geometric_schedule():
    t, s = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
    assert not Geometric().linear
    assert abs(float(reveal_euler(Geometric(), t, s)) - float(reveal_posterior(Geometric(), t, s))) > 0.05


def test_posterior_steps_compose():
    """Staying masked over t -> s -> r is staying masked over t -> r."""
    schedule = Geometric()
    t, s, r = (torch.tensor(v, dtype=torch.float64) for v in (0.9, 0.7, 0.6))
    stay = (1 - reveal_posterior(schedule, t, s)) * (1 - reveal_posterior(schedule, s, r))
    assert float(stay) == pytest.approx(float(1 - reveal_posterior(schedule, t, r)), rel=1e-10)


def test_confidence_reveals_the_surest_position_first():
    """Position 0 is certain, position 1 is a fair coin: with two steps the coin must come last."""
    table = torch.tensor([[0.499, 0.499], [0.001, 0.001]])
    for name in ("confidence", "margin", "entropy"):
        model = denoiser(table)
        seen: list[torch.Tensor] = []
        start = torch.full((200, 2), model.mask_id)
        model.counted.reset(200)
        sampling = Sampling(2, seeded(0, "cpu"), on_step=lambda step, state, seen=seen: seen.append(state.clone()))
        SCHEDULERS[name](model, start, sampling)
        first = seen[0]
        assert ((first[:, 0] != 2) & (first[:, 1] == 2)).float().mean() > 0.98, name


def test_time_conditioned_networks_are_told_the_time():
    model = denoiser(joint(length=4), D3PM(1000), takes_time=True)
    sample(model, "ordered", 4, count=1)
    assert [t.item() for t in model.network.times] == [1000, 750, 500, 250]
    model.network.times.clear()
    sample(model, "ancestral", 1000, count=2)
    assert all(t.item() == round(t.item()) for times in model.network.times for t in times)


class TailNetwork(MaskedNetwork):
    """One frequent token and very many rare ones, the same at every position."""

    def __init__(self, vocab: int, tail: float) -> None:
        super().__init__()
        self.mask_id, self.takes_time, self.length = vocab, False, 1024
        probs = torch.full((vocab + 1,), tail / (vocab - 1))
        probs[0] = 1 - tail
        self.logits = probs.log()

    def features(self, tokens, time=None):
        return torch.zeros((*tokens.shape, 1))

    def head(self, features):
        return self.logits.expand(*features.shape[:-1], -1)


@pytest.mark.slow
def test_rare_tokens_come_at_their_true_rate_at_1000_steps():
    """20,000 tokens of p = 2e-7 each: together 0.4 % of all draws. An under-drawn tail would fake a better
    perplexity.
    """
    tail, count = 0.004, 32
    model = Denoiser(TailNetwork(20_001, tail), LogLinear())
    tokens = sample(model, "ancestral", 1000, count=count)
    expected = tail * count * 1024
    hits = int((tokens != 0).sum())
    assert abs(hits - expected) < 4 * expected**0.5, (hits, expected)
    spread = tokens[tokens != 0].unique().numel()
    assert spread > 0.95 * hits, "rare tokens must not collapse on a few"


@pytest.mark.parametrize("options", [{"grid": "square"}, {"order": "sideways"}])
def test_an_unknown_choice_is_refused(options):
    with pytest.raises(AdapterError, match="is not one of"):
        sample(denoiser(joint()), "ordered" if "order" in options else "ancestral", 2, count=1, **options)


def test_best_and_remaining():
    preference = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    masked = torch.tensor([[True, False, True], [True, True, True]])
    chosen = best(preference, masked, torch.tensor([1, 2]))
    assert chosen.tolist() == [[False, False, True], [True, True, False]]
    left = remaining(masked, torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    assert left.tolist() == [[2, 3], [1, 1], [0, 0]]
