"""``python -m tests.docker.harness_process SETTINGS``: a harness that tests end from outside.

Settings are JSON: the folder of the run, the image, points of the intruder, a time limit.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.store import Record
from tests.docker.jobs import Bench, intruder_job

ROOT = Path(__file__).parents[2]


def start(bench: Bench, points: list[Record], before: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
    """A process of its own that runs a job of the intruder in the run folder of `bench`.

    Args:
        before: a command that starts the command it is given.
        options: for `subprocess.Popen`.
    """
    settings = {"folder": str(bench.folder), "image": bench.image, "points": points}
    command = [*before, sys.executable, "-m", "tests.docker.harness_process", json.dumps(settings)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


if __name__ == "__main__":
    # Ignored in what a shell starts in the background, and so in all below.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = json.loads(sys.argv[1])
    bench = Bench(Path(given["folder"]), given["image"])
    outcome = bench.run(intruder_job(given["points"]), time_limit=None)
    sys.exit(len(outcome.failed))
