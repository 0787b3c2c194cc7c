"""Plaid against the recorded figures of the authors' code; tests.adapters.plaid_cases says how they are recorded."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import LoadSpec
from adapters.gaussian.model import GaussianModel
from adapters.parity import Case, Recording, compare
from adapters.plaid import adapter
from adapters.plaid.parity import cases, replay
from adapters.plaid.system import PlaidSystem
from harness.parity import read_golden
from tests.adapters.plaid_cases import CHECKPOINTS, KINDS

GOLDENS = Path(__file__).parent.parent / "goldens"
NAMES = [
    pytest.param(name, case.name, id=f"{name}-{case.name}")
    for name in CHECKPOINTS
    for case, _ in read_golden(GOLDENS / f"plaid-{name}.json")
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GaussianModel]:
    root = tmp_path_factory.mktemp("plaid")
    return {name: adapter.load(LoadSpec(made.write(root / name))) for name, made in CHECKPOINTS.items()}


@pytest.fixture(scope="module")
def recorded() -> dict[str, dict[str, tuple[Case, Recording]]]:
    return {
        name: {case.name: (case, found) for case, found in read_golden(GOLDENS / f"plaid-{name}.json")}
        for name in CHECKPOINTS
    }


@pytest.mark.parametrize(("checkpoint", "name"), NAMES)
def test_the_authors_figures(models: dict[str, Any], recorded: dict[str, Any], checkpoint: str, name: str) -> None:
    case, theirs = recorded[checkpoint][name]
    differences = compare(case, theirs, replay(models[checkpoint], case, theirs))
    assert [d for d in differences if not d.passed] == []


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_goldens_hold_what_parity_compares_today(models: dict[str, Any], name: str) -> None:
    stored = json.loads((GOLDENS / f"plaid-{name}.json").read_text(encoding="utf-8"))["cases"]
    today = [asdict(case) for case in cases(models[name]) if case.kind in KINDS[name]]
    today = json.loads(json.dumps(today))
    assert [{key: entry[key] for key in today[0]} for entry in stored] == today


def test_goldens_say_where_they_are_from_and_were_close_when_recorded() -> None:
    for name in CHECKPOINTS:
        facts = json.loads((GOLDENS / f"plaid-{name}.json").read_text(encoding="utf-8"))
        assert facts["upstream"]["commit"] == "e7d5cf871d1f8c6855f41bff801e0ef3c72f519a"
        assert all(value is None or value <= 1e-5 for value in facts["largest_difference_when_recorded"].values())


def test_goldens_are_small_and_complete() -> None:
    files = [file for file in GOLDENS.glob("plaid*") if file.suffix != ".py"]
    assert {file.name for file in files} == {f"plaid-{name}{end}" for name in CHECKPOINTS for end in (".json", ".npz")}
    assert sum(file.stat().st_size for file in files) < 400_000


def test_goldens_tell_settings_apart(recorded: dict[str, Any]) -> None:
    """Runs that no option changes would pin nothing."""

    def tokens(case: str) -> list[list[int]]:
        found: list[list[int]] = recorded["small"][f"sample {case}"][1]["out/tokens"].tolist()
        return found

    kinds = [""] + [name.removeprefix("sample ancestral_plaid") for name in recorded["small"] if "plaid, " in name]
    runs = [tokens(f"ancestral_plaid{kind}") for kind in kinds if f"sample ancestral_plaid{kind}" in recorded["small"]]
    # "not anywhere" is what no guidance is, for their constant makes it next to nothing.
    assert len({str(run) for run in runs}) >= len(runs) - 1 > 10
    assert tokens("ancestral_plaid, prefix") != tokens("ddim_plaid, prefix")
    first, second = (
        recorded["small"][f"network, {name}"][1]["out/logits"] for name in ("first pass", "self-conditioned")
    )
    assert float((first - second).abs().max()) > 0.1
    rounded, exact = (
        recorded["small"][f"network, {name}"][1]["out/logits"] for name in ("self-conditioned", "gamma in float64")
    )
    assert not torch.equal(rounded, exact)


def test_recorded_bounds_have_both_terms(recorded: dict[str, Any]) -> None:
    rows = {
        name: int(found["in/reconstructed"]) for name, (case, found) in recorded["small"].items() if case.kind == "loss"
    }
    assert {rows["loss of 1, draw 0"], rows["loss of 1, draw 4"]} == {0, 1}
    assert rows["loss of 16, draw 2"] == 2


def test_recorded_state_lags_behind_its_time(models: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Their sampler goes to t - 1/T, which the family's does not."""
    case, theirs = recorded["small"]["step ddim_plaid"]
    path = torch.linspace(1, 0, case.settings["steps"], dtype=torch.float64)
    gamma = models["small"].system.schedule.gamma(torch.stack((path[0] - 1 / len(path), path[1])))
    assert float((gamma[0] - gamma[1]).abs()) > 1e-3
    wrong = dict(theirs)
    wrong["in/z/0"] = theirs["in/z/0"] * 1.001
    assert not all(d.passed for d in compare(case, theirs, replay(models["small"], case, wrong)))


def test_a_wrong_network_is_found_out(models: dict[str, Any], recorded: dict[str, Any]) -> None:
    """A tenth of a change in one row of weights fails network, step and loss."""
    system = models["small"].system
    assert isinstance(system, PlaidSystem)
    weight = system.network.model.blocks[0].mlp.fc1.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[5] *= 1.1
        for name in ("network, first pass", "step ancestral_plaid, prefix", "loss of 16, draw 2"):
            case, theirs = recorded["small"][name]
            assert not all(d.passed for d in compare(case, theirs, replay(models["small"], case, theirs))), name
    finally:
        with torch.no_grad():
            weight.copy_(kept)
