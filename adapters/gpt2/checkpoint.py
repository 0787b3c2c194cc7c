"""GPT-2 folders in Hugging Face's layout: config.json, model.safetensors or pytorch_model.bin, tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from adapters.base import CheckpointError
from adapters.causal import CONFIG, WEIGHTS, load_causal, quiet
from adapters.tokenizers import END_OF_TEXT

TOKENIZER_CONFIG = "tokenizer_config.json"
#: Constant buffers that old published files carry along.
CAUSAL_MASKS = (".attn.bias", ".attn.masked_bias")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_network(folder: Path, device: str, dtype: str) -> GPT2LMHeadModel:
    """The network in eval mode.

    Raises:
        CheckpointError: one line that names the folder, what is wrong with it, and what to do.
    """
    _check_config(folder)
    network, unknown = load_causal(folder, GPT2LMHeadModel, DTYPES[dtype])
    foreign = [name for name in unknown if not name.endswith(CAUSAL_MASKS)]
    if foreign:
        raise CheckpointError(
            f"checkpoint {folder} holds another model's weights: {len(foreign)} tensors that this GPT-2 has no place "
            f"for ({', '.join(foreign[:2])})."
        )
    return cast(GPT2LMHeadModel, network.to(device))


def start_token(network: GPT2LMHeadModel, folder: Path) -> int:
    """The id a text starts from. Raises `CheckpointError` where the config names none that the network knows."""
    bos, size = network.config.bos_token_id, network.config.vocab_size
    if not isinstance(bos, int) or not 0 <= bos < size:
        raise CheckpointError(f"{folder / CONFIG}: bos_token_id is {bos}, but the network knows the ids 0..{size - 1}.")
    return bos


def _check_config(folder: Path) -> None:
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {folder} is no folder: give one with {CONFIG} and {WEIGHTS}.")
    file = folder / CONFIG
    if not file.is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise CheckpointError(f"checkpoint {folder} is no GPT-2 checkpoint: it has no {CONFIG}; found {found}.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}): fetch the checkpoint again.") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "gpt2":
        raise CheckpointError(f"checkpoint {folder} is no GPT-2 checkpoint: its model_type is {kind!r}.")


def fresh_network(size: Mapping[str, Any], classes: int, positions: int, bos: int) -> GPT2LMHeadModel:
    """An untrained network.

    Args:
        size: n_embd, n_layer, n_head.
        classes: ids the network knows, the start token included.
        positions: longest input, the start token included.
        bos: the start token, which is the end token too.
    """
    config = GPT2Config(
        vocab_size=classes,
        n_positions=positions,
        n_embd=int(size["n_embd"]),
        n_layer=int(size["n_layer"]),
        n_head=int(size["n_head"]),
        bos_token_id=bos,
        eos_token_id=bos,
        # GPT-2's own function, computed by one fused kernel instead of six.
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


def save_folder(folder: Path, network: GPT2LMHeadModel, state: dict[str, Tensor], words: bool) -> None:
    """Write config.json and model.safetensors as `save_pretrained` does.

    Args:
        folder: made where it is missing.
        network: gives the config.
        state: its state dict with the weights to store.
        words: also write tokenizer_config.json, for the tokenizer.json that is put beside it.
    """
    quiet()
    network.save_pretrained(folder, state_dict=state)
    if words:
        facts = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
        (folder / TOKENIZER_CONFIG).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
