"""``tdbench convert``: a copy of a checkpoint in which every pickle is replaced by safetensors.

A pickle is a program of a stranger. It is opened in a container alone (`harness.worker.convert`), which sees the
pickles and an empty folder. What it leaves there is not trusted: only plain files of the names and sizes that were
expected are taken, and only the safetensors library and a JSON parser read them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base import AdapterError
from adapters.cards import all_cards, get_card
from adapters.nested import left_out_of
from adapters.weights import ABOUT, CONVERTED, read_safetensors, read_weights, safetensors_metadata
from harness.checkpoints import resolve
from harness.convert_output import check_files, shown
from harness.errors import UserError, unknown
from harness.images import find_image
from harness.runtimes.base import Ending, events_of
from harness.runtimes.contain import PYTHON, Box, Container, Limits
from harness.runtimes.docker import packages, python_path
from harness.runtimes.engine import connect
from harness.store import Record
from harness.weights import MANIFEST

#: The image whose torch and safetensors are used.
IMAGE = "native"
#: Endings under which weights are pickled; a file that starts as a pickle is one under any name.
SUFFIXES = (".pt", ".pth", ".ckpt", ".torch", ".pkl", ".pickle")
#: First bytes of a pickle of protocols 2 to 5, and of a zip archive, as ``torch.save`` writes it.
PICKLES, ARCHIVE = tuple(bytes([0x80, protocol]) for protocol in range(2, 6)), b"PK\x03\x04"
#: What the container may use besides the largest file, which it holds in memory at most twice, bytes.
MEMORY = 2 << 30
#: Bytes that may come of one byte of a pickle (views of one memory become tensors of their own), and of none.
GROWTH, LEAST = 4, 64 << 20
#: Bytes of the container's complaints that are kept.
LONGEST_LOG = 16 << 20
#: What the container says, with what each event holds.
EVENTS: Mapping[str, Mapping[str, Any]] = {"file": {"file": int}, "refused": {"file": int, "message": str}}
#: How often the output is looked at while it is written, seconds.
LOOK_SECONDS = 1.0
#: Objects left out of a file that are named on screen.
MOST_SHOWN = 10


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        source: as the user means it, a folder or a file.
        root: folder of the checkpoint.
        pickles: files to convert, relative to it.
        others: files to copy, relative to it.
    """

    source: Path
    root: Path
    pickles: tuple[Path, ...]
    others: tuple[Path, ...]

    @property
    def files(self) -> list[Path]:
        """The pickles, where they really are."""
        return [Path(os.path.abspath(self.root / file)) for file in self.pickles]

    @property
    def most_bytes(self) -> int:
        """What the conversion may write."""
        return sum(GROWTH * file.stat().st_size + LEAST for file in self.files)

    def limits(self, memory: float | None) -> Limits:
        """What the container may use, given its memory in GiB where the user says."""
        usual = 2 * max(file.stat().st_size for file in self.files) + MEMORY
        return Limits(memory=int(memory * 2**30) if memory else usual, cpus=1.0, pids=64, tmp=64 << 20)


@dataclass(frozen=True)
class Converted:
    """What became of a pickle.

    Attributes:
        name: the pickle's, relative to the checkpoint.
        file: where the safetensors are; None where nothing of it was plain.
        tensors: how many there are.
        left_out: (place, class) of objects that are not in it, the first of `count`.
        count: of such objects.
    """

    name: Path
    file: Path | None
    tensors: int
    left_out: tuple[tuple[str, str], ...]
    count: int


