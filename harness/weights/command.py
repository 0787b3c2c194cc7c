"""``tdbench fetch`` for published weights."""

from __future__ import annotations

from pathlib import Path

from adapters.cards import all_cards
from harness.errors import UserError
from harness.weights.place import Manifest
from harness.weights.space import readable
from harness.weights.wanted import Download, model_and_checkpoint, wanted

_COLUMNS = ("model", "checkpoint", "source", "files", "size", "place", "state")


def fetch_command(name: str | None, dry_run: bool = False, offline: bool = False, given: str | None = None) -> int:
    """Fetch a published checkpoint, or say what that would take.

    Args:
        name: MODEL or MODEL:CHECKPOINT; None, with `dry_run`, for all.
        dry_run: only print, tab-separated.
        offline: touch no network: say what is missing and how to place it by hand.
        given: folder with files that were placed by hand.

    Returns:
        Exit code 0.

    Raises:
        UserError: where it cannot be had.
    """
    if dry_run:
        _print_wanted(_all_wanted() if name is None else [wanted(*model_and_checkpoint(name))])
        return 0
    if name is None:
        raise UserError("fetch what? tdbench fetch MODEL or MODEL:CHECKPOINT; with --dry-run alone all are listed.")
    from harness.weights.fetch import fetch_weights

    card, entry = model_and_checkpoint(name)
    place = fetch_weights(card, entry, offline, Path(given).expanduser() if given else None)
    manifest = Manifest.read(place)
    sizes = [facts.size for facts in manifest.files.values()] if manifest else []
    print(f"{card.title}: {entry.name} is in {place}: {len(sizes)} files, {readable(sum(sizes))}, verified")
    print(f"use it with: model={card.name} checkpoint={entry.name}")
    return 0


def _all_wanted() -> list[Download]:
    return [
        wanted(card, entry)
        for card in all_cards().values()
        for entry in card.checkpoints.values()
        if entry.kind == "published"
    ]


def _print_wanted(downloads: list[Download]) -> None:
    print("\t".join(_COLUMNS))
    for each in downloads:
        row = (each.model, each.checkpoint, each.source, each.files, each.size_text, str(each.place), each.state)
        print("\t".join(row))
