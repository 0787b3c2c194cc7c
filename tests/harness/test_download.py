"""Downloads against a server of our own: once, verified, never half."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.benchmarks import get_benchmark, prepare
from harness.download import cache_folder, fetch_hub, fetch_url, lock_file, record, recorded, sha256_of
from harness.errors import UserError

BODY = b"the whole file\n" * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()
REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Site:
    """What the server gives, and how often it was asked."""

    url: str
    body: bytes = BODY
    announced: int | None = None
    status: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "cache"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(state.status)
            self.send_header("Content-Length", str(state.announced or len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Site(f"http://127.0.0.1:{server.server_port}/folder/file.txt?download=1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def kept() -> list[Path]:
    """Everything in the cache that could be taken for a download."""
    return [path for path in (cache_folder() / "downloads").glob("*") if path.is_file()]


@pytest.mark.parametrize("known", [DIGEST, None])
def test_a_file_is_fetched_once(site: Site, known: str | None) -> None:
    path, digest = fetch_url(site.url, known)
    assert (path.read_bytes(), digest) == (BODY, DIGEST)
    assert path.name.endswith("-file.txt")
    assert fetch_url(site.url, known) == (path, digest)
    assert len(site.asked) == 1


def test_another_file_than_the_one_wanted_is_not_kept(site: Site) -> None:
    site.body = b"something else"
    with pytest.raises(UserError, match=f"sha256 is not {DIGEST} \\(published\\)") as caught:
        fetch_url(site.url, DIGEST)
    assert "\n" not in str(caught.value)
    assert kept() == []


def test_what_came_first_is_recorded_and_a_later_difference_is_an_error(site: Site) -> None:
    path, _ = fetch_url(site.url, None)
    path.unlink()
    site.body = b"the author changed it"
    with pytest.raises(UserError, match=rf"not {DIGEST} \(recorded when it first came, in .*locks"):
        fetch_url(site.url, None)
    site.body = BODY
    assert fetch_url(site.url, None)[1] == DIGEST


def test_a_damaged_copy_is_fetched_again(site: Site) -> None:
    path, _ = fetch_url(site.url, None)
    path.write_bytes(BODY[:100])
    assert fetch_url(site.url, None)[0].read_bytes() == BODY
    assert len(site.asked) == 2


@pytest.mark.parametrize("known", [DIGEST, None])
def test_a_transfer_that_breaks_off_leaves_nothing(site: Site, known: str | None) -> None:
    site.body, site.announced = BODY[:5000], len(BODY)
    with pytest.raises(UserError, match="cannot be fetched") as caught:
        fetch_url(site.url, known)
    assert "\n" not in str(caught.value)
    assert kept() == []
    site.body, site.announced = BODY, None
    assert fetch_url(site.url, known)[1] == DIGEST


def test_without_a_server_a_verified_copy_is_used_and_nothing_else(site: Site) -> None:
    fetch_url(site.url, DIGEST)
    site.status = 404
    assert fetch_url(site.url, DIGEST)[1] == DIGEST
    with pytest.raises(UserError, match=r"other\.txt.* cannot be fetched \(HTTPError: 404"):
        fetch_url(site.url.replace("file.txt", "other.txt"), None)


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be fetched \(no connection\)") as caught:
        fetch_url("http://127.0.0.1:1/file.txt", None)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be kept in"):
        fetch_url(site.url, DIGEST)


def in_hub_cache(name: str, body: bytes) -> Path:
    """A file as the Hub's own client keeps it."""
    path = cache_folder() / "hub" / "datasets--owner--set" / "snapshots" / REVISION / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def test_a_hub_file_in_the_cache_needs_no_network(site: Site) -> None:
    path = in_hub_cache("data/a.parquet", BODY)
    for known in (DIGEST, None, None):
        found, digest = fetch_hub("owner/set", REVISION, "data/a.parquet", known)
        assert (found.resolve(), digest) == (path.resolve(), DIGEST)
    path.write_bytes(b"changed")
    with pytest.raises(UserError, match=f"not {DIGEST} \\(recorded when it first came"):
        fetch_hub("owner/set", REVISION, "data/a.parquet", None)
    with pytest.raises(UserError, match=f"not {DIGEST} \\(published\\)"):
        fetch_hub("owner/set", REVISION, "data/a.parquet", DIGEST)


def test_a_hub_file_that_is_nowhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"owner/set@0123456789ab/data/b\.parquet cannot be fetched") as caught:
        fetch_hub("owner/set", REVISION, "data/b.parquet", None)
    assert "\n" not in str(caught.value)


def test_the_cache_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TDBENCH_CACHE", raising=False)
    assert cache_folder().name == "tdbench"
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_a_benchmark_from_its_source(site: Site, tmp_path: Path) -> None:
    """From the YAML's URL to windows, the train split fetched after the test split, each once."""
    site.body = b"one sentence of the corpus \n" * 100
    digest = hashlib.sha256(site.body).hexdigest()
    known = {"files": [{"url": site.url, "sha256": digest}], "names": ["a.txt"]}
    lazy = {"files": [{"url": site.url + "&train", "sha256": None}], "names": ["b.txt"]}
    ptb = get_benchmark("ptb")
    corpus = {**ptb.corpus, "splits": {"train": lazy, "test": known}}
    benchmark = type(ptb)(**{**vars(ptb), "corpus": corpus})
    data = prepare(benchmark, tmp_path / "data", samples=5, length=64)
    assert [file["pinned"] for file in data.facts["source"]] == [True]
    assert [(file["pinned"], file["sha256"]) for file in data.facts["train_source"]] == [(None, digest)]
    assert len(site.asked) == 2
    prepare(benchmark, tmp_path / "again", samples=6, length=64)
    assert len(site.asked) == 2


def test_a_benchmark_without_network_says_how_to_read_a_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "cache"))
    ptb = get_benchmark("ptb")
    split = {"files": [{"url": "http://127.0.0.1:1/a.txt", "sha256": DIGEST}], "names": ["ptb.test.txt"]}
    benchmark = type(ptb)(**{**vars(ptb), "corpus": {**ptb.corpus, "splits": {"test": split}}})
    message = (
        r"http://127\.0\.0\.1:1/a\.txt cannot be fetched.*benchmark\.path=FILE_OR_FOLDER \(names: ptb\.test\.txt\)"
    )
    with pytest.raises(UserError, match=message):
        prepare(benchmark, tmp_path / "data", samples=5)


def test_what_is_recorded_is_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path))
    assert recorded("owner/name") is None
    record("owner/name", DIGEST)
    record("owner/name", REVISION, "commit")
    assert (recorded("owner/name"), recorded("owner/name", "commit")) == (DIGEST, REVISION)
    assert recorded("owner/other") is None
    lock = lock_file("owner/name")
    assert lock.parent == tmp_path / "locks"
    assert lock.read_text(encoding="utf-8") == f"{DIGEST}  owner/name\n"
    lock.write_text("")
    assert recorded("owner/name") is None


def test_what_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot record the commit of owner/name in .*locks"):
        record("owner/name", REVISION, "commit")


def test_sha256_of(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    assert sha256_of(tmp_path / "a") == DIGEST
