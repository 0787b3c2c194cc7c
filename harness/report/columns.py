"""The columns a table can have: what they show, how it is written, and which of them stand in the first view."""

from __future__ import annotations

from typing import NamedTuple

from harness import comparable


class Column(NamedTuple):
    """One column: field of the row, heading, number form, group ("id", "quality", "cost", "timing", "settings")."""

    name: str
    title: str
    form: str = "number"
    group: str = "settings"
    help: str = ""


ENGINE = Column(
    "engine", "engine", "text", "id", "native: the port; upstream: the authors' own code; imported: generated elsewhere"
)
ID = (
    Column("scheduler", "scheduler", "text", "id"),
    Column("steps", "steps", "count", "id"),
    Column("candidates", "candidates", "count", "id", "texts each one was chosen from; the cost is that of all"),
)
COST = (
    Column("nfe_mean", "NFE", "count", "cost", "network evaluations per sequence, counted at the network"),
    Column("nfe_min", "NFE min", "count", "timing"),
    Column("nfe_max", "NFE max", "count", "timing"),
    Column("seconds_per_sequence", "time / sequence", "seconds", "cost", "total seconds divided by sequences"),
    Column("sequences_per_second", "sequences/s", "number", "cost"),
    Column("tokens_per_second", "tokens/s", "number", "cost", "generated tokens only: no prompt, no padding"),
    Column("peak_memory_bytes", "peak memory", "bytes", "cost"),
    Column("parameters", "parameters", "count", "cost"),
    Column("seconds_median", "batch median", "seconds", "timing"),
    Column("seconds_q1", "batch 1st quartile", "seconds", "timing"),
    Column("seconds_q3", "batch 3rd quartile", "seconds", "timing"),
    Column("batches", "batches timed", "count", "timing"),
    Column("seconds_total", "total", "seconds", "timing"),
    Column("network_seconds_total", "in the network", "seconds", "timing"),
    Column("load_seconds", "load", "seconds", "timing"),
    Column("first_call_seconds", "first call", "seconds", "timing"),
    Column("warmup_seconds", "warm-up", "seconds", "timing", "untimed calls before the measured ones"),
)
COST_NAMES = {column.name for column in COST}
LIKELIHOOD = (
    Column("estimator", "estimator", "text", "id"),
    Column("bound", "kind", "text", "id", "exact, or an upper bound of the true figure"),
    Column("bits_per_byte", "bits/byte", "number", "quality"),
    Column("bits_per_token", "bits/token", "number", "quality"),
    Column("perplexity", "perplexity / token", "number", "quality", "exp of nats per token"),
    Column("nats_per_token", "nats/token", "number", "quality"),
    Column("standard_error", "s.e.", "number", "quality", "Monte-Carlo standard error of nats per token"),
    Column("bits_per_char", "bits/character", "number", "quality"),
    Column("nats", "nats, all texts", "number", "timing"),
    Column("tokens", "tokens", "count", "cost"),
    Column("bytes", "bytes", "count", "timing"),
    Column("chars", "characters", "count", "timing"),
    Column("words", "words", "count", "timing"),
)
SETTINGS = tuple(
    Column(name, name.replace("_", " "), form)
    for name, form in (
        ("status", "text"),
        ("role", "text"),
        ("checkpoint", "text"),
        ("checkpoint_kind", "text"),
        ("engine", "text"),
        ("runtime", "text"),
        ("image", "text"),
        ("image_id", "text"),
        ("image_digest", "text"),
        ("benchmark", "text"),
        ("data", "text"),
        ("tokenizer", "text"),
        ("task", "text"),
        ("options", "text"),
        ("seed", "text"),
        ("selection", "text"),
        ("samples", "count"),
        ("samples_done", "count"),
        ("batch_size", "count"),
        ("length", "count"),
        ("device", "text"),
        ("machine", "text"),
        ("threads", "count"),
        ("dtype", "text"),
        ("precision", "text"),
        ("fingerprint", "text"),
    )
)
NOT_COLUMNS = {"model", "kind", "job", "reason", "message", "same_as", "point", "low", "high", "notes", "of"}
#: What a choice among stored texts has none of: the rows it was made from have it.
OF_THE_CANDIDATES = ("load_seconds", "first_call_seconds", "warmup_seconds", "peak_memory_bytes", "parameters")
NOT_COLUMNS |= {comparable.GROUP, comparable.REASON}
