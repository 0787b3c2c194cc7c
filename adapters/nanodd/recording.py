"""What the authors' nanoDD computes for the cases of `adapters.nanodd.parity`.

Python 3.8 syntax with torch and numpy: this runs beside the authors' code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import torch
from torch import Tensor

from adapters.parity import Case, Recording, probe_tokens, random_weights

if TYPE_CHECKING:
    from adapters.nanodd.upstream import NanoddUpstream


def record(model: NanoddUpstream, case: Case) -> Recording:
    """What the authors' code computes for a case of `adapters.nanodd.parity`."""
    with torch.no_grad(), random_weights(model.model.net, case.settings["weights"]):
        return _RECORDERS[case.kind](model, case.settings)


def _record_network(model: NanoddUpstream, settings: Mapping[str, Any]) -> Recording:
    """Raw logits of sequences of several lengths, each clean, partly masked and fully masked."""
    times = torch.tensor(settings["times"], device=model.device)
    recording: Recording = {"in/times": times}
    for length in settings["lengths"]:
        tokens = _probe(model, len(times), length, settings, settings["masked"])
        model.counted.reset(len(times))
        logits = model.logits(tokens, times)
        recording.update({"in/tokens/{}".format(length): tokens, "out/logits/{}".format(length): logits})
    return recording


def _probe(
    model: NanoddUpstream, batch: int, length: int, settings: Mapping[str, Any], masked: Sequence[float]
) -> Tensor:
    return probe_tokens(batch, length, model.mask_id, masked, settings["seed"]).to(model.device)


def _record_loss(model: NanoddUpstream, settings: Mapping[str, Any]) -> Recording:
    """Their loss and its parts for batches of times, and the noise that it drew."""
    recording: Recording = {"in/lambda_ce": torch.tensor(float(model.model.lambda_ce))}
    for name, times in settings["batches"].items():
        t = torch.tensor(times, device=model.device)
        tokens = _probe(model, len(t), settings["length"], settings, [0.0])
        model.counted.reset(len(t))
        torch.manual_seed(settings["seed"])
        heard = model.hear_loss(lambda tokens=tokens, t=t: model.model(tokens, t), tokens)  # type: ignore[misc]
        _, loss, metrics = heard.returned
        found = {"in/tokens": tokens, "in/t": t, "in/noisy": heard.noisy, "out/loss": loss, "out/l_T": metrics["l_T"]}
        # What the bound takes of an evaluation of each text: the KL, or the cross-entropy at t = 0.
        terms = torch.where(t > 0, heard.kl.double().sum(-1), heard.ce.double().sum(-1))
        found.update({"out/KL": heard.kl, "out/CE": heard.ce, "out/bound terms": terms})
        recording.update({"{}/{}".format(key, name): value for key, value in found.items()})
    return recording


def _record_step(model: NanoddUpstream, settings: Mapping[str, Any]) -> Recording:
    """The probabilities that some steps of their sampler drew from, and the states before those steps."""
    model.counted.reset(settings["batch"])
    states, probs = model.hear_steps(settings["batch"], settings["length"], settings["seed"], settings["at"])
    return {"in/states": states, "out/probabilities": probs}


def _record_sample(model: NanoddUpstream, settings: Mapping[str, Any]) -> Recording:
    """A whole run of their sampler: states behind some steps, the text, the evaluations."""
    model.counted.reset(settings["batch"])
    states = model.trajectory(settings["batch"], settings["length"], settings["seed"])
    return {
        "out/states": states[[i + 1 for i in settings["kept"]]],
        "out/tokens": states[-1],
        "out/nfe": torch.tensor(model.counted.nfe),
    }


_RECORDERS = {"network": _record_network, "loss": _record_loss, "step": _record_step, "sample": _record_sample}
