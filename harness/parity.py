"""``tdbench parity``: the authors' code and ours on one checkpoint, compared figure by figure and timed.

Each phase (see `harness.worker.parity`) is a process of its own, so that no engine sees what the other left in memory.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cards import Card, get_card
from harness.checkpoints import ResolvedCheckpoint, resolve
from harness.config import DEVICES, DTYPES, as_list, build, option, positive
from harness.devices import resolve_device
from harness.errors import UserError, unknown
from harness.points import WARMUP_STEPS
from harness.store import Record
from harness.upstream import Checkout, find_checkout
from harness.worker.jsonl import write_json, write_text

if TYPE_CHECKING:
    from adapters.parity import Case, Difference, Recording

EXIT_APART = 1
#: Sampler steps of the timed run where neither the user nor the sampler says.
TIMED_STEPS = 32
KINDS = ("network", "step", "loss", "sample")
ENGINES = ("upstream", "native")
HEADER = ("case", "compared", "difference", "tolerance", "verdict")
TIME_HEADER = ("timed", "upstream", "native", "ratio", "verdict")


@dataclass
class ParityConfig:
    """What `tdbench parity` compares."""

    checkpoint: str = option("tiny", "checkpoint name, or a folder in the published layout")
    tokenizer: Any = option(None, "tokenizer of a checkpoint folder that does not say: text8, folder, or a Hub name")
    upstream_path: Any = option(None, "checkout of the authors' repository", key="upstream.path")
    upstream_folder: Any = option(
        None, "folder of such checkouts; empty: where tdbench fetch --upstream puts them", key="upstream.folder"
    )
    kinds: Any = option(list(KINDS), f"what is compared (list): {', '.join(KINDS)}")
    device: str = option("cpu", f"one of {DEVICES}; tokens must be the same on the CPU in float32 only")
    dtype: str = option("float32", f"network arithmetic: {', '.join(DTYPES)}")
    threads: int = option(1, "CPU threads of each engine")
    rounds: int = option(3, "timed runs of each engine, in turn, each in a process of its own; 0: no timing")
    steps: Any = option(None, "sampler steps of the timed run; empty: 32, or what the authors' sampler always makes")
    batch_size: int = option(4, "sequences of the timed runs")
    length: Any = option(None, "tokens per sequence of the timed runs; empty: what the checkpoint was made for")
    draws: int = option(16, "Monte-Carlo draws a text of the timed likelihood")
    seed: int = option(0, "seed of the timed runs")

    def __post_init__(self) -> None:
        self.kinds = as_list(self.kinds)
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("kind", str(kind), KINDS)
        for name in ("threads", "batch_size", "draws"):
            positive(name, getattr(self, name))
        for name in ("steps", "length"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        for name in ("rounds", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must be 0 or more, got '{getattr(self, name)}'.")
        if self.dtype not in DTYPES:
            raise unknown("dtype", str(self.dtype), DTYPES)


def parity(model: str, words: list[str], record: Path | None) -> int:
    """Compare both engines of a model, and print the tables.

    Args:
        model: its name.
        words: ``key=value`` settings of `ParityConfig`.
        record: folder to write the authors' figures to, as `write_golden` does; None writes nothing.

    Returns:
        0 where everything agrees, 1 where a difference is beyond its tolerance.

    Raises:
        UserError: for a model without an upstream engine, a missing checkout or package, a dead worker process.
    """
    config = build(ParityConfig, words)
    card = get_card(model)
    if "upstream" not in card.engines:
        raise UserError(f"{model} has no upstream engine, so there is nothing to compare with.")
    checkpoint = resolve(card, config.checkpoint, config.tokenizer)
    checkpoint.check_here()
    checkout = find_checkout(card, config)
    with tempfile.TemporaryDirectory(prefix="tdbench-parity-") as work:
        return _Comparison(config, card, checkpoint, checkout, Path(work)).run(record)


class _Comparison:
    """One invocation.

    Args:
        config: settings.
        card: the model.
        checkpoint: weights both engines load.
        checkout: the authors' code.
        work: an empty folder; every phase gets a folder in it.
    """

    def __init__(
        self, config: ParityConfig, card: Card, checkpoint: ResolvedCheckpoint, checkout: Checkout, work: Path
    ) -> None:
        self.config = config
        self.card = card
        self.checkpoint = checkpoint
        self.checkout = checkout
        self.work = work
        self.device = resolve_device(config.device)
        self.timed = self._timed()

    def run(self, record: Path | None) -> int:
        config = self.config
        print(f"{self.card.name}, checkpoint {config.checkpoint}, {self.device} {config.dtype}: authors' code at")
        print(f"  {self.checkout.path} ({self.checkout.commit or 'commit unknown'}) against ours")
        for note in self.checkout.notes:
            print(f"  note: {note}")
        self._phase("cases", "native")
        differences = self._differences(record) if config.kinds else []
        times = self._times() if config.rounds else []
        print()
        _print_table([HEADER, *(_row(difference) for difference in differences)])
        print()
        for line in _summary(differences):
            print(line)
        if times:
            print()
            _print_table([TIME_HEADER, *times])
        failed = any(not difference.passed for difference in differences) or any(row[-1] == "FAILED" for row in times)
        return EXIT_APART if failed else 0

    def _differences(self, record: Path | None) -> list[Difference]:
        from adapters.parity import compare  # torch: only this command needs it
        from harness.worker.parity import read_cases, read_tensors

        cases = read_cases(self.work / "cases")
        recorded = read_tensors(self._phase("record", "upstream"))
        replayed = read_tensors(self._phase("replay", "native"))
        differences = [
            difference
            for case in cases
            for difference in compare(case, recorded[case.name], replayed[case.name], self._draws_agree)
        ]
        if record is not None:
            file = write_golden(record, self._golden_name(), cases, recorded, self._facts(differences))
            print(f"recorded: {file}")
        return differences

    @property
    def _draws_agree(self) -> bool:
        """Whether one seed must give the same tokens: the same generator, and digits enough."""
        return self.device == "cpu" and self.config.dtype == "float32"

    def _golden_name(self) -> str:
        return f"{self.card.name}-{Path(self.config.checkpoint).name}"

    def _facts(self, differences: list[Difference]) -> Record:
        """Where a recording is from, and how far our engine was from it then."""
        largest = {kind: max((d.largest for d in differences if d.kind == kind), default=None) for kind in KINDS}
        return {
            "model": self.card.name,
            "upstream": {
                "repo": self.card.upstream.repo,
                "commit": self.checkout.commit,
                "files": self.checkout.digest,
            },
            "versions": {name: metadata.version(name) for name in ("torch", "numpy")},
            "largest_difference_when_recorded": largest,
        }

    def _times(self) -> list[tuple[str, ...]]:
        found: dict[str, list[Record]] = {engine: [] for engine in ENGINES}
        for index in range(self.config.rounds):
            # The order changes with every round, so that a machine that slows down slows both.
            for engine in ENGINES if index % 2 == 0 else reversed(ENGINES):
                done = self._phase("time", engine, f"time-{engine}-{index}")
                found[engine].append(json.loads((done / "time.json").read_text(encoding="utf-8")))
        return [row for what in found["native"][0] for row in self._time_rows(what, found)]

    def _time_rows(self, what: str, found: dict[str, list[Record]]) -> list[tuple[str, ...]]:
        theirs, ours = ([line[what] for line in found[engine]] for engine in ENGINES)
        seconds = [statistics.median(line["seconds"] for line in lines) for lines in (theirs, ours)]
        timed = self.timed
        how = f"{timed['scheduler']}, {timed['steps']} steps" if what == "sampling" else timed["estimator"]
        rows: list[tuple[str, ...]] = [
            (f"{what} ({how}), s", f"{seconds[0]:.4g}", f"{seconds[1]:.4g}", f"{seconds[0] / seconds[1]:.2f}", ""),
        ]
        memory = [[line["peak_memory_bytes"] for line in lines] for lines in (theirs, ours)]
        if all(value is not None for values in memory for value in values):
            a, b = (statistics.median(values) / 2**20 for values in memory)
            rows.append((f"{what}, peak memory, MiB", f"{a:.0f}", f"{b:.0f}", f"{a / b:.2f}", ""))
        rows.append(
            (f"{what}, evaluations", str(theirs[0]["nfe"]), str(ours[0]["nfe"]), "", self._verdict(theirs, ours, "nfe"))
        )
        if theirs[0]["result"]:
            digests = (theirs[0]["result"][:8], ours[0]["result"][:8])
            rows.append((f"{what}, digest of tokens", *digests, "", self._verdict(theirs, ours, "result")))
        return rows

    def _verdict(self, theirs: list[Record], ours: list[Record], key: str) -> str:
        if {line[key] for line in theirs} == {line[key] for line in ours}:
            return "ok"
        return "FAILED" if self._draws_agree else "reported"

    def _timed(self) -> Record:
        """The timed runs: the first scheduler and estimator of the authors' code, as they run it."""
        config = self.config
        offer = self.card.offer("upstream")
        scheduler = next(iter(offer.schedulers.values()))
        free = scheduler.steps == "any"
        usual = TIMED_STEPS if free else self.checkpoint.usual_steps or TIMED_STEPS
        # A folder of the user's may hold a model of another fixed count, which the user names.
        steps = config.steps if config.steps and (free or self.checkpoint.max_steps is None) else usual
        return {
            "task": offer.tasks[0],
            "scheduler": scheduler.name,
            "options": scheduler.options,
            "steps": steps,
            "count": config.batch_size,
            "length": config.length,
            "seed": config.seed,
            "warmup_steps": min(WARMUP_STEPS, steps) if free else steps,
            "warmup_count": config.batch_size if free else 1,
            "estimator": next(iter(offer.estimators), None),
            "draws": config.draws,
        }

    def _phase(self, phase: str, engine: str, name: str | None = None) -> Path:
        """Run one phase in a process; its folder.

        Raises:
            UserError: when the engine refuses, or the process dies.
        """
        place = self.work / (name or phase)
        place.mkdir()
        print(f"{self.card.name}: {place.name} ({engine}) ...", file=sys.stderr, flush=True)
        job = {
            "phase": phase,
            "engine_module": self.card.offer(engine).module,
            "parity_module": f"{self.card.module}.parity",
            "load": {
                "checkpoint": str(self.checkpoint.path) if self.checkpoint.path else None,
                "device": self.device,
                "dtype": self.config.dtype,
                "tokenizer": self.checkpoint.tokenizer,
                "options": dict(self.checkpoint.options),
                "upstream": str(self.checkout.path) if engine == "upstream" else None,
            },
            "threads": self.config.threads,
            "kinds": self.config.kinds,
            "cases": str(self.work / "cases"),
            "recorded": str(self.work / "record"),
            "timed": self.timed,
        }
        write_json(place / "job.json", job)
        done = run_worker(place)
        if done.returncode:
            raise UserError(self._problem(phase, engine, place, done))
        return place

    def _problem(self, phase: str, engine: str, place: Path, done: subprocess.CompletedProcess[str]) -> str:
        error = place / "error.json"
        if error.is_file():
            return str(json.loads(error.read_text(encoding="utf-8"))["message"])
        how = f"exit status {done.returncode}" if done.returncode > 0 else f"killed by signal {-done.returncode}"
        said = [line for line in done.stdout.splitlines() if line.strip()]
        last = f": {said[-1].strip()}" if said else ""
        return f"the {engine} worker of {self.card.name} died in phase '{phase}' ({how}){last}"


