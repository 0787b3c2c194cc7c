"""The authors' DiffuSeq-v2, which is another branch of their repository, and the recording of its figures.

    python -m tests.goldens.record_diffuseq_v2 CHECKOUT

CHECKOUT is a checkout of github.com/Shark-NLP/DiffuSeq at commit 3b71ccc (branch diffuseq-v2); a clone of the repo
has it, too: ``git -C CLONE worktree add CHECKOUT 3b71ccc``. Writes diffuseq-v2*.json and .npz for the checkpoints
`SECOND` of `tests.adapters.diffuseq_checkpoints`.

The upstream engine runs one pinned commit, main's, so v2's samplers are compared here and not by ``tdbench parity``.
Their scripts for v2 do not start as published; what they call does, with a device named.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.base import CountedNetwork, LoadSpec
from adapters.diffuseq.parity import SOURCES, cases, replay
from adapters.diffuseq.recording import record
from adapters.diffuseq.upstream import MODULES, DiffuseqUpstream, checked, load_engine
from adapters.gaussian.model import GaussianModel
from adapters.parity import Case, compare
from harness.parity import write_golden
from tests.adapters.diffuseq_checkpoints import SECOND, write

COMMIT = "3b71cccf4c5467fe07566856d7d0752d13947634"
SOLVER = "dpm_solver_pytorch"


class SeenNetwork:
    """Their network, counted, with the learned mean that their sampler asks it for."""

    def __init__(self, counted: CountedNetwork, mean_embed: Tensor | None) -> None:
        self._counted = counted
        self.mean_embed = mean_embed

    def __call__(self, x: Tensor, times: Tensor) -> Tensor:
        out: Tensor = self._counted(range(len(x)), x, times)
        return out


class SecondUpstream(DiffuseqUpstream):
    """The authors' v2 with one checkpoint."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.schedulers = ("ddpm_diffuseq_v2", "dpm_solver_diffuseq")

    def run(
        self, ids: Tensor, mask: Tensor, steps: int, scheduler: str, options: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """As their scripts call their samplers; the solver gives its last state alone."""
        start, given = self.begin(ids, mask)
        network = SeenNetwork(self.counted, self.network.mean_embed)
        if scheduler == "dpm_solver_diffuseq":
            return iter([{"sample": self._solve(network, start, given, steps)}])
        chosen = checked(options)
        diffusion = self.diffusion(None if steps == self.steps else str(steps))
        return iter(
            diffusion.p_sample_loop_progressive(
                network,
                tuple(start.shape),
                noise=start,
                clip_denoised=False,
                denoised_fn=lambda x, t: self.code["diffuseq.rounding"].denoised_fn_round(None, self.table, x, t),
                model_kwargs={},
                device=torch.device(self.device),
                top_p=chosen["top_p"],
                clamp_step=chosen["clamp_step"],
                clamp_first=True,
                **given,
            )
        )

    def _solve(self, network: SeenNetwork, start: Tensor, given: Mapping[str, Tensor], steps: int) -> Tensor:
        solver = self.code[SOLVER]
        noise = solver.NoiseScheduleVP(schedule="discrete", betas=torch.from_numpy(self.diffusion().betas))
        function = solver.model_wrapper(network, noise, model_type="x_start", model_kwargs={}, guidance_type="uncond")
        made: Tensor = solver.DPM_Solver(function, noise, algorithm_type="dpmsolver++").sample(
            start,
            steps=steps,
            order=2,
            skip_type="time_uniform",
            method="multistep",
            input_ids_mask=given["mask"],
            x_start=given["x_start"],
        )
        return made


def load_second(spec: LoadSpec) -> DiffuseqUpstream:
    """Load a checkpoint with the authors' v2."""
    return load_engine(spec, SecondUpstream, (*MODULES, SOLVER), device=spec.device)


def second_cases(model: GaussianModel) -> list[Case]:
    """What to compare for a v2 checkpoint: the network, the states visited, and whole runs."""
    levels = model.system.schedule.max_steps or 0
    base = {"length": model.default_length, "sources": SOURCES}
    found = [case for case in cases(model) if case.name == "network, whole rows"]

    def add(scheduler: str, steps: int, seed: int, **options: Any) -> None:
        settings: dict[str, Any] = {**base, "scheduler": scheduler, "steps": steps, "seed": seed, "options": options}
        said = ", ".join([f"{scheduler}, {steps} steps", *(f"{key} {value}" for key, value in options.items())])
        found.append(Case(f"sample {said}", "sample", settings))
        states = {"what": "visited", "states": sorted({1, steps - 1})}
        found.append(Case(f"visited, {said}", "step", {**settings, **states}))

    few = min(levels, 20)
    add("ddpm_diffuseq_v2", few, 1)
    add("ddpm_diffuseq_v2", few, 2, clamp_step=levels)
    add("ddpm_diffuseq_v2", few, 3, clamp_step=5, top_p=1)
    add("ddpm_diffuseq_v2", 7, 4)
    for steps in (2, 5, 9, 10, 12, 20):
        add("dpm_solver_diffuseq", steps, 10 + steps)
    return found


def main() -> None:
    """Write the files beside this one, and say how far our engine is from them."""
    from adapters.diffuseq import adapter

    torch.set_num_threads(1)
    checkout, place = Path(sys.argv[1]), Path(__file__).parent
    for name, shape in SECOND.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = write(Path(scratch) / name, shape)
            ours = adapter.load(LoadSpec(folder))
            assert isinstance(ours, GaussianModel)
            theirs = load_second(LoadSpec(folder, upstream=checkout))
            found = second_cases(ours)
            recorded = {case.name: record(theirs, case) for case in found}
            differences = [
                d for case in found for d in compare(case, recorded[case.name], replay(ours, case, recorded[case.name]))
            ]
        kinds = dict.fromkeys(case.kind for case in found)
        facts = {
            "model": "diffuseq",
            "upstream": {"repo": "https://github.com/Shark-NLP/DiffuSeq", "commit": COMMIT},
            "versions": {package: metadata.version(package) for package in ("torch", "numpy")},
            "largest_difference_when_recorded": {k: max(d.largest for d in differences if d.kind == k) for k in kinds},
        }
        file = write_golden(place, f"diffuseq-{name}", found, recorded, facts)
        print(file, facts["largest_difference_when_recorded"])
        for difference in differences:
            if not difference.passed:
                print(difference)


if __name__ == "__main__":
    main()
