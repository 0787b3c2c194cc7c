"""Runs one job: loads the model once, then computes and measures its points batch by batch.

For each point, after a warm-up that is not counted::

    for each batch not yet on disk:
        reset counters and the memory mark; synchronise; start = clock
        model.generate(batch)                  (network calls are timed and counted inside)
        synchronise; seconds = clock - start
        append one line: samples, seconds, network seconds, evaluations, peak memory

A batch is seeded by (seed of the point, index of the batch) alone, so it does not matter in which process it runs, and
the same seed means the same noise for every model and step count.

Where a trace is wanted, the first sequences are generated once more after that, with their states kept; this is neither
timed nor counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import threading
import time
import traceback
import uuid
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List

import torch

from adapters.base import (
    AdapterError,
    CheckpointError,
    GenerateRequest,
    LikelihoodRequest,
    LoadSpec,
    Model,
    NotAvailable,
    Prompt,
)
from harness.worker.jsonl import DISK_FULL, append_line, force_to_disk, iter_lines, read_lines
from harness.worker.measure import PeakMemory, environment
from harness.worker.trace import FILE as TRACES
from harness.worker.trace import TRACED, packed

Emit = Callable[[Dict[str, Any]], None]


def batch_seed(seed: int, batch: int) -> int:
    """Seed of one batch, below 2^63."""
    digest = hashlib.sha256("{}:{}".format(seed, batch).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def load_model(module: str, load: Dict[str, Any]) -> Model:
    """The model of an engine's module; `load` has the fields of `LoadSpec` as job.json holds them."""
    paths = {key: Path(load[key]) if load.get(key) else None for key in ("checkpoint", "data", "upstream")}
    model: Model = importlib.import_module(module).load(LoadSpec(**{**load, **paths}))
    return model


