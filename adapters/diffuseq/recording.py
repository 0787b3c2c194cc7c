"""What the authors' DiffuSeq computes for the cases of `adapters.diffuseq.parity`.

Python 3.8 syntax with torch and numpy: this runs beside the authors' code.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from adapters.base import GenerateRequest, GenerateResult, Model, Prompt
from adapters.parity import Case, Recording, random_weights
from adapters.upstream import StandIn, patched

if TYPE_CHECKING:
    from adapters.diffuseq.upstream import DiffuseqUpstream

#: Their tables of a chain, by our name.
TABLES = {
    "beta": "betas",
    "signal": "alphas_cumprod",
    "mean_prediction": "posterior_mean_coef1",
    "mean_state": "posterior_mean_coef2",
}


def record(model: DiffuseqUpstream, case: Case) -> Recording:
    """What the authors' code computes for a case of `adapters.diffuseq.parity`."""
    recorders = {
        "network": _record_network,
        "rows": _record_rows,
        "texts": _record_texts,
        "tables": _record_tables,
        "rounding": _record_rounding,
        "step": _record_steps,
        "loss": _record_loss,
        "visited": visited,
        "sample": generated,
    }
    with torch.no_grad():
        return recorders[case.settings.get("what", case.kind)](model, case.settings)


def normals(shape: Sequence[int], seed: int) -> Tensor:
    """The same standard normals [shape] float32 on every machine."""
    drawn = np.random.RandomState(seed).standard_normal(tuple(shape))
    return torch.from_numpy(drawn.astype(np.float32))


def probe_rows(vocabulary: int, settings: Mapping[str, Any]) -> List[List[int]]:
    """Random ids, `rows` lists of 0 to `length` of them."""
    random = np.random.RandomState(settings["seed"])
    sizes = random.randint(0, settings["length"] + 1, settings["rows"])
    return [random.randint(0, vocabulary, size).tolist() for size in sizes]


def probe_states(table: Tensor, batch: int, length: int, seed: int) -> Tensor:
    """States [B, L, D]: noise, words, and mixtures of both, in turn.

    Args:
        table: embeddings [V, D].
    """
    noise = normals((batch, length, table.shape[1]), seed).to(table.device)
    ids = torch.from_numpy(np.random.RandomState(seed + 1).randint(0, len(table), (batch, length)))
    words = table[ids.to(table.device)]
    share = (torch.arange(length, device=table.device) % 3 / 2)[:, None]
    return (1 - share) * noise + share * words


def texts_of(pairs: Sequence[Sequence[Any]]) -> Tuple[List[str], List[str]]:
    """Sources and targets of pairs, each text given with how often it is repeated."""
    sources = [source * times for source, times, _, _ in pairs]
    return sources, [target * times for _, _, target, times in pairs]


def as_bytes(texts: Sequence[str]) -> Recording:
    """Texts as tensors of bytes, which compare exactly."""
    return {
        f"out/text/{i}": torch.tensor(list(text.encode("utf-8")), dtype=torch.uint8) for i, text in enumerate(texts)
    }


def request_of(settings: Mapping[str, Any]) -> GenerateRequest:
    """The request that a case's settings describe."""
    sources = [source * times for source, times in settings["sources"]]
    return GenerateRequest(
        count=len(sources),
        length=settings["length"],
        steps=settings["steps"],
        scheduler=settings["scheduler"],
        task="seq2seq",
        options=settings["options"],
        seed=settings["seed"],
        prompts=tuple(Prompt(source=source) for source in sources),
    )


def generated(model: Model, settings: Mapping[str, Any]) -> Recording:
    """A whole run of either engine."""
    result: GenerateResult = model.generate(request_of(settings))
    return {
        "out/tokens": torch.tensor(result.tokens),
        "out/nfe": torch.tensor(result.nfe),
        "out/generated": torch.tensor(result.generated_tokens),
        "out/left_off": torch.tensor(result.left_off),
        **as_bytes(result.texts),
    }


def visited(model: Model, settings: Mapping[str, Any]) -> Recording:
    """The states in which a run of either engine asks its network, at the evaluations `states`."""
    (counted,) = model.networks
    module, seen = counted.module, []

    def watched(x: Tensor, times: Tensor, *rest: Any) -> Any:
        seen.append((x.clone(), times.clone()))
        return module(x, times, *rest)

    counted.module = watched
    try:
        model.generate(request_of(settings))
    finally:
        counted.module = module
    out: Recording = {"out/evaluations": torch.tensor(len(seen))}
    for step in settings["states"]:
        out[f"out/state/{step}"], out[f"out/time/{step}"] = seen[step]
    return out


def _record_network(model: DiffuseqUpstream, settings: Mapping[str, Any]) -> Recording:
    times = torch.tensor(settings["times"], dtype=torch.float32, device=model.device)
    with random_weights(model.network, settings["weights"]):
        states = probe_states(model.network.word_embedding.weight, len(times), settings["length"], settings["seed"])
        prediction = model.network(states, times)
        logits = model.network.get_logits(states[:, :: settings["every"]])
    return {"in/states": states, "in/times": times, "out/prediction": prediction, "out/logits": logits}


