"""GPT-2 folders in Hugging Face's layout, read and written: config.json, model.safetensors, tokenizer.json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from adapters.base import CheckpointError
from adapters.tokenizers import END_OF_TEXT

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
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
    if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
        hint = "pickled weights are refused" if (folder / "pytorch_model.bin").is_file() else "fetch it again"
        raise CheckpointError(f"checkpoint {folder} has no {WEIGHTS}: {hint}.")
    _quiet()
    try:
        network, report = GPT2LMHeadModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=DTYPES[dtype],
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused below in words of ours
        )
    except SafetensorError as error:
        raise CheckpointError(f"{folder} is truncated or holds no safetensors ({error}): fetch it again.") from None
    except (OSError, ValueError, RuntimeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"checkpoint {folder} cannot be built from its {CONFIG}: {reason}") from None
    _check_report(folder, report)
    return network.to(device).eval()


def _check_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuse weights that are not exactly the network's: transformers fills gaps with random numbers."""
    missing = sorted(report["missing_keys"])
    foreign = sorted(key for key in report["unexpected_keys"] if not key.endswith(CAUSAL_MASKS))
    if missing or foreign:
        raise CheckpointError(
            f"checkpoint {folder} holds another model's weights: {len(missing)} GPT-2 tensors missing "
            f"({', '.join(missing[:2]) or 'none'}), {len(foreign)} unknown ({', '.join(foreign[:2]) or 'none'})."
        )
    for name, stored, wanted in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"checkpoint {folder}: '{name}' has shape {list(stored)} but its config asks for {list(wanted)}: "
            "config and weights are not of one checkpoint."
        )


def start_token(network: GPT2LMHeadModel, folder: Path) -> int:
    """The id a text starts from. Raises `CheckpointError` where the config names none that the network knows."""
    bos, size = network.config.bos_token_id, network.config.vocab_size
    if not isinstance(bos, int) or not 0 <= bos < size:
        raise CheckpointError(f"{folder / CONFIG}: bos_token_id is {bos}, but the network knows the ids 0..{size - 1}.")
    return bos


def _quiet() -> None:
    """No bars and no warnings of transformers' own: what matters is raised."""
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


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
    _quiet()
    network.save_pretrained(folder, state_dict=state)
    if words:
        facts = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
        (folder / TOKENIZER_CONFIG).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
