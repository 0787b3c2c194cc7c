"""Plaid behind the common interface."""

from __future__ import annotations

import torch

from adapters.base import TEXT_TASKS, AdapterError, LoadSpec, Trainable, TrainSpec
from adapters.gaussian.model import GaussianModel
from adapters.plaid.checkpoint import load_network
from adapters.plaid.layout import tokenizer_of
from adapters.plaid.likelihood import PlaidBound
from adapters.plaid.samplers import OWN_SAMPLERS
from adapters.plaid.system import PlaidSystem
from adapters.plaid.training import PlaidTrainable
from adapters.texts import check_vocabulary

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load(spec: LoadSpec) -> GaussianModel:
    """The model of one checkpoint.

    Raises:
        CheckpointError: for a checkpoint that cannot be used.
        AdapterError: for a tokenizer that is not its own, or a dtype that the network does not have.
    """
    if spec.checkpoint is None:
        raise AdapterError("plaid needs a checkpoint: name one, or give a folder.")
    if spec.dtype not in DTYPES:
        raise AdapterError(f"plaid computes in {' or '.join(DTYPES)}, not in '{spec.dtype}'.")
    network, length = load_network(spec.checkpoint, spec.options, spec.device, DTYPES[spec.dtype])
    tokenizer = tokenizer_of(spec.tokenizer, spec.checkpoint)
    check_vocabulary(tokenizer, network.size.vocab_size)
    if spec.device.startswith("cuda") and spec.dtype == "bfloat16":
        # As the authors have it; float32 stays float32.
        torch.backends.cuda.matmul.allow_tf32 = True
    system = PlaidSystem(network, tokenizer, spec.device)
    bound = PlaidBound(system)
    return GaussianModel(
        system,
        own_samplers=OWN_SAMPLERS,
        estimators={"vlb": bound.vlb, "vlb_plaid": bound.vlb_plaid},
        tasks=TEXT_TASKS,
        max_length=length,
        default_length=length,
    )


def trainable(spec: TrainSpec) -> Trainable:
    """A fresh network to train. Raises `AdapterError` for a size that cannot be."""
    return PlaidTrainable(spec)
