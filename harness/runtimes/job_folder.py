"""What a worker with a stranger's code may have done to its job folder, put right before anybody reads there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.runtimes.base import holds
from harness.runtimes.ownership import take_back
from harness.worker.jsonl import iter_lines

JOB, LOG = "job.json", "worker.log"
#: What each line of a worker's files holds that everything else goes by.
FIELDS: Mapping[str, Mapping[str, type]] = {
    "points.jsonl": {"point": str, "status": str},
    "batches.jsonl": {"point": str, "batch": int},
    "sessions.jsonl": {"session": str},
    "traces.jsonl": {
        **{"point": str, "steps": int, "of_samples": bool, "seconds": float},
        **dict.fromkeys(("done", "texts", "tokens", "changes"), list),
    },
}
#: What a file is renamed to that cannot be read; its points are computed again.
DAMAGED = ".damaged"
#: Files of a job folder that no worker writes.
FOREIGN = ("prompts.jsonl", JOB + ".part")
#: Names in a job folder that are files or nothing.
NEVER_FOLDERS = (*FIELDS, *(name + DAMAGED for name in FIELDS), *FOREIGN)


def put_right(folder: Path) -> list[str]:
    """Make a job folder the caller's, and what is read there readable.

    Returns:
        one line for each thing that was removed or set aside.
    """
    said = [f"removed {name}: it was no plain file" for name in take_back(folder)]
    for name in NEVER_FOLDERS:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place)
        elif name in FOREIGN and place.exists():
            place.unlink()
        else:
            continue
        said.append(f"removed {name}: it is not a worker's")
    for name, fields in FIELDS.items():
        problem = _problem(folder / name, fields)
        if problem:
            os.replace(folder / name, folder / (name + DAMAGED))
            said.append(f"renamed {name} to {name}{DAMAGED}: {problem}")
    return said


def _problem(file: Path, fields: Mapping[str, type]) -> str | None:
    """Why a file cannot be read, None where it can."""
    try:
        good = all(holds(line, fields) for line in iter_lines(file))
    except (ValueError, RecursionError) as error:
        return str(error)
    return None if good else f"a line lacks one of {', '.join(fields)}"
