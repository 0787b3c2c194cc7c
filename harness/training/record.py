"""What a finished training leaves beside the weights: training.json, loss.csv and loss.svg."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.worker.jsonl import write_text

NOTE = "training.json"


@dataclass(frozen=True)
class CurvePoint:
    """One point of the loss curve.

    Attributes:
        step: optimiser steps done.
        tokens: tokens trained on so far.
        seconds: seconds of training so far, over all sessions.
        loss: mean training loss since the point before, in the model's unit.
        learning_rate: at this step.
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    learning_rate: float


def write_curve(folder: Path, curve: list[CurvePoint], heldout: float, title: str, unit: str) -> None:
    """Write loss.csv and loss.svg; `unit` is that of the loss."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(CurvePoint.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in curve)
    write_text(folder / "loss.csv", table.getvalue())
    write_text(folder / "loss.svg", _drawing(curve, heldout, title, unit))


def _drawing(curve: list[CurvePoint], heldout: float, title: str, unit: str) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.plot([point.tokens / 1e6 for point in curve], [point.loss for point in curve], label="training", linewidth=1)
    axes.axhline(heldout, color="tab:orange", linewidth=1, linestyle="--", label=f"held out, at the end: {heldout:.3f}")
    axes.set(xlabel="tokens (millions)", ylabel=f"loss ({unit})", title=title)
    axes.legend(frameon=False)
    text = io.StringIO()
    # A fixed salt and no date: the same curve gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "tdbench", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file of an exported checkpoint, by name."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
