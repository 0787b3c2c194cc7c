"""DiffuSeq's noise tables: the schedule, respacing, and the coefficients of the authors' steps.

All tables are float64 and cast to float32 where they meet the state, as theirs are (upstream gaussian_diffusion.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adapters.base import AdapterError, CheckpointError
from adapters.diffuseq.layout import ARGS, TrainingArgs
from adapters.gaussian.schedules import MAX_BETA, TableSchedule, betas_of, cosine, linear, of_betas, sqrt

#: Share of the chain that ends v2's "warmup-decay" schedule.
WARMUP = 0.1


def trunc_cos(steps: int) -> TableSchedule:
    """abar(u) = cos^2((u + 0.1) / 1.1 * pi / 2), the first beta being 1 - abar(0)."""

    def bar(u: float) -> float:
        return math.cos((u + 0.1) / 1.1 * math.pi / 2) ** 2

    first = torch.tensor([min(1 - bar(0.0), MAX_BETA)], dtype=torch.float64)
    return of_betas(torch.cat((first, betas_of(bar, steps)[:-1])))


def trunc_lin(steps: int) -> TableSchedule:
    """beta evenly spaced as in `linear`, 0.01 more."""
    return of_betas(torch.linspace(0.1 / steps + 0.01, 20 / steps + 0.01, steps, dtype=torch.float64))


def pw_lin(steps: int) -> TableSchedule:
    """beta falls from 0.1 / T + 0.01 to 0.1 / T in ten levels, then rises to 20 / T."""
    fall = torch.linspace(0.1 / steps + 0.01, 0.1 / steps, 10, dtype=torch.float64)
    return of_betas(torch.cat((fall, torch.linspace(0.1 / steps, 20 / steps, steps - 10, dtype=torch.float64))))


def warmup_decay(steps: int) -> TableSchedule:
    """v2: `sqrt` whose last tenth of betas falls linearly to 1e-4."""
    count = max(1, int(WARMUP * steps))
    betas = betas_of(lambda u: 1 - math.sqrt(u + 1e-4), steps)
    tail = torch.linspace(float(betas[-count]), 1e-4, count, dtype=torch.float64)
    return of_betas(torch.cat((betas[:-count], tail)))


SCHEDULES: dict[str, Callable[[int], TableSchedule]] = {
    "sqrt": sqrt,
    "linear": linear,
    "cosine": cosine,
    "trunc_cos": trunc_cos,
    "trunc_lin": trunc_lin,
    "pw_lin": pw_lin,
    "warmup-decay": warmup_decay,
}


def make_schedule(args: TrainingArgs) -> TableSchedule:
    """The noise a checkpoint was trained with, all T levels.

    Raises:
        CheckpointError: for a schedule the authors do not have, or one that is none for so many levels.
    """
    if args.noise_schedule not in SCHEDULES:
        raise CheckpointError(f"{ARGS}: noise_schedule is '{args.noise_schedule}', not one of {', '.join(SCHEDULES)}.")
    try:
        return SCHEDULES[args.noise_schedule](args.diffusion_steps)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{ARGS}: {args.noise_schedule} is no schedule of {args.diffusion_steps} levels ({error})."
        ) from None


@dataclass(frozen=True)
class Chain:
    """A chain of all levels, or of some of them, with the tables of the authors' steps, [N] float64 each.

    Attributes:
        index: original indices, rising.
        alpha_bar: at them.
    """

    index: list[int]
    alpha_bar: Tensor

    @property
    def before(self) -> Tensor:
        """alpha_bar one level down, 1 below the lowest."""
        return torch.cat((self.alpha_bar.new_ones(1), self.alpha_bar[:-1]))

    @property
    def betas(self) -> Tensor:
        """The noise added from one level of the chain to the next."""
        return 1 - self.alpha_bar / self.before

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Factors of z_0 and z_t in the mean of q(z_{t-1} | z_t, z_0) (DDPM, arXiv 2006.11239, equation 7)."""
        betas, noise = self.betas, 1 - self.alpha_bar
        return betas * self.before.sqrt() / noise, (1 - self.before) * (1 - betas).sqrt() / noise

    def deviation(self) -> Tensor:
        """Standard deviations of their step, [N] float32: sqrt(beta) ("fixed large"), the lowest level excepted, whose
        is that of the posterior one level up. The chain has two levels or more."""
        betas = self.betas
        lowest = betas[1] * (1 - self.before[1]) / (1 - self.alpha_bar[1])
        # Theirs are logarithms in float32.
        return torch.cat((lowest[None], betas[1:])).log().float().mul(0.5).exp()


def make_chain(schedule: TableSchedule, respacing: str) -> Chain:
    """The levels that are left of a schedule, with the betas between them.

    Args:
        schedule: all T levels.
        respacing: "" for all; "N" or "a,b,c" for so many of equal sections; "ddimN" for a constant stride.

    Raises:
        AdapterError: where it cannot be done.
    """
    total = len(schedule.alpha_bar)
    index = sorted(spaced(total, respacing)) if respacing else list(range(total))
    # They make the new betas from the kept levels, and the levels from those again.
    kept = schedule.alpha_bar[index]
    again = torch.cumprod(1 - (1 - kept / torch.cat((kept.new_ones(1), kept[:-1]))), dim=0)
    return Chain(index, again)


def spaced(total: int, respacing: str) -> set[int]:
    """The kept indices (upstream space_timesteps; Improved DDPM, arXiv 2102.09672, section 4).

    Raises:
        AdapterError: for a text that is none, or more steps than there are.
    """
    if respacing.startswith("ddim"):
        wanted = _number(respacing[len("ddim") :], respacing)
        for stride in range(1, total):
            if len(range(0, total, stride)) == wanted:
                return set(range(0, total, stride))
        raise AdapterError(f"timestep_respacing '{respacing}': no stride keeps exactly {wanted} of {total} levels")
    counts = [_number(part, respacing) for part in respacing.split(",")]
    size, extra = divmod(total, len(counts))
    start, kept = 0, set[int]()
    for i, count in enumerate(counts):
        width = size + (1 if i < extra else 0)
        if width < count:
            raise AdapterError(f"timestep_respacing '{respacing}': a section of {width} levels has no {count}")
        pace = 1.0 if count <= 1 else (width - 1) / (count - 1)
        place = 0.0
        for _ in range(count):
            # Their accumulated float and Python's rounding to even, so that the same levels are kept.
            kept.add(start + round(place))
            place += pace
        start += width
    return kept


def _number(text: str, respacing: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise AdapterError(f"timestep_respacing '{respacing}' is none of N, 'a,b,c' and 'ddimN'")
    return int(text)
