"""What the two engines of nanoDD are compared in, and our half of it (see `adapters.parity`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adapters.masked.denoiser import seeded
from adapters.masked.likelihood import token_nll
from adapters.masked.model import MaskedModel
from adapters.masked.samplers import Sampling
from adapters.nanodd.diffusion import kl_of_nll, log_posterior, losses, process_of, step_bound, training_loss
from adapters.parity import Case, Recording, random_weights
from adapters.traces import traced_steps

SCHEDULER = "nanodd_d3pm"
#: Longest sequence compared: states and probabilities of larger vocabularies stay small.
LONGEST = 64
#: Length of the runs whose single steps are compared; their states have every kind of position anyway.
SHORT = 16
#: A length that divides by nothing.
ODD_LENGTH = 7
#: Weights: the checkpoint's own, and random ones, which hide nothing behind a layer that is nearly zero.
WEIGHTS = {"": None, ", random weights": 1}


def cases(model: MaskedModel) -> list[Case]:
    """Everything that the authors' code and ours both compute, for one checkpoint."""
    return [case for suffix, seed in WEIGHTS.items() for case in _cases(model, suffix, {"weights": seed})]


def _cases(model: MaskedModel, suffix: str, common: Mapping[str, Any]) -> list[Case]:
    last = process_of(model.denoiser).steps
    middle = (last + 1) // 2
    length = min(model.default_length, LONGEST)
    network = {"lengths": sorted({length, min(ODD_LENGTH, length)}), "masked": [0.0, 0.5, 1.0], "seed": 5}
    run = {"scheduler": SCHEDULER, "steps": last, "batch": 2, "seed": 123}
    times = sorted({0, 1, middle - 1, last - 1} & set(range(last)))
    batches = {"all": times, "positive": [t for t in times if t], "zero": [0, 0]}
    settings = {
        "network": {**network, "times": [1, middle, last]},
        "step": {**run, "length": min(length, SHORT), "at": sorted({last, middle, min(2, last), 1})[::-1]},
        "loss": {"length": length, "seed": 20, "batches": {name: t for name, t in batches.items() if t}},
        "sample": {**run, "length": length, "kept": sorted(traced_steps(last))},
    }
    return [
        Case(f"{kind} {SCHEDULER}{suffix}" if "scheduler" in own else f"{kind}{suffix}", kind, {**common, **own})
        for kind, own in settings.items()
    ]


def replay(model: MaskedModel, case: Case, recorded: Recording) -> Recording:
    """What our code computes from the inputs that the authors' code had.

    Args:
        model: of the native engine, the same checkpoint.
        case: one of `cases`.
        recorded: the authors' recording; its "in/..." keys are read.
    """
    with torch.inference_mode(), random_weights(model.denoiser.network, case.settings["weights"]):
        given = {key[len("in/") :]: value for key, value in recorded.items() if key.startswith("in/")}
        return _REPLAYS[case.kind](model, case.settings, given)


def _replay_network(model: MaskedModel, settings: Mapping[str, Any], given: Recording) -> Recording:
    times = given["times"].float()
    return {f"out/logits/{n}": model.denoiser.network(given[f"tokens/{n}"], times) for n in settings["lengths"]}


def _replay_loss(model: MaskedModel, settings: Mapping[str, Any], given: Recording) -> Recording:
    process = process_of(model.denoiser)
    replayed: Recording = {}
    for name in settings["batches"]:
        tokens, t, noisy = (given[f"{key}/{name}"] for key in ("tokens", "t", "noisy"))
        kl, ce = losses(process, model.denoiser.network(noisy, (t + 1).float()), tokens, t[:, None], noisy)
        replayed |= {
            f"out/loss/{name}": training_loss(kl, ce, t, float(given["lambda_ce"])),
            f"out/l_T/{name}": step_bound(kl, ce, t, process.steps),
            f"out/KL/{name}": kl,
            f"out/CE/{name}": ce,
            f"out/bound terms/{name}": _bound_terms(model, tokens, t, noisy),
        }
    return replayed


def _bound_terms(model: MaskedModel, tokens: Tensor, t: Tensor, noisy: Tensor) -> Tensor:
    """What the estimator `d3pm` makes of one evaluation of each text, [B] float64 nats: the KL, or the cross-entropy
    where t = 0, summed over positions. Ours is exact; of a KL near 1/T the authors' float32 keeps about 1e-7 T."""
    denoiser, process = model.denoiser, process_of(model.denoiser)
    denoiser.counted.reset(len(tokens))
    rows = torch.arange(len(tokens), device=tokens.device)
    features = denoiser.features(noisy, rows, (t + 1).double() / process.steps)
    nll = token_nll(denoiser, features.flatten(0, 1), tokens.flatten()).view_as(tokens)
    kl = kl_of_nll(process, nll, t[:, None], noisy == process.mask_id)
    return torch.where(t > 0, kl.sum(-1), nll.sum(-1))


def _replay_step(model: MaskedModel, settings: Mapping[str, Any], given: Recording) -> Recording:
    probs = [_step(model, tokens, s) for tokens, s in zip(given["states"], settings["at"], strict=True)]
    return {"out/probabilities": torch.stack(probs)}


def _step(model: MaskedModel, tokens: Tensor, s: int) -> Tensor:
    """The probabilities [B, L, K] that `nanodd_d3pm` draws from at a state [B, L] of step s."""
    process = process_of(model.denoiser)
    time = torch.full((tokens.shape[0],), s, device=tokens.device)
    logits = model.denoiser.network(tokens, time.float())
    if s > 1:
        logits = log_posterior(process, logits.softmax(-1), time[:, None] - 1, tokens)
    return logits.softmax(-1)


def _replay_sample(model: MaskedModel, settings: Mapping[str, Any], given: Recording) -> Recording:
    denoiser = model.denoiser
    start = torch.full((settings["batch"], settings["length"]), denoiser.mask_id, device=denoiser.device)
    kept = set(settings["kept"])
    states: list[Tensor] = []

    def keep(step: int, tokens: Tensor) -> None:
        if step in kept:
            states.append(tokens.clone())

    denoiser.counted.reset(settings["batch"])
    sampling = Sampling(settings["steps"], seeded(settings["seed"], denoiser.device), {}, keep)
    tokens = model.schedulers[settings["scheduler"]](denoiser, start, sampling)
    return {"out/tokens": tokens, "out/states": torch.stack(states), "out/nfe": torch.tensor(denoiser.counted.nfe)}


_REPLAYS = {"network": _replay_network, "loss": _replay_loss, "step": _replay_step, "sample": _replay_sample}
