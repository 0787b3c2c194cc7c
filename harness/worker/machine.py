"""Facts of the machine that need no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Optional


def cpu_name() -> Optional[str]:
    """The processor as Linux names it, None where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
