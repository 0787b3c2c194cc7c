"""``tdbench fetch``: the authors' code at its pinned commit, cloned with git and verified."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from adapters.cards import Card, all_cards, get_card
from harness.errors import UserError
from harness.upstream import SHORT, GitError, NoGit, cache_place, git, inspect, without_password

#: Seconds for the first answer of a repository, and for its content.
_REACH, _TRANSFER = 60.0, 1800.0


def fetch_upstream(model: str, source: str | None = None, to: str | None = None) -> Path:
    """Clone the pinned commit of a model's repository, unless it is there already.

    Args:
        model: whose repository.
        source: a mirror, a bundle or a local repository to take it from; None for the card's address.
        to: folder of the checkout; None for the cache.

    Returns:
        The folder, verified: its commit and the files that we import are the pinned ones.

    Raises:
        UserError: when it cannot be had, or when the folder holds something else.
    """
    card = get_card(model)
    if "upstream" not in card.engines:
        having = ", ".join(name for name, known in all_cards().items() if "upstream" in known.engines)
        raise UserError(f"{model} has no code of its authors to fetch. Models that have: {having}.")
    place = (Path(to).expanduser() if to else cache_place(model)).absolute()
    if _occupied(place):
        _check_present(place, card)
        print(f"{card.title}: commit {str(card.upstream.commit)[:SHORT]} is in {place} already, nothing was downloaded")
    else:
        _fetch(card, source or str(card.upstream.repo), place)
        print(f"{card.title}: commit {str(card.upstream.commit)[:SHORT]} of {card.upstream.repo} is in {place}")
    return place


def _occupied(place: Path) -> bool:
    try:
        return any(place.iterdir()) if place.is_dir() else place.exists()
    except OSError as error:
        raise UserError(f"cannot look into {place}: {error.strerror}. Choose --to=FOLDER.") from None


def missing_packages(card: Card) -> list[str]:
    """Packages which the authors' code imports and this Python lacks, as pip calls them."""
    return [package for package in card.upstream.packages if not _installed(package)]


def pip_line(packages: list[str]) -> str:
    """The command that installs packages at the project's own versions."""
    return f"pip install -c constraints.txt {' '.join(packages)}"


def _installed(package: str) -> bool:
    try:
        metadata.distribution(re.split(r"[^\w.-]", package)[0])
    except metadata.PackageNotFoundError:
        return False
    return True


def _check_present(place: Path, card: Card) -> None:
    """Refuse a folder that holds anything but the pinned commit, unchanged: nothing of the user's is overwritten."""
    try:
        notes = inspect(place, card).notes
    except UserError as error:
        notes = (str(error),)
    if notes:
        raise UserError(f"{place} is not empty and not what was asked for. Remove it or choose --to. {' '.join(notes)}")


def _fetch(card: Card, source: str, place: Path) -> None:
    """Clone beside the place and rename at the end, so that an interrupted fetch leaves nothing to be mistaken."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{place.name}-", suffix=".part", dir=place.parent))
    except OSError as error:
        raise UserError(
            f"cannot write into {place.parent}: {error.strerror}. Choose --to=FOLDER, or set TDBENCH_CACHE."
        ) from None
    try:
        _clone(card, source, part)
        notes = inspect(part, card).notes
        if notes:
            raise UserError(f"what {without_password(source)} gave is not the pinned code. {' '.join(notes)}")
        _rename(part, place, card)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rename(part: Path, place: Path, card: Card) -> None:
    # mkdtemp lets nobody else in, which would keep a container's user out.
    part.chmod(0o777 & ~_umask())
    try:
        part.rename(place)
    except OSError as error:
        if not place.is_dir():
            raise UserError(f"cannot write {place}: {error.strerror}. Choose --to=FOLDER.") from None
        _check_present(place, card)  # another fetch was faster


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _clone(card: Card, source: str, folder: Path) -> None:
    commit = str(card.upstream.commit)
    local = Path(source).expanduser()
    address = str(local.absolute()) if local.exists() else source
    try:
        git(folder, "init", "--quiet", "--template=")
        # Digests are of the files as the authors wrote them.
        git(folder, "config", "core.autocrlf", "false")
        git(folder, "remote", "add", "--", "origin", address)
        git(folder, "ls-remote", "--quiet", "origin", patience=_REACH)
        _transfer(folder, commit)
    except NoGit:
        raise UserError(
            f"git is not installed, and fetching the authors' code of {card.name} needs it. Install git, or unpack "
            f"commit {commit} of {card.upstream.repo} yourself and give upstream.path=FOLDER."
        ) from None
    except GitError as error:
        raise UserError(f"cannot clone {without_password(source)} for {card.name}: {error}.") from None
    try:
        git(folder, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    except GitError:
        raise UserError(
            f"{without_password(source)} has no commit {commit}: it is not (a full copy of) {card.upstream.repo}."
        ) from None
    try:
        git(folder, "checkout", "--quiet", "--detach", commit)
    except GitError as error:
        raise UserError(f"cannot check out {commit} for {card.name}: {error}.") from None


def _transfer(folder: Path, commit: str) -> None:
    """The one commit where the other side gives single commits, else every branch and tag."""
    try:
        git(folder, "fetch", "--quiet", "--depth=1", "origin", commit, patience=_TRANSFER)
    except GitError:
        git(folder, "fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*", patience=_TRANSFER)
