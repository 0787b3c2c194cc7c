"""Without a network: what is missing and where to get it, and taking the files that somebody put into a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.cards import Card, CheckpointCard
from adapters.sources import DriveFileSource, HubSource, Source, is_safe
from harness.download import recorded
from harness.errors import UserError
from harness.weights.hub import choose
from harness.weights.items import Item, describe, hub_commit, hub_origin, lifted, pages, web_files, web_item
from harness.weights.place import MANIFEST, Manifest, names_text

Listed = list[tuple[Source, list[Item]]]


@dataclass(frozen=True)
class _Copy:
    """A file on this machine, in the place of a download."""

    path: Path

    def size(self) -> int | None:
        return self.path.stat().st_size

    def download(self, target: Path, size: int | None = None, has_digest: bool = False) -> None:
        """Copy it; the user's file stays as it is."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        shutil.copyfile(self.path, part)
        part.rename(target)


def explain(card: Card, entry: CheckpointCard, sources: Sequence[Source], place: Path) -> str:
    """What to fetch elsewhere for a checkpoint, and what to do with it: some lines for a person."""
    what = f"{card.name}:{entry.name}"
    lines = [
        f"{what} is missing: {place}",
        f"  Where a network is, run 'tdbench fetch {what}', and copy that folder to the same place here,",
        f"  or anywhere here and run 'tdbench fetch {what} --from FOLDER'.",
        "  Or download these files into one folder, under these names, and run the same with it:",
    ]
    for source in sources:
        for name, address in pages(source, card):
            digest = source.sha256.get(name)
            lines.append(f"    {name}  {address}" + (f"  sha256 {digest}" if digest else ""))
    return "\n".join(lines)


def given_items(
    card: Card, entry: CheckpointCard, sources: Sequence[Source], texts: Sequence[str], folder: Path
) -> Listed:
    """The files of a checkpoint in a folder of the user's.

    Args:
        card: its model.
        entry: the checkpoint.
        sources: where it would be fetched from.
        texts: these as a manifest names them.
        folder: holds the files as downloaded, or a fetched checkpoint with its manifest.

    Raises:
        UserError: where something is missing, with the names of what is.
    """
    if not folder.is_dir():
        raise UserError(f"--from {folder} is no folder.")
    manifest = Manifest.read(folder)
    if manifest is not None:
        return [(sources[0], _copied(manifest, card, entry, sources, texts, folder))]
    taken: set[Path] = set()
    found = {id(source): _named_items(source, card, folder, taken) for source in sources if source.names is not None}
    for source in sources:
        if source.names is None:
            found[id(source)] = _other_items(source, card, folder, taken)
    return [(source, found[id(source)]) for source in sources]


def _copied(
    manifest: Manifest,
    card: Card,
    entry: CheckpointCard,
    sources: Sequence[Source],
    texts: Sequence[str],
    folder: Path,
) -> list[Item]:
    """The files of a fetched checkpoint that was copied here."""
    if (manifest.model, manifest.checkpoint, manifest.sources) != (card.name, entry.name, tuple(texts)):
        came = f"{manifest.model}:{manifest.checkpoint} from {', '.join(manifest.sources)}"
        raise UserError(f"{folder} holds {came}, not {card.name}:{entry.name} from {', '.join(texts)}.")
    bad = [name for name in manifest.files if not is_safe(name)] or manifest.damaged(folder)
    if bad:
        raise UserError(f"{folder} is not as it was fetched: {names_text(bad)} is missing or damaged. Copy it again.")
    published = _digests_by_target(sources)
    return [
        Item(
            name=name,
            target=name,
            origin=facts.source,
            remote=_Copy(folder / name),
            size=facts.size,
            sha256=published.get(name) or recorded(facts.source) or facts.sha256,
            rule="published" if name in published else f"as {folder / MANIFEST} or an earlier download says",
            revision=facts.revision,
        )
        for name, facts in manifest.files.items()
    ]


def _digests_by_target(sources: Iterable[Source]) -> dict[str, str]:
    """The sha256 that cards give, by path in the checkpoint folder."""
    return {
        target: source.sha256[name]
        for source in sources
        for name, target in (source.targets or {}).items()
        if name in source.sha256
    }


def _named_items(source: Source, card: Card, folder: Path, taken: set[Path]) -> list[Item]:
    """The files of a source whose names are known, wherever they plausibly lie in the folder."""
    items, missing = [], []
    for name, target in (source.targets or {}).items():
        places = (folder / name, folder / Path(name).name, folder / target)
        path = next((path for path in places if path.is_file()), None)
        if path is None:
            missing.append(name)
        else:
            taken.add(path)
            items.append(_named_item(source, card, name, path))
    if missing:
        raise UserError(f"{folder} lacks {names_text(missing)} of {describe(source, card)}.")
    return items


def _named_item(source: Source, card: Card, name: str, path: Path) -> Item:
    if isinstance(source, HubSource):
        return _hub_item(source, name, path)
    file = next(file for file in web_files(source, card) if file.name == name)
    return replace(web_item(source, file, _Copy(path)), size=path.stat().st_size)


def _hub_item(source: HubSource, name: str, path: Path) -> Item:
    commit = hub_commit(source)
    return Item(
        name=name,
        target=(source.files or {}).get(name, name),
        origin=hub_origin(source, commit, name),
        remote=_Copy(path),
        size=path.stat().st_size,
        sha256=source.sha256.get(name),
        revision=commit,
    )


def _other_items(source: Source, card: Card, folder: Path, taken: set[Path]) -> list[Item]:
    """The files of a source that only the network could name: what the others leave."""
    left = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path not in taken
    )
    names = choose(left) if isinstance(source, HubSource) else [name for name in left if not name.startswith(".")]
    one = isinstance(source, DriveFileSource)
    if not names or (one and len(names) > 1):
        wanted = f"the {'one file' if one else 'files'} of {describe(source, card)}"
        raise UserError(f"{folder} should hold {wanted}, and holds {names_text(names or left) or 'none'}.")
    taken.update(folder / name for name in names)
    if isinstance(source, HubSource):
        return [_hub_item(source, name, folder / name) for name in names]
    targets = lifted(names)
    return [
        Item(
            name=name,
            target=targets[name],
            origin=f"{describe(source, card)}: {name}",
            remote=_Copy(folder / name),
            size=(folder / name).stat().st_size,
            sha256=source.sha256.get(name),
            archive=len(names) == 1,
        )
        for name in names
    ]
