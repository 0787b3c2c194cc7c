"""`tdbench train`: from a configuration to a checkpoint in the model's published layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from adapters.base import Trainable
from adapters.cards import get_card
from harness import provenance
from harness.benchmarks import get_benchmark
from harness.config import folder
from harness.errors import BusyError, UserError
from harness.store import RunStore
from harness.training.config import FREE, TrainConfig, make_recipe
from harness.training.data import load_text
from harness.training.loop import Training
from harness.training.progress import TrainProgress
from harness.training.record import NOTE, CurvePoint, file_hashes, write_curve
from harness.worker.jsonl import write_json

__all__ = ["TrainConfig", "TrainReport", "train"]


@dataclass(frozen=True)
class TrainReport:
    """What came of a training.

    Attributes:
        out: folder with the checkpoint and training.json.
        steps: optimiser steps.
        tokens: tokens trained on.
        seconds: seconds of training, over all sessions.
        parameters: trained parameters.
        heldout_loss: loss of the averaged weights on held-out text or pairs.
        loss_unit: of both losses.
        curve: the training loss.
    """

    out: Path
    steps: int
    tokens: int
    seconds: float
    parameters: int
    heldout_loss: float
    loss_unit: str
    curve: list[CurvePoint]


def train(config: TrainConfig, progress: TrainProgress | None = None) -> TrainReport:
    """Train a model and write its published layout, or continue where a killed run of the same command stopped.

    On the CPU the weights follow from configuration, text, thread count and package versions alone, however often the
    run was killed.

    Args:
        config: what to train.
        progress: None shows progress on standard error.

    Raises:
        UserError: for a configuration that cannot be met, a folder that holds another training, or a training that
            diverged.
        BusyError: when another process trains into the same folder.
    """
    recipe = make_recipe(config, get_card(config.model), get_benchmark(config.benchmark).length)
    out = folder(config.out or f"results/train/{config.model}-{config.benchmark}")
    progress = progress or TrainProgress()
    state_folder = out / "state"
    report = _finished(out, config)
    if report is None:
        with _held(state_folder, out), _threads(config.threads):
            card = get_card(config.model)
            text = load_text(config, card, state_folder / "data")
            training = Training(config, recipe, card, text, state_folder)
            try:
                training.run(progress)
            finally:
                progress.close()
            report = _finish(training, out)
    shutil.rmtree(state_folder, ignore_errors=True)
    progress.say(
        f"{out}: {report.parameters:,} parameters, {report.tokens:,} tokens in {report.seconds:.0f} s, "
        f"held-out loss {report.heldout_loss:.4f} {report.loss_unit}"
    )
    return report


def _finish(training: Training, out: Path) -> TrainReport:
    """Write the checkpoint and its notes. training.json comes last: where it is, all is."""
    config, recipe, text = training.config, training.recipe, training.text
    numbers = {key: value for key, value in asdict(recipe).items() if key not in ("size", "length", "betas")}
    facts = {
        "benchmark": config.benchmark,
        "seed": config.seed,
        "steps": training.step,
        "tokens": training.tokens,
        **numbers,
    }
    report = TrainReport(
        out=out,
        steps=training.step,
        tokens=training.tokens,
        seconds=training.seconds,
        parameters=sum(p.numel() for p in training.parameters),
        heldout_loss=training.heldout_loss(),
        loss_unit=training.trainable.loss_unit,
        curve=training.curve,
    )
    hashes = _export(training, facts, out)
    write_curve(out, report.curve, report.heldout_loss, f"{config.model} on {config.benchmark}", report.loss_unit)
    note = {
        "command": config.command(),
        "config": asdict(config),
        "recipe": asdict(recipe),
        "tokenizer": text.tokenizer_name,
        "vocab_size": text.tokenizer.vocab_size,
        "length": recipe.length,
        **{key: value for key, value in asdict(report).items() if key != "out"},
        "data_digest": training.corpus.digest,
        "sha256": hashes,
        "threads": torch.get_num_threads(),
        "device": training.device,
        "environment": provenance.environment(),
    }
    write_json(out / NOTE, note)
    return report


def _export(training: Training, facts: dict[str, Any], out: Path) -> dict[str, str]:
    """Write the published layout aside, then move it into place; sha256 by file name."""
    aside = out / "state" / "export"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    training.text.save_tokenizer(aside)  # first: a layout may hold the vocabulary in a form of its own
    training.trainable.export(aside, training.ema.state_dict(), facts)
    hashes = file_hashes(aside)
    for name in hashes:
        os.replace(aside / name, out / name)
    return hashes


def _finished(out: Path, config: TrainConfig) -> TrainReport | None:
    """The report of a training that this folder already holds, None where it holds none.

    Raises:
        UserError: where it holds another one.
    """
    file = out / NOTE
    if not file.exists():
        return None
    note = json.loads(file.read_text(encoding="utf-8"))
    was = {key: value for key, value in note["config"].items() if key not in FREE}
    if was != config.binding():
        raise UserError(
            f"{out} holds another finished training ({note['command']}). Remove it, or choose another folder with out=."
        )
    return TrainReport(
        out=out,
        **{key: note[key] for key in ("steps", "tokens", "seconds", "parameters", "heldout_loss")},
        loss_unit=note.get("loss_unit", Trainable.loss_unit),  # the first notes had one unit and did not name it
        curve=[CurvePoint(**point) for point in note["curve"]],
    )


@contextmanager
def _held(state_folder: Path, out: Path) -> Iterator[None]:
    """Hold the folder for this process."""
    try:
        state_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {out}: {error.strerror}. Choose another folder with out=.") from None
    try:
        with RunStore(state_folder).locked():
            yield
    except BusyError:
        raise BusyError(
            f"another process is training into {out}. Wait for it, or choose another folder with out=."
        ) from None


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """CPU threads of torch: `count`, or one a physical core."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or psutil.cpu_count(logical=False) or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
