"""DiffuSeq behind the common interface, and its training."""

from __future__ import annotations

import torch

from adapters.base import AdapterError, LoadSpec, Model, Trainable, TrainSpec
from adapters.diffuseq.checkpoint import load_network
from adapters.diffuseq.samplers import SAMPLERS
from adapters.diffuseq.system import DiffuseqSystem
from adapters.diffuseq.training import DiffuseqTrainable, training_tokenizer
from adapters.diffuseq.vocabulary import load_vocabulary
from adapters.gaussian.model import GaussianModel

__all__ = ["load", "trainable", "training_tokenizer"]

TASKS = ("seq2seq",)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(spec: LoadSpec) -> Model:
    """Load a checkpoint; the option `weights` names one of several weight files in its folder.

    Raises:
        CheckpointError: for a bad checkpoint.
        AdapterError: for a dtype that is not known, or a tokenizer that is not its own.
    """
    if spec.checkpoint is None:
        raise AdapterError("diffuseq needs a checkpoint: name one, or give a folder.")
    if spec.dtype not in DTYPES:
        raise AdapterError(f"diffuseq computes in {', '.join(DTYPES)}, not in '{spec.dtype}'.")
    loaded = load_network(spec.checkpoint, spec.device, DTYPES[spec.dtype], spec.options.get("weights"))
    tokenizer = load_vocabulary(spec.tokenizer, loaded.folder, loaded.args)
    return GaussianModel(
        DiffuseqSystem(loaded, tokenizer, spec.device),
        own_samplers=SAMPLERS,
        estimators={},
        tasks=TASKS,
        max_length=loaded.args.seq_len,
        default_length=loaded.args.seq_len,
        notes=loaded.notes,
    )


def trainable(spec: TrainSpec) -> Trainable:
    """A fresh network to train."""
    return DiffuseqTrainable(spec)
