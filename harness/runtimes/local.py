"""The local runtime: the worker is a process of this machine, in this Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

#: How often a silent worker is looked at, seconds.
POLL_SECONDS = 0.5


class LocalWorker:
    """One worker process.

    Args:
        folder: the job folder.
        skip: points the worker leaves out.
    """

    def __init__(self, folder: Path, skip: Sequence[str] = ()) -> None:
        repository = Path(__file__).resolve().parents[2]
        paths = [str(repository), os.environ.get("PYTHONPATH", "")]
        self._log = open(folder / "worker.log", "ab")  # noqa: SIM115 (closed by `stop`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.worker", str(folder), *skip],
            stdout=subprocess.PIPE,
            stderr=self._log,
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        )
        self._lines: Queue[bytes | None] = Queue()
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def events(self) -> Iterator[dict[str, Any] | None]:
        """Events of the worker until it ends; None each time nothing came for a while, so that the caller can look
        at the clock.
        """
        while True:
            try:
                line = self._lines.get(timeout=POLL_SECONDS)
            except Empty:
                yield None
                continue
            if line is None:
                return
            yield json.loads(line)

    def wait(self) -> int:
        """Exit status; negative for a signal."""
        return self._process.wait()

    def stop(self) -> None:
        """End the process if it still runs, and release what belongs to it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log.close()
