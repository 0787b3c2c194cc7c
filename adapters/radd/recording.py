"""What the authors' RADD computes for the cases of `adapters.radd.parity`.

Python 3.8 syntax with torch and numpy: this runs beside the authors' code.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, List, Mapping

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.parity import Case, Recording, probe_tokens, random_weights
from adapters.upstream import patched, their_locals

if TYPE_CHECKING:
    from adapters.radd.upstream import RaddUpstream

#: Smallest time of their losses (losses.py, sampling_eps).
TIME_FLOOR = 1e-3


def record(model: RaddUpstream, case: Case) -> Recording:
    """What the authors' code computes for a case of `adapters.radd.parity`."""
    recorders = {"network": _record_network, "loss": _record_loss, "sample": _record_sample}
    if case.kind == "step":
        recorders["step"] = _record_chances if "chances" in case.settings else _record_steps
    with torch.no_grad():
        return recorders[case.kind](model, case.settings)


def _probe(model: RaddUpstream, settings: Mapping[str, Any]) -> Tensor:
    """The random tokens of a case."""
    tokens = probe_tokens(settings["batch"], settings["length"], model.mask_id, settings["masked"], settings["seed"])
    return tokens.to(model.device)


def _record_network(model: RaddUpstream, settings: Mapping[str, Any]) -> Recording:
    tokens = _probe(model, settings)
    with random_weights(model.network, settings["weights"]):
        logits, forward = model.evaluate(tokens, "logits"), model.evaluate(tokens, "forward")
    every = settings["every"]
    return {"in/tokens": tokens, "out/logits": logits[:, ::every].clone(), "out/forward": forward[:, ::every].clone()}


def _record_sample(model: RaddUpstream, settings: Mapping[str, Any]) -> Recording:
    start = _start(model, settings)
    model.counted.reset(len(start))
    tokens = model.sample(start, settings["steps"], settings["scheduler"], settings["options"], settings["seed"])
    return {"in/start": start, "out/tokens": tokens, "out/nfe": torch.tensor(model.counted.nfe)}


def _start(model: RaddUpstream, settings: Mapping[str, Any]) -> Tensor:
    """Masks [B, L] with the case's given tokens in place."""
    tokens = torch.full((settings["batch"], settings["length"]), model.mask_id, dtype=torch.int64)
    for position, token in settings.get("given", []):
        tokens[:, position] = token
    return tokens.to(model.device)


def _record_chances(model: RaddUpstream, settings: Mapping[str, Any]) -> Recording:
    """Their chance of leaving the mask at some steps of some grids."""
    sampling = model.code["sampling"]
    out: Recording = {}
    for steps, indices in settings["chances"]:
        sampler = sampling.DiffusionSampler(
            settings["method"],
            None,
            model.noise,
            (1, 1),
            model.mask_id + 1,
            "direct",
            device=torch.device(model.device),
        )
        times = torch.linspace(1, sampler.eps, steps + 1, device=model.device)
        for i in indices:
            out[f"in/time/{steps}/{i}"] = times[i].clone()
            out[f"out/chance/{steps}/{i}"] = sampler.get_update_rate(times[i], steps).clone()
    return out


def _record_loss(model: RaddUpstream, settings: Mapping[str, Any]) -> Recording:
    losses, name = model.code["losses"], settings["loss"]
    tokens = _probe(model, settings)
    seen: Recording = {}
    original_level, original_k, module = losses.Batch_Uniform_Sampler, losses.add_noise_k, model.counted.module

    def uniform(*args: Any, **kwargs: Any) -> Tensor:
        level = original_level(*args, **kwargs)
        seen["level"] = (1 - TIME_FLOOR) * level + TIME_FLOOR if name.startswith("t_") else level
        return level

    def add_k(clean: Tensor, k: Tensor, mask_id: int) -> Any:
        seen["level"] = k
        return original_k(clean, k, mask_id)

    def watched(noisy: Tensor, method: str) -> Any:
        seen["mask"] = noisy == model.mask_id
        return module(noisy, method)

    torch.manual_seed(settings["seed"])
    model.counted.reset(len(tokens))
    model.counted.module = watched
    try:
        with patched(losses, Batch_Uniform_Sampler=uniform, add_noise_k=add_k):
            nats = model.loss(name, tokens)
    finally:
        model.counted.module = module
    return {"in/tokens": tokens, "in/level": seen["level"], "in/mask": seen["mask"], "out/nats": nats}


