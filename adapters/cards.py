"""Cards: a model described as data. Reading one imports no torch.

A card is ``<model folder>/card.yaml``. Models are found as folders of `adapters/` and as entry points of the group
``tdbench.adapters`` whose value is an importable package that holds a card.yaml.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from adapters.sources import Source, read_sources
from harness.effort import CodeSize, Effort, measure, read_effort
from harness.errors import UserError, unknown
from harness.published import PublishedFigure, read_published

ENTRY_POINT_GROUP = "tdbench.adapters"
CARD = "card.yaml"
#: Keys of a card that only reports read: a change of words changes no result, so nothing is computed again.
WORDS = ("title", "summary", "look", "effort", "published_results", "caveats")
_HERE = Path(__file__).parent
#: Markers and number of colours that a card may choose from for its plots (`harness.report.looks`).
MARKERS = "os^DvPX*<>"
COLOURS = 10


@dataclass(frozen=True)
class SchedulerCard:
    """One sampling algorithm as the user sees it.

    Attributes:
        name: what the user types.
        summary: one line: what it does, with its source.
        steps: "any"; "fixed_length" (always one step per token: the sweep's steps do not apply); or "fixed" (always
            the model's own number, `fixed_steps`).
        max_steps: largest accepted step count: a number, "length", or None.
        options: accepted options with their defaults.
        tasks: accepted tasks; empty for all tasks of the model.
        default: whether a sweep that names no scheduler runs it.
        family: False for a sampler that only this model has.
        precision: arithmetic of the categorical draws: the name of the option that holds it, or the arithmetic itself;
            None where nothing is drawn.
        held_out: whether each sample is a held-out window, so that there are no more samples than windows.
        deterministic: whether every seed gives the same text.
    """

    name: str
    summary: str
    steps: str = "any"
    max_steps: int | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    default: bool = False
    family: bool = True
    precision: str | None = None
    held_out: bool = False
    deterministic: bool = False


@dataclass(frozen=True)
class UpstreamCard:
    """The authors' own code, and what it can do behind the engine `upstream`.

    Attributes:
        repo: address of the repository.
        commit: the pinned commit, 40 hex digits; None where no code of theirs is run.
        licence: SPDX name, or None where none is stated.
        paper: address or reference.
        schedulers: schedulers that their code has, the default first; empty where there is no upstream engine.
        estimators: likelihood estimators that their code has, the default first.
        tasks: tasks that their code has.
        options: options of their schedulers with defaults, by scheduler, where they are not those of the native engine.
        packages: what their code imports besides torch, as pip calls it.
        files: sha256 at the pinned commit of every file that our engine imports, by path in the repository.
    """

    repo: str | None = None
    commit: str | None = None
    licence: str | None = None
    paper: str | None = None
    schedulers: tuple[str, ...] = ()
    estimators: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """What one engine can do for a model.

    Attributes:
        module: importable module with ``load``.
        tasks: accepted tasks.
        schedulers: by name.
        estimators: summaries by name, the default first.
    """

    module: str
    tasks: tuple[str, ...]
    schedulers: dict[str, SchedulerCard]
    estimators: dict[str, str]


@dataclass(frozen=True)
class CheckpointCard:
    """One named set of weights.

    Attributes:
        kind: "tiny" (ships with the project), "published", or "none" (controls).
        path: folder relative to the model folder, for weights that ship with the project.
        source: where published weights come from; () where the card does not say.
        tokenizer: "text8", a Hub name, or "folder" (tokenizer.json beside the weights).
        length: default sequence length in tokens.
        benchmark: what it was made for, or is compared on.
        parameters: how many numbers are trained; for estimates of memory.
        vocabulary: how many words the network gives logits for; for the same.
        options: handed to the adapter's `load`.
    """

    name: str
    kind: str
    path: str | None = None
    source: tuple[Source, ...] = ()
    tokenizer: str = "folder"
    length: int | None = None
    benchmark: str | None = None
    max_steps: int | None = None
    parameters: int | None = None
    vocabulary: int | None = None
    summary: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LookCard:
    """How a model is drawn in every plot.

    Attributes:
        colour: number of a colour of the palette, from 0.
        marker: one of `MARKERS`, as matplotlib names it.
    """

    colour: int
    marker: str


@dataclass(frozen=True)
class Card:
    """A model as data.

    Attributes:
        name: package name of the model.
        title: as people write it.
        role: "model", "control" or "baseline".
        family: family package below `adapters/` ("masked"), or None.
        module: importable package of the model folder.
        folder: the model folder.
        upstream: the authors' code.
        tasks: accepted tasks.
        schedulers: by name.
        options: of the model itself, with their defaults: every scheduler of its family takes them too.
        estimators: likelihood estimators by name with a summary; the first is the default; empty where there is none.
        likelihood: "exact", "upper_bound" or None.
        checkpoints: by name.
        train: defaults of `tdbench train`, empty where the model cannot be trained here.
        effort: what it takes: training, the authors' code, dependencies (`harness.effort`).
        published_results: published figures with their protocol (`harness.published`).
        caveats: known oddities, one sentence each.
        look: how it is drawn; None: whatever is free.
    """

    name: str
    title: str
    role: str
    family: str | None
    module: str
    folder: Path
    summary: str = ""
    upstream: UpstreamCard = field(default_factory=UpstreamCard)
    tasks: tuple[str, ...] = ()
    schedulers: dict[str, SchedulerCard] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    estimators: dict[str, str] = field(default_factory=dict)
    likelihood: str | None = None
    checkpoints: dict[str, CheckpointCard] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    effort: Effort = field(default_factory=Effort)
    published_results: tuple[PublishedFigure, ...] = ()
    caveats: list[str] = field(default_factory=list)
    look: LookCard | None = None

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that can compute this model."""
        return ("native", "upstream") if self.upstream.schedulers else ("native",)

    def offer(self, engine: str) -> Offer:
        """What an engine of this model can do."""
        if engine == "native":
            return Offer(f"{self.module}.adapter", self.tasks, self.schedulers, self.estimators)
        own = self.upstream
        schedulers = {
            name: replace(
                self.schedulers[name],
                default=name == own.schedulers[0],
                options=own.options.get(name, self.schedulers[name].options),
            )
            for name in own.schedulers
        }
        estimators = {name: self.estimators[name] for name in own.estimators}
        return Offer(f"{self.module}.upstream", own.tasks, schedulers, estimators)

    def code_sizes(self) -> tuple[CodeSize, CodeSize | None]:
        """Python code of the model's own folder, and of the family it shares with others (None without one)."""
        return measure(self.folder), measure(_HERE / self.family) if self.family else None

    def code_digest(self) -> str:
        """sha256 over the files that can change this model's results: its folder, its family, the shared base. Of its
        card without what only reports read (`WORDS`).
        """
        folders = [self.folder, _HERE] + ([_HERE / self.family] if self.family else [])
        files = sorted({f for folder in folders for pattern in ("*.py", "*.yaml") for f in folder.glob(pattern)})
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.name.encode() + b"\0" + _computed_from(file))
        return digest.hexdigest()


