"""``make perf`` (``python -m harness.perf [key=value ...]``): two tables, what our own code costs and both engines side
by side, and what the second one says."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from adapters.cards import get_card
from harness.config import build, describe
from harness.errors import UserError
from harness.perf import own, table
from harness.perf.cases import PerfCase
from harness.perf.config import PerfConfig
from harness.perf.engines import THREADS, Row, machine_speed, measure
from harness.upstream import find_checkout


def main(words: Sequence[str]) -> int:
    """Measure and print. Returns 0, or 2 after a user's mistake."""
    if {"-h", "--help"} & set(words):
        print(f"{__doc__}\n\n{describe(PerfConfig)}")
        return 0
    try:
        config = build(PerfConfig, list(words))
        if "own" in config.parts:
            for line in own.rows(config.steps, config.rounds, config.samples):
                print(*line, sep="\t", flush=True)
        if "engines" in config.parts:
            _engines(config)
    except UserError as error:
        print(f"perf: {error}", file=sys.stderr)
        return 2
    return 0


def _engines(config: PerfConfig) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    speed = machine_speed()
    found: list[Row] = []
    missing: dict[str, str] = {}
    print(*table.HEADING, sep="\t")
    for case in config.chosen:
        with tempfile.TemporaryDirectory(prefix="tdbench-perf-") as folder:
            checkout = _checkout(case, config, missing)
            for row in measure(case, checkout, config.rounds, speed, Path(folder)):
                found.append(row)
                print(*table.cells(row), sep="\t", flush=True)
    for sentence in [*table.sentences(found, speed), *missing.values()]:
        print(sentence)
    torch.set_num_threads(threads)


def _checkout(case: PerfCase, config: PerfConfig, missing: dict[str, str]) -> Path | None:
    """The authors' code; where there is none, why not goes into `missing`. A path that was given must be right."""
    try:
        return find_checkout(get_card(case.model), config).path
    except UserError as error:
        if config.upstream_path is not None or config.upstream_folder is not None:
            raise
        missing[case.model] = f"Upstream columns of {case.model} are empty: {error}"
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
