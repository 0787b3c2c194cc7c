"""Progress of a training: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import NoReturn, TextIO

from tqdm import tqdm


class TrainProgress:
    """Shows loss, speed and the time left.

    Args:
        stream: where to show it.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._bar: tqdm[NoReturn] | None = None

    def start(self, title: str, steps: int, done: int) -> None:
        """Begin; `done` of `steps` steps lie behind."""
        if self._stream.isatty():
            layout = "{desc} {percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
            self._bar = tqdm(
                total=steps, initial=done, desc=title, file=self._stream, bar_format=layout, dynamic_ncols=True
            )
        else:
            resumed = f", resumed at step {done}" if done else ""
            print(f"{title}: {steps} steps{resumed}", file=self._stream, flush=True)

    def step(self) -> None:
        """One more step is done."""
        if self._bar is not None:
            self._bar.update(1)

    def point(self, step: int, steps: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """A new point of the loss curve."""
        text = f"loss {loss:.4f}, {tokens_per_second:,.0f} tokens/s"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        else:
            left = f"{int(seconds_left) // 60}:{int(seconds_left) % 60:02d} left"
            print(f"[{100 * step // steps:3d}%, {left}] step {step}: {text}", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
