"""Where fetched checkpoints live, and what is known of the files there.

<cache>/weights/<model>/<checkpoint>/               plain files, whole and verified, with a manifest beside them
                       /.<checkpoint>.part/         what an unfinished fetch has so far
                       /.<checkpoint>.lock          held by the process that fetches it
"""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from adapters.cards import Card
from harness.download import cache_folder, sha256_of
from harness.errors import UserError
from harness.weights.space import writing
from harness.worker.jsonl import write_json

#: Beside the files of a fetched checkpoint: where each came from, its size and its sha256.
MANIFEST = ".tdbench.json"


@dataclass(frozen=True)
class FileFacts:
    """What a manifest says of one file.

    Attributes:
        size: bytes.
        sha256: 64 hex digits.
        source: where it came from.
        revision: commit, release or the like; None where its source has none.
        date: when it was fetched, UTC.
    """

    size: int
    sha256: str
    source: str
    revision: str | None
    date: str


@dataclass(frozen=True)
class Manifest:
    """What lies in the folder of a fetched checkpoint.

    Attributes:
        model: its model.
        checkpoint: its name.
        sources: what the card said when it was fetched.
        files: by path in the folder.
    """

    model: str
    checkpoint: str
    sources: tuple[str, ...]
    files: dict[str, FileFacts]

    def write(self, folder: Path) -> None:
        write_json(folder / MANIFEST, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder, None where there is none that can be read."""
        try:
            given = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            files = {name: FileFacts(**facts) for name, facts in given["files"].items()}
            return cls(given["model"], given["checkpoint"], tuple(given["sources"]), files)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # a damaged one vouches for nothing
            return None

    def is_whole(self, folder: Path) -> bool:
        """Whether every file is there with its size."""
        return all(_size(folder / name) == facts.size for name, facts in self.files.items())

    def damaged(self, folder: Path) -> list[str]:
        """Files that are missing or have another content, all of them read."""
        return [
            name
            for name, facts in self.files.items()
            if _size(folder / name) != facts.size or sha256_of(folder / name) != facts.sha256
        ]


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def place_of(card: Card, checkpoint: str) -> Path:
    """The folder of a published checkpoint, whether it is there or not."""
    return cache_folder() / "weights" / card.name / checkpoint


def working_folder(place: Path) -> Path:
    """Where a fetch keeps what it has so far."""
    return place.with_name(f".{place.name}.part")


def sizes_below(folder: Path) -> int:
    """Bytes of all files in a folder and below; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def manifest_here(place: Path, sources: Iterable[str]) -> Manifest | None:
    """The manifest of a place that is whole and came from these sources, else None."""
    manifest = Manifest.read(place)
    good = manifest is not None and manifest.sources == tuple(sources) and manifest.is_whole(place)
    return manifest if good else None


@contextmanager
def held(place: Path, what: str) -> Iterator[None]:
    """Hold a place for this process; waits while another fetches into it.

    Args:
        place: see `place_of`.
        what: MODEL:CHECKPOINT, for messages.

    Raises:
        UserError: where the cache cannot be written.
    """
    with writing(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = open(place.with_name(f".{place.name}.lock"), "w")  # noqa: SIM115 (closed below, with the lock)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting: another process is fetching {what}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(f"{place.parent} cannot be locked ({error.strerror}): keep downloads elsewhere.") from None
        yield


def names_text(names: Sequence[str], most: int = 4) -> str:
    """Some file names for a message; more are counted."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
