"""What a published checkpoint is, how big, and whether it is here. Touches no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.cards import Card, CheckpointCard, get_card
from adapters.sources import Source
from harness.errors import UserError, unknown
from harness.weights.items import describe, files_text, sources_of
from harness.weights.place import manifest_here, place_of, sizes_below, working_folder
from harness.weights.space import readable

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Download:
    """A published checkpoint as it would be fetched.

    Attributes:
        model: its model.
        checkpoint: its name.
        source: where it comes from, in words.
        size: bytes to download, None where unknown.
        place: its folder.
        fetched: whether it is there, every file with its size.
        begun: whether some of it is there.
        files: which files, in words.
        exact: whether the size is no estimate.
        unpacked: bytes that archives among the files hold, about; 0 where there are none or nobody knows.
    """

    model: str
    checkpoint: str
    source: str
    size: int | None
    place: Path
    fetched: bool
    begun: bool = False
    files: str = "-"
    exact: bool = False
    unpacked: int = 0

    @property
    def state(self) -> str:
        """Fetched, partly or not fetched."""
        return "fetched" if self.fetched else "partly" if self.begun else "not fetched"

    @property
    def size_text(self) -> str:
        """The size for people."""
        if self.size is None:
            return UNKNOWN
        unpacked = f" ({readable(self.unpacked)} unpacked)" if self.unpacked else ""
        return ("" if self.exact else "about ") + readable(self.size) + unpacked


def wanted(card: Card, entry: CheckpointCard) -> Download:
    """What fetching a published checkpoint takes.

    Args:
        card: its model.
        entry: a checkpoint of the kind "published"; the card may name no source for it.
    """
    sources = sources_of(card, entry) if entry.source else ()
    texts = [describe(source, card) for source in sources]
    place = place_of(card, entry.name)
    return Download(
        model=card.name,
        checkpoint=entry.name,
        source=" + ".join(texts) or "no source is known",
        size=_size(sources),
        place=place,
        fetched=manifest_here(place, texts) is not None,
        begun=place.exists() or sizes_below(working_folder(place)) > 0,
        files="; ".join(files_text(source) for source in sources) or "-",
        exact=bool(sources) and all(source.size is not None for source in sources),
        unpacked=sum(source.unpacked or 0 for source in sources),
    )


def is_fetched(card: Card, entry: CheckpointCard) -> bool:
    """Whether a published checkpoint is here, whole and verified when it came."""
    return wanted(card, entry).fetched


def _size(sources: Sequence[Source]) -> int | None:
    sizes = [source.size or source.about for source in sources]
    return None if None in sizes or not sizes else sum(size or 0 for size in sizes)


def model_and_checkpoint(name: str) -> tuple[Card, CheckpointCard]:
    """What MODEL or MODEL:CHECKPOINT names; without a checkpoint the model's first published one.

    Raises:
        UserError: for an unknown name, or a model without published checkpoints.
    """
    model, colon, checkpoint = name.partition(":")
    card = get_card(model)
    if colon:
        if checkpoint not in card.checkpoints:
            raise unknown(f"checkpoint of {model}", checkpoint, card.checkpoints)
        return card, card.checkpoints[checkpoint]
    published = [entry for entry in card.checkpoints.values() if entry.kind == "published"]
    if card.role == "control" or not published:
        why = "is a control and has no weights" if card.role == "control" else "has no published checkpoint"
        raise UserError(f"{model} {why} to fetch.")
    return card, published[0]