def run_worker(place: Path) -> subprocess.CompletedProcess[str]:
    """Run the phase in a folder in a process of its own; its output is kept for messages."""
    return subprocess.run(
        [sys.executable, "-m", "harness.worker.parity", str(place)],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _row(difference: Difference) -> tuple[str, ...]:
    tolerance = "-" if difference.tolerance is None else "equal" if difference.exact else f"{difference.tolerance:.1g}"
    largest = f"{difference.largest:.0f} differ" if difference.exact else f"{difference.largest:.1e}"
    verdict = "reported" if difference.tolerance is None else "ok" if difference.passed else "FAILED"
    return difference.case, difference.what, largest, tolerance, verdict


def _summary(differences: list[Difference]) -> Iterable[str]:
    """One line a kind: how many figures, how many failed, the largest difference."""
    for kind in KINDS:
        own = [d for d in differences if d.kind == kind]
        if not own:
            continue
        floats = [d.largest for d in own if not d.exact]
        apart = f"largest difference {max(floats):.1e} of the output's scale" if floats else ""
        unequal = sum(d.largest > 0 for d in own if d.exact)
        exact = f"{unequal} of {sum(d.exact for d in own)} exact outputs differ" if any(d.exact for d in own) else ""
        failed = sum(not d.passed for d in own)
        yield f"{kind}: {len(own)} outputs, {failed} failed; {', '.join(part for part in (apart, exact) if part)}"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def write_golden(place: Path, name: str, cases: Sequence[Case], recorded: dict[str, Recording], facts: Record) -> Path:
    """Write the authors' figures: ``name.json`` (where they are from, cases, shapes) and ``name.npz`` (numbers).

    The npz file holds one flat array for each dtype, with all tensors of it in the order of the json file: hundreds of
    small arrays would take more room for their headers than for themselves.

    Returns:
        the json file.
    """
    import numpy as np

    flat: dict[str, list[Any]] = {}
    entries = []
    for case in cases:
        tensors = {key: tensor.numpy() for key, tensor in recorded[case.name].items()}
        for array in tensors.values():
            flat.setdefault(array.dtype.name, []).append(array.ravel())
        shapes = {key: [array.dtype.name, *array.shape] for key, array in tensors.items()}
        entries.append({**asdict(case), "tensors": shapes})
    place.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {dtype: np.concatenate(parts) for dtype, parts in flat.items()}
    np.savez_compressed(place / f"{name}.npz", **arrays)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items()]
    each = ",\n".join(json.dumps(entry) for entry in entries)
    file = place / f"{name}.json"
    write_text(file, "{\n" + ",\n".join(lines) + ',\n"cases": [\n' + each + "\n]}\n")
    return file


def read_golden(file: Path) -> list[tuple[Case, Recording]]:
    """The cases of ``NAME.json`` with the authors' figures of ``NAME.npz`` beside it, as `write_golden` wrote them."""
    import numpy as np
    import torch

    from adapters.parity import Case

    found = []
    with np.load(file.with_suffix(".npz")) as stored:
        rest = {dtype: torch.from_numpy(stored[dtype]) for dtype in stored.files}
    for entry in json.loads(file.read_text(encoding="utf-8"))["cases"]:
        recording = {}
        for key, (dtype, *shape) in entry.pop("tensors").items():
            count = math.prod(shape)
            recording[key] = rest[dtype][:count].reshape(shape)
            rest[dtype] = rest[dtype][count:]
        found.append((Case(**entry), recording))
    return found
