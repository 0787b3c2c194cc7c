"""Progress of long work: a bar with the current point and the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import NoReturn, TextIO

from tqdm import tqdm

from harness.store import Record


class Progress:
    """Progress over work units.

    Args:
        stream: where to show it.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._bar: tqdm[NoReturn] | None = None
        self._terminal = stream.isatty()
        self._total = self._done = 0
        self._began = time.monotonic()

    def start(self, total: int) -> None:
        """Begin; `total` work units lie ahead."""
        self._total, self._done, self._began = total, 0, time.monotonic()
        if self._terminal and total:
            layout = "{percentage:3.0f}% |{bar:24}| {elapsed} gone, {remaining} left  {desc}"
            self._bar = tqdm(total=total, file=self._stream, bar_format=layout, dynamic_ncols=True)

    def point(self, point: Record) -> None:
        """A point begins."""
        if self._bar is not None:
            self._bar.set_description_str(describe(point))

    def advance(self, units: int) -> None:
        """Some units are done."""
        self._done += units
        if self._bar is not None:
            self._bar.update(units)

    def row(self, point: Record, row: Record) -> None:
        """A point has its row."""
        text = f"{describe(point):<44} {row['status']}" + (f": {row['message']}" if row["message"] else "")
        if self._bar is not None:
            if row["status"] != "done":
                self._bar.write(text, file=self._stream)
        else:
            print(f"[{self._percent():3d}%{self._time_left()}] {text}", file=self._stream, flush=True)

    def _percent(self) -> int:
        return min(100, 100 * self._done // self._total) if self._total else 100

    def _time_left(self) -> str:
        if not 0 < self._done < self._total:
            return ""
        seconds = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        return f", {int(seconds) // 60}:{int(seconds) % 60:02d} left"

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


def describe(point: Record) -> str:
    """A point in a few words."""
    model = point["model"] if point["engine"] == "native" else f"{point['model']} ({point['engine']})"
    if point["kind"] == "likelihood":
        return f"{model} likelihood {point['estimator']}"
    choice = f"{point['selection']} of {point['candidates']}" if point.get("selection") else f"seed={point['seed']}"
    scheduler = [point["scheduler"]] if point["scheduler"] else []  # nobody may know what sampled imported texts
    return " ".join([model, *scheduler, f"steps={point['steps']}", point["task"], choice])
