"""Finding the weights a user names, and the digest that goes into every row."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from adapters.cards import Card, CheckpointCard
from benchmarks.base import TOKENIZER_FILE
from harness.download import sha256_of
from harness.errors import UserError, unknown
from harness.weights import MANIFEST, Download, wanted
from harness.weights.place import Manifest

#: Files beside weights which cannot change a result.
NOT_WEIGHTS = {"training.json", "loss.csv", "loss.svg", "README.md", ".gitattributes", MANIFEST}


@dataclass(frozen=True)
class ResolvedCheckpoint:
    """Weights ready to be loaded.

    Attributes:
        name: as the user named it.
        kind: "tiny", "published", "local" (a folder of the user's) or "none" (controls).
        path: folder or file; None for controls. Published weights may still have to be fetched into it.
        tokenizer: see `adapters.base.LoadSpec`.
        length: default tokens per sequence, None where nothing says.
        max_steps: largest step count of its schedule, None where unlimited or unknown.
        usual_steps: step count of a sampler that always makes the same, where the user names none; a folder of the
            user's may hold a model of another count, which only its weights tell.
        digest: sha256 over the files, "" for controls and for what is not fetched yet.
        download: of published weights, where they come from and whether they are here; None for others.
    """

    name: str
    kind: str
    path: Path | None
    tokenizer: str
    length: int | None
    max_steps: int | None = None
    usual_steps: int | None = None
    digest: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    download: Download | None = None

    def check_here(self) -> None:
        """Raise `UserError` where the weights are published and not fetched yet."""
        if self.download and not self.download.fetched:
            source = f"{self.download.model}:{self.download.checkpoint}"
            raise UserError(f"checkpoint {source} is published ({self.download.source}): tdbench fetch {source}")


def resolve(card: Card, name: str, tokenizer: str | None) -> ResolvedCheckpoint:
    """The checkpoint a user means by `name`: one of the card's, or a folder.

    Raises:
        UserError: when the card has no such checkpoint and there is no such folder, or when it is empty.
    """
    entry = card.checkpoints.get(name)
    if entry is None:
        return _local(card, name, tokenizer)
    download = wanted(card, entry) if entry.kind == "published" else None
    path = _card_path(card, entry, download)
    here = path is not None and (download is None or download.fetched)
    return ResolvedCheckpoint(
        name=name,
        kind=entry.kind,
        path=path,
        tokenizer=tokenizer or _tokenizer(entry, download),
        length=entry.length,
        max_steps=entry.max_steps,
        usual_steps=entry.max_steps,
        digest=digest(path, fetched=download is not None) if path and here else "",
        options=entry.options,
        download=download,
    )


def _card_path(card: Card, entry: CheckpointCard, download: Download | None) -> Path | None:
    if entry.kind == "none":
        return None
    if download:
        return download.place
    path = card.folder / str(entry.path)
    _check_present(path, card)
    return path


def _tokenizer(entry: CheckpointCard, download: Download | None) -> str:
    """The tokenizer of a card's checkpoint: a file of the fetched folder where it came along, since a container could
    get it from nowhere."""
    return "folder" if download and (download.place / TOKENIZER_FILE).is_file() else entry.tokenizer


def _check_present(path: Path, card: Card) -> None:
    if not path.exists():
        names = ", ".join(card.checkpoints) or "none"
        raise UserError(
            f"{card.name}: no checkpoint folder '{path}'. Checkpoints of {card.name}: {names}, or a folder."
        )
    if path.is_dir() and not any(path.iterdir()):
        raise UserError(f"{card.name}: the checkpoint folder '{path}' is empty.")


def _local(card: Card, name: str, tokenizer: str | None) -> ResolvedCheckpoint:
    path = Path(name).expanduser()
    if not path.exists() and "/" not in name:
        raise unknown(f"checkpoint of {card.name}", name, card.checkpoints)
    _check_present(path, card)
    folder = path if path.is_dir() else path.parent
    facts = training_facts(folder)
    if not tokenizer:
        own = any((folder / file).exists() for file in ("tokenizer.json", "vocab.json"))
        tokenizer = facts.get("tokenizer") or ("folder" if own else None)
    usual = next((c for c in card.checkpoints.values() if c.kind == "published"), None)
    return ResolvedCheckpoint(
        name=name,
        kind="local",
        path=path.resolve(),
        tokenizer=tokenizer or (usual.tokenizer if usual else "folder"),
        length=facts.get("length") or (usual.length if usual else None),
        usual_steps=usual.max_steps if usual else None,
        digest=digest(path),
    )


def training_facts(folder: Path) -> dict[str, Any]:
    """What our trainer noted beside the weights: tokenizer and length; {} where there is no note."""
    note = folder / "training.json"
    if not note.is_file():
        return {}
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{note} is not JSON ({error}). Remove it, and name tokenizer= and length= yourself.") from None
    return {key: facts.get(key) for key in ("tokenizer", "length")}


@cache
def digest(path: Path, fetched: bool = False) -> str:
    """sha256 over the files of a checkpoint (names and contents), notes left out.

    Args:
        path: folder or file.
        fetched: whether `tdbench fetch` put it there; then what it recorded of each file is believed, and files of
            several GiB are not read again for each command.
    """
    files = (
        [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p.name not in NOT_WEIGHTS)
    )
    manifest = Manifest.read(path) if fetched else None
    known = {path / name: facts.sha256 for name, facts in manifest.files.items()} if manifest else {}
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode() + b"\0" + bytes.fromhex(known.get(file) or sha256_of(file)))
    return total.hexdigest()
