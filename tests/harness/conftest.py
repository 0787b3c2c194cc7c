"""A small run of the shaky model, without any benchmark or plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.points import Job
from harness.store import RunStore

SHAKY = Path(__file__).parents[1] / "fakes" / "shaky"


def make_point(scheduler: str = "fine", steps: int = 2, job: str = "shaky-1", **changes) -> dict:
    point = {
        "fingerprint": f"{scheduler}-{steps}-{changes.get('seed', 0)}-{changes.get('kind', 'generate')}",
        "model": "shaky", "role": "model", "checkpoint": "tiny", "checkpoint_kind": "tiny", "engine": "native",
        "runtime": "local", "benchmark": "toy", "kind": "generate", "task": "unconditional", "scheduler": scheduler,
        "steps": steps, "estimator": None, "length": 8, "batch_size": 4, "device": "cpu", "dtype": "float32",
        "trace": False, "options": {"word": "w"}, "samples": 10, "seed": 0, "warmup_steps": 1, "warmup_count": 4,
        "job": job,
    }  # fmt: skip
    return {**point, **changes}


def make_job(points: list[dict], checkpoint: Path = SHAKY / "weights", name: str = "shaky-1") -> Job:
    load = {"checkpoint": str(checkpoint), "device": "cpu", "dtype": "float32", "tokenizer": "folder", "options": {}}
    return Job(name, "toy", "tests.fakes.shaky.adapter", "0" * 64, load, points, ["said of the job"])


@pytest.fixture
def store(tmp_path) -> RunStore:
    data = tmp_path / "results" / "r" / "data" / "toy"
    data.mkdir(parents=True)
    texts = [f"text number {i} ." for i in range(20)]
    (data / "references.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    prompts = [{"prefix": f"p{i}", "suffix": f"s{i}", "reference": f"p{i} w s{i}"} for i in range(20)]
    (data / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
    return RunStore(tmp_path / "results" / "r")
