"""Files from the network, once: verified, kept in a cache, used from there without a network.

<cache>/downloads/    files from URLs, named DIGEST-NAME
        upstream/     checkouts of the authors' code (`harness.upstream`)
        hub/          files from the Hub, where TDBENCH_CACHE is set; else Hugging Face's own cache is used
        weights/      published checkpoints (`harness.weights`)
        locks/        sha256 of each file whose source publishes none, recorded when it first came

A file is written under another name and gets its own only when it is whole and verified, so what lies in the cache can
be trusted. The cache is TDBENCH_CACHE, or the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from harness.errors import UserError
from harness.worker.jsonl import write_text

CACHE_VARIABLE = "TDBENCH_CACHE"
#: Seconds without a byte after which a transfer is given up.
TIMEOUT = 60


def cache_folder() -> Path:
    """Where downloads are kept."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import pooch  # slow to import, and most commands download nothing

    return Path(pooch.os_cache("tdbench"))


def sha256_of(path: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch_url(url: str, sha256: str | None) -> tuple[Path, str]:
    """The file behind a URL, from the cache or downloaded.

    Args:
        url: http or https.
        sha256: what the file must have; None where its source publishes none: then the first download is recorded and
            every later one must be the same.

    Returns:
        Its path and sha256.

    Raises:
        UserError: where it cannot be fetched, or is another file than the one wanted.
    """
    import pooch
    import requests

    known, rule = _known(url, sha256)
    folder = cache_folder() / "downloads"
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{url.rsplit('/', 1)[-1].partition('?')[0]}"
    pooch.get_logger().setLevel("WARNING")
    if not (folder / name).exists():
        print(f"download: {url}", file=sys.stderr)
    try:
        got = pooch.retrieve(
            url,
            known_hash=f"sha256:{known}" if known else None,
            fname=name,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT),
        )
    except requests.exceptions.RequestException as error:
        raise UserError(f"{url} cannot be fetched ({_reason(error)}), and there is no good copy in {folder}.") from None
    except ValueError:  # pooch's word for a hash that differs
        raise UserError(f"{url} gave a file whose sha256 is not {known} ({rule}). It was not kept.") from None
    except OSError as error:
        raise UserError(f"{url} cannot be kept in {folder}: {error.strerror or error}.") from None
    return Path(got), _checked(Path(got), url, known, rule)


def fetch_hub(repository: str, revision: str, name: str, sha256: str | None) -> tuple[Path, str]:
    """A file of a dataset on the Hub at a pinned revision, from the cache or downloaded.

    Args:
        repository: owner/name of the dataset.
        revision: commit, 40 hex digits.
        name: path of the file inside it.
        sha256: see `fetch_url`.

    Returns:
        Its path and sha256.

    Raises:
        UserError: where it cannot be fetched, or is another file than the one wanted.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import logging as hub_logging

    source = f"{repository}@{revision[:12]}/{name}"
    known, rule = _known(source, sha256)
    hub_logging.set_verbosity_error()  # one line of ours, not one for each retry
    own = cache_folder() / "hub" if os.environ.get(CACHE_VARIABLE) else None
    if not isinstance(huggingface_hub.try_to_load_from_cache(repository, name, own, revision, "dataset"), str):
        print(f"download: {source}", file=sys.stderr)
    try:
        # With a commit as revision a file in the cache is used without asking the Hub.
        got = huggingface_hub.hf_hub_download(repository, name, repo_type="dataset", revision=revision, cache_dir=own)
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise UserError(
            f"{source} cannot be fetched from the Hub ({_reason(error)}), and is not in its cache."
        ) from None
    except OSError as error:
        raise UserError(f"{source} cannot be fetched from the Hub or kept: {_reason(error)}.") from None
    return Path(got), _checked(Path(got), source, known, rule)


def fetch_drive(folder: str, name: str, sha256: str | None) -> tuple[Path, str]:
    """A file in a public folder on Google Drive, from the cache or downloaded.

    Args:
        folder: id of the folder.
        name: path of the file inside it.
        sha256: see `fetch_url`.

    Returns:
        Its path and sha256.

    Raises:
        UserError: where it cannot be fetched, or is another file than the one wanted.
    """
    from adapters.sources import DriveFolderSource
    from harness.weights.drive import drive_items  # brings gdown, and is made on top of this module

    source = f"drive {folder}/{name}"
    known, rule = _known(source, sha256)
    target = cache_folder() / "downloads" / f"{hashlib.sha256(source.encode()).hexdigest()[:12]}-{Path(name).name}"
    if not target.is_file():
        items = {item.target: item for item in drive_items(DriveFolderSource(drive_folder=folder))}
        if name not in items:
            raise UserError(
                f"the Google Drive folder {folder} has no {name}, only {', '.join(sorted(items)) or 'nothing'}."
            )
        print(f"download: {source}", file=sys.stderr)
        items[name].remote.download(target)
    return target, _checked(target, source, known, rule)


def lock_file(source: str, what: str = "sha256") -> Path:
    """Where something that a source does not publish is recorded when it first came.

    Args:
        source: what it was recorded for, as messages name it.
        what: "sha256" of a file, or "commit" of a repository.
    """
    return cache_folder() / "locks" / f"{hashlib.sha256(source.encode()).hexdigest()[:24]}.{what}"


def recorded(source: str, what: str = "sha256") -> str | None:
    """What was recorded for a source, None before."""
    lock = lock_file(source, what)
    words = lock.read_text(encoding="utf-8").split() if lock.is_file() else []
    return words[0] if words else None


def record(source: str, value: str, what: str = "sha256") -> None:
    """Record something for a source; raises `UserError` where that cannot be written."""
    lock = lock_file(source, what)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        write_text(lock, f"{value}  {source}\n")
    except OSError as error:
        raise UserError(f"cannot record the {what} of {source} in {lock}: {error.strerror}.") from None


def _known(source: str, sha256: str | None) -> tuple[str | None, str]:
    """The sha256 a file must have, and who says so; (None, "") before the first download of an unpublished one."""
    if sha256:
        return sha256, "published"
    known = recorded(source)
    return known, f"recorded when it first came, in {lock_file(source)}" if known else ""


def _checked(path: Path, source: str, known: str | None, rule: str) -> str:
    """The sha256 of a file; recorded where there was none to compare with."""
    found = sha256_of(path)
    if known is None:
        record(source, found)
    elif found != known:
        raise UserError(f"{path} has the sha256 {found}, not {known} ({rule}): remove it and try again.")
    return found


def _reason(error: Exception) -> str:
    """The type and the first line of an error."""
    import requests
    from huggingface_hub.errors import LocalEntryNotFoundError

    # Their own texts are a page of nested reasons.
    if type(error) in (requests.exceptions.ConnectionError, requests.exceptions.SSLError, LocalEntryNotFoundError):
        return "no connection"
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