def _computed_from(file: Path) -> bytes:
    """What results can depend on in a file."""
    if file.name != CARD:
        return file.read_bytes()
    card = {key: value for key, value in _read_yaml(file).items() if key not in WORDS}
    return json.dumps(card, sort_keys=True, default=str).encode()


def _read_yaml(path: Path) -> dict[str, Any]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise UserError(f"{path} is not a mapping of keys to values.")
    return data


def _family_schedulers(family: str | None, options: dict[str, Any]) -> dict[str, SchedulerCard]:
    """The family's schedulers with the model's own options added to theirs."""
    if family is None:
        return {}
    entries = _read_yaml(_HERE / family / "family.yaml")["schedulers"]
    cards = {name: SchedulerCard(name=name, **entry) for name, entry in entries.items()}
    return {name: replace(card, options={**card.options, **options}) for name, card in cards.items()}


def _upstream(entry: dict[str, Any]) -> UpstreamCard:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return UpstreamCard(**values)


def _checkpoint(name: str, entry: dict[str, Any], folder: Path) -> CheckpointCard:
    source = read_sources(entry.get("source"), f"{folder / 'card.yaml'}, checkpoint '{name}'")
    return CheckpointCard(name=name, **{**entry, "source": source})


def _look(entry: Any, file: Path) -> LookCard | None:
    if entry is None:
        return None
    keys = isinstance(entry, dict) and set(entry) == {"colour", "marker"}
    if not keys or entry["colour"] not in range(COLOURS) or entry["marker"] not in list(MARKERS):
        raise UserError(
            f"{file}: look {entry} is not one that plots have: colour is 0 to {COLOURS - 1}, marker one of {MARKERS}."
        )
    return LookCard(**entry)


def read_card(folder: Path, module: str) -> Card:
    """Read ``folder/card.yaml``.

    Args:
        folder: the model folder.
        module: its importable name.

    Raises:
        UserError: for a key that cards do not have, or a missing one.
    """
    where = str(folder / CARD)
    data = _read_yaml(folder / CARD)
    family = data.get("family")
    try:
        own = {
            name: SchedulerCard(name=name, family=False, **entry)
            for name, entry in (data.pop("schedulers", None) or {}).items()
        }
        checkpoints = {
            name: _checkpoint(name, entry, folder) for name, entry in (data.pop("checkpoints", None) or {}).items()
        }
        data["tasks"] = tuple(data.get("tasks", ()))
        data["upstream"] = _upstream(data.get("upstream") or {})
        data["effort"] = read_effort(data.get("effort") or {}, where)
        data["published_results"] = read_published(data.get("published_results") or [], where)
        data["look"] = _look(data.get("look"), folder / "card.yaml")
        return Card(
            module=module,
            folder=folder,
            schedulers={**_family_schedulers(family, data.get("options") or {}), **own},
            checkpoints=checkpoints,
            **data,
        )
    except TypeError as error:
        raise UserError(f"{where}: {error}") from None


@cache
def all_cards() -> dict[str, Card]:
    """Every model by name: folders of `adapters/` with a card, then entry points."""
    cards = {p.parent.name: read_card(p.parent, f"adapters.{p.parent.name}") for p in sorted(_HERE.glob(f"*/{CARD}"))}
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        spec = importlib.util.find_spec(entry.value)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"entry point '{entry.name}' of {ENTRY_POINT_GROUP} names no package: '{entry.value}'.")
        cards[entry.name] = read_card(Path(spec.submodule_search_locations[0]), entry.value)
    return cards


def get_card(name: str) -> Card:
    """The card of one model; raises `UserError` with the nearest name for an unknown one."""
    cards = all_cards()
    if name not in cards:
        raise unknown("model", name, cards)
    return cards[name]
