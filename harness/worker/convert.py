"""``python -m harness.worker.convert OUT FILE ...``: the tensors and plain values of pickles, as safetensors.

Runs in a container that is shut off (`harness.convert`), because a pickle is a program. Even there little of it is run
(`harness.worker.plain_pickle`); objects that are neither tensors nor plain values are left out and listed.

The i-th FILE becomes OUT/<i>.safetensors, which `adapters.weights.read_weights` reads. One JSON line on stdout tells of
each file begun; one that cannot be converted ends all: {"event": "refused", "message": ...}, exit status 2.

Python 3.8 syntax with torch, numpy and safetensors.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Optional, Sequence

from safetensors import SafetensorError
from safetensors.torch import save_file

from adapters.nested import Packed, PackError
from adapters.weights import ABOUT, CONVERTED, DAMAGED
from harness.worker.plain_pickle import read

#: What a damaged file makes torch and pickle raise.
REFUSALS = (
    *DAMAGED,
    *(AssertionError, MemoryError, NameError, RecursionError, SafetensorError, pickle.UnpicklingError),
)


def convert(file: Path, target: Path) -> None:
    """Write the tensors and plain values of a pickle as safetensors.

    Args:
        file: a file of ``torch.save`` or ``pickle.dump``.
        target: what to write; exists afterwards, even where all was left out.

    Raises:
        PackError: for a file that cannot be converted; one line.
    """
    try:
        packed = Packed(read(file))
        save_file(packed.tensors, str(target), metadata={ABOUT: packed.text})
    except PackError:
        raise
    except REFUSALS as error:
        reason = (str(error).splitlines() or [""])[0]
        raise PackError("it cannot be read ({}: {})".format(type(error).__name__, reason)) from error


def main(arguments: Sequence[str]) -> Optional[int]:
    """Convert the files named after the folder; see above.

    Returns:
        None when all were converted, else 2.
    """
    out, files = Path(arguments[0]), arguments[1:]
    for index, file in enumerate(files):
        print(json.dumps({"event": "file", "file": index}), flush=True)
        try:
            convert(Path(file), out / (str(index) + CONVERTED))
        except PackError as error:
            print(json.dumps({"event": "refused", "file": index, "message": str(error)}), flush=True)
            return 2
    return None


def _end_with_host() -> None:
    """The host holds our stdin open; when it is gone nobody waits for what we make."""
    sys.stdin.read()
    os._exit(3)


if __name__ == "__main__":
    threading.Thread(target=_end_with_host, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
