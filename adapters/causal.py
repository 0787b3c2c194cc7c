"""Causal language models through transformers: the baseline's and the judge's weights are read in one way."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from adapters.base import CheckpointError
from adapters.weights import read_weights, weight_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"
#: What transformers raises for a config or weights that do not go together or cannot be read.
_REFUSED = (OSError, ValueError, TypeError, KeyError, RuntimeError, StrictDataclassError)


def load_causal(folder: Path, kind: Any, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """A network with a folder's weights, on the CPU in eval mode.

    Weights come from model.safetensors (or its shards), else from pytorch_model.bin (or what
    `tdbench convert` made of it), of which tensors alone are read.

    Args:
        folder: in Hugging Face's layout.
        kind: a class of transformers with `from_pretrained`.
        dtype: of the weights.

    Returns:
        The network, and the names of stored tensors that it has no place for.

    Raises:
        CheckpointError: for weights that are missing, damaged, of other shapes, or too few: transformers would fill the
            gaps with random numbers.
    """
    quiet()
    options: dict[str, Any] = {
        "dtype": dtype,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are reported, and refused below in words of ours
    }
    safetensors = any((folder / file).is_file() for file in (WEIGHTS, INDEX))
    old = weight_file(folder, PICKLE)
    if not safetensors and not old.is_file():
        raise CheckpointError(f"checkpoint {folder} has no {WEIGHTS} and no {PICKLE}: fetch it again.")
    try:
        if safetensors:
            network, report = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, **options)
        else:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            state = read_weights(old)
            network, report = kind.from_pretrained(None, config=config, state_dict=state, **options)
    except SafetensorError as error:
        raise CheckpointError(f"{folder} is truncated or holds no safetensors ({error}): fetch it again.") from None
    except _REFUSED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"checkpoint {folder} cannot be built from its {CONFIG}: {reason}") from None
    _check_report(folder, report)
    return network.eval(), sorted(report["unexpected_keys"])


def _check_report(folder: Path, report: Mapping[str, Any]) -> None:
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"checkpoint {folder} has no weights for {', '.join(missing[:2])} ({len(missing)} tensors are missing): "
            "it is another model's."
        )
    for name, stored, wanted in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"checkpoint {folder}: '{name}' has shape {list(stored)} but its config asks for {list(wanted)}: "
            "config and weights are not of one checkpoint."
        )


def quiet() -> None:
    """No bars and no warnings of transformers' own: what matters is raised."""
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
