"""MLflow: one run for the whole and, nested in it, one for each record, which the tables of its UI compare."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Any

from harness.errors import UserError
from harness.export.records import Record, digest
from harness.export.trackers.base import Answer, Request, content, key, package, values

NEEDED_FOR = "export to MLflow"
#: By itself it reports its use to its makers, tells how it makes its tables, and tries a dead server for minutes.
_QUIET = {
    **{"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"},
    **{"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"},
}
_STATUS = "FINISHED"
#: The least that servers of any version take.
_LONGEST = 500
_PARENT, _NAME, _NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"


def to_mlflow(request: Request) -> Answer:
    """Log a run to an MLflow store.

    Raises:
        MissingPackage: without MLflow, or without what its local store needs.
        UserError: where the store cannot be reached.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    mlflow = package("mlflow", NEEDED_FOR, "mlflow-skinny")
    uri, local = _address(request)
    for name in ("sqlalchemy", "alembic") if uri.startswith("sqlite:") else ():
        package(name, f"{NEEDED_FOR} into {uri}", "sqlalchemy alembic")
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, request, local)
        return _log(client, experiment, request, uri)
    except mlflow.exceptions.MlflowException as error:
        raise UserError(f"MLflow at {_shown(uri)}: {' '.join(str(error).split())[:300]}") from None


def _address(request: Request) -> tuple[str, bool]:
    given = request.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return (given, False) if given else (f"sqlite:///{request.results.resolve() / 'mlflow.db'}", True)


def _shown(uri: str) -> str:
    """An address without a password."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _experiment(client: Any, request: Request, local: bool) -> str:
    found = client.get_experiment_by_name(request.project)
    if found:
        return str(found.experiment_id)
    place = (request.results.resolve() / "mlflow-artifacts").as_uri() if local else None
    return str(client.create_experiment(request.project, artifact_location=place))


def _log(client: Any, experiment: str, request: Request, uri: str) -> Answer:
    look = _shown(uri) if uri.startswith("http") else f"mlflow ui --backend-store-uri {_shown(uri)}"
    answer = Answer(f"MLflow, experiment {request.project}", look)
    parent = _whole(client, experiment, request, answer)
    for record in request.records:
        identity = digest([request.run, record.fingerprints])
        tags = {**record.tags, "tdbench.content": content([record]), _PARENT: parent, _NAME: record.title}
        _bring(client, experiment, identity, tags, record, answer)
    return answer


def _whole(client: Any, experiment: str, request: Request, answer: Answer) -> str:
    """The run of the whole, with the report; its id."""
    index = request.report / "index.html" if request.report else None
    seen = hashlib.sha256(index.read_bytes()).hexdigest()[:16] if index else "no report"
    about = {**request.about, "tdbench.content": digest([request.about, seen]), _NAME: request.run}
    about[_NOTE] = f"tdbench run {request.run}; its records are nested in it."
    before = answer.same
    run = _bring(client, experiment, digest(["whole", request.run]), about, None, answer)
    if request.report and answer.same == before:
        client.log_artifacts(run, str(request.report), "report")
    return run


def _bring(
    client: Any, experiment: str, identity: str, tags: dict[str, str], record: Record | None, answer: Answer
) -> str:
    """Make a run or bring it up to date; its id."""
    found = client.search_runs([experiment], f"tags.`tdbench.key` = '{identity}'", max_results=1)
    if found and found[0].data.tags.get("tdbench.content") == tags["tdbench.content"]:
        answer.same += 1
        return str(found[0].info.run_id)
    run = found[0] if found else client.create_run(experiment, tags={"tdbench.key": identity})
    _fill(client, run.info.run_id, tags, record, known=run.data.params)
    client.set_terminated(run.info.run_id, _STATUS)
    answer.updated += bool(found)
    answer.new += not found
    return str(run.info.run_id)


def _fill(client: Any, run: str, tags: dict[str, str], record: Record | None, known: dict[str, str]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    step = (record.steps or 0) if record else 0
    metrics = [Metric(key(name), value, now, step) for name, value in (record.metrics if record else {}).items()]
    # A parameter of MLflow never changes: one that did is told by its tag.
    params = {name: str(value)[:_LONGEST] for name, value in (values(record.params) if record else {}).items()}
    new = [Param(name, value) for name, value in params.items() if name not in known]
    client.log_batch(run, metrics=metrics, params=new, tags=[RunTag(key(k), str(v)[:5000]) for k, v in tags.items()])