def convert_command(
    source: str, to: Path, minutes: float = 30, memory: float | None = None, image: str | None = None
) -> int:
    """Convert a checkpoint, and say what was done.

    Args:
        source: MODEL:CHECKPOINT, a folder, or a file.
        to: folder to make; it may be there and empty.
        minutes: time limit.
        memory: limit, GiB; by default twice the largest file and 2 GiB.
        image: id of the image to use; by default the native one.

    Returns:
        0.

    Raises:
        UserError: in one line, why it cannot be done; nothing is left of it then.
    """
    plan = make_plan(find_source(source))
    _check_amounts(minutes, memory)
    to = Path(os.path.abspath(to.expanduser()))
    try:
        _check_target(to, plan)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as work:
            done = _convert(plan, Path(work), plan.limits(memory), minutes * 60, image)
            _place(plan, done, Path(work) / "checkpoint", to)
    except OSError as error:
        raise UserError(f"cannot write {to}: {error.strerror or error}. Choose another folder with --to.") from None
    for converted in done:
        _print(converted)
    print(f"written: {to}")
    return 0


def find_source(source: str) -> Path:
    """The folder or file that a user means.

    Raises:
        UserError: where it is not there.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    model, colon, name = source.partition(":")
    if not colon or "/" in model:
        raise UserError(f"'{source}' is not there: give a folder, a file, or MODEL:CHECKPOINT of {_models()}.")
    card = get_card(model)
    if name not in card.checkpoints:
        raise unknown(f"checkpoint of {model}", name, card.checkpoints)
    found = resolve(card, name, None)
    found.check_here()
    if found.path is None:
        raise UserError(f"{source} has no weights.")
    return found.path


def _models() -> str:
    return ", ".join(name for name, card in all_cards().items() if card.role == "model")


def make_plan(source: Path) -> Plan:
    """Sort the files of a folder, or take the one file.

    Raises:
        UserError: where there is nothing to convert, or a converted file lies there already.
    """
    if source.is_file():
        root, files = source.parent, [Path(source.name)]
    else:
        root, files = source, sorted(p.relative_to(source) for p in source.rglob("*") if p.is_file())
    files = [file for file in files if file != Path(MANIFEST)]
    pickles = tuple(file for file in files if is_pickle(root / file))
    if not pickles:
        raise UserError(f"{source} holds no pickle, so there is nothing to convert: use it as it is.")
    both = next((file for file in pickles if (root / _converted_name(file)).exists()), None)
    if both:
        raise UserError(f"{root} holds both {both} and {_converted_name(both).name}: remove one of them.")
    return Plan(source, root, pickles, tuple(file for file in files if file not in pickles))


def is_pickle(file: Path) -> bool:
    """Whether a file is a pickle or an archive of ``torch.save``: by its first bytes, or by its name, where it is
    damaged or older."""
    with open(file, "rb") as stream:
        head = stream.read(len(ARCHIVE))
    if head.startswith(PICKLES) or file.suffix in SUFFIXES:
        return True
    if head != ARCHIVE:
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return True


def _converted_name(file: Path) -> Path:
    return file.with_name(file.name + CONVERTED)


def _check_amounts(minutes: float, memory: float | None) -> None:
    for name, value in (("--minutes", minutes), ("--memory", memory)):
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"{name} must be a number above 0, got '{value:g}'.")


def _check_target(to: Path, plan: Plan) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is there and not empty: give --to a new folder.")
    to.parent.mkdir(parents=True, exist_ok=True)
    need = sum((plan.root / file).stat().st_size for file in (*plan.pickles, *plan.others))
    free = shutil.disk_usage(to.parent).free
    if need > free:
        raise UserError(f"{to} needs about {need / 1e9:.1f} GB, where {free / 1e9:.1f} GB are free.")


def _convert(plan: Plan, work: Path, limits: Limits, seconds: float, image: str | None) -> list[Converted]:
    """Run the container; what it made, checked."""
    client = connect()
    image = image or _image(client)
    out, log, code = work / "out", work / "log", packages("adapters")
    out.mkdir()
    box = Box(
        image=image,
        read=(*code, *plan.files),
        write=(out,),
        limits=limits,
        environment={"PYTHONPATH": python_path(code), "OMP_NUM_THREADS": "1"},
        kind="convert",
    )
    container = Container(client, box, command(out, plan.files), log)
    try:
        _watch(container, plan, out, log, seconds)
        check_files(out, len(plan.pickles), plan.most_bytes)
    finally:
        container.stop()
    return [_read(name, out / f"{index}{CONVERTED}") for index, name in enumerate(plan.pickles)]


def _image(client: Any) -> str:
    """Id of the image to use."""
    found = find_image(client, IMAGE, "cpu")
    if found is None:
        raise UserError(f"the image {IMAGE} is not built, and convert runs in it alone: tdbench images {IMAGE}.")
    return found.id


def command(out: Path, files: Sequence[Path]) -> list[str]:
    """What runs in the container."""
    return [PYTHON, "-m", "harness.worker.convert", str(out), *map(str, files)]


def _watch(container: Container, plan: Plan, out: Path, log: Path, seconds: float) -> None:
    """Wait until a container has ended well; `UserError` where it did not, or does what it should not."""
    began = looked = time.monotonic()
    refusal = None
    for line in container.lines():
        now = time.monotonic()
        if now - began > seconds:
            raise UserError(f"{plan.source} was not converted within {seconds / 60:g} minutes: give --minutes more.")
        if now - looked > LOOK_SECONDS:
            looked = now
            check_files(out, len(plan.pickles), plan.most_bytes, whole=False)
            if log.stat().st_size > LONGEST_LOG:
                raise UserError(f"converting {plan.source} was stopped: its container writes without end into its log.")
        # One line after the other, because `events_of` is silent while there is nothing but noise.
        for event in events_of([line], container.log, EVENTS):
            refusal = _heard(event, plan) or refusal
    ending = container.wait()
    if refusal or ending.status or ending.problem:
        raise UserError(refusal or _failure(plan, ending, log))


def _heard(event: Record | None, plan: Plan) -> str | None:
    """Show what a container says that it does; its reason where it refuses a file."""
    index = event.get("file") if event else None
    if event is None or type(index) is not int or not 0 <= index < len(plan.pickles):
        return None
    file = shown(str(plan.pickles[index]))
    if event["event"] == "refused":
        return f"{file} is not converted: {shown(str(event.get('message')))}."
    print(f"converting {file}", file=sys.stderr, flush=True)
    return None


def _failure(plan: Plan, ending: Ending, log: Path) -> str:
    if ending.out_of_memory:
        return f"converting {plan.source} needs more memory than its container may have: give --memory, in GiB."
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or ["it said nothing"]
    reason = ending.problem or f"exit status {ending.status}: {shown(lines[-1])}"
    return f"converting {plan.source} failed in its container ({reason})."


def _read(name: Path, file: Path) -> Converted:
    """Look at what a container made of a pickle, with the reader that the engines use."""
    try:
        value, tensors, metadata = read_weights(file), read_safetensors(file), safetensors_metadata(file)
        count, first = left_out_of(metadata.get(ABOUT, ""))
    except (AdapterError, ValueError) as error:
        reason = shown(str(error).replace(str(file), "what it gave"))
        raise UserError(f"{name} is not converted, its container failed or is hostile: {reason}") from None
    return Converted(name, None if value is None and count else file, len(tensors), tuple(first), count)


def _place(plan: Plan, done: Sequence[Converted], content: Path, to: Path) -> None:
    """Put converted and other files together, and give them their place."""
    if not any(converted.tensors for converted in done):
        found = ", ".join(shown(kind) for converted in done for _, kind in converted.left_out[:3]) or "plain values"
        raise UserError(f"{plan.source} holds no tensors, but {found}: refused.")
    for converted in done:
        if converted.file:
            target = content / _converted_name(converted.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(converted.file, target)
            target.chmod(0o644)
    for name in plan.others:
        (content / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(plan.root / name, content / name)
    os.replace(content, to)


def _print(converted: Converted) -> None:
    what = (
        f"{shown(_converted_name(converted.name).name)}: {converted.tensors} tensors" if converted.file else "left out"
    )
    print(f"{shown(str(converted.name))} -> {what}")
    for place, kind in converted.left_out[:MOST_SHOWN]:
        print(f"  left out: {shown(place) or 'all of it'} ({shown(kind)})")
    if converted.count > MOST_SHOWN:
        print(f"  left out: {converted.count - MOST_SHOWN} more objects")
