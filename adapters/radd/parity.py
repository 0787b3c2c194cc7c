"""What parity compares for RADD, and our engine's side of it; the authors' side is `adapters.radd.upstream.record`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adapters.masked.denoiser import Denoiser, seeded
from adapters.masked.likelihood import k_dce, lambda_dce, t_dce, t_dse
from adapters.masked.model import MaskedModel
from adapters.masked.samplers import Sampling
from adapters.parity import Case, Recording, random_weights
from adapters.radd import samplers
from adapters.radd.recording import by_class
from adapters.radd.samplers import DTYPES, draw_with_strategy, joint_weights, leave_chance

LOSSES = {"lambda_dce": lambda_dce, "t_dce": t_dce, "t_dse": t_dse, "k_dce": k_dce}
STRATEGIES = (("direct", 0.8), ("top_p", 0.8), ("top_k", 5))
#: A case records at most about so many numbers of an output; a published vocabulary has 50,258 classes.
MOST_NUMBERS = 1 << 21
#: Runs of a large vocabulary are short: about so many classes are drawn from in a step, in at least so many positions.
MOST_DRAWN, SHORTEST_RUN = 1 << 17, 16
#: A half-precision number may round to its neighbour, 2^-10 away at most; so may what is computed from it.
HALF_TOLERANCE = 2.0**-10
#: Weights of the cases "random weights".
WEIGHTS = 1
BATCH = 3


def cases(model: MaskedModel) -> list[Case]:
    """What to compare for a checkpoint."""
    length, classes = model.default_length, model.denoiser.mask_id + 1
    drawn = min(length, max(SHORTEST_RUN, MOST_DRAWN // classes))
    return [
        *_network_cases(model, length),
        *_chance_cases(),
        *_step_cases(model, drawn),
        *_loss_cases(length),
        *_sample_cases(drawn, model.denoiser.mask_id),
    ]


def _network_cases(model: MaskedModel, length: int) -> list[Case]:
    found = []
    for weights in (None, WEIGHTS):
        whose = "" if weights is None else ", random weights"
        for name, tokens, masked in (
            ("clean", length, [0.0]),
            ("part masked", length, [0.3, 0.7]),
            ("all masked", length, [1.0]),
            ("odd length", max(1, length // 2 - 1) | 1, [0.0, 0.5, 1.0]),
        ):
            every = -(-len(masked) * tokens * (model.denoiser.mask_id + 1) // MOST_NUMBERS)
            settings = {"batch": len(masked), "length": tokens, "masked": masked, "seed": 5, "weights": weights}
            found.append(Case(f"network, {name}{whose}", "network", {**settings, "every": every}))
    return found


def _chance_cases() -> list[Case]:
    """The chance of leaving the mask in many steps; each figure is its own output, for they differ by magnitudes."""
    grids = [[steps, sorted({0, steps // 3, steps // 2, steps - 1})] for steps in (2, 16, 1024)]
    return [Case(f"step chance, {method}", "step", {"method": method, "chances": grids}) for method in samplers.METHODS]


def _step_cases(model: MaskedModel, length: int) -> list[Case]:
    rows = max(1, MOST_NUMBERS // 8 // (model.denoiser.mask_id + 1))
    base = {"length": length, "batch": 2, "seed": 3, "rows": rows}
    found = []
    for dtype, tolerance in (("float32", None), ("float16", HALF_TOLERANCE)):
        own = {} if tolerance is None else {"tolerance": tolerance}
        for method in samplers.METHODS:
            for strategy, para in STRATEGIES:
                options = _options(strategy, para, dtype, method=method)
                direct = {**base, "scheduler": "radd_direct", "steps": 8, "states": [0, 4, 7], "options": options}
                found.append(Case(f"step radd_direct, {method} {strategy} {dtype}", "step", direct, **own))
        for strategy, para in STRATEGIES:
            options = _options(strategy, para, dtype, order="forward")
            ordered = {**base, "scheduler": "radd_ordered", "steps": length, "options": options}
            ordered["states"] = [0, length // 2, length - 1]
            found.append(Case(f"step radd_ordered, {strategy} {dtype}", "step", ordered, **own))
    return found


def _options(strategy: str, para: float, dtype: str, **more: Any) -> dict[str, Any]:
    return {"strategy": strategy, "strategy_para": para, "sampler_dtype": dtype, **more}


def _loss_cases(length: int) -> list[Case]:
    settings = {"batch": 5, "length": length, "masked": [0.0]}
    return [
        Case(f"loss {name}, draw {seed}", "loss", {**settings, "loss": name, "seed": seed})
        for name in LOSSES
        for seed in (0, 1)
    ]


def _sample_cases(length: int, mask_id: int) -> list[Case]:
    """Whole runs: one step, few, many more than tokens; given tokens; every strategy, method and order.

    Tokens hang on every digit. With top_p in float16 a class is in or out by the last digit of a sum of halves, so of
    all cases these are the first to differ where a matrix product is summed in another order.
    """
    base = {"scheduler": "radd_direct", "length": length, "batch": BATCH}
    given = [[0, 3], [1, 5], [length // 2, 12], [length - 1, 0]]
    found = []

    def add(name: str, **settings: Any) -> None:
        found.append(Case(f"sample {name}", "sample", {**base, **settings}))

    for dtype in ("float16", "float32"):
        for steps, seed in ((1, 0), (12, 2), (4 * length, 3), (1024, 9)):
            add(f"{steps} steps {dtype}", steps=steps, seed=seed, options=_options("direct", 0.8, dtype))
        add(f"euler {dtype}", steps=24, seed=5, options=_options("direct", 0.8, dtype, method="euler"))
        add(f"given {dtype}", steps=10, seed=6, given=given, options=_options("direct", 0.8, dtype))
        for strategy, para in (("top_p", 0.8), ("top_p", 0.3), ("top_k", 5), ("top_k", min(30, mask_id))):
            options = _options(strategy, para, dtype)
            add(f"{strategy} {para} {dtype}", steps=12, seed=7, options=options)
            add(f"{strategy} {para} given {dtype}", steps=12, seed=8, given=given, options=options)
        ordered: dict[str, Any] = {"scheduler": "radd_ordered", "batch": 2}
        for order in ("forward", "backward", "random"):
            for strategy, para, steps in (("direct", 0.8, length), ("top_p", 0.5, length // 2), ("top_k", 4, length)):
                options = _options(strategy, para, dtype, order=order)
                add(f"ordered {order} {strategy} {dtype}", **{**ordered, "steps": steps, "seed": 1, "options": options})
    options = _options("direct", 0.8, "float16", order="random")
    # Where the authors draw the order themselves it has 1024 positions.
    add("ordered random 1024", scheduler="radd_ordered", batch=1, length=1024, steps=5, seed=3, options=options)
    return found


@torch.inference_mode()
def replay(model: MaskedModel, case: Case, recorded: Recording) -> Recording:
    """What our engine computes for a case, from the inputs of the authors' recording."""
    if case.kind == "network":
        return _network(model.denoiser, case.settings, recorded)
    if case.kind == "loss":
        return _loss(model.denoiser, case.settings["loss"], recorded)
    if case.kind == "sample":
        return _sample(model, case.settings, recorded["in/start"])
    if "chances" in case.settings:
        return _chances(model.denoiser, case.settings["method"], recorded)
    return _steps(model.denoiser, case.settings, recorded)


