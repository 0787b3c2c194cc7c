"""One file over HTTP, resumed where it broke off: within a command a few times by itself, and by the next command.

What came so far lies in NAME.part, what the server said of the file in NAME.part.json. pooch and huggingface_hub begin
again with the first byte after a command was ended, which is no answer for gigabytes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from harness.download import TIMEOUT
from harness.errors import UserError
from harness.weights.space import writing
from harness.worker.jsonl import write_json

#: Seconds until a connection must stand.
CONNECT = 20
#: Breaks in a row, with next to nothing new between them, after which a transfer is given up; before the first byte.
TRIES, FIRST_TRIES = 6, 3
#: Seconds before the first repetition, doubled for each further one.
PAUSE = 1.0
#: Bytes that count as something new.
STEP = 1 << 20
#: What is read at once; as much is lost where a connection breaks.
_CHUNK = 1 << 16
_LATER = (408, 425, 429, 500, 502, 503, 504)
_MEANING = {
    401: "it wants a login",
    403: "access is refused",
    404: "there is no such file",
    407: "a proxy wants a name and a password, as HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    410: "it was taken away",
    451: "it is withheld for legal reasons",
    511: "this network wants a log-in, in a browser, first",
}
PROXY_ANSWERS = (
    "A proxy, or the log-in page of a network, answers in its place: open the address in a browser, or set HTTPS_PROXY."
)
_PAGES = (b"<!doctype html", b"<html")


class Unreachable(UserError):
    """The network did not give a file."""


class _Broken(Exception):
    """A transfer ended early; the text says how."""


@dataclass(frozen=True)
class Address:
    """Where a file is.

    Attributes:
        url: http or https.
        shown: the same for people, without credentials.
        headers: sent along, such as a token.
        hint: what to do where access is refused.
    """

    url: str
    shown: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    hint: str = ""

    def size(self) -> int | None:
        """Bytes of the file as its server announces them; None where it does not. Problems show when it is fetched."""
        headers = {**self.headers, "Accept-Encoding": "identity"}
        try:
            with requests.head(self.url, headers=headers, timeout=(CONNECT, TIMEOUT), allow_redirects=True) as answer:
                return _announced(answer) if answer.status_code == 200 and not _is_page(answer) else None
        except requests.exceptions.RequestException:
            return None

    def download(self, target: Path, size: int | None = None, has_digest: bool = False) -> None:
        """Fetch the file, going on from what an earlier call left.

        Args:
            target: made when the file is whole.
            size: bytes it must have, where that is known.
            has_digest: whether the caller compares the whole file with a known sha256, so that going on is safe even
                with a server that cannot tell whether the file is still the same.

        Raises:
            Unreachable: where the network does not give it; what came is kept.
            UserError: where it cannot be written.
        """
        with writing(target.parent), _bar(target.name) as bar, requests.Session() as session:
            part = _Part(target, has_digest)
            failures, best, came = 0, part.length, 0
            while True:
                try:
                    self._transfer(session, part, size, bar)
                    break
                except _Broken as broken:
                    new = part.length - best
                    came, best = came + max(0, new), max(best, part.length)
                    failures = 0 if new >= STEP else failures + 1
                    if failures >= (TRIES if came else FIRST_TRIES):
                        kept = " What came is kept, and the same command goes on from there." if part.length else ""
                        raise Unreachable(f"{self.shown} cannot be fetched: {broken}.{kept}") from None
                    time.sleep(PAUSE * 2 ** max(0, failures - 1))
            part.finish()

    def _transfer(self, session: requests.Session, part: _Part, size: int | None, bar: Any) -> None:
        """One request, its answer appended to the part. Raises `_Broken` where it ends early."""
        if part.is_whole:
            return
        headers = {**self.headers, "Accept-Encoding": "identity", **part.range_headers()}
        try:
            with session.get(self.url, headers=headers, stream=True, timeout=(CONNECT, TIMEOUT)) as answer:
                if answer.status_code == 416:  # the file has become shorter than what came of it
                    part.restart()
                    raise _Broken("it was changed while it was fetched")
                self._refuse(answer)
                if answer.status_code == 206 and not part.continues(answer):
                    part.restart()
                    raise _Broken("its server answers with another part than the one asked for")
                if answer.status_code != 206:
                    part.restart()
                    part.remember(answer)
                if size is not None and part.total not in (None, size):
                    raise Unreachable(f"{self.shown} has {part.total} bytes, and {size} are expected: it was changed.")
                self._append(answer, part, bar)
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
            raise Unreachable(f"{self.shown} cannot be fetched: {network_reason(error)}.") from None
        except requests.exceptions.RequestException as error:
            raise _Broken(network_reason(error)) from None
        if not part.is_whole and part.total is not None:
            raise _Broken("the connection broke")

    def _refuse(self, answer: requests.Response) -> None:
        """Raise where an answer is not the file."""
        status = answer.status_code
        if status in _LATER:
            raise _Broken(f"its server says {status}, {answer.reason or 'try later'}")
        if status not in (200, 206):
            meaning = _MEANING.get(status, answer.reason or "an answer that is none")
            hint = f" {self.hint}" if self.hint and status in (401, 403, 404) else ""
            raise Unreachable(f"{self.shown} cannot be fetched: {status}, {meaning}.{hint}")
        if _is_page(answer):
            raise Unreachable(self._page())

    def _page(self) -> str:
        return f"{self.shown} gave a web page instead of the file. {PROXY_ANSWERS}"

    def _append(self, answer: requests.Response, part: _Part, bar: Any) -> None:
        bar.total = part.total
        bar.update(part.length - bar.n)
        with open(part.path, "ab") as file:
            for chunk in answer.iter_content(_CHUNK):
                if not file.tell() and chunk.lstrip()[:16].lower().startswith(_PAGES):
                    raise Unreachable(self._page())
                file.write(chunk)
                bar.update(len(chunk))


class _Part:
    """What came of a file so far, and what its server said of it."""

    def __init__(self, target: Path, has_digest: bool) -> None:
        self._target = target
        self._has_digest = has_digest
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._facts: dict[str, Any] = json.loads(self._note.read_text("utf-8")) if self._note.is_file() else {}

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, None where its server does not say."""
        total: int | None = self._facts.get("total")
        return total

    @property
    def is_whole(self) -> bool:
        return self.total is not None and self.length == self.total

    def range_headers(self) -> dict[str, str]:
        """What asks for the rest of the same file; nothing where nobody could tell that it is the same."""
        if not self.length or not (self._facts.get("validator") or self._has_digest):
            return {}
        validator = self._facts.get("validator")
        return {"Range": f"bytes={self.length}-", **({"If-Range": validator} if validator else {})}

    def continues(self, answer: requests.Response) -> bool:
        """Whether an answer begins where the part ends, and is of a file as long as it was."""
        span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        same = self.total is None or total in ("*", str(self.total))
        return span.partition("-")[0] == str(self.length) and same

    def remember(self, answer: requests.Response) -> None:
        """Keep what tells later whether the file is still the same: a strong ETag, or a date."""
        etag = answer.headers.get("ETag", "")
        validator = answer.headers.get("Last-Modified") if not etag or etag.startswith("W/") else etag
        encoded = _is_encoded(answer)
        self._facts = {"total": _announced(answer), "validator": None if encoded else validator}
        write_json(self._note, self._facts)

    def restart(self) -> None:
        """Forget what came."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._facts = {}

    def finish(self) -> None:
        """Give the whole file its name."""
        with open(self.path, "ab") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self._target)
        self._note.unlink(missing_ok=True)


def network_reason(error: Exception) -> str:
    """Why a request of `requests` failed, in a few words; their own texts may hold a proxy's password."""
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (requests.exceptions.ProxyError, "the proxy refuses or does not answer: see HTTPS_PROXY and NO_PROXY"),
        (
            requests.exceptions.SSLError,
            "its certificate is not trusted; where a proxy of your network signs its own, set "
            "REQUESTS_CA_BUNDLE=FILE to its CA certificates",
        ),
        (requests.exceptions.ConnectTimeout, f"no connection within {CONNECT} s"),
        (requests.exceptions.ReadTimeout, f"nothing came for {TIMEOUT} s"),
        (requests.exceptions.ChunkedEncodingError, "the connection broke"),
        (requests.exceptions.ConnectionError, "no connection, or it broke"),
    )
    return next((text for kind, text in kinds if isinstance(error, kind)), type(error).__name__)


def _announced(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and not _is_encoded(answer) else None


def _is_encoded(answer: requests.Response) -> bool:
    """Whether the bytes on the wire are not those of the file."""
    return answer.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")


def _is_page(answer: requests.Response) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")


def _bar(name: str) -> Any:
    return tqdm(desc=name, unit="B", unit_scale=True, dynamic_ncols=True, disable=not sys.stderr.isatty(), leave=False)
