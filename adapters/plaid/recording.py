"""What the authors' Plaid computes for the cases of `adapters.plaid.parity`.

Python 3.8 syntax with torch and numpy: this runs beside the authors' code.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.parity import Case, Recording, probe_tokens, random_weights
from adapters.plaid.wishes import Wish
from adapters.upstream import StandIn, patched, their_locals

if TYPE_CHECKING:
    from adapters.plaid.upstream import PlaidUpstream


def record(model: PlaidUpstream, case: Case) -> Recording:
    """What the authors' code computes for a case of `adapters.plaid.parity`."""
    recorders = {"network": _record_network, "step": _record_steps, "loss": _record_loss, "sample": _record_sample}
    if "times" in case.settings:
        recorders["network"] = _record_gamma
    with torch.no_grad():
        return recorders[case.kind](model, case.settings)


def normal(shape: Sequence[int], seed: int) -> Tensor:
    """Normal float32 numbers that any machine can rebuild."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32))


def _record_network(model: PlaidUpstream, settings: Mapping[str, Any]) -> Recording:
    """Their network at several noise levels, one a row."""
    gamma = torch.tensor(settings["gammas"], dtype=torch.float64).to(getattr(torch, settings["gamma_dtype"]))
    shape = (len(gamma), settings["length"], model.size.embed_dim)
    z = normal(shape, settings["seed"])
    # The size of a mean of unit vectors.
    previous = settings["selfcond"] * 0.2 * normal(shape, settings["seed"] + 1)
    given = {"z": z.to(model.device), "gamma": gamma.to(model.device), "previous": previous.to(model.device)}
    with random_weights(model.modules["model"], settings["weights"]):
        logits, predicted = model.evaluate(given["z"], given["gamma"], given["previous"])
    recording = {"in/" + name: value for name, value in given.items()}
    return {**recording, "out/logits": logits[:, :: settings["every"]].clone(), "out/predicted": predicted}


def _record_gamma(model: PlaidUpstream, settings: Mapping[str, Any]) -> Recording:
    """Their learned noise schedule."""
    times = torch.tensor(settings["times"], dtype=torch.float64, device=model.device)
    return {"in/times": times, "out/gamma": model.gamma(times)}


def start(model: PlaidUpstream, settings: Mapping[str, Any]) -> Tensor:
    """Ids [B, L] of a run: the case's given tokens, `mask_id` where something is to be written."""
    tokens = torch.full((settings["batch"], settings["length"]), model.mask_id, dtype=torch.int64)
    for row, position, token in settings["given"]:
        tokens[row, position] = token
    return tokens.to(model.device)


def _run(model: PlaidUpstream, settings: Mapping[str, Any]) -> Recording:
    tokens = start(model, settings)
    model.counted.reset(len(tokens))
    wanted = [Wish(*entry) for entry in settings["guidance"]]
    written = model.write(
        tokens, wanted, settings["steps"], settings["scheduler"], settings["options"], settings["seed"]
    )
    return {"in/start": tokens, "out/tokens": written, "out/nfe": torch.tensor(model.counted.nfe)}


def _record_sample(model: PlaidUpstream, settings: Mapping[str, Any]) -> Recording:
    return _run(model, settings)


def _record_steps(model: PlaidUpstream, settings: Mapping[str, Any]) -> Recording:
    """Some steps of a run: the state before each, the noise it drew, what it made of them.

    All rows of the batch have one guidance, so their sampler runs once.
    """
    with _watched(model) as seen:
        tokens = _run(model, settings)["in/start"]
    steps = settings["steps"]
    states, gradients, noise = seen["state"], seen["gradient"], seen["noise"]
    updates = 0 if settings["scheduler"] == "ddim_plaid" else steps - 1
    if (len(states), len(noise)) != (steps + 1, updates + 1) or len(gradients) not in (0, steps):
        counts = (len(states), len(noise), len(gradients))
        raise AdapterError("the authors' sampler was heard {} times in {} steps".format(counts, steps))
    recording: Recording = {"in/start": tokens}
    for i in settings["states"]:
        (z, previous), (after, predicted) = states[i], states[i + 1]
        recording.update({"in/z/%d" % i: z, "in/previous/%d" % i: previous, "out/predicted/%d" % i: predicted})
        if i == steps - 1:
            continue  # at t = 0 nothing but the prediction is used
        recording["out/z/%d" % i] = after
        if updates:
            recording["in/noise/%d" % i] = noise[i + 1]
        if gradients:
            recording["out/gradient/%d" % i] = gradients[i].float()  # it comes through a float32 network
    return recording


@contextlib.contextmanager
def _watched(model: PlaidUpstream) -> Iterator[Dict[str, List[Any]]]:
    """Listen to a run: "state" (z, last prediction) before each network call, "noise" and "gradient" as they come."""
    sample, draw, module = model.code["sample"], model.draw, model.counted.module
    kept = sample.autograd
    seen: Dict[str, List[Any]] = {"state": [], "noise": [], "gradient": []}

    def call(*args: Any) -> Any:
        z, previous = their_locals(sample, ("generate_samples",), ("z", "x_selfcond"))
        seen["state"].append((z.detach().clone(), previous.clone()))
        return module(*args)

    def drawn(size: Tuple[int, ...]) -> Tensor:
        seen["noise"].append(draw(size))
        return seen["noise"][-1].clone()

    def grad(*args: Any) -> Any:
        made = kept.grad(*args)
        seen["gradient"].append(made[0].clone())
        return made

    try:
        model.counted.module, model.draw = call, drawn  # type: ignore[method-assign]
        with patched(sample, autograd=StandIn(kept, grad=grad)):
            yield seen
    finally:
        model.counted.module, model.draw = module, draw  # type: ignore[method-assign]


def _record_loss(model: PlaidUpstream, settings: Mapping[str, Any]) -> Recording:
    """Their bound of a batch, its terms, and the times and noise that it drew."""
    tokens = probe_tokens(settings["batch"], settings["length"], model.mask_id, [0.0], settings["seed"])
    tokens = tokens.to(model.device)
    model.counted.reset(len(tokens))
    torch.manual_seed(settings["seed"])
    np.random.seed(settings["seed"])
    with random_weights(model.modules["model"], settings["weights"]):
        heard = model.bound(tokens)
    facts, rows = heard.facts, heard.facts["reconst_bs"]
    return {
        "in/tokens": tokens,
        "in/t": facts["t"],
        "in/noise": facts["noise"],
        "in/reconstructed": torch.tensor(rows),
        "out/gamma": facts["gamma"][rows:],
        "out/rate": facts["gamma_prime"][rows:],
        "out/reconstruction": facts["reconst_loss"],
        "out/diffusion": facts["diffusion_loss"][rows:],
        "out/prior": facts["prior_loss"],
        "out/nll": torch.tensor(heard.nll, dtype=torch.float64),
        "out/nfe": torch.tensor(model.counted.nfe),
    }
