"""Several runs, of one machine or of many, as one report.

Every row keeps its run, and its machine with it: the same point on two machines stays two rows. What is a copy of
another run's measurement is kept once. Nothing is averaged, and nothing is left out without a sentence that says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness import comparable
from harness.config import ReportConfig, as_list, folder, is_plain_name
from harness.errors import UserError, counted
from harness.reading import TolerantStore, may_not_be_read
from harness.report.collect import report_data
from harness.report.data import ReportData, Row, RunFacts, rows_of, unique
from harness.store import SCHEMA

#: Fields of `ReportData` by fingerprint.
BY_POINT = ("samples", "traces", "values", "convergence", "sessions")
_LONGEST_NAME = 60


def read_runs(results: Path, names: Sequence[str]) -> tuple[list[ReportData], list[str]]:
    """The runs of these names or folders, as far as they can be read.

    Returns:
        the runs, each with its `RunFacts` and under a name of its own, and for each that could not be read why not.

    Raises:
        UserError: where none can be read; of a single one the reason.
    """
    found: list[ReportData] = []
    problems: list[str] = []
    folders: set[Path] = set()
    for name in names:
        try:
            store = TolerantStore.open(results, name)
            if store.folder.resolve() in folders:  # named twice: asked for once
                continue
            folders.add(store.folder.resolve())
            found.append(read_run(store, _free_name(store.run, [data.run for data in found])))
        except UserError as error:
            if len(names) == 1:
                raise
            problems.append(f"{str(error).rstrip('.')}: left out.")
    if not found:
        raise UserError(" ".join(problems))
    return found, problems


def runs_as_one(config: ReportConfig, command: str) -> tuple[ReportData, list[str]]:
    """The run that a report is asked of, or several merged, and for each that could not be read why not.

    Raises:
        UserError: where none can be read, or for a name that is no folder's.
    """
    if config.name is not None and not is_plain_name(str(config.name)):
        raise UserError(f"name '{config.name}' is no folder name: use letters, digits, '-', '_' and '.'.")
    runs, problems = read_runs(folder(config.results), [str(run) for run in as_list(config.run)])
    name = str(config.name or default_name([data.run for data in runs]))
    data = replace(runs[0], run=name) if len(runs) == 1 and not problems else merge(runs, name, command, problems)
    return data, problems


def _free_name(name: str, taken: Sequence[str]) -> str:
    """The name, with a number behind it where another run of the report has it."""
    numbered = (f"{name}-{i}" for i in range(2, len(taken) + 3))
    return next(free for free in (name, *numbered) if free not in taken)


def read_run(store: TolerantStore, name: str) -> ReportData:
    """A run as far as it can be read, called `name`, with its `RunFacts`.

    Raises:
        UserError: for a run of another schema that has nothing in common with ours, or with files that may not be read.
    """
    try:
        data = report_data(store)
    except PermissionError as error:
        raise may_not_be_read(store.run, error) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if store.plan.get("schema") == SCHEMA:
            raise
        problem = f"run '{store.run}' has schema {store.plan.get('schema')}, of which this version can make nothing"
        raise UserError(f"{problem} ({type(error).__name__}: {error}).") from None
    remarks = store.unread()
    if name != store.run:
        remarks.insert(0, f"{store.folder} is called {name} here: another run of the report has the name {store.run}")
    facts = RunFacts(
        run=name,
        folder=str(store.folder),
        command=data.command,
        created=data.created,
        machines=_machines(rows_of(data.table)),
        points=len(data.table),
        remarks=remarks,
    )
    return replace(data, run=name, runs=[facts], missing=[*data.missing, *(f"{line}." for line in remarks)])


def _machines(rows: Sequence[Row]) -> list[str]:
    """What the rows ran on, with the threads of a CPU."""
    said = []
    for row in rows:
        threads = row.get("threads") if row.get("device") == "cpu" else None
        machine = row.get("machine")
        said.append(f"{machine}, {counted(threads, 'thread')}" if machine and threads else machine)
    return unique(said)


def default_name(names: Sequence[str]) -> str:
    """What the report of these runs is called where the user gives no name."""
    joined = "+".join(names)
    if len(joined) <= _LONGEST_NAME:
        return joined
    digest = hashlib.sha256(joined.encode()).hexdigest()[:8]
    return f"{names[0][: _LONGEST_NAME - 24]}+{len(names) - 1}-more-{digest}"


def merge(runs: Sequence[ReportData], name: str, command: str, problems: Sequence[str] = ()) -> ReportData:
    """One report of several runs.

    Args:
        runs: as `read_runs` gives them, under names of their own.
        name: of the report.
        command: that makes the report.
        problems: what else a reader must know, such as runs that could not be read.
    """
    kept, remarks = _without_copies(runs)
    parts = [_part(data, fingerprints) for data, fingerprints in zip(runs, kept, strict=True)]
    rows = [row for part in parts for row in rows_of(part.table)]
    sources, other_sources = _agreed_sources(runs)
    columns = dict.fromkeys(str(column) for part in parts for column in part.table.columns)
    table = comparable.annotate(pd.DataFrame(rows, columns=list(columns), dtype=object))
    return ReportData(
        run=name,
        command=command,
        created=max(data.created for data in runs),
        table=table,
        **{field: {key: v for part in parts for key, v in getattr(part, field).items()} for field in BY_POINT},
        sources=sources,
        environment=_environment(runs),
        benchmarks=_benchmarks(runs),
        scores=pd.DataFrame([line for part in parts for line in part.scores.to_dict("records")]),
        cards={model: card for data in runs for model, card in data.cards.items()},
        notes=_notes(runs),
        imports=unique(line for data in runs for line in data.imports),
        given=runs[0].given,
        runs=[_facts(data, part) for data, part in zip(runs, parts, strict=True)],
        missing=[*problems, *(f"{d.run}: {line}" for d in runs for line in d.missing), *remarks, *other_sources],
    )


def _facts(data: ReportData, part: ReportData) -> RunFacts:
    return replace(data.runs[0], points=len(part.table))


def _part(data: ReportData, kept: set[str]) -> ReportData:
    """A run with its kept rows only, under fingerprints that no other run has."""
    known = set(data.table.get("fingerprint", ()))

    def own(fingerprint: Any) -> Any:
        return f"{data.run}-{fingerprint}" if fingerprint in known else fingerprint

    rows = [row for row in data.table.to_dict("records") if row["fingerprint"] in kept]
    for row in rows:
        row |= {"run": data.run, "fingerprint": own(row["fingerprint"]), "same_as": own(row.get("same_as"))}
    scores = [{**s, "point": own(s["point"])} for s in data.scores.to_dict("records") if s["point"] in kept]
    by_point: dict[str, Any] = {
        field: {own(key): value for key, value in getattr(data, field).items() if key in kept} for field in BY_POINT
    }
    columns = dict.fromkeys([*data.table.columns, "run", "same_as"])
    return replace(
        data, table=pd.DataFrame(rows, columns=list(columns), dtype=object), scores=pd.DataFrame(scores), **by_point
    )


# --- copies ---------------------------------------------------------------------------------------------------------

#: What may differ between two rows of one measurement.
_NOT_COMPARED = ("job", "notes", "run", comparable.GROUP, comparable.REASON)
#: What a control costs is of no interest, so its rows are the same where its figures are.
_COSTS = (
    *("seconds_", "network_seconds", "tokens_per_second", "sequences_per_second", "load_", "first_call_", "warmup_"),
    *("peak_memory", "machine", "threads", "runtime", "image"),
)


def _without_copies(runs: Sequence[ReportData]) -> tuple[list[set[str]], list[str]]:
    """For each run the fingerprints of the rows that stay, and sentences about the rows that do not."""
    rows = [{str(row["fingerprint"]): row for row in rows_of(data.table)} for data in runs]
    kept = [set(mine) for mine in rows]
    remarks: list[str] = []
    for j in range(len(runs)):
        for i in range(j):
            shared = [fingerprint for fingerprint in rows[j] if fingerprint in kept[i] & kept[j]]
            related = _are_copies(runs[i], runs[j])
            verdicts = {f: _verdict(f, rows[i][f], rows[j][f], runs[i], runs[j], related) for f in shared}
            for fingerprint, verdict in verdicts.items():
                if verdict in _DROPPED:
                    kept[(j, i)[_DROPPED[verdict]]].discard(fingerprint)
            remarks += _said(verdicts.values(), runs[i].run, runs[j].run)
    return kept, remarks


#: Verdict of two rows -> which of them goes: 0 the later run's, 1 the earlier one's.
_DROPPED = {"copy": 0, "control": 0, "fuller": 1}


def _verdict(fingerprint: str, a: Row, b: Row, first: ReportData, second: ReportData, related: bool) -> str:
    """What rows of one point in two runs are to each other.

    "copy"; "fuller" (a copy, and b knows more); "control" (which gives the same figures wherever it runs); "rescored"
    (copies of which one was scored or run again); "" for two measurements.
    """
    if a.get("role") == "control" and _holds(a, b, _COSTS) and _holds(b, a, _COSTS):
        return "control"
    if not related and not (comparable.is_imported(a) and comparable.is_imported(b)):
        return ""
    finished = [row.get("status") not in ("pending", "partial") for row in (a, b)]
    if finished[0] != finished[1]:
        return "copy" if finished[0] else "fuller"
    sessions = [list(data.sessions.get(fingerprint, ())) for data in (first, second)]
    if sessions[0] != sessions[1]:
        return ""
    return "copy" if _holds(a, b) else "fuller" if _holds(b, a) else "rescored"


def _are_copies(a: ReportData, b: ReportData) -> bool:
    """Whether two runs share a worker session, which happens only where one was copied from the other."""
    mine = {session for sessions in a.sessions.values() for session in sessions}
    return any(session in mine for sessions in b.sessions.values() for session in sessions)


def _holds(a: Row, b: Row, aside: tuple[str, ...] = ()) -> bool:
    """Whether `a` knows everything that `b` knows and says the same."""
    return all(
        value is None or a.get(key) == value
        for key, value in b.items()
        if key not in _NOT_COMPARED and not key.startswith(aside or ("\0",))
    )


_SAID = {
    "copy": "{points} of {b}: copied from {a}, kept once.",
    "fuller": "{points} of {a}: copied in {b}, which says more: kept there.",
    "control": "{points} of {b}: control with the same figures as in {a}, kept once.",
    "rescored": "{points} of {b}: copied from {a}, but they say otherwise (scored or run again): both kept.",
}


def _said(verdicts: Iterable[str], a: str, b: str) -> list[str]:
    found = list(verdicts)
    return [
        text.format(points=counted(found.count(verdict), "point"), a=a, b=b)
        for verdict, text in _SAID.items()
        if verdict in found
    ]


# --- what stands beside the rows ------------------------------------------------------------------------------------


def _agreed(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all mappings say alike."""
    first, *others = mappings
    return {key: value for key, value in first.items() if all(key in m and m[key] == value for m in others)}


