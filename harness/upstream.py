"""Checkouts of the authors' repositories: finding one, and saying what it is.

A checkout is looked for in `upstream.path`, else in `upstream.folder`, else in the cache, where
``tdbench fetch --upstream`` puts it. Nothing of it is run here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adapters.cards import Card, all_cards
from harness.download import cache_folder, sha256_of
from harness.errors import UserError, unknown

#: Hex digits of a commit in a message.
SHORT = 12
#: Names in a message; more are counted.
MOST_NAMES = 5
#: Seconds for a question to a local checkout.
_PATIENCE = 60.0
_EMPTY = hashlib.sha256().hexdigest()


class UpstreamSettings(Protocol):
    """What a configuration says of checkouts."""

    @property
    def upstream_path(self) -> Any:
        """A folder, {model: folder}, or None."""

    @property
    def upstream_folder(self) -> Any:
        """A folder of checkouts, or None."""


@dataclass(frozen=True)
class Checkout:
    """A checkout of a model's repository, ready for the upstream engine.

    Attributes:
        path: its folder.
        commit: of its HEAD; None where it is no git checkout.
        digest: sha256 over the files that the engine imports.
        notes: what a row must say of it: another commit, changed files, no git.
    """

    path: Path
    commit: str | None
    digest: str
    notes: tuple[str, ...] = ()


class GitError(Exception):
    """Git refused; the text is its own reason in one line."""


class NoGit(GitError):
    """Git is not installed."""


def find_checkout(card: Card, settings: UpstreamSettings) -> Checkout:
    """The checkout a configuration means for a model.

    Raises:
        UserError: when there is none, when it is another repository, or when files are missing in it.
    """
    return inspect(_place(card, settings), card)


def check_settings(models: Iterable[str], settings: UpstreamSettings) -> None:
    """Refuse settings that cannot be meant for these models.

    Args:
        models: names of the models whose upstream engine is wanted.
        settings: what the user gave.

    Raises:
        UserError: for one path with several models, or a mapping that names no model.
    """
    wanted = list(dict.fromkeys(models))
    path = settings.upstream_path
    if isinstance(path, Mapping):
        known = [name for name, card in all_cards().items() if "upstream" in card.engines]
        for name in path:
            if name not in known:
                raise unknown("model in upstream.path", str(name), known)
    elif path is not None and len(wanted) > 1:
        example = ", ".join(f"{name}: FOLDER" for name in wanted)
        raise UserError(
            f"upstream.path={path} is one checkout, but {len(wanted)} models need one each: "
            f"upstream.path={{{example}}}, or upstream.folder=FOLDER for a folder that holds them all."
        )


def cache_place(model: str) -> Path:
    """Where a fetched checkout of a model lives."""
    return cache_folder() / "upstream" / model


def slug(address: str) -> str | None:
    """OWNER/NAME of a repository's address or path, in lower case, as hosts compare them; None where it has none."""
    parts = [part for part in re.split(r"[/:]", address.strip().removesuffix("/").removesuffix(".git")) if part]
    return "/".join(parts[-2:]).lower() if len(parts) > 1 else None


def _place(card: Card, settings: UpstreamSettings) -> Path:
    path = settings.upstream_path
    path = path.get(card.name) if isinstance(path, Mapping) else path
    if path is not None:
        return _folder(f"upstream.path of {card.name}", path)
    if settings.upstream_folder is not None:
        parent = _folder("upstream.folder", settings.upstream_folder)
        names = _accepted_names(card)
        found = next((parent / name for name in names if (parent / name).is_dir()), None)
        if found is None:
            raise UserError(
                f"no checkout of {card.name} in {parent}, under any of the names {', '.join(names)}: "
                f"tdbench fetch --upstream {card.name} --to {parent / card.name}"
            )
        return found
    place = cache_place(card.name)
    if not place.is_dir():
        raise UserError(
            f"engine=upstream needs the authors' code of {card.name}, and there is none in {place}: "
            f"tdbench fetch --upstream {card.name}, or give a checkout of {card.upstream.repo} as upstream.path=FOLDER."
        )
    return place.resolve()


def _folder(what: str, value: Any) -> Path:
    path = Path(str(value)).expanduser()
    if not path.is_dir():
        problem = "is no folder" if path.exists() else "does not exist"
        raise UserError(f"{what} '{value}' {problem}. Give the folder of a checkout.")
    return path.resolve()


def _accepted_names(card: Card) -> list[str]:
    owner, name = str(card.upstream.repo).removesuffix(".git").split("/")[-2:]
    return list(dict.fromkeys([card.name, f"{owner}+{name}", f"{owner}-{name}", name]))


def inspect(path: Path, card: Card) -> Checkout:
    """What a folder is, checked against the card.

    It is the right repository when a remote of it names OWNER/NAME, when it contains the pinned commit, when all
    imported files are the pinned ones, or, where there is no git to ask, when at least one of them is.

    Raises:
        UserError: for another repository, and for one that lacks files.
    """
    state = _git_state(path, str(card.upstream.commit))
    contents = _read(path, card)
    pinned = card.upstream.files
    same = [name for name, sha in contents.items() if sha == pinned.get(name) and sha != _EMPTY]
    changed = [name for name, sha in contents.items() if name in pinned and sha != pinned[name]]
    missing = [name for name in pinned if name not in contents]
    content_vouches = bool(same) and (bool(state.problem) or not (changed or missing))
    if not state.vouched(card) and not content_vouches:
        raise UserError(_other_repository(path, card, state))
    if missing or not contents:
        raise UserError(
            f"the checkout {path} of {card.name} lacks {_some(missing or ['*.py'])}. Check out commit "
            f"{str(card.upstream.commit)[:SHORT]}, or get a fresh one: {_get(card)}"
        )
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + bytes.fromhex(contents[name]))
    return Checkout(path, state.head, digest.hexdigest(), tuple(_notes(card, state, changed)))


