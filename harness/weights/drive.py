"""Files and folders on Google Drive, through gdown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gdown
import requests
from gdown.exceptions import DownloadError
from tqdm import tqdm

from adapters.sources import DriveFileSource, DriveFolderSource, is_safe
from harness.download import TIMEOUT
from harness.errors import UserError
from harness.weights.items import Item, file_page, folder_page, lifted
from harness.weights.ranged import CONNECT, TRIES, Unreachable, network_reason
from harness.weights.space import writing

_PATIENCE = (CONNECT, TIMEOUT)
#: What Drive's page says when a file was fetched too often.
_QUOTA = "Too many users"


@dataclass(frozen=True)
class DriveFile:
    """One file on Google Drive.

    Attributes:
        drive_id: its id.
    """

    drive_id: str

    def size(self) -> int | None:
        """Drive tells only when the file comes."""
        return None

    def download(self, target: Path, size: int | None = None, has_digest: bool = False) -> None:
        """Fetch it, going on from what an earlier call left.

        Drive has no mark of a file's version, so that a file which was replaced between two commands is found by its
        sha256 alone, where that is known.

        Args:
            target: made when the file is whole.
            size: bytes it must have; not needed here.
            has_digest: not needed here.

        Raises:
            Unreachable: where Drive does not give it.
            UserError: where it cannot be written.
        """
        with writing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _asking(file_page(self.drive_id)), _progress(target.name) as progress:
                gdown.download(
                    id=self.drive_id,
                    output=str(target),
                    quiet=True,
                    use_cookies=False,
                    resume=True,
                    retries=TRIES,
                    timeout=_PATIENCE,
                    progress=progress,
                )


def drive_items(source: DriveFileSource | DriveFolderSource) -> list[Item]:
    """The files behind a source, with their names.

    Raises:
        Unreachable: where Drive does not tell.
        UserError: for an empty folder.
    """
    options = {"quiet": True, "use_cookies": False, "skip_download": True, "timeout": _PATIENCE}
    if isinstance(source, DriveFileSource):
        with _asking(file_page(source.drive_file)):
            found = [gdown.download(id=source.drive_file, **options)]
    else:
        with _asking(folder_page(source.drive_folder)):
            found = gdown.download_folder(id=source.drive_folder, **options)
        if not found:
            raise UserError(f"the folder {folder_page(source.drive_folder)} is empty.")
    targets = lifted(each.path for each in found)
    # Among other files an archive is one of them, such as outputs; alone it is the checkpoint.
    alone = len(found) == 1
    return [_item(source, each.id, each.path, targets[each.path], alone) for each in found]


def _item(source: DriveFileSource | DriveFolderSource, drive_id: str, path: str, target: str, alone: bool) -> Item:
    if not is_safe(path):
        raise UserError(f"{file_page(drive_id)} has a name that is no file name: {path!r}.")
    return Item(
        name=path,
        target=target,
        origin=f"drive {drive_id}/{path}",
        remote=DriveFile(drive_id),
        size=source.size if isinstance(source, DriveFileSource) else None,
        sha256=source.sha256.get(path),
        archive=alone,
    )


@contextmanager
def _asking(page: str) -> Iterator[None]:
    """Say in one line what Drive refuses."""
    try:
        yield
    except DownloadError as error:
        text = str(error)
        if _QUOTA in text:
            why = "it was fetched too often today: try again tomorrow"
        elif "permission" in text or "Cannot retrieve" in text:
            why = "it is not public, or was fetched too often: try again tomorrow, or in a browser"
        else:
            why = "the transfer broke off"
        raise Unreachable(f"Google Drive does not give {page}: {why}.") from None
    except requests.exceptions.RequestException as error:
        raise Unreachable(f"Google Drive does not give {page}: {network_reason(error)}.") from None
    except KeyError:  # gdown relies on headers that Drive always sends
        raise Unreachable(f"{page} gave something else: a proxy answers in Google Drive's place.") from None


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    with tqdm(desc=name, unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
