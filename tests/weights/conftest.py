"""A server, a cache of its own, and a model whose card the tests write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.cards import Card, CheckpointCard, UpstreamCard
from adapters.sources import read_sources
from harness.weights import items, ranged, space
from tests.weights.site import Site, serve

PINNED = "a" * 40
CardMaker = Callable[..., tuple[Card, CheckpointCard]]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server, in the place of GitHub and the Hub; nothing waits between two tries."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serve() as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(items, "GITHUB", running.url)
        monkeypatch.setattr(items, "RAW", f"{running.url}/raw")
        monkeypatch.setattr(ranged, "PAUSE", 0.0)
        monkeypatch.setattr(ranged, "_CHUNK", 1000)
        monkeypatch.setattr(space, "RESERVE", 0)
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where downloads go."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TDBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def model(site: Site) -> CardMaker:
    """Makes a model with one published checkpoint `big` of the sources given as in YAML."""

    def make(*sources: dict[str, Any], tokenizer: str = "folder") -> tuple[Card, CheckpointCard]:
        entry = CheckpointCard("big", "published", source=read_sources(list(sources), "card"), tokenizer=tokenizer)
        upstream = UpstreamCard(repo="https://github.com/owner/code", commit=PINNED)
        card = Card("toy", "Toy", "model", None, "toy", Path("toy"), upstream=upstream, checkpoints={"big": entry})
        return card, entry

    return make
