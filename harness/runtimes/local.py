"""The local runtime: the worker is a process of this machine, in this Python."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.runtimes.base import Ending, events_of
from harness.runtimes.lines import POLL_SECONDS, LineQueue
from harness.runtimes.ownership import take_back
from harness.store import Record

#: Most bytes taken from a worker's output at once.
CHUNK = 1 << 16


class LocalRuntime:
    """Workers as processes of this machine."""

    def __init__(self) -> None:
        self.facts: Record = {"name": "local"}

    def inside(self, load: Record) -> Record:
        """See `Runtime`: a process here sees what we see."""
        return load

    def claim(self, folder: Path) -> None:
        """See `Runtime`: a worker of this machine ends with its harness."""
        take_back(folder)

    def start(self, folder: Path, skip: Sequence[str]) -> LocalWorker:
        """See `Runtime`."""
        return LocalWorker(folder, skip)


class LocalWorker:
    """One worker process.

    Args:
        folder: the job folder.
        skip: points the worker leaves out.
    """

    def __init__(self, folder: Path, skip: Sequence[str] = ()) -> None:
        repository = Path(__file__).resolve().parents[2]
        paths = [str(repository), os.environ.get("PYTHONPATH", "")]
        self._log = open(folder / "worker.log", "ab", buffering=0)  # noqa: SIM115 (closed by `stop`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.worker", str(folder), *skip],
            stdout=subprocess.PIPE,
            stderr=self._log,
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        )
        self._lines = LineQueue()
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while chunk := os.read(stream.fileno(), CHUNK):
                self._lines.feed(chunk)
        self._lines.close()

    def events(self) -> Iterator[Record | None]:
        """See `Worker`."""
        yield from events_of(self._output(), self._log)
        # It may close its output and go on.
        while self._process.poll() is None:
            try:
                self._process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                yield None

    def _output(self) -> Iterator[bytes | None]:
        for line in self._lines:
            yield line
            if line is None and self._process.poll() is not None:
                return  # a process that it started holds its output open

    def wait(self) -> Ending:
        """See `Worker`."""
        return Ending(self._process.wait())

    def stop(self) -> None:
        """See `Worker`."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._lines.drop()
        self._log.close()
