"""Lines of a stream that a thread reads, for a reader who also looks at the clock."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, Queue

#: How often a silent worker is looked at, seconds.
POLL_SECONDS = 0.5
#: Bytes without a newline that are handed on as a line: a stream must not fill our memory.
LONGEST = 4 << 20
#: Lines kept for a slow reader; then the writer has to wait.
MOST_LINES = 10_000


class LineQueue:
    """Whole lines, without their newline. One thread feeds it, another one reads."""

    def __init__(self) -> None:
        self._queue: Queue[bytes | None] = Queue(MOST_LINES)
        self._rest = b""
        self._dropped = False

    def feed(self, chunk: bytes) -> None:
        """Add a piece of the stream; waits while the queue is full."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._put(line)

    def close(self) -> None:
        """The stream has ended."""
        if self._rest:
            self._put(self._rest)
        self._put(None)

    def drop(self) -> None:
        """Nobody reads any more: forget what there is and what comes, and let the feeding thread go on."""
        self._dropped = True
        while not self._queue.empty():
            self._queue.get_nowait()

    def _put(self, line: bytes | None) -> None:
        if not self._dropped:
            self._queue.put(line)

    def __iter__(self) -> Iterator[bytes | None]:
        """Lines until the stream ends; None each time nothing came for `POLL_SECONDS`."""
        while True:
            try:
                line = self._queue.get(timeout=POLL_SECONDS)
            except Empty:
                yield None
                continue
            if line is None:
                return
            yield line