def _record_rows(model: DiffuseqUpstream, settings: Mapping[str, Any]) -> Recording:
    ids, mask = model.rows(*texts_of(settings["pairs"]), settings["length"])
    return {"out/ids": ids, "out/mask": mask}


def _record_texts(model: DiffuseqUpstream, settings: Mapping[str, Any]) -> Recording:
    return as_bytes([model.tokenizer.decode(ids) for ids in probe_rows(model.mask_id, settings)])


def _record_tables(model: DiffuseqUpstream, settings: Mapping[str, Any]) -> Recording:
    out: Recording = {}
    for respacing in settings["respacings"]:
        diffusion = model.diffusion(respacing)
        indices = chosen_indices(diffusion.num_timesteps)
        out[f"out/index/{respacing}"] = torch.tensor(diffusion.timestep_map)
        for name, theirs in TABLES.items():
            out[f"out/{name}/{respacing}"] = torch.from_numpy(getattr(diffusion, theirs)[indices])
        out[f"out/deviation/{respacing}"] = torch.stack([_deviation(diffusion, index) for index in indices])
    return out


def _deviation(diffusion: Any, index: int) -> Tensor:
    """Standard deviation of their step at an index of a chain, float32."""
    state = torch.zeros(1, 1, 1)
    step = diffusion.p_mean_variance(lambda x, _: x, state, torch.tensor([index]))
    deviation: Tensor = torch.exp(0.5 * step["log_variance"][0, 0, 0])
    return deviation


def chosen_indices(count: int) -> List[int]:
    """Some indices of a chain of so many levels, both ends among them."""
    return sorted({*range(min(3, count)), count // 3, count // 2, *range(max(0, count - 3), count)})


def _record_rounding(model: DiffuseqUpstream, settings: Mapping[str, Any]) -> Recording:
    states = probe_states(model.table.weight, settings["batch"], settings["length"], settings["seed"])
    rounding = model.code["diffuseq.rounding"]
    _, indices = rounding.get_efficient_knn(model.table.weight, states.reshape(-1, states.shape[-1]))
    return {"in/states": states, "out/tokens": indices[0].reshape(states.shape[:2])}


def _record_steps(model: DiffuseqUpstream, settings: Mapping[str, Any]) -> Recording:
    """The transitions of their sampler at the states it visited before the evaluations `states`."""
    ids, mask = model.rows(*texts_of(settings["pairs"]), settings["length"])
    recording: Recording = {"in/ids": ids, "in/mask": mask}
    ids, mask = ids.to(model.device), mask.to(model.device)
    model.counted.reset(len(ids))
    torch.manual_seed(settings["seed"])
    seen: List[Tensor] = []
    module = model.counted.module

    def watched(x: Tensor, times: Tensor) -> Any:
        seen[:] = [x, times]
        return module(x, times)

    model.counted.module = watched
    try:
        steps = model.run(ids, mask, settings["steps"], settings["scheduler"], settings["options"])
        for step, out in enumerate(steps):
            if step in settings["states"]:
                found = {"in/state": seen[0], "out/time": seen[1], **_transition(model, ids, mask, out)}
                recording.update({f"{key}/{step}": value.clone() for key, value in found.items()})
    finally:
        model.counted.module = module
    return recording


def _transition(model: DiffuseqUpstream, ids: Tensor, mask: Tensor, out: Mapping[str, Any]) -> Recording:
    """Prediction, and mean and standard deviation of the next state; of DDIM, which draws nothing, the next state."""
    wide, given = mask[..., None] == 0, model.network.get_embeds(ids)
    prediction = torch.where(wide, given, out["pred_xstart"])
    if "greedy_mean" not in out:
        return {"out/prediction": prediction, "out/next": out["sample"]}
    mean = torch.where(wide, given, out["greedy_mean"])
    deviation = torch.exp(0.5 * out["out"]["log_variance"][0, 0, :1])
    return {"out/prediction": prediction, "out/mean": mean, "out/deviation": deviation}


def _record_loss(model: DiffuseqUpstream, settings: Mapping[str, Any]) -> Recording:
    ids, mask = model.rows(*texts_of(settings["pairs"]), settings["length"])
    gaussian = model.code["diffuseq.gaussian_diffusion"]
    times = torch.tensor(settings["indices"])
    drawn: List[Tensor] = []

    def randn_like(like: Tensor) -> Tensor:
        drawn.append(torch.randn_like(like))
        return drawn[-1]

    class Trained(SimpleNamespace):
        """Their network as their training wraps it."""

        def __call__(self, x: Tensor, ts: Tensor) -> Any:
            return self.module(x, ts)

    torch.manual_seed(settings["seed"])
    with patched(gaussian, th=StandIn(torch, randn_like=randn_like)):
        terms: Dict[str, Tensor] = model.diffusion().training_losses(
            Trained(module=model.network),
            None,
            times.to(model.device),
            {"input_ids": ids, "input_mask": mask},
        )
    found = {"in/ids": ids, "in/mask": mask, "in/indices": times, "in/word_noise": drawn[0], "in/noise": drawn[1]}
    return {**found, "out/squared_error": terms["mse"], "out/loss": terms["loss"]}
