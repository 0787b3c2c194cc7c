"""``tdbench bench --dry-run``: what would be run, and what it would take."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from adapters.cards import get_card
from harness.images.image import variant_for
from harness.memory import gib, needed_memory
from harness.plan import Plan
from harness.points import Job
from harness.store import Record
from harness.weights import Download

UNKNOWN = "unknown"
_JOBS = ("job", "model", "checkpoint", "engine", "benchmark", "points", "runtime", "image", "device", "memory")
_POINTS = ("job", "kind", "task", "scheduler", "steps", "estimator", "seed", "samples", "batch_size", "length")
_DOWNLOADS = ("model", "checkpoint", "size", "place", "source")


def print_dry_run(plan: Plan, run: str, words: Sequence[str], base: str | None = None) -> None:
    """Print a plan as tab-separated tables under headings: jobs, points, downloads, commands.

    Args:
        plan: the plan; nothing of it was prepared.
        run: name of the run folder.
        words: the settings the user gave.
        base: image that others are built on, None for what their Dockerfiles say.
    """
    _print_table(f"jobs of run {run}", _JOBS, map(_job_row, plan.jobs))
    print()
    _print_table("points", _POINTS, ([_text(point.get(name)) for name in _POINTS] for point in plan.points))
    print()
    _print_table("downloads", _DOWNLOADS, (_download_row(download) for download in plan.downloads))
    print("\n# commands")
    for download in plan.downloads:
        print(f"tdbench fetch {download.model}:{download.checkpoint}")
    for name, device in plan.images:
        chosen = ["--variant", variant_for(device), *(["--base", base] if base else [])]
        print(shlex.join(["tdbench", "images", name, *chosen]))
    print(shlex.join(["tdbench", "bench", *words]))


def _job_row(job: Job) -> list[str]:
    first = job.points[0]
    return [
        job.name,
        first["model"],
        first["checkpoint"],
        first["engine"],
        job.benchmark,
        str(len(job.points)),
        job.place.runtime,
        _image(job),
        job.place.device,
        _memory(first),
    ]


def _image(job: Job) -> str:
    if job.place.runtime == "local":
        return "-"
    return job.place.image.tag if job.place.image else f"containers/{job.place.image_name} (to be built)"


def _memory(point: Record) -> str:
    entry = get_card(point["model"]).checkpoints.get(point["checkpoint"])
    needed = entry and needed_memory(entry, point["batch_size"], point["length"], point["dtype"])
    return f"about {gib(needed)}" if needed else UNKNOWN


def _download_row(download: Download) -> list[str]:
    return [download.model, download.checkpoint, download.size_text, str(download.place), download.source]


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"# {title}")
    print("\t".join(columns))
    for row in rows:
        print("\t".join(row))


def _text(value: object) -> str:
    return "-" if value is None else str(value)
