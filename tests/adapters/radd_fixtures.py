"""What RADD's tests share: the golden network behind a denoiser, and the authors' figures for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapters.masked.denoiser import Denoiser
from adapters.masked.schedules import Geometric, LogLinear, Schedule
from adapters.parity import Case, Recording
from harness.parity import read_golden
from tests.goldens.radd_checkpoints import network

GOLDENS = Path(__file__).parent.parent / "goldens"
SCHEDULES: dict[str, Schedule] = {"loglinear": LogLinear(), "geometric": Geometric(1e-4, 20.0)}


def denoiser(noise: str, sequences: int) -> Denoiser:
    """The golden network with a noise schedule, counting for so many sequences."""
    made = Denoiser(network(), SCHEDULES[noise])
    made.counted.reset(sequences)
    return made


def golden(name: str) -> dict[str, tuple[Case, Recording]]:
    """The authors' figures for one golden checkpoint, by case."""
    return {case.name: (case, recorded) for case, recorded in read_golden(GOLDENS / f"radd-{name}.json")}


def layout() -> dict[str, Any]:
    """What the authors' code writes (tests/goldens/record_radd.py)."""
    facts: dict[str, Any] = json.loads((GOLDENS / "radd.json").read_text(encoding="utf-8"))
    return facts
