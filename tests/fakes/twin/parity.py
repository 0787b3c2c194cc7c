"""What the twins are compared in."""

from __future__ import annotations

import torch

from adapters.parity import Case, Recording
from tests.fakes.twin.adapter import Twin


def cases(model: Twin) -> list[Case]:
    return [
        Case("double", "network", {"seed": 1}),
        Case("loss twin", "loss", {"seed": 2}),
        Case("run", "sample", {"seed": 3}),
    ]


def replay(model: Twin, case: Case, recorded: Recording) -> Recording:
    if case.kind == "sample":
        model.counted.reset(2)
        tokens = model.sample(recorded["in/start"], 3, "twin_draw", {}, case.settings["seed"])
        return {"out/tokens": tokens, "out/nfe": torch.tensor(model.counted.nfe)}
    return {"out/doubled": model.counted.module(recorded["in/given"])}