def _network(denoiser: Denoiser, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    with random_weights(denoiser.network, settings["weights"]):
        logits = denoiser.network(recorded["in/tokens"])[:, :: settings["every"]]
    forward = torch.cat((logits[..., :-1].log_softmax(-1), logits[..., -1:]), dim=-1)
    return {"out/logits": logits, "out/forward": forward}


def _loss(denoiser: Denoiser, name: str, recorded: Recording) -> Recording:
    tokens = recorded["in/tokens"]
    denoiser.counted.reset(len(tokens))
    nats = LOSSES[name](denoiser, tokens, recorded["in/level"].double(), recorded["in/mask"])
    return {"out/nats": nats}


def _sample(model: MaskedModel, settings: Mapping[str, Any], start: Tensor) -> Recording:
    model.denoiser.counted.reset(len(start))
    sampling = Sampling(settings["steps"], seeded(settings["seed"], model.denoiser.device), settings["options"])
    tokens = model.schedulers[settings["scheduler"]](model.denoiser, start, sampling)
    return {"out/tokens": tokens, "out/nfe": torch.tensor(model.denoiser.counted.nfe)}


def _chances(denoiser: Denoiser, method: str, recorded: Recording) -> Recording:
    out = {}
    for key, time in recorded.items():
        if key.startswith("in/time/"):
            steps = int(key.split("/")[2])
            chance = leave_chance(denoiser.schedule, time, (1 - samplers.TIME_END) / steps, method)
            out[key.replace("in/time", "out/chance")] = chance
    return out


def _steps(denoiser: Denoiser, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    """The transitions of our samplers at the states the authors' visited."""
    out: Recording = {}
    options, classes = settings["options"], denoiser.mask_id + 1
    for step in settings["states"]:
        tokens = recorded[f"in/tokens/{step}"]
        denoiser.counted.reset(len(tokens))
        rows = torch.arange(len(tokens), device=tokens.device)
        features = denoiser.features(tokens, rows, torch.ones(len(tokens), dtype=torch.float64))
        if settings["scheduler"] == "radd_ordered":
            chosen = features[: settings["rows"], int(recorded[f"in/position/{step}"])]
            out[f"out/probabilities/{step}"] = _probabilities(denoiser, chosen, denoiser.mask_id, options)
            continue
        chance = _chance_of_step(denoiser, settings, step)
        if options["strategy"] == "direct":
            chosen = features[tokens == denoiser.mask_id][: settings["rows"]]
            probs = torch.empty(len(chosen), classes, dtype=DTYPES[options["sampler_dtype"]], device=tokens.device)
            samplers._store_probabilities(denoiser, chosen, probs, torch.arange(len(chosen), device=tokens.device))
            weights = joint_weights(probs, samplers.LAST_CHANCE if step == settings["steps"] - 1 else chance)
            out[f"out/weights/{step}"], out[f"out/stay/{step}"] = weights[:, :-1], weights[:, -1]
        else:
            chosen = features[recorded[f"in/leaving/{step}"]][: settings["rows"]]
            out[f"out/chance/{step}"] = chance
            out[f"out/probabilities/{step}"] = _probabilities(denoiser, chosen, classes, options)
    return out


def _chance_of_step(denoiser: Denoiser, settings: Mapping[str, Any], step: int) -> Tensor:
    times, dt = samplers._grid(settings["steps"], torch.device(denoiser.device))
    return leave_chance(denoiser.schedule, times[step], dt, settings["options"]["method"])


def _probabilities(denoiser: Denoiser, features: Tensor, classes: int, options: Mapping[str, Any]) -> Tensor:
    """The distributions [N, classes] that `draw_with_strategy` draws from at features [N, D]."""
    pieces = [piece for _, piece in denoiser.logits(features, classes)]
    # Nothing may leave the mask in a step, and then there are no pieces.
    logits = torch.cat([features.new_empty(0, classes), *pieces])
    draw = partial(draw_with_strategy, generator=seeded(0, denoiser.device))
    strategy, para = options["strategy"], options["strategy_para"]
    return by_class(draw, samplers, "draw", logits.to(DTYPES[options["sampler_dtype"]]), strategy, para)
