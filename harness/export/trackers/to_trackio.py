"""Trackio: one run for each line of the plots, its step counts as the x axis; a store on this machine."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from harness.errors import UserError
from harness.export.records import Record
from harness.export.trackers.base import Answer, Request, content, key, package, values
from harness.report.places import slug

NEEDED_FOR = "export to trackio"
#: With these trackio writes elsewhere than to this machine, where nothing could be compared with what is there.
_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


def to_trackio(request: Request) -> Answer:
    """Log a run to trackio's local store.

    Raises:
        MissingPackage: without trackio.
        UserError: where trackio is told to write elsewhere.
    """
    for name in (*_REMOTE, *(["--tracking-uri"] if request.uri else [])):
        if name in os.environ or name.startswith("--"):
            raise UserError(f"{NEEDED_FOR} writes its local store, so leave out {name}; trackio sync publishes it.")
    trackio = package("trackio", NEEDED_FOR)
    answer = Answer(f"trackio, project {request.project}", f"trackio show --project '{request.project}'")
    there = _there(trackio, request.project)
    for records in request.lines:
        name, told = _name(request, records), content(records)
        old = there.get(name)
        if old is not None and (old.config or {}).get("content") == told:
            answer.same += 1
            continue
        if old is not None:
            old.delete()
        with contextlib.redirect_stdout(io.StringIO()):  # it says much about each run
            _log(trackio, request, name, records, told)
        answer.updated += old is not None
        answer.new += old is None
    if request.report and answer.new + answer.updated:
        with contextlib.redirect_stdout(io.StringIO()):
            _attach(trackio, request)
    return answer


def _there(trackio: Any, project: str) -> dict[str, Any]:
    """The runs of the project by name."""
    try:
        return {run.name: run for run in trackio.Api().runs(project)}
    except ValueError:  # no such project yet
        return {}


def _name(request: Request, records: list[Record]) -> str:
    first = records[0]
    return key(f"{request.run} {first.model} {first.place.id} {first.method or 'control'} {first.line[:6]}")


def _log(trackio: Any, request: Request, name: str, records: list[Record], told: str) -> None:
    params = {k: v for k, v in records[0].params.items() if k != "steps"}
    config = {**values(params), **values(records[0].tags), **request.about, "content": told}
    run = _start(trackio, request, name, config)
    for record in records:
        run.log({key(metric): value for metric, value in record.metrics.items()}, step=record.steps or 0)
    trackio.finish()


def _start(trackio: Any, request: Request, name: str, config: dict[str, Any], resume: str = "never") -> Any:
    return trackio.init(
        project=request.project,
        name=name,
        group=request.run,
        config=config,
        resume=resume,
        auto_log_cpu=False,
        auto_log_gpu=False,
    )


def _attach(trackio: Any, request: Request) -> None:
    """The report as an artefact of a run of its own; a new version only where it differs."""
    run = _start(trackio, request, f"{request.run} report", dict(request.about), resume="allow")
    run.log({"records": len(request.records)}, step=0)  # a run without figures would not be found again
    run.log_artifact(str(request.report), name=f"report-{slug(request.run)}", type="report")
    trackio.finish()
