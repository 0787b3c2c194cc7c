"""Typed configuration. Hydra composes it from ``key=value`` words; each config checks itself and says what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.errors import UserError, unknown

DEVICES = "auto, cpu, cuda, cuda:N"
DTYPES = ("float32", "bfloat16", "float16")
ENGINES = ("native", "upstream")
#: A choice that is made for the user, and said with its reason.
AUTO = "auto"
RUNTIMES = (AUTO, "local", "docker")
DEFAULT_STEPS = [4, 10, 20, 64]
DEFAULT_CONTROLS = ["data", "shuffled", "copy", "unigram", "bigram", "repetitive"]
C = TypeVar("C")


def option(default: Any, help: str, key: str | None = None) -> Any:
    """A config field with its help text; a list default is copied.

    Args:
        default: its default.
        help: one line for `--help`.
        key: what the user types where that is no Python name ("upstream.path"); None for the field's own name.
    """
    metadata = {"help": help, "key": key}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


def keys(config_class: type) -> dict[str, Field[Any]]:
    """The fields of a config by what the user types."""
    return {f.metadata.get("key") or f.name: f for f in fields(config_class)}


def positive(name: str, value: Any) -> int:
    """`value` as a whole number above 0, or a `UserError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} must be a whole number, 1 or more, got '{value}'.")
    return value


def _is_amount(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def is_plain_name(name: str) -> bool:
    """Whether a name may be a folder's: letters, digits, '-', '_' and '.', which does not come first."""
    return name.replace("-", "").replace("_", "").replace(".", "").isalnum() and not name.startswith(".")


def as_list(value: Any) -> list[Any]:
    """A scalar as a list of one; repeats are dropped, order is kept."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return list(dict.fromkeys(values))


#: Settings of `BenchConfig` that are lists.
LISTS = (
    "model",
    "benchmark",
    "task",
    "steps",
    "schedulers",
    "seeds",
    "likelihood",
    "controls",
    "metrics",
    "engine",
    "batch_size",
)


@dataclass
class BenchConfig:
    """What `tdbench bench` runs."""

    model: Any = option([], "models to run (list); empty: every model that has the wanted checkpoint")
    checkpoint: Any = option(
        AUTO,
        "checkpoint name, a folder in the published layout, or {model: name or folder, ...}; 'auto': the published one "
        "where a GPU has room for it, else tiny",
    )
    benchmark: Any = option(
        "default", "benchmarks (list): what is generated and compared; 'default': those the checkpoints were made for"
    )
    benchmark_path: Any = option(
        None, "local file or folder of the benchmark's own format, read instead of a download", key="benchmark.path"
    )
    benchmark_options: Any = option(
        {}, "settings of the benchmark's source, as {split: test, context: 25}", key="benchmark.options"
    )
    data: Any = option(None, "text file for benchmark=text (UTF-8)")
    reference: Any = option(None, "held-out text file; without it the last tenth of data is held out")
    normalize: Any = option(None, "'text8' (a-z and space) or 'none'; empty: what the benchmark's card says")
    task: Any = option(
        "default",
        "tasks (list): unconditional, prefix, infill, seq2seq; 'none' for likelihood only; 'default': the benchmark's",
    )
    steps: Any = option("default", "sampler step counts to sweep (list), or 'default': 4,10,20,64")
    schedulers: Any = option("default", "sampling algorithms (list), or 'default': what the model's card marks")
    options: Any = option({}, "scheduler options, as {temperature: 0.9, top_p: 0.95, sampling_dtype: native}")
    samples: Any = option(None, "sequences to generate at each point; empty: the benchmark's own count, else 256")
    seeds: Any = option("default", "random seeds (list), each a row of its own; 'default': the benchmark's, else 0")
    mbr: bool = option(True, "seq2seq with several seeds: one more row that chooses among their texts (MBR)")
    length: Any = option(None, "tokens per sequence; empty: what the checkpoint was made for")
    window: Any = option(None, "size of a held-out text: characters (text) or words (toy); empty: as length")
    batch_size: Any = option(
        [64], "sequences in one batch, or several sizes to sweep (list); part of the row's identity"
    )
    likelihood: Any = option("default", "likelihood estimators (list), 'default' or 'none'")
    likelihood_samples: Any = option(None, "held-out texts to score; empty: the benchmark's own count, else 128")
    draws: int = option(16, "Monte-Carlo draws a text for a likelihood bound")
    controls: Any = option(DEFAULT_CONTROLS, "control rows beside the models (list)")
    metrics: Any = option("default", "metrics (list), or 'default': what the benchmark lists; evaluate:NAME for others")
    judge: Any = option(None, "judge of generative perplexity: a folder or Hub name; empty: the benchmark's own")
    tokenizer: Any = option(None, "tokenizer of a checkpoint folder that does not say: text8, folder, or a Hub name")
    engine: Any = option(["native"], f"which code computes (list): {', '.join(ENGINES)} (the authors' own)")
    upstream_path: Any = option(
        None, "checkout of the authors' repository, or {model: folder, ...}", key="upstream.path"
    )
    upstream_folder: Any = option(
        None, "folder of such checkouts; empty: where tdbench fetch --upstream puts them", key="upstream.folder"
    )
    runtime: str = option(
        AUTO, f"where the worker runs: {', '.join(RUNTIMES)}; 'auto': docker where an engine answers and has the image"
    )
    image: str = option("default", "image of runtime docker: a folder of containers/; 'default': the engine's own")
    image_base: Any = option(None, "base image to build on, empty: what the image's Dockerfile says", key="image.base")
    memory: Any = option(None, "memory limit of a container, GiB; empty: nine tenths of the machine's")
    device: str = option("auto", f"one of {DEVICES}")
    dtype: str = option("float32", f"network arithmetic: {', '.join(DTYPES)}")
    threads: Any = option(None, "CPU threads of the worker; empty: one a physical core")
    warmup_calls: int = option(3, "most warm-up calls before a point is timed")
    time_limit: Any = option(None, "seconds a point, or loading the model, may take; empty: no limit")
    trace: bool = option(
        True, "also record, apart from what is timed, how the first 16 texts of each point come about (its first seed)"
    )
    data_seed: int = option(0, "seed of a generated benchmark's data")
    run: Any = option(None, "name of the run folder; empty: made from the configuration, so the same command resumes")
    results: str = option("results", "folder that holds run folders")
    reports: str = option("reports", "folder that holds reports")

    def __post_init__(self) -> None:
        for name in LISTS:
            setattr(self, name, as_list(getattr(self, name)))
        if self.steps != ["default"]:
            self.steps = [positive("steps", value) for value in self.steps]
        self.batch_size = [positive("batch_size", value) for value in self.batch_size]
        for name in ("draws", "warmup_calls"):
            positive(name, getattr(self, name))
        for name in ("samples", "likelihood_samples", "length", "window", "threads"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        if not all((self.steps, self.seeds, self.task, self.benchmark, self.batch_size)):
            raise UserError("steps, seeds, task, benchmark and batch_size need at least one value each.")
        for seed in self.seeds if self.seeds != ["default"] else []:
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise UserError(f"seeds must be whole numbers, 0 or more, got '{seed}'.")
        if self.dtype not in DTYPES:
            raise unknown("dtype", str(self.dtype), DTYPES)
        for engine in self.engine:
            if engine not in ENGINES:
                raise unknown("engine", str(engine), ENGINES)
        if self.runtime not in RUNTIMES:
            raise unknown("runtime", str(self.runtime), RUNTIMES)
        if self.runtime == "local" and (self.image != "default" or self.image_base is not None):
            raise UserError("image= and image.base= are of runtime=docker, and runtime=local was asked for.")
        for name, example in (("options", "{temperature: 0.9}"), ("benchmark_options", "{split: test}")):
            if not isinstance(getattr(self, name), dict):
                key = name.replace("_", ".")
                raise UserError(f"{key} must be a mapping such as {example}, got '{getattr(self, name)}'.")
        for name, unit in (("time_limit", "seconds"), ("memory", "GiB")):
            value = getattr(self, name)
            if value is not None and not _is_amount(value):
                raise UserError(f"{name} must be a number of {unit} above 0, got '{value}'.")

    @property
    def step_counts(self) -> list[int]:
        """The step counts to sweep."""
        return self.steps if self.steps_given else DEFAULT_STEPS

    @property
    def steps_given(self) -> bool:
        """Whether the user named step counts."""
        return bool(self.steps != ["default"])


@dataclass
class ScoreConfig:
    """What `tdbench score` does again on a stored run."""

    run: str = option("???", "name of the run folder")
    metrics: Any = option("default", "metrics (list), or 'default': what the benchmark lists")
    judge: Any = option(None, "judge of generative perplexity: a folder or Hub name; empty: what the run used")
    force: bool = option(False, "score again what is already scored")
    results: str = option("results", "folder that holds run folders")

    def __post_init__(self) -> None:
        self.metrics = as_list(self.metrics)


@dataclass
class ReportConfig:
    """What `tdbench report` writes."""

    run: Any = option("???", "runs to report on, one or several (list): names, or folders with a '/' (results/a)")
    name: Any = option(None, "name of the report; empty: the run's, of several runs their names joined")
    max_steps: Any = option(None, "the verdict's budget of steps; empty: 20, or the fewest that ran")
    max_seconds: Any = option(None, "the verdict's budget of seconds a sequence; empty: from the median, rounded up")
    step_pair: Any = option([10, 20], "two step counts that are set against each other for every model (list)")
    results: str = option("results", "folder that holds run folders")
    reports: str = option("reports", "folder that holds reports")

    def __post_init__(self) -> None:
        if self.max_steps is not None:
            positive("max_steps", self.max_steps)
        if self.max_seconds is not None and not _is_amount(self.max_seconds):
            raise UserError(f"max_seconds must be a number of seconds above 0, got '{self.max_seconds}'.")
        self.step_pair = sorted(positive("step_pair", steps) for steps in as_list(self.step_pair))
        if len(self.step_pair) != 2:
            raise UserError("step_pair must be two different step counts, as step_pair=10,20.")


def build(config_class: type[C], words: list[str]) -> C:
    """A validated config from ``key=value`` words in Hydra's grammar.

    A bare list needs no brackets: ``steps=4,16`` is ``steps=[4,16]``.

    Raises:
        UserError: for an unknown key (with the nearest known one), a value of the wrong type, or a word Hydra cannot
            read.
    """
    known = keys(config_class)
    overrides = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' is not of the form key=value. Keys: {', '.join(known)}.")
        name, rest = _field_of(key, known)
        bare_list = "," in value and value[0] not in "[{\"'"
        # "++": keys were checked above, and new keys inside a mapping (options, checkpoint) are meant.
        overrides.append(f"++{name}{rest}=[{value}]" if bare_list else f"++{name}{rest}={value}")
    store = ConfigStore.instance()
    store.store(name=config_class.__name__, node=config_class)
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = compose(config_name=config_class.__name__, overrides=overrides)
        missing = OmegaConf.missing_keys(composed)
        if missing:
            raise UserError(f"{', '.join(sorted(missing))} is missing: give it as {min(missing)}=...")
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        raise UserError(f"{' '.join(words)}: {str(cause).splitlines()[0]}") from None
    return config_class(**values)  # type: ignore[arg-type]


def _field_of(key: str, known: Mapping[str, Field[Any]]) -> tuple[str, str]:
    """The field that a typed key means, and what of the key names an entry inside it (".temperature")."""
    found = [name for name in known if key == name or key.startswith(f"{name}.")]
    if not found:
        raise unknown("setting", key, known)
    longest = max(found, key=len)
    return known[longest].name, key[len(longest) :]


def describe(config_class: type) -> str:
    """The settings of a config with defaults and help, one a line."""
    lines = []
    for key, f in keys(config_class).items():
        default = f.default_factory() if callable(f.default_factory) else f.default
        shown = {"???": "required", "None": "", "{}": "", "[]": ""}.get(str(default), str(default).replace("'", ""))
        lines.append(f"  {key:<19} {f.metadata['help']}" + (f"  [{shown}]" if shown else ""))
    return "\n".join(lines)


def folder(path: str) -> Path:
    """A user's path with ``~`` expanded."""
    return Path(path).expanduser()