def _read(path: Path, card: Card) -> dict[str, str]:
    """sha256 of each file that counts and is there: those of the card, or all Python files where it names none."""
    names = list(card.upstream.files) or [
        str(file.relative_to(path))
        for file in sorted(path.rglob("*.py"))
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    found = {}
    for name in names:
        file = path / name
        if not file.is_file():
            continue
        try:
            found[name] = sha256_of(file)
        except OSError as error:
            raise UserError(f"cannot read {file} of the authors' code of {card.name}: {error.strerror}.") from None
    return found


@dataclass(frozen=True)
class _GitState:
    """What git says of a folder.

    Attributes:
        problem: why git was no help, None where it was.
        head: commit that is checked out, None where unknown.
        remotes: OWNER/NAME of each remote.
        has_commit: whether the pinned commit is in it.
        dirty: tracked files with uncommitted changes.
    """

    problem: str | None = None
    head: str | None = None
    remotes: tuple[str, ...] = ()
    has_commit: bool = False
    dirty: tuple[str, ...] = ()

    def vouched(self, card: Card) -> bool:
        """Whether git alone shows that this is the card's repository."""
        return self.has_commit or slug(str(card.upstream.repo)) in self.remotes


def _git_state(path: Path, commit: str) -> _GitState:
    if not (path / ".git").exists():
        return _GitState(problem="it is no git checkout")
    try:
        git(path, "rev-parse", "--git-dir")
    except GitError as error:
        return _GitState(problem=f"git could not be asked ({error})")
    urls = answer(path, "config", "--get-regexp", r"^remote\..*\.url$").splitlines()
    found = (slug(line.partition(" ")[2]) for line in urls)
    # Untracked files (caches, results) are nobody's business; a tracked one that differs may change a figure.
    dirty = answer(path, "diff", "--name-only", "HEAD").splitlines()
    return _GitState(
        head=answer(path, "rev-parse", "--verify", "--quiet", "HEAD").strip() or None,
        remotes=tuple(name for name in found if name),
        has_commit=bool(answer(path, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")),
        dirty=tuple(dirty),
    )


def _notes(card: Card, state: _GitState, changed: list[str]) -> list[str]:
    """What a row must say of a checkout that is the right repository."""
    pinned = str(card.upstream.commit)[:SHORT]
    same = " (the files we import are the same)" if card.upstream.files and not changed else ""
    if state.problem:
        checked = f"the files we import are those of commit {pinned}" if same else f"expected commit {pinned}"
        notes = [f"upstream: the commit is unknown, {state.problem}; {checked}."]
    elif state.head != card.upstream.commit:
        have = f"commit {state.head[:SHORT]}" if state.head else "no commit"
        notes = [f"upstream: {have} is checked out, the pinned one is {pinned}{same}."]
    else:
        notes = []
    if state.dirty:
        notes.append(f"upstream: uncommitted changes in {_some(state.dirty)}{same}.")
    if changed:
        notes.append(f"upstream: differs from commit {pinned} in {_some(changed)}.")
    return notes


def _other_repository(path: Path, card: Card, state: _GitState) -> str:
    if state.problem:
        is_what = f"not one: {state.problem}, and none of its files are those of commit {card.upstream.commit}"
        is_what = is_what if card.upstream.files else f"not shown to be one: {state.problem}"
    else:
        is_what = f"one of {_some(state.remotes)}" if state.remotes else "a git repository without that commit"
    return f"{card.name} needs a checkout of {card.upstream.repo}, and {path} is {is_what}. {_get(card)}"


def _get(card: Card) -> str:
    return f"tdbench fetch --upstream {card.name}"


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    more = len(shown) - MOST_NAMES
    return ", ".join(shown[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


# --- git ------------------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str, patience: float = _PATIENCE) -> str:
    """Run git in a folder and return what it printed. It asks nobody for a password and looks at no outer repository.

    Raises:
        NoGit: when git is not installed.
        GitError: when it took longer than `patience` seconds, or failed.
    """
    program = shutil.which("git")
    if program is None:
        raise NoGit("git is not installed")
    # Variables of an outer git (a hook that runs us) would point every call at that repository.
    environment = {name: value for name, value in os.environ.items() if name not in _OUTER}
    environment |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": os.environ.get("GIT_ASKPASS", ""),
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20"),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent),
        "LC_ALL": "C",
    }
    # Hooks and watchers that a checkout brings along are not started.
    command = [program, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"no answer within {patience:.0f} s") from None
    if done.returncode:
        raise GitError(_first_error(done.stderr) or f"git {words[0]} ended with status {done.returncode}")
    return done.stdout


_OUTER = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"}


def answer(folder: Path, *words: str) -> str:
    """What git printed, "" where it has no answer."""
    try:
        return git(folder, *words)
    except GitError:
        return ""


def _first_error(text: str) -> str:
    """The first line of git's complaint, short and without credentials."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "")
    plain = without_password(re.sub(r"^(fatal|error|remote): *", "", found)).rstrip(". ")
    return plain if len(plain) <= 160 else plain[:157] + "..."


def without_password(text: str) -> str:
    """Text with addresses, without the credentials that may be in them."""
    return re.sub(r"://[^/@\s]+@", "://", text)
