"""What parity compares for DiffuSeq, and our engine's side of it; the authors' is `adapters.diffuseq.recording`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from adapters.diffuseq.noise import make_chain
from adapters.diffuseq.recording import as_bytes, chosen_indices, generated, probe_rows, texts_of, visited
from adapters.diffuseq.rounding import Rounding
from adapters.diffuseq.samplers import DdpmOptions, StepTables
from adapters.diffuseq.system import DiffuseqProcess, DiffuseqSystem
from adapters.diffuseq.training import loss_terms
from adapters.diffuseq.vocabulary import pair_row
from adapters.gaussian.model import GaussianModel
from adapters.parity import Case, Recording, random_weights

#: Weights of the cases "random weights".
WEIGHTS = 1
#: Every figure of a table, which both engines compute in float64.
TABLE_TOLERANCE = 1e-12
#: A recording has logits of at most about so many numbers; a published vocabulary has 30,522 words.
MOST_NUMBERS = 1 << 20
#: Logits are compared at one position in so many, or fewer.
EVERY = 5
#: Pairs of texts that any vocabulary takes, each text with how often it is repeated: short, empty, one too long, both
#: too long, quotes and spaces.
PAIRS = (
    ("how can you do it ?", 1, "what is it ?", 1),
    ("", 1, "the dog is red .", 1),
    ("a red cat", 1, "", 1),
    ("i don't do nothing . ", 40, "why not ?", 1),
    ("you", 1, "the cat , the dog . ", 40),
    ("what is the one ? ", 40, "how ? ", 80),
    ("  The CAT's  dog , i'm   told ", 1, " it isn't ! ", 1),
)
SOURCES = (("how can you do it ?", 1), ("", 1), ("the green dogs don't do nothing . ", 30))


def cases(model: GaussianModel) -> list[Case]:
    """What to compare for a checkpoint."""
    system = _system(model)
    length, steps = system.args.seq_len, system.args.diffusion_steps
    return [
        *_network_cases(system, length),
        *_row_cases(length),
        *_text_cases(length),
        *_table_cases(steps),
        *_step_cases(length, steps),
        *_loss_cases(length, steps),
        *_sample_cases(length, steps),
    ]


def _system(model: GaussianModel) -> DiffuseqSystem:
    assert isinstance(model.system, DiffuseqSystem)
    return model.system


def _network_cases(system: DiffuseqSystem, length: int) -> list[Case]:
    times = [0.0, 0.5, 499.5, 999.5]
    found = []
    lengths = (("whole rows", length), ("odd length", max(1, length // 2 - 1) | 1), ("one token", 1))
    for weights in (None, WEIGHTS):
        whose = "" if weights is None else ", random weights"
        for name, tokens in lengths[: 3 if weights is None else 1]:
            every = max(EVERY, -(-len(times) * tokens * system.network.size.tokens // MOST_NUMBERS))
            settings = {"times": times, "length": tokens, "seed": 5, "weights": weights, "every": every}
            found.append(Case(f"network, {name}{whose}", "network", settings))
    return found


def _row_cases(length: int) -> list[Case]:
    lengths = {"whole rows": length, "odd length": max(5, length // 2 - 1) | 1}
    return [
        Case(f"rows, {name}", "step", {"what": "rows", "pairs": PAIRS, "length": tokens})
        for name, tokens in lengths.items()
    ]


def _text_cases(length: int) -> list[Case]:
    return [Case("texts", "step", {"what": "texts", "rows": 24, "length": length, "seed": 4})]


def _table_cases(steps: int) -> list[Case]:
    respacings = ["", *(str(n) for n in dict.fromkeys((2, 3, steps // 3, steps // 2, steps - 1, steps)) if n > 1)]
    respacings += [f"{min(5, steps // 3)},{min(3, steps // 3)},2", f"ddim{len(range(0, steps, 3))}"]
    settings = {"what": "tables", "respacings": respacings}
    return [Case("tables", "step", settings, TABLE_TOLERANCE)]


def _step_cases(length: int, steps: int) -> list[Case]:
    base = {"what": "step", "pairs": PAIRS[:2], "length": length, "seed": 3}
    few = min(steps, 10)
    gap = steps // few
    evaluations = len(range(0, steps, gap))
    found = [Case("rounding", "step", {"what": "rounding", "batch": 4, "length": length, "seed": 6})]

    def add(name: str, scheduler: str, asked: int, made: int, **options: Any) -> None:
        settings = {"scheduler": scheduler, "steps": asked, "states": [0, made // 2, made - 1], "options": options}
        found.append(Case(f"step {name}", "step", {**base, **settings}))

    add("ddpm", "ddpm_diffuseq", steps if steps <= 200 else few, steps if steps <= 200 else few)
    add("ddpm, respaced", "ddpm_diffuseq", few, few)
    add("ddpm, no clamp", "ddpm_diffuseq", few, few, clamp_step=steps)
    add("ddpm, clamp above 3", "ddpm_diffuseq", few, few, clamp_step=3)
    add("ddpm, clipped, truncated noise", "ddpm_diffuseq", few, few, top_p=1, clip_denoised=True)
    add("ddim", "ddim_diffuseq", few, evaluations)
    for name, made in (("ddpm_diffuseq", few), ("ddim_diffuseq", evaluations)):
        own = {"scheduler": name, "steps": few, "states": [1, made - 1], "options": {}, "seed": 3}
        found.append(Case(f"visited, {name}", "step", {"what": "visited", "length": length, "sources": SOURCES, **own}))
    return found


def _loss_cases(length: int, steps: int) -> list[Case]:
    indices = [0, 1, steps // 2, steps - 1, steps // 3, 0, steps - 2]
    settings = {"pairs": PAIRS, "length": length, "indices": indices}
    return [Case(f"loss, draw {seed}", "loss", {**settings, "seed": seed}) for seed in (0, 1)]


def _sample_cases(length: int, steps: int) -> list[Case]:
    base = {"length": length, "sources": SOURCES}
    found = []

    def add(name: str, scheduler: str, asked: int, seed: int, **options: Any) -> None:
        settings = {"scheduler": scheduler, "steps": asked, "seed": seed, "options": options}
        found.append(Case(f"sample {name}", "sample", {**base, **settings}))

    few = min(steps, 12)
    if steps <= 200:
        add("ddpm, all levels", "ddpm_diffuseq", steps, 1)
        add("ddpm, all levels, no clamp", "ddpm_diffuseq", steps, 2, clamp_step=steps)
    add("ddpm, 2 levels", "ddpm_diffuseq", 2, 3)
    for seed in (4, 5):
        add(f"ddpm, {few} levels, seed {seed}", "ddpm_diffuseq", few, seed)
    add(f"ddpm, {few} levels, no clamp", "ddpm_diffuseq", few, 6, clamp_step=steps)
    add(f"ddpm, {few} levels, clamp above 4", "ddpm_diffuseq", few, 7, clamp_step=4)
    add(f"ddpm, {few} levels, truncated noise", "ddpm_diffuseq", few, 8, top_p=1)
    add(f"ddpm, {few} levels, clipped", "ddpm_diffuseq", few, 9, clip_denoised=True, clamp_step=2)
    add(f"ddpm, {few} levels, room for 3", "ddpm_diffuseq", few, 10, target_room=3)
    # Counts that do not divide T, which make more evaluations than steps, and one that is all of T in one.
    for asked in dict.fromkeys((1, 3, few, steps * 2 // 3, steps) if steps <= 200 else (1, 3, 7, 12)):
        add(f"ddim, {asked} steps", "ddim_diffuseq", asked, 11 + asked)
    return found


@torch.no_grad()
def replay(model: GaussianModel, case: Case, recorded: Recording) -> Recording:
    """What our engine computes for a case, from the inputs of the authors' recording."""
    system, settings = _system(model), case.settings
    if case.kind == "network":
        return _network(system, settings, recorded)
    if case.kind == "loss":
        return _loss(system, recorded)
    if case.kind == "sample":
        return generated(model, settings)
    if settings["what"] == "visited":
        return visited(model, settings)
    if settings["what"] == "rows":
        return _rows(system, zip(*texts_of(settings["pairs"]), strict=True), settings["length"])
    if settings["what"] == "texts":
        return as_bytes([system.tokenizer.decode(ids) for ids in probe_rows(system.tokenizer.vocab_size, settings)])
    if settings["what"] == "tables":
        return _tables(system, settings["respacings"])
    if settings["what"] == "rounding":
        states = recorded["in/states"]
        found = Rounding(system.network.embedding).nearest(states.flatten(0, 1))
        return {"out/tokens": found.view(states.shape[:2])}
    return _steps(system, settings, recorded)


