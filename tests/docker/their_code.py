"""A stand-in for a checkout of nanoDD: our own small code with the names that the adapter imports, as a git repository
that says it is theirs, and a checkpoint for it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import torch

from adapters.cards import get_card
from adapters.nanodd import adapter
from adapters.nanodd.layout import EMA_PREFIX, FILE_NAME, MODEL_CLASS
from adapters.tokenizers import FILE_NAME as TOKENIZER

CODE = Path(__file__).parent / "stand_in"
STEPS, LENGTH = 4, 12
ARGUMENTS = {"vocab_size": 167, "T": STEPS, "hidden": 16}  # of the toy benchmark's words


def write_checkout(folder: Path) -> Path:
    """The repository, as `git clone` would make it."""
    shutil.copytree(CODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    address = get_card("nanodd").upstream.repo
    for words in (["init", "--quiet"], ["remote", "add", "origin", str(address)]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


def write_checkpoint(folder: Path) -> Path:
    """Random weights in their published layout, for the words of the toy benchmark."""
    folder.mkdir(parents=True)
    shutil.copy(Path(adapter.__file__).parent / "tiny" / TOKENIZER, folder)
    sys.path.insert(0, str(CODE))
    try:
        from dit import Network
    finally:
        sys.path.remove(str(CODE))
        sys.modules.pop("dit", None)
    torch.manual_seed(5)
    weights = Network(ARGUMENTS["vocab_size"] + 1, ARGUMENTS["hidden"]).state_dict()
    content = {
        "model_cls": MODEL_CLASS,
        "model_args": ARGUMENTS,
        "ema": {f"{EMA_PREFIX}net.{name}": tensor for name, tensor in weights.items()},
        "training_args": {"seq_len": LENGTH},
    }
    torch.save(content, folder / FILE_NAME)
    return folder