class Worker:
    """One job in one process.

    Args:
        folder: the job folder with job.json; results are appended there.
        emit: sends one progress event to the host.
        skip: fingerprints that already failed in this run and are left for the next one.
    """

    def __init__(self, folder: Path, emit: Emit, skip: Collection[str] = ()) -> None:
        self.folder = folder
        self.skip = skip
        self.emit = emit
        self.job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.session = uuid.uuid4().hex[:12]
        self.device: str = self.job["load"]["device"]
        self.memory = PeakMemory(self.device)
        self.done = {(line["point"], line["batch"]) for line in iter_lines(folder / "batches.jsonl")}
        self.traced = {line["point"] for line in iter_lines(folder / TRACES)}

    def run(self) -> None:
        """Load the model and compute every unfinished point.

        Raises:
            AdapterError: when the model cannot be loaded (its checkpoint, the authors' code); no point has run then.
        """
        torch.set_num_threads(self.job["threads"])
        finished = {row["point"] for row in read_lines(self.folder / "points.jsonl") if row["status"] != "failed"}
        finished.update(self.skip)
        points = [point for point in self.job["points"] if point["fingerprint"] not in finished]
        if not points:
            return
        start = time.perf_counter()
        self.model = load_model(self.job["adapter"], self.job["load"])
        self._record_session(time.perf_counter() - start)
        for point in points:
            self._run_point(point)

    def _record_session(self, seconds: float) -> None:
        record = {
            "session": self.session,
            "job": self.job["job"],
            "checkpoint_sha256": self.job["checkpoint_sha256"],
            "load_seconds": seconds,
            "parameters": self.model.parameter_count,
            "memory_kind": self.memory.kind,
            "runtime": self.job.get("runtime"),
            "environment": environment(self.device),
        }
        append_line(self.folder / "sessions.jsonl", record)
        self.emit({"event": "loaded", "seconds": seconds})

    def _run_point(self, point: Dict[str, Any]) -> None:
        """Compute one point. Whatever happens inside becomes its row; the next point goes on."""
        row: Dict[str, Any] = {
            "point": point["fingerprint"],
            "session": self.session,
            "status": "done",
            "reason": None,
            "message": None,
            "same_as": None,
            "warmup_seconds": None,
            "notes": [*self.job.get("notes", ()), *point.get("notes", ()), *self.model.notes],
        }
        self.emit({"event": "point", "point": point["fingerprint"]})
        try:
            twin = self._twin(point)
            if twin is not None:
                row.update(status="same_as", same_as=twin, message="the same algorithm as its twin on this checkpoint")
            elif point["kind"] == "generate":
                row["warmup_seconds"] = self._generate_point(point)
                row["notes"] += self._trace_point(point)
            else:
                self._likelihood_point(point)
        except NotAvailable as error:
            row.update(status="not_available", reason="not_available", message=str(error))
        except Exception as error:  # the boundary of a point: any failure inside is a row, and the others go on
            _log_traceback()
            row.update(status="failed", reason=failure_reason(error), message=first_line(error))
        self._append_row(row)

    def _append_row(self, row: Dict[str, Any]) -> None:
        try:
            force_to_disk(self.folder / "batches.jsonl")
            append_line(self.folder / "points.jsonl", row)
        except OSError as error:
            # The disk holds no row, so the host must hear of the failure from here.
            row.update(status="failed", reason=failure_reason(error), message=first_line(error))
        self.emit({"event": "row", "row": row})

    def _twin(self, point: Dict[str, Any]) -> Any:
        """Fingerprint of another point of this job that is provably the same computation, or None."""
        if point["kind"] != "generate":
            return None
        name = self.model.same_as(point["scheduler"])
        wanted = {**point, "scheduler": name}
        for other in self.job["points"]:
            if name and {**wanted, "fingerprint": other["fingerprint"]} == other:
                return other["fingerprint"]
        return None

    def _pending(self, point: Dict[str, Any]) -> List[int]:
        count = -(-point["samples"] // point["batch_size"])
        return [batch for batch in range(count) if (point["fingerprint"], batch) not in self.done]

    def _indices(self, point: Dict[str, Any], batch: int) -> range:
        return range(batch * point["batch_size"], min((batch + 1) * point["batch_size"], point["samples"]))

    def _generate_point(self, point: Dict[str, Any]) -> Any:
        self.model.check(self._request(point, 0))
        pending = self._pending(point)
        if not pending:
            return None
        warmup = self._warm_up(point)
        for batch in pending:
            indices = self._indices(point, batch)
            request = self._request(point, batch)
            result, cost = self._measured(self.model.generate, request)
            samples = [
                {"index": i, "tokens": t, "text": text, "nfe": n, "generated_tokens": g}
                for i, t, text, n, g in zip(indices, result.tokens, result.texts, result.nfe, result.generated_tokens)
            ]
            for sample, left_off in zip(samples, result.left_off):
                sample["left_off"] = left_off
            for sample, kept in zip(samples, result.prompt_kept):
                sample["prompt_kept"] = kept
            evaluations = sum(network.evaluations for network in self.model.networks)
            if evaluations != sum(result.nfe):
                raise AssertionError(
                    "{} evaluations at the network, {} in the rows".format(evaluations, sum(result.nfe))
                )
            self._append_batch(point, batch, cost, {"evaluations": evaluations, "samples": samples})
        return warmup

    def _trace_point(self, point: Dict[str, Any]) -> List[str]:
        """Record states of the first sequences. Returns notes for the row."""
        if not point.get("trace") or point["fingerprint"] in self.traced:
            return []
        try:
            return self._record_trace(point)
        except NotAvailable as error:
            return ["not traced: {}".format(error)]
        except Exception as error:  # a trace is an extra: whatever breaks in it costs the point nothing but the trace
            _log_traceback()
            return ["not traced: {}".format(first_line(error))]

    def _record_trace(self, point: Dict[str, Any]) -> List[str]:
        count = min(TRACED, len(self._indices(point, 0)))
        request = replace(self._request({**point, "batch_size": count}, 0), trace=True)
        self.model.check(request)
        start = time.perf_counter()
        result = self.model.generate(request)
        self._synchronise()
        seconds = time.perf_counter() - start
        if result.trace is None:
            return ["not traced: this model hands out no intermediate states"]
        whole = count == len(self._indices(point, 0))
        again = whole and result.texts == self._first_texts(point)
        head = {"point": point["fingerprint"], "session": self.session, "seconds": seconds}
        line = {**head, "steps": point["steps"], "of_samples": again, **packed(result.trace)}
        append_line(self.folder / TRACES, line)
        return ["the batch that was traced did not give the texts of the samples again"] if whole and not again else []

    def _first_texts(self, point: Dict[str, Any]) -> List[str]:
        """Texts of the first batch, which may have been written by an earlier process."""
        for line in iter_lines(self.folder / "batches.jsonl"):
            if line["point"] == point["fingerprint"] and line["batch"] == 0:
                return [sample["text"] for sample in line["samples"]]
        return []

    def _likelihood_point(self, point: Dict[str, Any]) -> None:
        texts = [line["text"] for line in read_lines(Path(self.job["inputs"]["references"]))[: point["samples"]]]
        for batch in self._pending(point):
            indices = self._indices(point, batch)
            chosen = tuple(texts[i] for i in indices)
            request = LikelihoodRequest(chosen, point["estimator"], point["options"], batch_seed(point["seed"], batch))
            result, cost = self._measured(self.model.likelihood, request)
            figures = [
                {
                    "index": i,
                    "nats": figure.nats,
                    "standard_error": figure.standard_error,
                    "tokens": figure.tokens,
                    "bytes": len(text.encode("utf-8")),
                    "chars": len(text),
                    "words": len(text.split()),
                    "nfe": nfe,
                    **({"terms": dict(figure.terms)} if figure.terms else {}),
                }
                for i, text, figure, nfe in zip(indices, chosen, result.texts, result.nfe)
            ]
            line = {"evaluations": sum(result.nfe), "bound": result.kind, "likelihoods": figures}
            self._append_batch(point, batch, cost, line)

    def _append_batch(self, point: Dict[str, Any], batch: int, cost: Dict[str, Any], line: Dict[str, Any]) -> None:
        head = {"point": point["fingerprint"], "batch": batch, "session": self.session}
        # Forced to disk once a point, before its row: waiting for the disk each time costs more than a small batch.
        append_line(self.folder / "batches.jsonl", {**head, **cost, **line}, force=False)
        self.emit({"event": "batch", "point": point["fingerprint"], "batch": batch})

    def _measured(self, compute: Callable[[Any], Any], request: Any) -> Any:
        """The value of `compute(request)` and what it cost, device synchronised on both sides."""
        for network in self.model.networks:
            network.reset(0)
        self.memory.reset()
        self._synchronise()
        start = time.perf_counter()
        value = compute(request)
        self._synchronise()
        seconds = time.perf_counter() - start
        cost = {
            "seconds": seconds,
            "network_seconds": sum(network.seconds for network in self.model.networks),
            "network_calls": sum(network.calls for network in self.model.networks),
            "peak_memory_bytes": self.memory.read(),
        }
        return value, cost

    def _synchronise(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def _warm_up(self, point: Dict[str, Any]) -> List[float]:
        """Seconds of the warm-up calls: few steps, until two agree within 5 % or the job's `warmup_calls` are made."""
        seconds: List[float] = []
        short = {**point, "steps": point["warmup_steps"], "batch_size": point["warmup_count"]}
        request = self._request(short, 0)
        for _ in range(self.job["warmup_calls"]):
            seconds.append(self._measured(self.model.generate, request)[1]["seconds"])
            if len(seconds) > 1 and abs(seconds[-1] - seconds[-2]) <= 0.05 * seconds[-2]:
                break
        return seconds

    @cached_property
    def _prompts(self) -> List[Dict[str, Any]]:
        """Every prompt of the benchmark, read when a task first needs them."""
        return read_lines(Path(self.job["inputs"]["prompts"]))

    def _request(self, point: Dict[str, Any], batch: int) -> GenerateRequest:
        indices = self._indices(point, batch)
        prompts: tuple = ()
        if point["task"] != "unconditional":
            prompts = tuple(_prompt(point["task"], self._prompts[i]) for i in indices)
        return GenerateRequest(
            count=len(indices),
            length=point["length"],
            steps=point["steps"],
            scheduler=point["scheduler"],
            task=point["task"],
            options=point["options"],
            seed=batch_seed(point["seed"], batch),
            prompts=prompts,
            first=indices.start,
        )


def _prompt(task: str, line: Dict[str, Any]) -> Prompt:
    """What a task is given of a line of prompts.jsonl."""
    if task == "seq2seq":
        return Prompt(source=line["source"])
    return Prompt(line["prefix"], line["suffix"] if task == "infill" else "")


def failure_reason(error: BaseException) -> str:
    """The typed reason of a failed row."""
    if isinstance(error, AdapterError):
        return "bad_request"
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error):
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return "disk_full"
    return "exception"


def _log_traceback() -> None:
    """The whole traceback goes to the log; a full disk has no room for it either, and the row says why."""
    with contextlib.suppress(OSError):
        traceback.print_exc()
        sys.stderr.flush()


def first_line(error: BaseException) -> str:
    """One line for a row: the type, and the first line of the text."""
    lines = str(error).splitlines()
    text = lines[0] if lines else ""
    return text if isinstance(error, AdapterError) else "{}: {}".format(type(error).__name__, text)


def _die_with_host() -> None:
    """The host holds our stdin open; when it is gone (killed, say) nobody waits for this job, and the next run starts a
    worker of its own."""
    sys.stdin.read()
    os._exit(3)


def main(folder: Path, skip: Collection[str]) -> int:
    """Run the job in `folder` without the points in `skip`. Events go to the real stdout, one JSON object a line;
    whatever else prints goes to stderr.

    Returns:
        0 when every point has its row, 2 when the model cannot be loaded as asked.
    """
    events, sys.stdout = sys.stdout, sys.stderr
    threading.Thread(target=_die_with_host, daemon=True).start()

    def emit(event: Dict[str, Any]) -> None:
        events.write(json.dumps(event, ensure_ascii=False) + "\n")
        events.flush()

    try:
        Worker(folder, emit, skip).run()
    except AdapterError as error:  # of loading: those of a point are in its row
        reason = "bad_checkpoint" if isinstance(error, CheckpointError) else failure_reason(error)
        emit({"event": "not_loaded", "reason": reason, "message": first_line(error)})
        return 2
    return 0
