"""The state of a training on disk: written whole or not at all, so that a killed run can be continued."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from harness.errors import UserError

FILE_NAME = "state.pt"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write FOLDER/state.pt atomically: a kill leaves the old state or the new one.

    Args:
        folder: exists.
        state: tensors, numbers, text and containers of them.
    """
    temporary = folder / (FILE_NAME + ".part")
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / FILE_NAME)


def load_state(folder: Path, binding: dict[str, Any], data_digest: str) -> dict[str, Any] | None:
    """The saved state, or None where there is none.

    Args:
        folder: OUT/state.
        binding: settings that must be those of the saved training.
        data_digest: digest of the text that must be the same.

    Raises:
        UserError: for a state of another training, or a damaged one.
    """
    file = folder / FILE_NAME
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} cannot be read ({reason}). Remove {folder} to start anew.") from None
    saved = state["binding"]
    other = [f"{key}={saved.get(key)}" for key in sorted({*saved, *binding}) if saved.get(key) != binding.get(key)]
    if other:
        raise UserError(
            f"{folder} holds an unfinished training with other settings ({', '.join(other)}). Use those to continue, "
            "remove the folder to start anew, or choose another with out=."
        )
    if state["data_digest"] != data_digest:
        raise UserError(f"{folder} holds an unfinished training on another text. Remove the folder to start anew.")
    return state