def _record_steps(model: RaddUpstream, settings: Mapping[str, Any]) -> Recording:
    """The distributions their sampler drew from, at the states it visited before the steps `states`."""
    sampling = model.code["sampling"]
    watch = _Watch(model.code, settings)
    tokens = _start(model, settings)
    model.counted.reset(len(tokens))
    with patched(sampling, sample_categorical=watch.joint, sample_with_strategy=watch.strategy):
        model.sample(tokens, settings["steps"], settings["scheduler"], settings["options"], settings["seed"])
    if watch.left:
        raise AdapterError(f"the authors' sampler drew nothing in the steps {sorted(watch.left)}")
    return watch.recording


class _Watch:
    """Stands in their sampler where it draws: records what it draws from, and lets their code draw.

    Args:
        code: their modules, unpatched.
        settings: `states` (steps to record) and `rows` (record the distributions of at most so many positions).
    """

    def __init__(self, code: Mapping[str, ModuleType], settings: Mapping[str, Any]) -> None:
        self._sampling, self._catsample = code["sampling"], code["catsample"]
        self._draw_jointly, self._draw = self._sampling.sample_categorical, self._sampling.sample_with_strategy
        self._rows = settings["rows"]
        self._ordered = settings["scheduler"] == "radd_ordered"
        self.left = set(settings["states"])
        self.recording: Recording = {}

    def joint(self, weights: Tensor) -> Any:
        """One race between all tokens and staying masked, in DiffusionSampler with "direct"."""
        step, tokens = their_locals(self._sampling, ("direct_sample",), ("i", "x"))
        if step in self.left:
            self.left.remove(step)
            kept = weights[: self._rows].clone()
            self._keep(step, {"in/tokens": tokens, "out/weights": kept[:, :-1], "out/stay": kept[:, -1]})
        return self._draw_jointly(weights)

    def strategy(self, logits: Tensor, strategy: str, para: float) -> Any:
        """A draw from logits, in OrderedSampler, and in DiffusionSampler for the positions that leave the mask."""
        if self._ordered:
            step, tokens, order = their_locals(self._sampling, ("sample",), ("i", "x", "order"))
            facts = {"in/tokens": tokens, "in/position": order[step]}
        else:
            names = ("i", "x", "update_indices", "update_rate")
            step, tokens, leaving, chance = their_locals(self._sampling, ("strateged_sample",), names)
            facts = {"in/tokens": tokens, "in/leaving": leaving, "out/chance": chance}
        if step in self.left:
            self.left.remove(step)
            facts["out/probabilities"] = self._distribution(logits[: self._rows], strategy, para)
            self._keep(step, facts)
        return self._draw(logits, strategy, para)

    def _keep(self, step: int, facts: Mapping[str, Tensor]) -> None:
        self.recording.update({f"{key}/{step}": value.clone() for key, value in facts.items()})

    def _distribution(self, logits: Tensor, strategy: str, para: float) -> Tensor:
        """Probabilities [N, C] of all classes that their strategy draws from."""
        return by_class(self._draw, self._catsample, "sample_categorical", logits, strategy, para)


def by_class(
    draw: Callable[..., Tensor], module: ModuleType, race: str, logits: Tensor, strategy: str, para: float
) -> Tensor:
    """The probabilities [N, C] of classes from which a drawing function draws.

    The last race, `module.race`, is replaced: it tells the probabilities it is given and lets a known entrant win. The
    entrants of top_k are ranks, so each of them wins once, and `draw` itself says which class that is.

    Args:
        draw: called as ``draw(logits, strategy, para)``; gives one class a row.
        module: where it looks the race up.
        race: name of the race there, a function of probabilities [N, entrants].
        logits: [N, C].
        strategy: "direct", "top_p" or "top_k".
        para: its number.
    """
    told: List[Tensor] = []

    def rigged(probabilities: Tensor, *_: Any) -> Tensor:
        told.append(probabilities)
        return torch.full((len(probabilities),), len(told) - 1, dtype=torch.int64, device=probabilities.device)

    with patched(module, **{race: rigged}):
        if strategy != "top_k":
            draw(logits, strategy, para)
            return told[0].clone()
        classes = torch.stack([draw(logits, strategy, para) for _ in range(int(para))], dim=1)
    return torch.zeros(logits.shape, device=logits.device).scatter(1, classes, told[0])
