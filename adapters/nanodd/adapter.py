"""nanoDD behind the common interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.base import AdapterError, CheckpointError, LoadSpec, Trainable, TrainBatch, TrainSpec
from adapters.masked.denoiser import Denoiser
from adapters.masked.model import MaskedModel
from adapters.nanodd.checkpoint import load_network, save_checkpoint
from adapters.nanodd.diffusion import absorbing, corrupt, d3pm, d3pm_carry_over, losses, training_loss
from adapters.nanodd.network import ModelArgs, NanoddNetwork
from adapters.nanodd.samplers import nanodd_d3pm
from adapters.tokenizers import load_tokenizer

SCHEDULERS = {"nanodd_d3pm": nanodd_d3pm}
ESTIMATORS = {"d3pm": d3pm, "d3pm_carry_over": d3pm_carry_over}
#: What `train.size` calls an entry of the authors' model_args; the others have the same name.
SIZE_NAMES = {"hidden": "n_embed", "heads": "n_heads", "blocks": "n_blocks"}
#: The authors' values (configs.py, d3pm_openwebtext_8gpu) where `train.size` names none.
SIZE_DEFAULTS = {"dropout": 0.0, "T": 1000, "lambda_ce": 0.05}
#: What the trainer calls a fact, and what the authors' train.py calls it; other names would stop their resume.
TRAINING_ARGS = {
    "steps": "max_iters",
    "seed": "training_seed",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "warmup": "warmup_iters",
    "weight_decay": "weight_decay",
}


def load(spec: LoadSpec) -> MaskedModel:
    """The model of one checkpoint.

    Raises:
        CheckpointError: for a checkpoint that cannot be used, or that was trained with another tokenizer.
        AdapterError: where a tokenizer on the Hub cannot be had.
    """
    if spec.checkpoint is None:
        raise CheckpointError("nanodd needs a checkpoint: give the folder that holds its ckpt.pt.")
    network, schedule, facts = load_network(spec.checkpoint, spec.device, spec.dtype)
    folder = spec.checkpoint if spec.checkpoint.is_dir() else spec.checkpoint.parent
    return MaskedModel(
        Denoiser(network, schedule, spec.device),
        load_tokenizer(spec.tokenizer, folder),
        schedulers=SCHEDULERS,
        estimators=ESTIMATORS,
        max_length=facts.length,
        default_length=facts.length,
    )


def trainable(spec: TrainSpec) -> Trainable:
    """A fresh network with the authors' initial weights and loss. Raises `AdapterError` for a size that cannot be."""
    return NanoddTrainable(spec)


class NanoddTrainable(Trainable):
    """The authors' network and loss; one uniform t a sequence, as their training does.

    Args:
        spec: `size` holds hidden, blocks, heads, n_cond, and may hold dropout, T, lambda_ce.
    """

    module: NanoddNetwork

    def __init__(self, spec: TrainSpec) -> None:
        size = {SIZE_NAMES.get(name, name): value for name, value in spec.size.items()}
        try:
            self.args = ModelArgs.from_mapping({**SIZE_DEFAULTS, **size, "vocab_size": spec.vocab_size})
        except ValueError as error:
            raise AdapterError(f"nanodd cannot be trained at this size: train.size {error}.") from None
        self.length = spec.length
        self.module = NanoddNetwork(self.args)

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        """KL + lambda_ce CE (CE alone at t = 0), mean over a batch [B, L], nats a token. No bound."""
        tokens = batch.tokens
        process = absorbing(self.args.T, self.args.vocab_size + 1, tokens.device)
        t = torch.randint(0, self.args.T, (tokens.shape[0],), generator=generator, device=tokens.device)
        noisy = corrupt(process, tokens, t + 1, generator)
        logits = self.module(noisy, (t + 1).float())
        kl, ce = losses(process, logits, tokens, t[:, None], noisy)
        return training_loss(kl, ce, t, self.args.lambda_ce)

    def export(self, folder: Path, ema: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write `ckpt.pt`. The raw weights are stored in float16 to keep the file small (the authors' loader converts
        them); the EMA weights, which everything here and there uses, are float32."""
        known = {theirs: facts[ours] for ours, theirs in TRAINING_ARGS.items() if ours in facts}
        save_checkpoint(
            folder,
            raw=self.module.state_dict(),
            ema={**self.module.state_dict(), **ema},
            args=self.args,
            training_args={**known, "seq_len": self.length},
            iterations=int(facts.get("steps", 0)),
            total_batch_size=facts.get("batch_size"),
            raw_dtype=torch.float16,
        )
