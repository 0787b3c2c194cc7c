"""What parity compares for Plaid, and our engine's side of it; the authors' is `adapters.plaid.upstream.record`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adapters.gaussian.likelihood import diffusion_nats, prior_nats, reconstruction_nats
from adapters.gaussian.model import GaussianModel
from adapters.gaussian.process import Sampling
from adapters.parity import Case, Recording, random_weights
from adapters.plaid.guidance import guide
from adapters.plaid.likelihood import PlaidBound
from adapters.plaid.samplers import OWN_SAMPLERS, UPDATES, grid
from adapters.plaid.system import PlaidOptions, PlaidProcess, PlaidSystem, Prompted
from adapters.plaid.upstream import OPTIONS, SCHEDULERS
from adapters.plaid.wishes import ALL, ANY, Wish

#: Weights: the checkpoint's own, and random ones, which hide nothing behind a layer that is nearly zero.
WEIGHTS = {"": None, ", random weights": 1}
#: A case records at most about so many logits; the published vocabulary has 32,768.
MOST_NUMBERS = 1 << 16
#: Longest runs compared; a few positions have all that many have.
LONGEST = 32
#: A length that divides by nothing.
ODD_LENGTH = 7
#: Outside and inside of the schedule, and the time behind the last step of 4096.
TIMES = (-0.5, -0.0625, -1 / 4096, 0.0, 1e-6, 0.25, 0.5, 0.75, 1 - 1e-6, 1.0)


def cases(model: GaussianModel) -> list[Case]:
    """What to compare for a checkpoint."""
    length, tokens = min(model.default_length, LONGEST), model.system.tokenizer.vocab_size
    wishes = _wishes(length, tokens)
    return [
        Case("network, gamma(t)", "network", {"times": list(TIMES)}, tolerance=1e-12),
        *_network_cases(length, tokens),
        *_step_cases(length, wishes),
        *_loss_cases(length),
        *_sample_cases(length, wishes),
    ]


def _network_cases(length: int, tokens: int) -> list[Case]:
    found = []
    for suffix, weights in WEIGHTS.items():
        for name, count, dtype, selfcond in (
            ("first pass", length, "float32", 0.0),
            ("self-conditioned", length, "float32", 1.0),
            ("gamma in float64", length, "float64", 1.0),
            ("odd length", min(ODD_LENGTH, length), "float32", 1.0),
        ):
            gammas = [-2.9, -0.4, 2.3, 5.7]
            settings = {"gammas": gammas, "gamma_dtype": dtype, "selfcond": selfcond, "length": count, "seed": 5}
            every = -(-len(gammas) * count * tokens // MOST_NUMBERS)
            found.append(Case(f"network, {name}{suffix}", "network", {**settings, "every": every, "weights": weights}))
    return found


def _wishes(length: int, tokens: int) -> dict[str, Any]:
    """Kinds of guidance: given tokens (position, token), and wishes (token, weight, position, complement)."""
    last, middle = length - 1, length // 2
    prefix = [[at, (5 * at + 3) % tokens] for at in range(min(3, last))]
    anywhere, nowhere = [2 % tokens, 3.0, ANY, False], [1, 10.0, ALL, True]
    return {
        "": {},
        ", prefix": {"given": prefix},
        ", infill": {"given": [*prefix, [last, 1]]},
        ", weighted": {"guidance": [[4 % tokens, 10.0, 0, False], [1, 2.0, middle, False], [3, 0.5, last, True]]},
        ", anywhere": {"guidance": [anywhere]},
        ", nowhere": {"guidance": [nowhere]},
        ", anywhere and nowhere, prefix": {"given": prefix, "guidance": [anywhere, nowhere]},
        ", everywhere": {"guidance": [[3 % tokens, 0.05, ALL, False]]},
        # Their constant makes this one next to nothing.
        ", not anywhere": {"guidance": [[1, 10.0, ANY, True]]},
    }


def _run(kind: Mapping[str, Any], batch: int, **settings: Any) -> dict[str, Any]:
    """Settings of a run with one guidance for all rows."""
    given = [[row, at, token] for row in range(batch) for at, token in kind.get("given", [])]
    options = {**OPTIONS, **settings.pop("options", {})}
    return {"batch": batch, "given": given, "guidance": kind.get("guidance", []), "options": options, **settings}


def _step_cases(length: int, wishes: Mapping[str, Mapping[str, Any]]) -> list[Case]:
    found = []

    def add(name: str, kind: str, **settings: Any) -> None:
        steps = settings.setdefault("steps", 8)
        states = sorted({0, steps // 2, steps - 2, steps - 1})
        # Several rows where it matters that guidance knows which is which.
        batch = 2 if "nowhere" in kind else 1
        found.append(Case(name, "step", _run(wishes[kind], batch, length=length, seed=3, states=states, **settings)))

    for scheduler in SCHEDULERS:
        for kind in wishes:
            add(f"step {scheduler}{kind}", kind, scheduler=scheduler)
        add(f"step {scheduler}, temperature 1", "", scheduler=scheduler, options={"score_temp": 1.0})
        options = {"score_temp": 0.5, "guidance_weight": 5.0}
        add(f"step {scheduler}, temperature 0.5, prefix", ", prefix", scheduler=scheduler, options=options)
    add("step ancestral_plaid, 64 steps", "", scheduler="ancestral_plaid", steps=64)
    return found


def _loss_cases(length: int) -> list[Case]:
    found = []
    for suffix, weights in WEIGHTS.items():
        # One row is either a reconstruction term, as theirs draws it with seed 4, or a diffusion term, as with seed 0.
        for batch, seed in ((1, 0), (1, 4), (3, 1), (16, 2)):
            settings = {"batch": batch, "length": length, "seed": seed, "weights": weights}
            found.append(Case(f"loss of {batch}, draw {seed}{suffix}", "loss", settings))
    return found


def _sample_cases(length: int, wishes: Mapping[str, Mapping[str, Any]]) -> list[Case]:
    """Whole runs; tokens hang on every digit."""
    found = []

    def add(name: str, kind: str, batch: int, **settings: Any) -> None:
        found.append(Case(f"sample {name}", "sample", _run(wishes[kind], batch, **{"length": length, **settings})))

    odd = min(ODD_LENGTH, length)

    for scheduler in SCHEDULERS:
        for steps, batch, seed in ((2, 3, 0), (3, 1, 1), (16, 3, 2), (50, 2, 3)):
            add(f"{scheduler}, {steps} steps", "", batch, scheduler=scheduler, steps=steps, seed=seed)
        for kind in list(wishes)[1:]:
            add(f"{scheduler}{kind}", kind, 2, scheduler=scheduler, steps=12, seed=4)
        options = {"score_temp": 1.0, "initial_noise_scale": 0.8}
        add(f"{scheduler}, temperature 1, noise 0.8", "", 2, scheduler=scheduler, steps=24, seed=6, options=options)
        # Their batches have one guidance, so of a batch with several each prompt is a run of its own.
        several = {"given": [[0, 0, 3], [2, 0, 3], [3, 1, 2], [3, length - 1, 0]]}
        add(f"{scheduler}, several prompts", "", 4, scheduler=scheduler, steps=12, seed=7, **several)
    add("ancestral_plaid, odd length", ", prefix", 3, scheduler="ancestral_plaid", steps=5, seed=8, length=odd)
    return found


def replay(model: GaussianModel, case: Case, recorded: Recording) -> Recording:
    """What our engine computes for a case, from the inputs of the authors' recording."""
    system = model.system
    assert isinstance(system, PlaidSystem)
    replays = {"network": _network, "step": _steps, "loss": _loss, "sample": _sample}
    if "times" in case.settings:
        replays["network"] = _gamma
    with torch.no_grad(), random_weights(system.network.model, case.settings.get("weights")):
        return replays[case.kind](system, case.settings, recorded)


