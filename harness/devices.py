"""The compute devices of this machine."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from harness.errors import UserError, unknown

#: Seconds that the driver's tool may take to answer.
_PATIENCE = 20.0


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA device.

    Attributes:
        name: as the driver calls it.
        memory: bytes that are free now.
    """

    name: str
    memory: int


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA devices that the driver sees, whatever torch is installed here; a container needs no more."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()  # the tool is there without a working driver
    fields = [line.rpartition(",") for line in answer.stdout.splitlines() if line.strip()]
    return tuple(Gpu(name.strip(), int(free) << 20) for name, _, free in fields if free.strip().isdigit())


def parse_device(device: str) -> tuple[str, int]:
    """Kind and index of a device name: "cpu", "cuda" or "cuda:N". Raises `UserError` for any other."""
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise unknown("device", device, ("auto", "cpu", "cuda"))
    return kind, int(index or 0)


def torch_gpus() -> int:
    """How many CUDA devices the torch of this Python can use."""
    import torch  # heavy, and only some commands need it

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def resolve_device(device: str) -> str:
    """The torch device name for what the user asked, in this Python; "auto" takes a GPU where there is one.

    Raises:
        UserError: for a device that is not there.
    """
    if device == "auto":
        return "cuda" if torch_gpus() else "cpu"
    kind, index = parse_device(device)
    if kind == "cuda":
        check_index(device, index, torch_gpus(), "this machine has no CUDA device that torch can use")
    return device


def check_index(device: str, index: int, count: int, nothing: str) -> None:
    """Refuse a CUDA device beyond the `count` there are; `nothing` says why there are none."""
    if not count:
        raise UserError(f"device '{device}' asked for, but {nothing}.")
    if index >= count:
        raise UserError(f"device '{device}' asked for, but there are {count} CUDA devices.")
