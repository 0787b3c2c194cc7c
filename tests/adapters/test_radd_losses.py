"""The family's losses against the authors' for the same noise, on their network."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from adapters.masked.likelihood import k_dce, lambda_dce, t_dce, t_dse
from tests.adapters.radd_fixtures import GOLDENS, LENGTH, denoiser

RECORDED = json.loads((GOLDENS / "radd.json").read_text(encoding="utf-8"))["losses"]
LOSSES = {"t_DSE": t_dse, "t_DCE": t_dce, "lambda_DCE": lambda_dce, "k_DCE": k_dce}
#: Theirs is computed in float32 (t_DSE with some cancellation), ours in float64 behind the network.
TOLERANCE = 1e-5


def cases() -> list[Any]:
    return [pytest.param(row, id=f"{row['loss']}-{row['noise']}-{i % 2}") for i, row in enumerate(RECORDED["rows"])]


@torch.inference_mode()
@pytest.mark.parametrize("row", cases())
def test_loss_is_the_authors_for_the_same_noise(row: dict[str, Any]) -> None:
    tokens = torch.tensor(RECORDED["tokens"])
    mask = torch.tensor([[c == "1" for c in line] for line in row["mask"]])
    den = denoiser(row["noise"], len(tokens))
    ours = LOSSES[row["loss"]](den, tokens, torch.tensor(row["level"], dtype=torch.float64), mask)
    theirs = torch.tensor(row["nats"], dtype=torch.float64)
    # The network-independent parts of t_DSE and t_DCE cancel among themselves, so their size sets the scale.
    scale = theirs.abs().clamp(min=1.0)
    assert float(((ours - theirs).abs() / scale).max()) <= TOLERANCE
    assert den.counted.nfe == [1] * len(tokens)


def test_recorded_t_dce_holds_the_term_that_knows_nothing_of_the_network() -> None:
    """Without it t_DCE would equal t_DSE, drawn with the same noise."""
    rows = RECORDED["rows"]
    for noise in ("loglinear", "geometric"):
        dse, dce = ([r for r in rows if (r["loss"], r["noise"]) == (name, noise)] for name in ("t_DSE", "t_DCE"))
        assert [r["mask"] for r in dse] == [r["mask"] for r in dce]
        assert (
            max(abs(a - b) for p, q in zip(dse, dce, strict=True) for a, b in zip(p["nats"], q["nats"], strict=True))
            > 1
        )


def test_recorded_k_masks_exactly_k() -> None:
    for row in RECORDED["rows"]:
        if row["loss"] == "k_DCE":
            assert [line.count("1") for line in row["mask"]] == row["level"]
        assert all(len(line) == LENGTH for line in row["mask"])