def _gamma(system: PlaidSystem, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    return {"out/gamma": system.schedule.gamma(recorded["in/times"])}


def _network(system: PlaidSystem, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    z, gamma, previous = (recorded[f"in/{name}"] for name in ("z", "gamma", "previous"))
    readout = system.readout
    inputs = readout.inputs(system.network.model.features(z, gamma, previous), z, gamma)
    logits = torch.cat([block for _, block in readout.logits(inputs)]).view(*z.shape[:2], -1)
    predicted = readout.predict(inputs).view_as(z)
    return {"out/logits": logits[:, :: settings["every"]], "out/predicted": predicted}


def _loss(system: PlaidSystem, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    """The terms of the bound for the times and noise that theirs drew, in their unit, nats a token."""
    tokens, t, noise = recorded["in/tokens"], recorded["in/t"], recorded["in/noise"]
    bound, (count, length) = PlaidBound(system), tokens.shape
    first = int(recorded["in/reconstructed"])
    system.counted.reset(2 * count)
    gamma, rate = bound.gamma_and_rate(t)
    each = bound.one_draw(tokens, torch.arange(count, device=tokens.device) < first, t, noise)
    nfe = [system.counted.nfe[row] for row in range(count)]
    prior = prior_nats(bound, tokens).mean() / length
    return {
        "out/gamma": gamma[first:],
        "out/rate": rate[first:],
        "out/reconstruction": reconstruction_nats(bound, tokens[:first], noise[:first]) / length,
        "out/diffusion": diffusion_nats(bound, tokens[first:], t[first:], noise[first:]) / length,
        "out/prior": prior,
        "out/nll": (each.mean() / length + prior).cpu(),
        "out/nfe": torch.tensor(nfe),
    }


def _process(system: PlaidSystem, settings: Mapping[str, Any], rows: Tensor) -> PlaidProcess:
    """A batch with the guidance of a case: ids [B, L], the vocabulary size where nothing is given."""
    options = PlaidOptions.of(settings["options"])
    given = rows != system.size.vocab_size
    wishes = [Wish(*wish) for wish in settings["guidance"]]
    guidance = guide(rows, given, options.guidance_weight, wishes, authors=True)
    system.counted.reset(len(rows))
    return PlaidProcess(system, Prompted(rows, given, False), guidance, options)


def _sample(system: PlaidSystem, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    process = _process(system, settings, recorded["in/start"])
    generator = torch.Generator(system.device).manual_seed(settings["seed"])
    sampling = Sampling((), generator, settings["options"])
    prediction = OWN_SAMPLERS[settings["scheduler"]](process, system.schedule, settings["steps"], sampling)
    return {
        "out/tokens": torch.tensor(process.finish(prediction).tokens),
        "out/nfe": torch.tensor(system.counted.nfe),
    }


def _steps(system: PlaidSystem, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    """The steps of our samplers from the states theirs visited, with the noise it drew."""
    process = _process(system, settings, recorded["in/start"])
    update, path = UPDATES[settings["scheduler"]], grid(system.schedule, settings["steps"])
    out: Recording = {}
    for i in settings["states"]:
        z, previous = recorded[f"in/z/{i}"], recorded[f"in/previous/{i}"]
        now, to = path[i]
        process.previous = previous
        z_0 = process.denoise(z, now)
        out[f"out/predicted/{i}"] = process.previous
        if i < settings["steps"] - 1:
            noise = recorded.get(f"in/noise/{i}", torch.zeros(0))
            out[f"out/z/{i}"] = update(z, z_0, now, to, lambda noise=noise: noise)  # type: ignore[misc]
        if f"out/gradient/{i}" in recorded:
            process.previous = previous
            gamma = torch.full((len(z),), now.gamma, dtype=torch.float32, device=z.device)
            out[f"out/gradient/{i}"] = process.guided(z.float(), gamma)[1]
    return out
