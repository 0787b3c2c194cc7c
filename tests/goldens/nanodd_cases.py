"""The checkpoints on which nanoDD's goldens are recorded: random weights that any machine can rebuild.

    python -m tests.goldens.nanodd_cases FOLDER

writes each as FOLDER/<name>, in the authors' published layout. Their goldens are recorded from there with
``tdbench parity nanodd checkpoint=FOLDER/<name> upstream.path=CHECKOUT --record``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from adapters.base import LoadSpec
from adapters.masked.denoiser import Denoiser
from adapters.masked.model import MaskedModel
from adapters.masked.schedules import D3PM
from adapters.nanodd.adapter import load
from adapters.nanodd.checkpoint import save_checkpoint
from adapters.nanodd.network import ModelArgs, NanoddNetwork
from adapters.parity import frozen_state
from adapters.tokenizers import FILE_NAME, word_tokenizer


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

    def write(self, folder: Path) -> Path:
        """Write the checkpoint with a tokenizer into `folder`. The raw weights differ from the averaged ones, so that
        a reader of the wrong ones is found out."""
        ema = self.network().state_dict()
        raw = {name: tensor + 1 for name, tensor in ema.items()}
        save_checkpoint(folder, raw, ema, self.args, {"seq_len": self.length}, iterations=0)
        word_tokenizer(f"w{i}" for i in range(1, self.args.vocab_size)).save(str(folder / FILE_NAME))
        return folder

    def model(self, folder: Path) -> MaskedModel:
        """The native model of the checkpoint, written into `folder`."""
        return load(LoadSpec(self.write(folder)))


CASES = (
    Case("small", ModelArgs(11, 32, 4, 3, 8, 0.0, 5, 0.05), seed=1, length=9),
    Case("text8", ModelArgs(27, 48, 3, 2, 12, 0.025, 12, 0.05), seed=2, length=16),
    Case("long", ModelArgs(19, 16, 2, 1, 4, 0.0, 1000, 0.05), seed=3, length=6),
)
BY_NAME = {case.name: case for case in CASES}


if __name__ == "__main__":
    for case in CASES:
        print(case.write(Path(sys.argv[1]) / case.name))
