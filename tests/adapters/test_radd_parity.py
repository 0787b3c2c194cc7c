"""RADD's native engine against the authors' recorded figures (tests/goldens/radd-*), and, where a checkout is at hand,
against their code itself."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import LoadSpec
from adapters.masked.model import MaskedModel
from adapters.parity import Recording, compare
from adapters.radd import adapter
from adapters.radd.parity import cases, replay
from harness.parity import read_golden
from tests.adapters.radd_fixtures import GOLDENS, SCHEDULES, golden
from tests.goldens.radd_checkpoints import SIZE, WRITERS

NAMES = [
    pytest.param(name, case.name, id=f"{name}-{case.name}")
    for name in WRITERS
    for case, _ in read_golden(GOLDENS / f"radd-{name}.json")
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MaskedModel]:
    root = tmp_path_factory.mktemp("radd")
    return {name: adapter.load(LoadSpec(write(root / name))) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return {name: golden(name) for name in WRITERS}


@pytest.mark.parametrize(("checkpoint", "name"), NAMES)
def test_the_authors_figures(models: dict[str, Any], recorded: dict[str, Any], checkpoint: str, name: str) -> None:
    case, theirs = recorded[checkpoint][name]
    differences = compare(case, theirs, replay(models[checkpoint], case, theirs))
    assert [d for d in differences if not d.passed] == []


@pytest.mark.parametrize("name", SCHEDULES)
def test_goldens_hold_what_parity_compares_today(models: dict[str, Any], name: str) -> None:
    stored = json.loads((GOLDENS / f"radd-{name}.json").read_text(encoding="utf-8"))["cases"]
    today = json.loads(json.dumps([asdict(case) for case in cases(models[name])]))
    assert [{key: entry[key] for key in today[0]} for entry in stored] == today


def test_goldens_say_where_they_are_from_and_were_close_when_recorded() -> None:
    for name in WRITERS:
        facts = json.loads((GOLDENS / f"radd-{name}.json").read_text(encoding="utf-8"))
        assert facts["upstream"]["commit"] == "60b772df3ad4bc0213e867ec62923fe90359b93d"
        assert all(value is None or value <= 1e-6 for value in facts["largest_difference_when_recorded"].values())


def test_goldens_are_small() -> None:
    assert sum(file.stat().st_size for file in GOLDENS.glob("radd*") if file.suffix != ".py") < 300_000


def test_goldens_tell_the_quirks_apart(recorded: dict[str, Any]) -> None:
    """Goldens that are the same in float16 and float32, in which no mask is ever drawn, or in which tweedie and euler
    agree under geometric noise, would pin nothing."""

    def tokens(name: str, case: str) -> torch.Tensor:
        found: Recording = recorded[name][case][1]
        return found["out/tokens"]

    halves = [case for case in recorded["loglinear"] if case.startswith("sample") and case.endswith("float16")]
    assert any(not torch.equal(tokens("loglinear", c), tokens("loglinear", c.replace("16", "32"))) for c in halves)
    left = Counter(
        case.split()[1]
        for name in SCHEDULES
        for case in recorded[name]
        if case.startswith("sample top") and bool((tokens(name, case) == SIZE.tokens).any())
    )
    assert left["top_p"]
    assert left["top_k"]
    chances = {m: recorded["geometric"][f"step chance, {m}"][1]["out/chance/16/5"] for m in ("tweedie", "euler")}
    assert not torch.isclose(chances["tweedie"], chances["euler"], rtol=1e-2)


def test_recorded_t_dce_holds_the_term_that_knows_nothing_of_the_network(recorded: dict[str, Any]) -> None:
    """Without it t_DCE would equal t_DSE, drawn with the same noise."""
    for name in SCHEDULES:
        dse, dce = (recorded[name][f"loss {loss}, draw 0"][1] for loss in ("t_dse", "t_dce"))
        assert torch.equal(dse["in/mask"], dce["in/mask"])
        assert float((dse["out/nats"] - dce["out/nats"]).abs().max()) > 1


def test_recorded_k_masks_exactly_k(recorded: dict[str, Any]) -> None:
    for name in SCHEDULES:
        found = recorded[name]["loss k_dce, draw 0"][1]
        assert torch.equal(found["in/mask"].sum(-1), found["in/level"])


@torch.inference_mode()
def test_a_training_run_is_its_average(models: dict[str, Any], recorded: dict[str, Any]) -> None:
    """The goldens of the run and of the Hub folder are of different weights."""
    one, other = (recorded[name]["network, clean"][1]["out/logits"] for name in ("run", "loglinear"))
    assert not torch.allclose(one, other, atol=0.1)


def test_a_wrong_network_is_found_out(models: dict[str, Any], recorded: dict[str, Any]) -> None:
    """One weight of the output layer changed by 1 % fails network, step and loss."""
    weight = models["loglinear"].denoiser.network.output_layer.linear.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[5] *= 1.01
        for name in ("network, clean", "step radd_direct, tweedie direct float32", "loss lambda_dce, draw 0"):
            case, theirs = recorded["loglinear"][name]
            assert not all(d.passed for d in compare(case, theirs, replay(models["loglinear"], case, theirs))), name
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_folder_of_goldens_is_complete() -> None:
    names = {f"radd-{name}{end}" for name in WRITERS for end in (".json", ".npz")} | {"radd.json"}
    assert {file.name for file in Path(GOLDENS).glob("radd*") if file.suffix != ".py"} == names
