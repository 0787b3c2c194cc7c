"""What is read from the machine: peak memory of a span, and the environment of a session."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Dict, Optional

import torch

from harness.worker.machine import cpu_name


class PeakMemory:
    """Peak memory between `reset` and `read`, in bytes.

    On CUDA the most that torch had allocated; on the CPU the largest resident set of this process (Linux lets a
    process reset its own high-water mark; elsewhere the figure is None, never a guess).
    """

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self.kind = "cuda_allocated" if self._cuda else "resident_set"

    def reset(self) -> None:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")
                self._resettable = True
            except OSError:
                self._resettable = False

    def read(self) -> Optional[int]:
        if self._cuda:
            return int(torch.cuda.max_memory_allocated())
        return _status_bytes("VmHWM:") if self._resettable else None


def _status_bytes(key: str) -> Optional[int]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None


def environment(device: str) -> Dict[str, Any]:
    """Versions and hardware that a row depends on."""
    facts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": None,
        "cuda": torch.version.cuda,
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        facts["gpu"] = properties.name
        facts["gpu_memory_bytes"] = properties.total_memory
        facts["tf32"] = torch.backends.cuda.matmul.allow_tf32
    return facts