def _own(mapping: Mapping[str, Any], agreed: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in agreed}


def _environment(runs: Sequence[ReportData]) -> dict[str, Any]:
    agreed = _agreed([data.environment for data in runs])
    own = {f"run {data.run}": _own(data.environment, agreed) for data in runs}
    return {**agreed, **{run: facts for run, facts in own.items() if facts}}


def _benchmarks(runs: Sequence[ReportData]) -> dict[str, Mapping[str, Any]]:
    """Facts that all runs with a benchmark agree on; where they differ, those of each run under a name of their own."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in dict.fromkeys(name for data in runs for name in data.benchmarks):
        having = [data for data in runs if data.benchmarks.get(name)]
        agreed = _agreed([data.benchmarks[name] for data in having] or [{}])
        metrics = unique(metric for data in having for metric in data.benchmarks[name].get("metrics", ()))
        found[name] = {**agreed, **({"metrics": metrics} if metrics else {})}
        for data in having:
            if own := _own(data.benchmarks[name], found[name]):
                found[f"{name} in run {data.run}"] = own
    return found


def _agreed_sources(runs: Sequence[ReportData]) -> tuple[dict[str, Any], list[str]]:
    """Sources of the shown samples by benchmark, and a sentence for each benchmark whose runs have other ones."""
    found: dict[str, Any] = {}
    differing: list[str] = []
    for name in dict.fromkeys(name for data in runs for name in data.sources):
        given = [list(data.sources[name]) for data in runs if name in data.sources]
        if all(mine == given[0] for mine in given):
            found[name] = given[0]
        else:
            differing.append(f"{name}: the runs have other sources, so none are shown beside the samples.")
    return found, differing


def _notes(runs: Sequence[ReportData]) -> list[str]:
    """Each note once, with its run where not all have it."""
    everywhere = [note for note in runs[0].notes if all(note in data.notes for data in runs)]
    return everywhere + [f"{d.run}: {note}" for d in runs for note in d.notes if note not in everywhere]
