"""The checkpoints on which Plaid's goldens are recorded: random weights that any machine can rebuild.

    python -m tests.adapters.plaid_cases FOLDER

writes each as FOLDER/<name>, in the authors' published layout. Their goldens are recorded from there with
``tdbench parity plaid checkpoint=FOLDER/<name> upstream.path=CHECKOUT rounds=0 --record`` (for `wide` with
``'kinds=[network,loss,sample]'``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adapters.parity import frozen_state
from adapters.plaid.checkpoint import save_checkpoint
from adapters.plaid.layout import BASE_WIDTH, PlaidSize
from adapters.plaid.network import PlaidNetwork
from adapters.tokenizers import FILE_NAME, word_tokenizer

#: Not those with which training starts.
BOUNDS = {"gamma_bounds.gamma_0": -3.3, "gamma_bounds.gamma_1": 5.7}


@dataclass(frozen=True)
class Checkpoint:
    """A random one.

    Attributes:
        size: architecture numbers.
        length: tokens of a training row.
        seed: of the weights.
    """

    size: PlaidSize
    length: int
    seed: int

    def state(self) -> dict[str, Tensor]:
        """All parameters and buffers by their published names, behind the name of the module."""
        network = PlaidNetwork(self.size)
        shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
        made = {name: torch.from_numpy(value) for name, value in frozen_state(shapes, self.seed).items()}
        # The readout is multiplied by BASE_WIDTH / dim: logits of a trained size, so that no token is certain.
        made["model.output_linear.weight"] *= 2 * self.size.dim / BASE_WIDTH
        bounds = {name: torch.tensor(value) for name, value in BOUNDS.items()}
        return {**network.state_dict(), **made, **bounds}

    def write(self, folder: Path) -> Path:
        """The four files, our config, and a tokenizer of the words w0, w1, ..."""
        save_checkpoint(folder, self.state(), self.size, self.length)
        word_tokenizer(f"w{i}" for i in range(1, self.size.vocab_size)).save(str(folder / FILE_NAME))
        return folder


#: By name. `wide` is wider than the width at which muP scales nothing, and odd where it can be.
CHECKPOINTS = {
    "small": Checkpoint(PlaidSize(dim=32, embed_dim=8, n_blocks=2, n_heads=4, vocab_size=37), length=12, seed=21),
    "wide": Checkpoint(PlaidSize(dim=330, embed_dim=5, n_blocks=1, n_heads=3, vocab_size=19), length=9, seed=22),
}

#: What is recorded of each.
KINDS = {"small": ("network", "step", "loss", "sample"), "wide": ("network", "loss", "sample")}

if __name__ == "__main__":
    for name, checkpoint in CHECKPOINTS.items():
        print(checkpoint.write(Path(sys.argv[1]) / name))
