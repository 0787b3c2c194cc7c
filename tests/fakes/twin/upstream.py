"""The authors' twin: module twin_net of the checkout."""

from __future__ import annotations

import torch

from adapters.base import LoadSpec
from adapters.parity import Case, Recording
from adapters.upstream import import_modules
from tests.fakes.twin.adapter import Twin


def load(spec: LoadSpec) -> Twin:
    assert spec.upstream is not None
    code = import_modules(spec.upstream, ["twin_net"], "twin", ["twin-things"])
    return Twin(code["twin_net"].forward)


def record(model: Twin, case: Case) -> Recording:
    torch.manual_seed(case.settings["seed"])
    given = torch.rand(3, 4)
    if case.kind == "sample":
        start = torch.full((2, 5), model.mask_id)
        model.counted.reset(2)
        tokens = model.sample(start, 3, "twin_draw", {}, case.settings["seed"])
        return {"in/start": start, "out/tokens": tokens, "out/nfe": torch.tensor(model.counted.nfe)}
    return {"in/given": given, "out/doubled": model.counted.module(given)}
