"""The same job gives the same tokens in a container as here, whatever the folders are called."""

from __future__ import annotations

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.benchmarks import BenchmarkData
from harness.commands import prepare_data
from harness.config import BenchConfig
from harness.execute import Settings, execute
from harness.plan import make_plan
from harness.progress import Progress
from harness.store import Record, RunStore
from tests.docker.jobs import LIMITS, Bench
from tests.docker.their_code import LENGTH, STEPS, write_checkout, write_checkpoint

#: Of a point in a comparison: what must be equal, to the last bit.
SAMPLE = ("index", "tokens", "text", "nfe", "generated_tokens")
MODELS = ("radd", "nanodd", "plaid", "diffuseq", "gpt2")
ODD = "results of Ü, a:b=c 'd' $e {f}"


def generate(folder: Path, config: BenchConfig, bench: Bench | None) -> RunStore:
    """The first stage of `tdbench bench`, in containers where a bench is given, else here."""
    store = RunStore(folder)
    plan = make_plan(config, prepared(folder, config))
    store.write_plan({"points": plan.points, "config": {}, "command": "test"})
    runtime_for = (lambda job: bench.runtime(LIMITS)) if bench else None
    with store.locked():
        outcome = execute(store, plan, Settings(1, 1, None), Progress(io.StringIO()), runtime_for)
    assert outcome.failed == []
    return store


def prepared(folder: Path, config: BenchConfig) -> dict[str, BenchmarkData]:
    """The data of a run, made where it is not there."""
    store = RunStore(folder)
    return {b.name: prepare_data(b, config, store.benchmark_data(b.name)) for b in make_plan(config).benchmarks}


def both_ways(folder: Path, config: BenchConfig, bench: Bench) -> tuple[RunStore, RunStore]:
    """A run here and the same in containers, side by side."""
    prepared(folder / "here", config)
    shutil.copytree(folder / "here" / "data", folder / "inside" / "data")
    with ThreadPoolExecutor() as threads:
        runs = [
            threads.submit(generate, folder / name, config, where)
            for name, where in (("here", None), ("inside", bench))
        ]
        here, inside = (run.result() for run in runs)
    return here, inside


def figures(store: RunStore, point: Record) -> list[Record]:
    """What a point computed, without what it took."""
    samples = [{name: sample[name] for name in SAMPLE} for sample in store.samples(point["fingerprint"])]
    lines = store.batches().get(point["fingerprint"], [])
    return samples or [figure for line in lines for figure in line["likelihoods"]]


@pytest.fixture(scope="module")
def both(shared: Bench) -> tuple[RunStore, RunStore]:
    config = BenchConfig(
        model=list(MODELS), checkpoint="tiny", controls=["bigram"], steps=[2], seeds=[0], samples=4, batch_size=2,
        likelihood_samples=3, draws=2, runtime="local", device="cpu",
    )  # fmt: skip
    return both_ways(shared.folder, config, shared)


@pytest.mark.parametrize("model", [*MODELS, "bigram"])
def test_tokens_evaluations_and_likelihoods_are_those_of_local(both: tuple[RunStore, RunStore], model: str) -> None:
    here, inside = both
    # Those that are chosen from others' texts have no row yet.
    points = [point for point in here.points() if point["model"] == model and not point.get("selection")]
    assert {point["kind"] for point in points} >= {"generate"}
    for point in points:
        row, other = (store.rows()[point["fingerprint"]] for store in both)
        assert row["status"] == other["status"]
        if row["status"] == "done":
            assert figures(here, point)
            assert figures(inside, point) == figures(here, point)


def test_the_row_says_what_it_ran_in(both: tuple[RunStore, RunStore], shared: Bench) -> None:
    here, inside = both
    assert {session["runtime"]["name"] for session in here.sessions().values()} == {"local"}
    for session in inside.sessions().values():
        assert session["runtime"]["name"] == "docker"
        assert session["runtime"]["image_id"] == shared.image
        assert session["runtime"]["limits"]["memory"] == LIMITS.memory


def test_the_engine_upstream_and_folders_with_odd_names(bench: Bench) -> None:
    """Code, weights and results, each in a folder whose name has what separates things elsewhere."""
    folder = bench.folder / ODD
    config = BenchConfig(
        model=["nanodd"], engine=["upstream"], checkpoint=str(write_checkpoint(folder / "weights: x=1, ü")),
        upstream_path=str(write_checkout(folder / "their code: y=2, ß")), steps=[STEPS],
        length=LENGTH, samples=4, batch_size=2, controls=[], likelihood_samples=2, draws=4, runtime="local",
        device="cpu", benchmark="toy",
    )  # fmt: skip
    here, inside = both_ways(folder, config, bench)
    assert [point["kind"] for point in here.points()] == ["generate", "likelihood"]
    for point in here.points():
        assert here.rows()[point["fingerprint"]]["status"] == "done"
        assert figures(inside, point) == figures(here, point) != []
    assert "differs from commit" in str(inside.rows()), "the checkout is not the authors', and the row says so"
