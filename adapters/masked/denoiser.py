"""The one view that samplers and bounds have of a masked-diffusion network."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from adapters.base import CountedNetwork
from adapters.masked.schedules import Schedule

#: Elements of one [positions, vocabulary] block of logits; larger requests are cut. 32 MiB of float32: a matrix product
#: with fewer rows is slower, and a larger block is fresh memory from the system each time.
LOGIT_BLOCK = 1 << 23
#: Elements of one piece of a block, on a CPU: what is done to a piece after the projection stays in the cache, where it
#: is several times as fast as on whole blocks. 1 MiB of float32.
CACHED_PIECE = 1 << 18


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

    def logits(self, features: Tensor, classes: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Logits at features [N, D], projected block by block and given in pieces of some rows each.

        Args:
            features: any number of positions, of any sequences.
            classes: columns wanted; the default is V, without the mask's (it is never a clean token).

        Yields:
            which rows of `features`, in their order, and their logits [n, classes], the caller's to overwrite.
        """
        width = self.mask_id if classes is None else classes
        most = max(1, LOGIT_BLOCK // (self.mask_id + 1))
        # Blocks of one size: a small one at the end would be a slow product.
        block = max(1, math.ceil(len(features) / max(1, math.ceil(len(features) / most))))
        for first in range(0, len(features), block):
            with self.counted.timed():
                logits = self.network.head(features[first : first + block])[:, :width]
            for rows in self.pieces(len(logits)):
                yield slice(first + rows.start, first + rows.stop), logits[rows]

    def pieces(self, count: int) -> Iterator[slice]:
        """Cuts `count` rows of V + 1 elements into pieces that are best worked on at once: on a CPU a cacheful,
        elsewhere a whole block."""
        size = max(1, (CACHED_PIECE if self.device == "cpu" else LOGIT_BLOCK) // (self.mask_id + 1))
        return (slice(i, min(i + size, count)) for i in range(0, count, size))


def seeded(seed: int, device: str) -> torch.Generator:
    """A generator on `device` with this seed."""
    return torch.Generator(device=device).manual_seed(seed)
