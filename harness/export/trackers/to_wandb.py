"""Weights & Biases: one offline run for each line of the plots, its step counts as the x axis."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.export.records import Record, digest
from harness.export.trackers.base import Answer, Request, content, key, package, values
from harness.report.places import slug

NEEDED_FOR = "export to W&B"
#: In the folder of a run that was written to its end.
_DONE = "tdbench.done"


def to_wandb(request: Request) -> Answer:
    """Write a run as offline runs of W&B, which ``wandb sync`` sends.

    A run's id is made from its content, so what is there already is skipped, and what has changed is a new run.

    Raises:
        MissingPackage: without wandb.
        UserError: for an address, which offline runs have none.
    """
    if request.uri:
        raise UserError(f"{NEEDED_FOR} writes offline runs, so leave out --tracking-uri; wandb sync sends them.")
    os.environ.setdefault("WANDB_SILENT", "true")
    wandb = package("wandb", NEEDED_FOR)
    place = Path(os.environ.get("WANDB_DIR") or request.results).resolve()
    answer = Answer(f"W&B offline, project {request.project}", f"wandb sync {place / 'wandb'}/offline-run-*")
    for records in request.lines:
        first = records[0]
        name = f"{first.model} {first.place.title} {first.method or 'control'}"
        identity = digest([request.project, request.run, first.line, content(records)])
        if _is_there(place, identity):
            answer.same += 1
            continue
        config = {**values({k: v for k, v in first.params.items() if k != "steps"}), **values(first.tags)}
        run = _start(wandb, request, place, identity, name, {**config, **request.about}, first.role)
        _log(run, records)
        _finish(run)
        answer.new += 1
    if request.report and answer.new:
        _attach(wandb, request, place)
    return answer


def _is_there(place: Path, identity: str) -> bool:
    return any(place.glob(f"wandb/offline-run-*-{identity}/{_DONE}"))


def _start(
    wandb: Any, request: Request, place: Path, identity: str, name: str, config: dict[str, Any], job: str
) -> Any:
    place.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True, save_code=False
    )
    return wandb.init(
        project=request.project,
        id=identity,
        name=name,
        group=request.run,
        job_type=job,
        config=config,
        mode="offline",
        dir=str(place),
        settings=settings,
    )


def _log(run: Any, records: list[Record]) -> None:
    run.define_metric("steps")
    run.define_metric("*", step_metric="steps")
    for record in records:
        run.log({"steps": record.steps or 0, **{key(name): value for name, value in record.metrics.items()}})


def _finish(run: Any) -> None:
    folder = Path(run.dir).parent  # known only while it runs
    run.finish()
    (folder / _DONE).touch()


def _attach(wandb: Any, request: Request, place: Path) -> None:
    """The report as an artefact of a run of its own."""
    identity = digest([request.project, request.run, "report", [content([r]) for r in request.records]])
    run = _start(wandb, request, place, identity, f"{request.run} report", dict(request.about), "report")
    artifact = wandb.Artifact(f"report-{slug(request.run)}", type="report")
    artifact.add_dir(str(request.report))
    run.log_artifact(artifact)
    _finish(run)
