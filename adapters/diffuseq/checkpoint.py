"""DiffuSeq's published folder, read and written: ema_RATE_STEP.pt, training_args.json and the tokenizer's files.

The weights are a bare state dict. The embedding is in it twice, under the two names of the tied parameter: its moving
average and its raw value; the authors' loader copies both into one storage, so that the raw one is what they decode by.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.base import CheckpointError
from adapters.diffuseq.layout import (
    ARGS,
    CONFIG,
    EMBEDDING,
    HEAD,
    EncoderConfig,
    TrainingArgs,
    read_args,
    read_encoder,
    weights_file,
)
from adapters.diffuseq.network import DiffuseqNetwork, DiffuseqSize
from adapters.weights import read_weights

State = dict[str, Tensor]
MEAN_EMBED = "mean_embed"
#: A buffer that follows from the sizes.
POSITIONS = "position_ids"


@dataclass(frozen=True)
class Loaded:
    """A checkpoint.

    Attributes:
        network: in eval mode, on its device.
        args: settings of its training.
        folder: where the tokenizer is.
        notes: oddities of the file, one sentence each.
    """

    network: DiffuseqNetwork
    args: TrainingArgs
    folder: Path
    notes: tuple[str, ...]


def load_network(
    path: Path, device: str = "cpu", dtype: torch.dtype = torch.float32, weights: str | None = None
) -> Loaded:
    """Load published weights, unchanged.

    Args:
        path: the model folder, or one of its weight files.
        device: torch device name.
        dtype: network arithmetic; the weights stay float32.
        weights: name of a weight file in the folder; by default that of the most steps.

    Raises:
        CheckpointError: one line that names the path, what is wrong with it, and what to do.
    """
    file = weights_file(path, weights)
    args = read_args(file.parent)
    encoder = read_encoder(file.parent, args.config_name)
    state = _tensors(read_weights(file), file)
    if args.seq_len > encoder.max_position_embeddings:
        raise CheckpointError(
            f"{file.parent / ARGS}: seq_len {args.seq_len} is more than the {encoder.max_position_embeddings} "
            "positions of the encoder."
        )
    notes = _tied(state)
    network = _build(args, encoder, state, file, dtype)
    return Loaded(network.to(device).eval(), args, file.parent, notes)


def save_folder(
    folder: Path, raw: DiffuseqNetwork, ema: Mapping[str, Tensor], args: Mapping[str, Any], rate: float, step: int
) -> None:
    """Write the weights, the arguments and the encoder's architecture, as the authors' training does.

    Args:
        folder: made where it is missing.
        raw: the trained network; its embedding goes under the head's name, as their saver leaves it there.
        ema: averaged weights, named as the network's state dict.
        args: what goes into training_args.json.
        rate: decay of the average, part of the file's name.
        step: optimiser steps made, part of the file's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        names = DiffuseqNetwork(raw.size).state_dict().keys()  # without what a training keeps beside them
    trained = raw.state_dict()
    state = OrderedDict((name, ema.get(name, trained[name]).detach().cpu().clone()) for name in names)
    state[HEAD] = trained[HEAD].detach().cpu().clone()
    torch.save(state, folder / f"ema_{rate:g}_{step:06d}.pt")
    _write_json(folder / ARGS, args)
    encoder = raw.size.encoder
    _write_json(folder / CONFIG, bert_config(encoder, raw.size))


def bert_config(encoder: EncoderConfig, size: DiffuseqSize) -> dict[str, Any]:
    """The config.json that transformers reads as a BERT architecture."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": encoder.hidden_size,
        "num_hidden_layers": encoder.num_hidden_layers,
        "num_attention_heads": encoder.num_attention_heads,
        "intermediate_size": encoder.intermediate_size,
        "max_position_embeddings": encoder.max_position_embeddings,
        "attention_probs_dropout_prob": encoder.attention_probs_dropout_prob,
        "hidden_dropout_prob": size.dropout,
        "layer_norm_eps": encoder.layer_norm_eps,
        "vocab_size": size.tokens,
    }


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _tensors(value: Any, file: Path) -> State:
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{file} holds a {type(value).__name__}, not named tensors: it is no DiffuSeq checkpoint."
        )
    other = next((name for name, tensor in value.items() if not isinstance(tensor, Tensor)), None)
    if other is not None:
        raise CheckpointError(f"{file} holds more than tensors ('{other}' is a {type(value[other]).__name__}).")
    return {name: tensor.detach() for name, tensor in value.items()}


def _tied(state: State) -> tuple[str, ...]:
    """Leave the head's weight for the embedding, too; tells the difference where there is one."""
    if EMBEDDING not in state or HEAD not in state or state[EMBEDDING].shape != state[HEAD].shape:
        return ()
    average, raw = state[EMBEDDING], state[HEAD]
    state[EMBEDDING] = raw
    gap = float((average.float() - raw.float()).abs().max()) if raw.numel() else 0.0
    if gap == 0:
        return ()
    return (
        f"the embedding used is the raw one of {HEAD}, as in the authors' decoding; the average in {EMBEDDING} differs "
        f"by up to {gap:.2g}.",
    )


def _build(args: TrainingArgs, encoder: EncoderConfig, state: State, file: Path, dtype: torch.dtype) -> DiffuseqNetwork:
    layers = len({name.split(".")[2] for name in state if name.startswith("input_transformers.layer.")})
    if layers != encoder.num_hidden_layers:
        raise CheckpointError(
            f"{file} has weights of {layers} BERT layers but its config asks for {encoder.num_hidden_layers}: config "
            "and weights are not of one checkpoint."
        )
    head = state.get(HEAD)
    if head is None or head.dim() != 2:
        raise CheckpointError(f"{file} holds another model's weights: it has no matrix '{HEAD}'.")
    if (MEAN_EMBED in state) != args.learned_mean_embed:
        has = "has" if MEAN_EMBED in state else "has no"
        raise CheckpointError(
            f"{file} {has} '{MEAN_EMBED}' but learned_mean_embed is {args.learned_mean_embed} in {ARGS}."
        )
    size = DiffuseqSize(len(head), args.hidden_dim, args.hidden_t_dim, encoder, args.dropout, args.learned_mean_embed)
    with torch.device("meta"):  # shapes without memory, so a wrong config cannot ask for all of it
        expected = {name: tensor.shape for name, tensor in DiffuseqNetwork(size).state_dict().items()}
    missing, foreign = sorted(set(expected) - set(state) - {POSITIONS}), sorted(set(state) - set(expected))
    if missing or foreign:
        raise CheckpointError(
            f"{file} holds another model's weights: {len(missing)} of {len(expected)} DiffuSeq tensors missing "
            f"({', '.join(missing[:2]) or 'none'}), {len(foreign)} unknown ({', '.join(foreign[:2]) or 'none'})."
        )
    state.pop(POSITIONS, None)
    for name, tensor in state.items():
        if tensor.shape != expected[name]:
            raise CheckpointError(
                f"{file}: '{name}' has shape {list(tensor.shape)} but its config asks for {list(expected[name])}: "
                "config and weights are not of one checkpoint."
            )
        if not tensor.is_floating_point():
            raise CheckpointError(f"{file}: '{name}' holds {tensor.dtype}, not floating-point numbers.")
    network = DiffuseqNetwork(size, dtype)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    return network
