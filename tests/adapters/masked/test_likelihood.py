from __future__ import annotations

import itertools
import math

import pytest
import torch

from adapters.estimates import group_count, low_discrepancy, summarise
from adapters.masked import likelihood as bounds
from adapters.masked.denoiser import Denoiser, MaskedNetwork, seeded
from adapters.masked.schedules import Geometric, LogLinear
from tests.adapters.masked.exact import denoiser, joint

ESTIMATORS = {
    "lambda_dce": bounds.estimate_lambda_dce,
    "t_dce": bounds.estimate_t_dce,
    "t_dse": bounds.estimate_t_dse,
    "k_dce": bounds.estimate_k_dce,
}


def true_nats(table: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    p = table.double() / table.sum()
    return torch.stack([-p[tuple(row)].log() for row in tokens.tolist()])


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("schedule", [LogLinear(), Geometric()], ids=lambda s: s.name)
def test_with_exact_conditionals_the_bound_is_the_likelihood(name, schedule):
    """The any-order bound is tight when every conditional is exact, whatever the noise schedule."""
    table = joint(length=3, vocab=2)
    model = denoiser(table, schedule)
    copies = 4000
    tokens = torch.tensor([[0, 1, 1]]).expand(copies, 3)
    model.counted.reset(copies)
    nats = ESTIMATORS[name](model, tokens, 16, seeded(0, "cpu")).nats
    assert model.counted.nfe == [16] * copies
    truth = float(true_nats(table, tokens[:1]))
    # t_* estimators leave out t < 0.001, which is 0.1 % of the mass.
    assert abs(float(nats.mean()) - truth) < 4 * float(nats.std()) / copies**0.5 + 0.001 * truth


def test_k_dce_summed_over_all_masks_is_exact():
    """E over k and masks, enumerated: the any-order bound with no Monte-Carlo noise."""
    table = joint(length=3)
    model = denoiser(table)
    tokens = torch.tensor([[1, 0, 1]])
    total = 0.0
    for k in (1, 2, 3):
        masks = [m for m in itertools.product([False, True], repeat=3) if sum(m) == k]
        for mask in masks:
            model.counted.reset(1)
            total += float(bounds.k_dce(model, tokens, torch.tensor([k]), torch.tensor([mask]))) / len(masks) / 3
    assert total == pytest.approx(float(true_nats(table, tokens)), rel=1e-9)


def test_t_dce_carries_the_authors_constant():
    model = denoiser(joint())
    tokens, mask = torch.tensor([[0, 1, 1]]), torch.tensor([[True, False, True]])
    t = torch.tensor([0.3], dtype=torch.float64)
    model.counted.reset(1)
    difference = float(bounds.t_dce(model, tokens, t, mask) - bounds.t_dse(model, tokens, t, mask))
    odds = math.expm1(float(LogLinear().sigma(t)))
    assert difference == pytest.approx(float(LogLinear().rate(t)) * 2 * math.log(odds) / odds)


def test_lambda_dce_is_t_dse_at_the_matching_time():
    model = denoiser(joint())
    tokens, mask = torch.tensor([[0, 1, 1]]), torch.tensor([[True, False, True]])
    t = torch.tensor([0.4], dtype=torch.float64)
    model.counted.reset(1)
    level = LogLinear().mask_probability(t)
    ratio = float(bounds.t_dse(model, tokens, t, mask) / bounds.lambda_dce(model, tokens, level, mask))
    assert ratio == pytest.approx(1 - 1e-3)


def test_nothing_masked_costs_nothing():
    model = denoiser(joint())
    model.counted.reset(1)
    tokens = torch.tensor([[0, 1, 1]])
    nats = bounds.masked_nll(model, tokens, torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, dtype=torch.float64))
    assert nats.tolist() == [0.0]


def test_low_discrepancy_points_cover_the_interval():
    points = low_discrepancy(3, 16, seeded(0, "cpu"))
    assert points.shape == (3, 16)
    assert ((points > 0) & (points <= 1)).all()
    for group in points.reshape(3, 4, 4).flatten(0, 1):
        assert sorted((group * 4).ceil().tolist()) == [1, 2, 3, 4]


def test_standard_error_covers_the_truth():
    """Over many repeats the spread of estimates must match the errors they report."""
    model = denoiser(joint())
    tokens = torch.tensor([[0, 1, 1]]).expand(400, 3)
    model.counted.reset(400)
    estimate = bounds.estimate_lambda_dce(model, tokens, 16, seeded(1, "cpu"))
    ratio = float(estimate.standard_error.pow(2).mean().sqrt() / estimate.nats.std())
    assert 0.8 < ratio < 1.25


def test_one_draw_has_no_error():
    assert summarise(torch.ones(2, 1)).standard_error.isnan().all()
    assert group_count(1) == 1


class LinearNetwork(MaskedNetwork):
    """A vocabulary projection and nothing before it."""

    takes_time = False

    def __init__(self, classes: int, scale: float) -> None:
        super().__init__()
        self.mask_id = classes - 1
        self.weight = torch.randn(8, classes, generator=seeded(1, "cpu")) * scale

    def head(self, features):
        return features @ self.weight


@pytest.mark.parametrize("scale", [0.5, 10])
def test_token_nll_is_the_cross_entropy_without_the_mask_in_any_pieces(monkeypatch, scale):
    network = LinearNetwork(51, scale)
    features, tokens = torch.randn(23, 8, generator=seeded(2, "cpu")), torch.arange(23)
    logits = network.head(features)[:, :-1].double()
    expected = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
    for piece in (1, 51 * 7, 1 << 18):
        monkeypatch.setattr("adapters.masked.denoiser.CACHED_PIECE", piece)
        model = Denoiser(network, LogLinear())
        rows = [range(*rows.indices(23)) for rows, _ in model.logits(features)]
        assert list(itertools.chain(*rows)) == list(range(23))
        nats = bounds.token_nll(model, features, tokens)
        assert nats.dtype == torch.float64
        torch.testing.assert_close(nats, expected, rtol=1e-6, atol=1e-6)
    assert bounds.token_nll(model, features[:0], tokens[:0]).shape == (0,)
