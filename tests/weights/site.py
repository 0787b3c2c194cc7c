"""A server of our own: files with ranges, broken connections, changed versions, log-in pages, and a small Hub."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = b"<!DOCTYPE html><html><title>Log in</title></html>"


@dataclass
class Served:
    """One file and how it is given.

    Attributes:
        body: its bytes.
        breaks: after how many bytes each of the next answers breaks off; then none does.
        ranges: whether parts are given.
        validators: headers that mark its version; by default an ETag over its bytes.
        status: an answer other than the file.
        headers: further headers; None for one that is left out.
        wrong_part: whether a part that is asked for is answered with the beginning.
    """

    body: bytes
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    validators: dict[str, str] | None = None
    status: int = 200
    headers: dict[str, str | None] = field(default_factory=dict)
    wrong_part: bool = False

    @property
    def marks(self) -> dict[str, str]:
        if self.validators is not None:
            return self.validators
        return {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'}


@dataclass
class Site:
    """What the server gives, and what it was asked.

    Attributes:
        url: its address, without a slash at the end.
        files: by path.
        asked: method, path and headers of each request.
    """

    url: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def add(self, path: str, body: bytes = b"", **how: Any) -> Served:
        """Serve a file."""
        self.files[path] = Served(body, **how)
        return self.files[path]

    def gets(self, path: str) -> list[dict[str, str]]:
        """Headers of each GET of a path."""
        return [headers for method, asked, headers in self.asked if (method, asked) == ("GET", path)]

    def hub(self, repo: str, files: dict[str, bytes], commit: str = COMMIT, large: tuple[str, ...] = ()) -> None:
        """Serve a model as the Hub does; `large` files have their sha256 said, as LFS files have."""
        siblings = []
        for name, body in files.items():
            digest = hashlib.sha256(body).hexdigest()
            lfs = {"lfs": {"size": len(body), "sha256": digest, "pointerSize": 130}} if name in large else {}
            siblings.append({"rfilename": name, "size": len(body), "blobId": "0" * 40, **lfs})
            self.add(f"/{repo}/resolve/{commit}/{name}", body)
        info = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": [], "downloads": 0}
        for path in (f"/api/models/{repo}", f"/api/models/{repo}/revision/{commit}"):
            self.add(path, json.dumps(info).encode(), headers={"Content-Type": "application/json"})

    def refuse_hub(self, path: str, status: int, code: str) -> None:
        """Answer a question to the Hub with one of its errors."""
        self.add(path, b"{}", status=status, headers={"X-Error-Code": code, "X-Error-Message": code})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        parts = urlsplit(self.path)
        named = parse_qs(parts.query).get("id")
        path = f"{parts.path}?id={named[0]}" if named else parts.path
        self.site.asked.append((self.command, path, dict(self.headers)))
        served = self.site.files.get(path)
        if served is None:
            self._send(404, {"Content-Length": "9"}, b"not found" if with_body else b"")
            return
        status, body, headers = served.status, served.body, {**served.marks}
        start = self._start(served) if status == 200 and with_body else 0
        if start >= len(body) and start:
            self._send(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, b"")
            return
        if start:
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
        if start and served.wrong_part:
            start, headers["Content-Range"] = 0, f"bytes 0-{len(body) - 1}/{len(body)}"
        body = body[start:]
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        merged = {**headers, **served.headers}
        self._send(status, {k: v for k, v in merged.items() if v is not None}, body if with_body else b"", served)

    def _start(self, served: Served) -> int:
        wanted, only = self.headers.get("Range"), self.headers.get("If-Range")
        if not wanted or not served.ranges or (only and only not in served.marks.values()):
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def _send(self, status: int, headers: dict[str, str], body: bytes, served: Served | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if served and served.breaks and self.command == "GET":
            self.wfile.write(body[: served.breaks.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that go away in the middle are what is tested."""


@contextmanager
def serve() -> Iterator[Site]:
    """A running server."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    server = _Server(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