def _network(system: DiffuseqSystem, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    network, states = system.network, recorded["in/states"]
    with random_weights(network, settings["weights"]):
        return {
            "out/prediction": network(states, recorded["in/times"]),
            "out/logits": network.logits(states[:, :: settings["every"]]),
        }


def _rows(system: DiffuseqSystem, pairs: Iterable[tuple[str, str]], length: int) -> Recording:
    words = system.tokenizer
    rows = [pair_row(words.encode(s.strip()), words.encode(t.strip()), length, words) for s, t in pairs]
    given = torch.tensor([count for _, count in rows])
    mask = (torch.arange(length) >= given[:, None]).long()
    return {"out/ids": torch.tensor([ids for ids, _ in rows]), "out/mask": mask}


def _tables(system: DiffuseqSystem, respacings: Sequence[str]) -> Recording:
    out: Recording = {}
    for respacing in respacings:
        chain = make_chain(system.schedule, respacing)
        some = chosen_indices(len(chain.index))
        first, second = chain.posterior()
        out[f"out/index/{respacing}"] = torch.tensor(chain.index)
        out[f"out/beta/{respacing}"] = chain.betas[some]
        out[f"out/signal/{respacing}"] = chain.alpha_bar[some]
        out[f"out/mean_prediction/{respacing}"] = first[some]
        out[f"out/mean_state/{respacing}"] = second[some]
        out[f"out/deviation/{respacing}"] = chain.deviation().float()[some]
    return out


def _steps(system: DiffuseqSystem, settings: Mapping[str, Any], recorded: Recording) -> Recording:
    """The transitions of our samplers at the states the authors' visited."""
    ids, mask, steps = recorded["in/ids"], recorded["in/mask"], system.args.diffusion_steps
    given = (mask == 0).sum(-1).tolist()
    process = DiffuseqProcess(system, ids, given, [0] * len(ids), clamp=True)
    system.counted.reset(len(ids))
    options, ddim = DdpmOptions.of(settings["options"]), settings["scheduler"] == "ddim_diffuseq"
    chain = make_chain(system.schedule, "" if ddim or settings["steps"] == steps else str(settings["steps"]))
    visited = list(reversed(range(len(chain.index))))[:: steps // settings["steps"] if ddim else 1]
    tables = StepTables(chain, system.device)
    out: Recording = {}
    for step in settings["states"]:
        index, z = visited[step], process.of_diffused(recorded[f"in/state/{step}"])
        time = system.time_of(chain.index[index])
        z_0 = process.predict(z, time)
        z_0 = process.rounded(z_0) if ddim or index >= options.clamp_step else z_0
        z_0 = z_0.clamp(-1, 1) if options.clip_denoised else z_0
        out[f"out/time/{step}"] = torch.full((len(ids),), time)
        out[f"out/prediction/{step}"] = process.pasted(z_0)
        if ddim:
            out[f"out/next/{step}"] = process.pasted(tables.ddim(z, z_0, index))
        else:
            out[f"out/mean/{step}"] = process.pasted(tables.mean(z, z_0, index))
            out[f"out/deviation/{step}"] = tables.deviation[index, None]
    return out


def _loss(system: DiffuseqSystem, recorded: Recording) -> Recording:
    ids, given, indices = recorded["in/ids"], recorded["in/mask"] == 0, recorded["in/indices"]
    noise = recorded["in/word_noise"], recorded["in/noise"]
    terms = loss_terms(system.network, system.schedule.alpha_bar, ids, given, indices, *noise)
    return {"out/squared_error": terms[0], "out/loss": terms[0] + terms[1] + terms[2]}
