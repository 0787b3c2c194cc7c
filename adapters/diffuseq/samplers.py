"""The authors' own samplers: their arithmetic, their draws in their order, and their defects.

States are [N, D], the diffused positions alone (`DiffuseqProcess`). Noise is drawn for all positions, as theirs is, so
that a seed gives the same numbers. What changes nothing is left out: draws that are multiplied by zero, and the copies
of all states that their loops keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adapters.base import AdapterError, GenerateRequest
from adapters.diffuseq.layout import TrainingArgs
from adapters.diffuseq.noise import Chain, make_chain
from adapters.gaussian.process import NoiseSchedule, Sampling

if TYPE_CHECKING:
    from adapters.diffuseq.system import DiffuseqProcess

#: Samplers of main alone, and of the branch diffuseq-v2 alone; the rest run any checkpoint.
MAIN_ONLY, V2_ONLY = ("ddpm_diffuseq", "ddim_diffuseq"), ("ddpm_diffuseq_v2",)
#: Fewest steps, where one is not enough.
FEWEST = {"ddpm_diffuseq": 2, "ddpm_diffuseq_v2": 2, "dpm_solver_diffuseq": 2}
#: Below so many steps the solver makes its last update of first order (upstream dpm_solver_pytorch.py).
LOWER_ORDER_BELOW = 10


@dataclass(frozen=True)
class DdpmOptions:
    """Options of `ddpm_diffuseq`.

    Attributes:
        clamp_step: predictions are rounded at this level of the chain and above; the chain's length rounds none.
        top_p: noise beyond this absolute value is drawn anew; 0 draws nothing anew. (No nucleus: the authors' name.)
        clip_denoised: whether predictions are cut to -1..1 after the rounding.
    """

    clamp_step: int = 0
    top_p: float = 0
    clip_denoised: bool = False

    @staticmethod
    def of(options: Mapping[str, Any]) -> DdpmOptions:
        """From a request. Raises `AdapterError` for a value that makes no sense."""
        made = DdpmOptions(**{name: options[name] for name in DdpmOptions.__dataclass_fields__ if name in options})
        if isinstance(made.clamp_step, bool) or not isinstance(made.clamp_step, int) or made.clamp_step < 0:
            raise AdapterError(f"clamp_step must be a whole number, 0 or more, got {made.clamp_step!r}")
        if isinstance(made.top_p, bool) or not isinstance(made.top_p, int | float):
            raise AdapterError(f"top_p must be a number, 0 for no truncation, got {made.top_p!r}")
        if 0 < made.top_p < 0.01:
            raise AdapterError(f"top_p {made.top_p} keeps almost no noise: it is the largest absolute value, such as 1")
        if not isinstance(made.clip_denoised, bool):
            raise AdapterError(f"clip_denoised must be true or false, got {made.clip_denoised!r}")
        return made


class StepTables:
    """The coefficients of their steps, float64 tables cast to float32 as theirs are.

    Args:
        chain: its levels.
        device: torch device name.
    """

    def __init__(self, chain: Chain, device: str) -> None:
        bar = chain.alpha_bar
        first, second = chain.posterior()
        self._first, self._second = first.float().to(device), second.float().to(device)
        self._scale, self._noise = (1 / bar).sqrt().float().to(device), (1 / bar - 1).sqrt().float().to(device)
        self._before = chain.before.float().to(device)
        #: Standard deviation of a step from each level [N].
        self.deviation = chain.deviation().float().to(device)

    def mean(self, z: Tensor, z_0: Tensor, i: int) -> Tensor:
        """Mean of the state below level i of the chain."""
        return self._first[i] * z_0 + self._second[i] * z

    def ddim(self, z: Tensor, z_0: Tensor, i: int) -> Tensor:
        """The state below level i, nothing drawn (DDIM, arXiv 2010.02502, equation 12, eta 0)."""
        eps = (self._scale[i] * z - z_0) / self._noise[i]
        return z_0 * self._before[i].sqrt() + (1 - self._before[i]).sqrt() * eps


def check(request: GenerateRequest, args: TrainingArgs) -> None:
    """Raise `AdapterError` for a request that an own sampler cannot meet on this checkpoint."""
    name = request.scheduler
    if request.steps < FEWEST.get(name, 1):
        raise AdapterError(f"{name} needs {FEWEST[name]} steps or more, got {request.steps}")
    if args.learned_mean_embed and name in MAIN_ONLY:
        raise AdapterError(f"this is a DiffuSeq-v2 checkpoint: {name} is of its forerunner; use ddpm_diffuseq_v2")
    if name in V2_ONLY and not (args.learned_mean_embed or args.denoise or args.rejection_rate > 0):
        raise AdapterError(f"{name} needs a DiffuSeq-v2 checkpoint; on this one it is ddpm_diffuseq")
    if name in V2_ONLY and args.denoise and not args.learned_mean_embed:
        raise AdapterError(f"{name} replaces words by the learned mean of the noise, and this checkpoint has none")
    if name.startswith("ddpm_diffuseq"):
        options = DdpmOptions.of(request.options)
        if options.clip_denoised and name in V2_ONLY:
            raise AdapterError(f"{name} has no clip_denoised: the authors' code fails with it")


def ddpm_diffuseq(process: DiffuseqProcess, schedule: NoiseSchedule, steps: int, sampling: Sampling) -> Tensor:
    """The posterior step with variance beta (main's sample_seq2seq.py, `p_sample_loop`).

    All T levels where `steps` is T, else the levels that their respacing keeps.
    """
    chain = _chain_of(process, steps)
    options, tables = DdpmOptions.of(sampling.options), StepTables(chain, process.device)
    z = process.of_diffused(_normal(process, sampling))
    for step, i in enumerate(reversed(range(len(chain.index)))):
        z_0 = process.predict(z, process.system.time_of(chain.index[i]))
        if i >= options.clamp_step:
            z_0 = process.rounded(z_0)
        if options.clip_denoised:
            z_0 = z_0.clamp(-1, 1)
        z = tables.mean(z, z_0, i)
        if i > 0:
            z = z + tables.deviation[i] * process.of_diffused(_truncated(process, sampling, options.top_p))
        sampling.on_step(step, process.shown(z_0))
    return process.shown(z)


def ddim_diffuseq(process: DiffuseqProcess, schedule: NoiseSchedule, steps: int, sampling: Sampling) -> Tensor:
    """The deterministic step as main's `ddim_sample_loop` makes it.

    It visits every (T // steps)-th level, ceil(T / (T // steps)) evaluations, but each step goes down by one level
    only: the network is told less noise than the state has. Rounds at every level. The family's `ddim` steps right.
    """
    args = process.system.args
    chain = _chain_of(process, args.diffusion_steps)
    gap = args.diffusion_steps // steps
    tables = StepTables(chain, process.device)
    z = process.of_diffused(_normal(process, sampling))
    for step, i in enumerate(list(reversed(range(len(chain.index))))[::gap]):
        z_0 = process.rounded(process.predict(z, process.system.time_of(chain.index[i])))
        z = tables.ddim(z, z_0, i)
        sampling.on_step(step, process.shown(z_0))
    return process.shown(z)


def ddpm_diffuseq_v2(process: DiffuseqProcess, schedule: NoiseSchedule, steps: int, sampling: Sampling) -> Tensor:
    """v2's step: the noise starts at its learned mean, and words fall back to it at random (arXiv 2310.05793).

    With `rejection_rate` a word that stays the same may keep its unrounded prediction, then without noise.
    """
    args, system = process.system.args, process.system
    chain = _chain_of(process, steps)
    options, tables = DdpmOptions.of(sampling.options), StepTables(chain, process.device)
    z = process.of_diffused(_normal(process, sampling)) + system.mean
    last: Tensor | None = None
    for step, i in enumerate(reversed(range(len(chain.index)))):
        raw = process.predict(z, system.time_of(chain.index[i]))
        z_0, free = raw, None
        if i >= options.clamp_step:
            z_0 = process.rounded(raw)
            words = process.words
            if args.rejection_rate > 0:
                if last is not None:
                    rate = words.eq(last).float() * args.rejection_rate * i / args.diffusion_steps
                    free = _coins(process, rate, sampling)[:, None]
                    z_0 = raw * free + z_0 * (1 - free)
                last = words
        z = tables.mean(z, z_0, i)
        noise = process.of_diffused(_truncated(process, sampling, options.top_p))
        if free is not None:
            noise = noise * (1 - free)
        if i > 0:
            z = z + tables.deviation[i] * noise
        if args.denoise:
            chance = tables.deviation[i] * args.denoise_rate if i > 0 else tables.deviation.new_zeros(())
            fallen = _coins(process, chance.expand(len(z)), sampling)[:, None]
            z = torch.where(fallen == 0, z, torch.as_tensor(system.mean))
        sampling.on_step(step, process.shown(z_0))
    return process.shown(z)


def dpm_solver_diffuseq(process: DiffuseqProcess, schedule: NoiseSchedule, steps: int, sampling: Sampling) -> Tensor:
    """v2's second-order multistep solver with its quirk (sample_seq2seq_dpmSolver.py, dpm_solver_pytorch.py).

    Its loop overwrites the state by the prediction before every update, so each step starts from the prediction. The
    initial noise lacks v2's learned mean, nothing is rounded, and the network's time is half a level late. Steps are
    uniform in time. The family's `dpmpp_2m` is the solver as published (arXiv 2211.01095).
    """
    chain = _chain_of(process, process.system.args.diffusion_steps)
    solver = _Solver(process, chain)
    times = torch.linspace(1.0, 1.0 / len(chain.index), steps + 1)
    state = solver.predict(process.of_diffused(_normal(process, sampling)), times[0])
    sampling.on_step(0, process.shown(state))
    seen: list[Tensor] = [state]
    for step in range(1, steps + 1):
        low = step == 1 or (steps < LOWER_ORDER_BELOW and step == steps)
        before = None if low else seen[-2]
        start = times[step - 2] if step > 1 else None
        state = solver.update(seen[-1], before, start, times[step - 1], times[step])
        if step < steps:
            state = solver.predict(state, times[step])
            sampling.on_step(step, process.shown(state))
            seen = [seen[-1], state]
    return process.shown(state)


class _Solver:
    """The solver's arithmetic in float32, as theirs, which is noisy where alpha is small."""

    def __init__(self, process: DiffuseqProcess, chain: Chain) -> None:
        self._process = process
        count = len(chain.index)
        self._times = torch.linspace(0.0, 1.0, count + 1)[1:]
        self._logs = (0.5 * torch.log(1 - chain.betas).cumsum(0)).float()

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha at a time, linear between the levels of the chain at (i + 1) / N."""
        left = int((torch.searchsorted(self._times, t) - 1).clamp(0, len(self._times) - 2))
        x, y = self._times, self._logs
        return y[left] + (t - x[left]) * (y[left + 1] - y[left]) / (x[left + 1] - x[left])

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha, sigma and lambda = log(alpha / sigma) at a time."""
        log_alpha = self.log_alpha(t)
        rest = 1.0 - torch.exp(2.0 * log_alpha)
        return torch.exp(log_alpha), torch.sqrt(rest), log_alpha - 0.5 * torch.log(rest)

    def predict(self, z: Tensor, t: Tensor) -> Tensor:
        """z_0 [N, D], through the noise and back."""
        alpha, sigma, _ = self.scales(t)
        out = self._process.predict(z, float(t * 1000.0))
        eps = (z - alpha * out) / sigma
        return (z - sigma * eps) / alpha

    def update(self, now: Tensor, before: Tensor | None, t_before: Tensor | None, t_now: Tensor, t: Tensor) -> Tensor:
        """The state at time t from the prediction `now`, made at t_now; of first order without the one before it."""
        alpha, sigma, half_log = self.scales(t)
        _, sigma_now, half_log_now = self.scales(t_now)
        h = half_log - half_log_now
        factor = alpha * torch.expm1(-h)
        state = (sigma / sigma_now) * now - factor * now
        if before is None or t_before is None:
            return state
        ratio = (half_log_now - self.scales(t_before)[2]) / h
        return state - 0.5 * factor * ((1.0 / ratio) * (now - before))


def _chain_of(process: DiffuseqProcess, steps: int) -> Chain:
    """All levels that training_args.json keeps where `steps` is T, else `steps` of them."""
    system = process.system
    full = steps == system.args.diffusion_steps
    return make_chain(system.schedule, system.args.timestep_respacing if full else str(steps))


def _normal(process: DiffuseqProcess, sampling: Sampling) -> Tensor:
    return torch.randn(process.shape, generator=sampling.generator, device=process.device)


def _truncated(process: DiffuseqProcess, sampling: Sampling, largest: float) -> Tensor:
    """Normal noise [B, L, D]; entries beyond `largest` are drawn anew until there are none."""
    noise = _normal(process, sampling)
    if largest <= 0:
        return noise
    while (beyond := noise.abs() > largest).any():
        noise[beyond] = torch.randn(int(beyond.sum()), generator=sampling.generator, device=process.device)
    return noise


def _coins(process: DiffuseqProcess, chance: Tensor, sampling: Sampling) -> Tensor:
    """0 or 1 [N] with chances [N]; one is tossed for every position, given ones too."""
    batch, length, _ = process.shape
    full = chance.new_zeros(batch * length)
    full[process.diffused] = chance
    return torch.bernoulli(full, generator=sampling.generator)[process.diffused]


SAMPLERS = {
    "ddpm_diffuseq": ddpm_diffuseq,
    "ddim_diffuseq": ddim_diffuseq,
    "ddpm_diffuseq_v2": ddpm_diffuseq_v2,
    "dpm_solver_diffuseq": dpm_solver_diffuseq,
}
