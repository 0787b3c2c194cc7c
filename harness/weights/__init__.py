"""Published checkpoints: what there is, whether it is here, and fetching it (``tdbench fetch``).

sources    adapters/sources.py: what cards say
items      the sources of a checkpoint in words and as files
wanted     what fetching takes and whether it was done; no network
place      the folder of a checkpoint, its manifest, its lock
ranged     one file over HTTP, resumed
hub, drive files of the Hub and of Google Drive
archives   unpacking what strangers packed
byhand     without a network
fetch      all of it in order
"""

from __future__ import annotations

from pathlib import Path

from adapters.cards import Card, CheckpointCard
from harness.weights.command import fetch_command
from harness.weights.place import MANIFEST, place_of
from harness.weights.wanted import Download, is_fetched, wanted

__all__ = ["MANIFEST", "Download", "fetch_command", "fetch_weights", "is_fetched", "place_of", "wanted"]


def fetch_weights(card: Card, entry: CheckpointCard, offline: bool = False) -> Path:
    """Get a published checkpoint, unless it is there and undamaged; see `harness.weights.fetch.fetch_weights`."""
    from harness.weights import fetch  # brings the network's libraries, which most commands do without

    return fetch.fetch_weights(card, entry, offline)
