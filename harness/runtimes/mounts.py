"""What a container sees of this machine's files: chosen paths, each under its own name, most of them read-only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError

#: Folders that hold far more than weights, or that would hide the programs in an image.
NEVER = (
    *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/mnt", "/opt", "/opt/tdbench"),
    *("/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"),
)
#: Python's caches beside modules, which it can do without.
CACHES = "__pycache__"
#: In the cache of the Hugging Face Hub a model's files are links from snapshots/COMMIT to its blobs.
SNAPSHOTS, BLOBS = "snapshots", "blobs"


@dataclass(frozen=True, order=True)
class Bind:
    """One file or folder.

    Attributes:
        target: its absolute path inside.
        source: the real path outside.
        read_only: whether it can only be read.
    """

    target: str
    source: str
    read_only: bool


def binds(read: Iterable[Path], write: Iterable[Path]) -> list[Bind]:
    """The mounts for paths that a command names, parents before children. A path that is a link shows what it leads to;
    links inside of folders are not followed, since anybody may have made them.

    Raises:
        UserError: for a path that does not exist, that shows or hides too much (a home folder, /usr), or that is both
            read and written.
    """
    found: dict[str, Bind] = {}
    for path in _named(read):
        bind = Bind(path, os.path.realpath(path), read_only=True)
        if not _shown(bind, found.values()):
            found[path] = bind
    for path in _named(write):
        bind = Bind(path, os.path.realpath(path), read_only=False)
        if any(bind.source == other.source for other in found.values()):
            raise UserError(
                f"{path} is both read and written by a container: choose another folder for what is written."
            )
        found[path] = bind
    return sorted(found.values())


def _named(paths: Iterable[Path]) -> list[str]:
    """Absolute paths, each once, parents before children."""
    named = sorted({os.path.abspath(path) for path in paths})
    for path in named:
        _check(path)
    return named


def _check(path: str) -> None:
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist, and a container needs it.")
    real = os.path.realpath(path)
    home = os.path.realpath(os.path.expanduser("~"))
    if real in NEVER or path in NEVER or (home + os.sep).startswith(real + os.sep):
        raise UserError(f"a container would see all of {path}: put what it needs into a folder of its own.")


def _shown(bind: Bind, folders: Iterable[Bind]) -> bool:
    """Whether one of the folders shows a path already."""
    return any(
        bind.target.startswith(folder.target + os.sep)
        and bind.source == folder.source + bind.target[len(folder.target) :]
        for folder in folders
    )


def real_place(path: Path) -> Path:
    """A path without links on the way to it; the last name of a file is kept, since loaders go by it."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def link_targets(checkpoint: Path) -> tuple[Path, ...]:
    """Files that the links of a checkpoint lead to, outside of its folder: the blobs of a Hub cache.

    Args:
        checkpoint: a file or folder, as `real_place` gives it.

    Raises:
        UserError: for a link to any other place. Whoever made it would choose what a container sees.
    """
    targets = []
    for link in _links(checkpoint):
        target = link.resolve()
        folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
        if target.is_relative_to(folder) or not target.exists():
            continue
        if target.parent not in [parent.parent / BLOBS for parent in link.parents if parent.name == SNAPSHOTS]:
            raise UserError(
                f"{link} is a link to {target}, and a container is shown nothing outside of {folder}: give the folder "
                f"that holds the files themselves, or a copy (cp -rL {folder} COPY)."
            )
        targets.append(target)
    return tuple(targets)


def _links(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        yield path
    for folder, folders, files in os.walk(path):
        yield from (place for name in [*folders, *files] if (place := Path(folder, name)).is_symlink())


def unreadable(paths: Sequence[str]) -> str | None:
    """The first file or folder at or below the paths that not everybody may read, None where all may. Access lists are
    not asked."""
    for file in (file for path in paths for file in _tree(path)):
        mode = os.stat(file).st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if mode & wanted != wanted:
            return file
    return None


def _tree(path: str) -> Iterator[str]:
    """A path and what is below it; without Python's caches and what is hidden (.git), links not followed."""
    yield path
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name != CACHES and not name.startswith(".")]
        places = (os.path.join(folder, name) for name in [*folders, *files])
        yield from (place for place in places if not os.path.islink(place))
