"""What `tdbench import` is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import is_plain_name
from harness.errors import UserError, unknown

FORMATS = {
    "diffuseq": 'a JSON object a line: {"recover", "reference", "source"}, [CLS], [SEP] and [PAD] cut out',
    "jsonl": 'a JSON object a line: {"text"}, and {"source"}, {"reference"} or {"references": [...]} where known',
    "text": "a text a line",
}


@dataclass(frozen=True)
class ImportRequest:
    """One import: texts of one model at one step count; several files are several seeds.

    Attributes:
        files: files, or folders of files; .gz too.
        format: key of `FORMATS`.
        model: name of the model, ours or any other.
        steps: the step count they were made with.
        scheduler: what sampled them, or None where unknown.
        benchmark: what they were made for; None for the only one of the run that fits.
        seeds: one a file, in their order; empty to take them from the names.
        references: files with a true text a line, for files that hold none; several for several true texts a sample.
        sources: file with a source a line, likewise.
        run: name of the run folder, or None.
        metrics: names, or ["default"].
        judge: judge of generative perplexity, or None.
        seconds: what generating one file took, if the user knows it.
        nfe: network evaluations of each text, if the user knows it.
        mbr: whether several seeds give an MBR row.
        results: folder that holds run folders.
        reports: folder that holds reports.
    """

    files: list[Path]
    format: str
    model: str
    steps: int
    scheduler: str | None = None
    benchmark: str | None = None
    seeds: list[int] = field(default_factory=list)
    references: list[Path] = field(default_factory=list)
    sources: Path | None = None
    run: str | None = None
    metrics: list[str] = field(default_factory=lambda: ["default"])
    judge: str | None = None
    seconds: float | None = None
    nfe: int | None = None
    mbr: bool = True
    results: str = "results"
    reports: str = "reports"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)
        if self.steps < 1 or (self.nfe is not None and self.nfe < 1):
            raise UserError(f"--steps and --nfe are whole numbers, 1 or more, got {self.steps}, {self.nfe}.")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UserError(f"--seconds is a number above 0, got {self.seconds}.")
        for flag, name in (("--model", self.model), ("--benchmark", self.benchmark or "x")):
            if not is_plain_name(name):
                raise UserError(f"{flag} '{name}' is no name: use letters, digits, '-', '_' and '.'.")
