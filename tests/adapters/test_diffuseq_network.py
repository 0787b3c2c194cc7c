"""DiffuSeq's network: the encoder is BERT's, and leaving positions out changes nothing."""

from __future__ import annotations

import pytest
import torch

from adapters.diffuseq.layout import EncoderConfig
from adapters.diffuseq.network import DiffuseqNetwork, DiffuseqSize, time_features
from adapters.diffuseq.rounding import Rounding


def network(width: int = 16, hidden: int = 32, mean_embed: bool = False) -> DiffuseqNetwork:
    torch.manual_seed(0)
    encoder = EncoderConfig(hidden, 3, 4, 48, 24)
    return DiffuseqNetwork(DiffuseqSize(50, width, 15, encoder, 0.1, mean_embed)).eval()


@torch.no_grad()
def test_the_encoder_is_that_of_transformers() -> None:
    modeling = pytest.importorskip("transformers.models.bert.modeling_bert", reason="transformers is not installed")
    from transformers import BertConfig

    config = BertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, attn_implementation="eager"
    )
    theirs = modeling.BertEncoder(config).eval()
    ours = network().input_transformers
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 20, 32)
    wanted = theirs(x).last_hidden_state
    for layer in ours.layer:
        x = layer(x)
    assert (x - wanted).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize(("width", "projected"), [(16, True), (32, False)])
def test_positions_that_are_not_wanted_change_nothing(width: int, projected: bool) -> None:
    made = network(width)
    assert made.projected == projected
    x, time = torch.randn(3, 20, width), torch.tensor([0.0, 500.0, 999.5])
    full = made(x, time)
    some = torch.tensor([0, 7, 19, 20, 59])
    assert torch.allclose(made(x, time, some), full.flatten(0, 1)[some], atol=1e-6)


@torch.no_grad()
def test_time_changes_the_prediction_and_padding_is_attended() -> None:
    made = network()
    x = torch.randn(1, 20, 16)
    early, late = made(x, torch.tensor([10.0])), made(x, torch.tensor([900.0]))
    assert (early - late).abs().max() > 1e-3
    other = x.clone()
    other[:, -1] += 1
    assert (made(other, torch.tensor([10.0]))[:, 0] - early[:, 0]).abs().max() > 1e-4


def test_time_features_are_cosines_then_sines_and_an_odd_width_ends_in_zero() -> None:
    features = time_features(torch.tensor([0.0, 2.0]), 5)
    assert features.shape == (2, 5)
    assert features[0].tolist() == [1, 1, 0, 0, 0]
    assert torch.allclose(features[1, :2], torch.tensor([2.0, 0.02]).cos())
    assert features[1, 4] == 0


def test_embedding_and_head_are_one_parameter_and_the_mean_is_listed_first() -> None:
    made = network(mean_embed=True)
    assert made.lm_head.weight is made.word_embedding.weight
    assert next(iter(made.state_dict())) == "mean_embed"
    assert "lm_head.weight" in made.state_dict()
    assert "lm_head.weight" not in dict(made.named_parameters())


@pytest.mark.parametrize("seed", range(3))
def test_rounding_finds_the_nearest_word(seed: int) -> None:
    torch.manual_seed(seed)
    table = torch.randn(300, 8)
    rounding = Rounding(table)
    vectors = torch.randn(64, 8)
    last = None
    for step in range(8):  # vectors settle on words, so that more and more of them are certain
        vectors = vectors + (table[rounding.nearest(vectors)] - vectors) * 0.3 + torch.randn(64, 8) * 0.3 / (step + 1)
        found = rounding.nearest(vectors, last)
        assert torch.equal(found, torch.cdist(vectors.double(), table.double()).argmin(-1))
        last = found
    assert (rounding._certain > 0).any()  # the shortcut was taken


def test_rounding_in_blocks_and_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table, vectors = torch.randn(100, 4), torch.randn(30, 4)
    whole = Rounding(table).nearest(vectors)
    monkeypatch.setattr("adapters.diffuseq.rounding.BLOCK", 700)
    assert torch.equal(Rounding(table).nearest(vectors), whole)
    assert Rounding(table).nearest(vectors[:0]).shape == (0,)


def test_of_equal_words_the_first_is_the_nearest() -> None:
    """As in the authors' code; here across and inside the runs that are compared at once, the last one incomplete."""
    table = torch.arange(150.0)[:, None] * torch.ones(1, 4)
    for first, again in ((3, 149), (66, 100), (128, 131)):
        table[again] = table[first]
        assert Rounding(table).nearest(table[first : first + 1]).tolist() == [first]


def test_rounding_is_never_certain_between_equal_words() -> None:
    table = torch.randn(10, 4)
    table[7] = table[3]
    rounding = Rounding(table)
    vectors = table[3:4] + 0.01
    last = rounding.nearest(vectors)
    for _ in range(3):
        last = rounding.nearest(vectors, last)
    assert last.tolist() == [3]
    assert rounding._certain[3] == 0
