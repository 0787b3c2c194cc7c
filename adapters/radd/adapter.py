"""RADD behind the common interface, and its training loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from adapters.base import AdapterError, LoadSpec, Model, Trainable, TrainBatch, TrainSpec
from adapters.masked.denoiser import Denoiser
from adapters.masked.likelihood import estimate_k_dce, estimate_lambda_dce, estimate_t_dce, estimate_t_dse
from adapters.masked.model import MaskedModel
from adapters.radd.checkpoint import hub_config, load_network, save_hub_folder
from adapters.radd.network import RaddNetwork, RaddSize
from adapters.radd.samplers import radd_direct, radd_ordered
from adapters.tokenizers import load_tokenizer

ESTIMATORS = {
    "lambda_dce": estimate_lambda_dce,
    "t_dce": estimate_t_dce,
    "t_dse": estimate_t_dse,
    "k_dce": estimate_k_dce,
}
SCHEDULERS = {"radd_direct": radd_direct, "radd_ordered": radd_ordered}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(spec: LoadSpec) -> Model:
    """Load a checkpoint. Raises `CheckpointError` for a bad one, `AdapterError` for a tokenizer that is not its own."""
    if spec.checkpoint is None:
        raise AdapterError("radd needs a checkpoint: name one, or give a folder.")
    if spec.dtype not in DTYPES:
        raise AdapterError(f"radd computes in {', '.join(DTYPES)}, not in '{spec.dtype}'.")
    network, schedule, config = load_network(spec.checkpoint, spec.device, DTYPES[spec.dtype])
    length = config["model"].get("length")
    if not isinstance(length, int):
        raise AdapterError(f"{spec.checkpoint}: model.length is {length!r} in its config; it must be a whole number.")
    return MaskedModel(
        denoiser=Denoiser(network, schedule, spec.device),
        tokenizer=load_tokenizer(spec.tokenizer, spec.checkpoint),
        schedulers=SCHEDULERS,
        estimators=ESTIMATORS,
        max_length=length,
        default_length=length,
    )


class RaddTrainable(Trainable):
    """A fresh RADD with its lambda-DCE loss and Hub-folder export.

    Args:
        spec: vocabulary, window length, and size (hidden, blocks, heads, dropout).
    """

    module: RaddNetwork

    def __init__(self, spec: TrainSpec) -> None:
        self.size = RaddSize(
            tokens=spec.vocab_size,
            hidden=int(spec.size["hidden"]),
            blocks=int(spec.size["blocks"]),
            heads=int(spec.size["heads"]),
            dropout=float(spec.size.get("dropout", RaddSize.dropout)),
        )
        if self.size.hidden % (2 * self.size.heads):
            raise AdapterError(f"hidden {self.size.hidden} must be an even multiple of heads {self.size.heads}")
        self.length = spec.length
        self.module = RaddNetwork(self.size)

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        """lambda-DCE (upstream losses.py): -log p summed over masks, by lambda, in nats per token, mean over the batch.

        Each window of [B, L] is masked with its own probability lambda; the lambdas lie evenly in (0, 1].
        """
        tokens = batch.tokens
        count, length = tokens.shape
        u = torch.rand(count, generator=generator, device=tokens.device)
        # 1 - u instead of the authors' u: never 0, where they divide 0 by 0 once in 2^24 batches.
        level = (torch.arange(count, device=tokens.device) + 1 - u) / count
        mask = torch.rand(tokens.shape, generator=generator, device=tokens.device) < level[:, None]
        noisy = tokens.masked_fill(mask, self.module.mask_id)
        logits = self.module.head(self.module.features(noisy)[mask])[:, : self.module.mask_id]
        weight = 1 / level.double()[:, None].expand_as(mask)[mask]
        nats = cross_entropy(logits, tokens[mask], reduction="none")
        return (nats.double() * weight).sum().float() / (count * length)

    def export(self, folder: Path, ema: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        """The authors' Hub folder, which holds one set of weights: the averaged one."""
        state = {**self.module.state_dict(), **ema}
        save_hub_folder(folder, state, hub_config(self.size, self.length, facts))


def trainable(spec: TrainSpec) -> Trainable:
    """A fresh network to train."""
    return RaddTrainable(spec)
