"""The networks on which nanoDD's goldens were recorded; `record_nanodd.py` and the tests build them alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from adapters.masked.denoiser import Denoiser
from adapters.masked.schedules import D3PM
from adapters.nanodd.network import ModelArgs, NanoddNetwork
from tests.goldens.weights import frozen_state


@dataclass(frozen=True)
class Case:
    """One network with random weights, and the sequence length used with it."""

    name: str
    args: ModelArgs
    seed: int
    length: int

    def weights(self) -> dict[str, torch.Tensor]:
        """Every parameter of the network (not its buffer), none of them zero."""
        parameters = NanoddNetwork(self.args).named_parameters()
        frozen = frozen_state({name: tuple(p.shape) for name, p in parameters}, self.seed)
        return {name: torch.from_numpy(value) for name, value in frozen.items()}

    def network(self) -> NanoddNetwork:
        """The native network in eval mode."""
        network = NanoddNetwork(self.args)
        network.load_state_dict(self.weights(), strict=False)
        return network.eval()

    def denoiser(self) -> Denoiser:
        """The native network with its schedule, on the CPU."""
        return Denoiser(self.network(), D3PM(transitions=self.args.T))


CASES = (
    Case("small", ModelArgs(11, 32, 4, 3, 8, 0.0, 5, 0.05), seed=1, length=9),
    Case("text8", ModelArgs(27, 48, 3, 2, 12, 0.025, 12, 0.05), seed=2, length=16),
    Case("long", ModelArgs(19, 16, 2, 1, 4, 0.0, 1000, 0.05), seed=3, length=6),
)
BY_NAME = {case.name: case for case in CASES}
#: Seeds of the recorded sampling runs, and sequences in each.
SAMPLE_SEEDS = (0, 123)
SAMPLE_BATCH = 3
