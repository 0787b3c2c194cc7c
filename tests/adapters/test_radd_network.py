"""RADD's network: its parts and its layout. Its figures are compared in test_radd_parity.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adapters.radd.network import RaddNetwork, RaddSize
from tests.adapters.radd_fixtures import golden, layout
from tests.goldens.radd_checkpoints import LENGTH, SIZE, network

#: Of the largest logit. On the machine that recorded them the difference was 0.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    recorded = golden("loglinear")["network, part masked"][1]
    return {"tokens": recorded["in/tokens"], "logits": recorded["out/logits"]}


def close(ours: Tensor, theirs: Tensor) -> bool:
    return float((ours - theirs).abs().max()) <= TOLERANCE * float(theirs.abs().max())


@torch.inference_mode()
def test_features_and_head_at_some_positions_are_the_whole_network(arrays: dict[str, Tensor]) -> None:
    net = network()
    some = arrays["tokens"] == net.mask_id
    assert close(net.head(net.features(arrays["tokens"])[some]), arrays["logits"][some])


@torch.inference_mode()
def test_positions_matter(arrays: dict[str, Tensor]) -> None:
    same = torch.full((1, LENGTH), 4)
    same[0, 3] = SIZE.tokens
    moved = same.roll(5, dims=1)
    net = network()
    assert not close(net(moved)[0, 8], net(same)[0, 3])


def test_state_dict_is_the_published_one() -> None:
    net = RaddNetwork(SIZE)
    assert {name: list(t.shape) for name, t in net.state_dict().items()} == layout()["hub"]["shapes"]
    assert [name for name, _ in net.named_parameters()] == layout()["hub"]["parameters"]


@pytest.mark.parametrize(
    ("size", "parameters"),
    [(RaddSize(50257, 768, 12, 12), 162_265_682), (RaddSize(50257, 1024, 24, 16), 405_191_762)],
)
def test_published_sizes(size: RaddSize, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in RaddNetwork(size).parameters()) == parameters


def test_fresh_network_starts_as_the_authors_do() -> None:
    fresh = RaddNetwork(SIZE).state_dict()
    for name, tensor in fresh.items():
        if "norm" in name:
            assert (tensor == 1).all(), name
    assert not fresh["output_layer.linear.weight"].any()
    assert not fresh["output_layer.linear.bias"].any()
    bound = 1 / SIZE.hidden**0.5  # kaiming uniform with a = sqrt(5)
    assert 0.9 * bound < fresh["vocab_embed.embedding"].abs().max() <= bound


@torch.inference_mode()
def test_lower_precision_rounds_the_blocks_but_gives_float32(arrays: dict[str, Tensor]) -> None:
    logits = network(torch.bfloat16)(arrays["tokens"])
    assert logits.dtype == torch.float32
    assert not close(logits, arrays["logits"])
    torch.testing.assert_close(logits, arrays["logits"], atol=0.1, rtol=0)


def test_dropout_works_in_training_only(arrays: dict[str, Tensor]) -> None:
    net = network()
    torch.manual_seed(0)
    assert torch.equal(net(arrays["tokens"]), net(arrays["tokens"]))
    net.train()
    assert not torch.equal(net(arrays["tokens"]), net(arrays["tokens"]))
