"""Names and numbers of nanoDD's published layout and evaluation, for our engine and beside the authors' code.

Python 3.8 syntax.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from adapters.base import CheckpointError

FILE_NAME = "ckpt.pt"
MODEL_CLASS = "D3PMAbsorbing"
EMA_PREFIX = "ema_model."
#: Sequence length of the authors' training where `training_args` has no `seq_len` (train.py).
DEFAULT_LENGTH = 256
#: One reconstruction draw for so many draws of the KL term (it has less variance and a weight of 1 instead of T - 1).
DRAWS_PER_RECONSTRUCTION = 4


def window_length(file: Path, content: Mapping[str, Any]) -> int:
    """Tokens that a training window had, as the checkpoint's dictionary says; the authors' default where it does not.

    Raises:
        CheckpointError: for something that is no length.
    """
    training_args = content.get("training_args")
    length = training_args.get("seq_len", DEFAULT_LENGTH) if isinstance(training_args, dict) else DEFAULT_LENGTH
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise CheckpointError("{}: training_args has seq_len {!r}, not a length.".format(file, length))
    return length
