"""The one view that samplers and bounds have of a masked-diffusion network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adapters.base import CountedNetwork
from adapters.masked.schedules import Schedule

#: Elements of one [positions, vocabulary] block of logits; larger requests are cut. At 32 MiB of float64 the draw runs
#: five times as fast on the CPU as at 256 MiB, where every temporary is fresh memory; the projection costs the same.
LOGIT_BLOCK = 1 << 22


class MaskedNetwork(nn.Module):
    """A bidirectional transformer cut in two, so that the vocabulary projection runs only where it is needed.

    The mask is the LAST class: ids 0..V-1 are tokens, `mask_id` = V.
    """

    mask_id: int
    takes_time: bool

    def features(self, tokens: Tensor, time: Tensor | None = None) -> Tensor:
        """Everything before the vocabulary projection.

        Args:
            tokens: ids [B, L], masks included.
            time: [B] float32, what the authors feed; None for a network without time input.

        Returns:
            [B, L, D].
        """
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """The vocabulary projection: [..., D] -> raw logits [..., V + 1], mask column last, float32."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, time: Tensor | None = None) -> Tensor:
        """Raw logits [B, L, V + 1]."""
        return self.head(self.features(tokens, time))


class Denoiser:
    """A counted network with its noise schedule.

    Args:
        network: in eval mode, on its device.
        schedule: the noise the network was trained with.
        device: torch device name.
    """

    def __init__(self, network: MaskedNetwork, schedule: Schedule, device: str = "cpu") -> None:
        self.network = network
        self.schedule = schedule
        self.device = device
        self.mask_id = network.mask_id
        self.takes_time = network.takes_time
        self.counted = CountedNetwork(network.features, device)

    def features(self, tokens: Tensor, rows: Tensor, t: Tensor) -> Tensor:
        """One evaluation for some sequences of a batch.

        Args:
            tokens: ids [B, L] of the whole batch.
            rows: indices [R] of the sequences to evaluate.
            t: their times [R], float64.

        Returns:
            features [R, L, D].
        """
        time = None
        if self.takes_time:
            time = self.schedule.network_time(t).to(self.device, torch.float32)
        return self.counted(rows.tolist(), tokens[rows], time)

    def logits(self, features: Tensor) -> Tensor:
        """Clean-token logits [N, V] at features [N, D]; the mask column is dropped (it is never a clean token)."""
        with self.counted.timed():
            return self.network.head(features)[..., : self.mask_id]

    def block_rows(self) -> int:
        """How many positions to project at once so that a block of logits stays small."""
        return max(1, LOGIT_BLOCK // (self.mask_id + 1))


def seeded(seed: int, device: str) -> torch.Generator:
    """A generator on `device` with this seed."""
    return torch.Generator(device=device).manual_seed(seed)
