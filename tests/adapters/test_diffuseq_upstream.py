"""The authors' DiffuSeq behind the common interface. Tests of their code need a checkout: TDBENCH_UPSTREAM is a folder
that holds main as Shark-NLP+DiffuSeq, DiffuSeq or diffuseq, and the other branch as diffuseq-v2."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import (
    AdapterError,
    CheckpointError,
    GenerateRequest,
    LikelihoodRequest,
    LoadSpec,
    NotAvailable,
    Prompt,
)
from adapters.cards import get_card
from adapters.diffuseq import adapter
from adapters.diffuseq.parity import cases, replay
from adapters.diffuseq.upstream import PACKAGES, SCHEDULERS, TASKS, DiffuseqUpstream, checked, load, record
from adapters.gaussian.model import GaussianModel
from adapters.parity import compare
from tests.adapters.diffuseq_checkpoints import SECOND, SHAPES, WEIGHTS_NAME, write
from tests.checkouts import checkout_of
from tests.goldens.record_diffuseq_v2 import load_second, second_cases

CARD = get_card("diffuseq").upstream
SOURCES = ("how can you do it ?", "", "the green dogs don't do nothing . " * 9)
REQUEST = GenerateRequest(
    count=3,
    length=SHAPES["small"].length,
    steps=6,
    scheduler="ddpm_diffuseq",
    task="seq2seq",
    seed=5,
    prompts=tuple(Prompt(source=source) for source in SOURCES),
)


@pytest.fixture(scope="session")
def checkout() -> Path:
    return checkout_of("diffuseq")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("diffuseq") / "small", SHAPES["small"])


@pytest.fixture(scope="module")
def model(folder: Path, checkout: Path) -> DiffuseqUpstream:
    return load(LoadSpec(folder, upstream=checkout))


def native(folder: Path) -> GaussianModel:
    found = adapter.load(LoadSpec(folder))
    assert isinstance(found, GaussianModel)
    return found


def test_card_lists_what_the_engine_offers() -> None:
    assert (CARD.tasks, CARD.schedulers, CARD.estimators) == (TASKS, SCHEDULERS, ())
    assert CARD.packages == PACKAGES


def test_card_has_the_digests_of_the_imported_files(checkout: Path) -> None:
    for name, digest in CARD.files.items():
        assert hashlib.sha256((checkout / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"clamp_step": "all"}, "clamp_step must be a number, got 'all'"),
        ({"top_p": True}, "top_p must be a number"),
        ({"clip_denoised": 1}, "clip_denoised must be true or false"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        checked(options)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (LoadSpec(Path("x")), "upstream.path=FOLDER"),
        (LoadSpec(None, upstream=Path("y")), "needs a checkpoint"),
        (LoadSpec(Path("x"), upstream=Path("y"), dtype="bfloat16"), "in float32, not in 'bfloat16'"),
        (LoadSpec(Path("x"), upstream=Path("y")), "checkout y .* does not exist"),
    ],
)
def test_bad_load_specs(spec: LoadSpec, says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        load(spec)


@pytest.mark.parametrize("name", SHAPES)
def test_the_authors_code_agrees(name: str, tmp_path: Path, checkout: Path) -> None:
    """What `tdbench parity` does, on each golden checkpoint."""
    path = write(tmp_path / name, SHAPES[name])
    ours, theirs = native(path), load(LoadSpec(path, upstream=checkout))
    for case in cases(ours):
        recorded = record(theirs, case)
        differences = compare(case, recorded, replay(ours, case, recorded))
        assert [d for d in differences if not d.passed] == []


@pytest.mark.parametrize("name", SECOND)
def test_the_authors_second_version_agrees(name: str, tmp_path: Path) -> None:
    second = Path(os.environ.get("TDBENCH_UPSTREAM", "no-such-folder")) / "diffuseq-v2"
    if not second.is_dir():
        pytest.skip("no checkout of the branch diffuseq-v2 as diffuseq-v2 in TDBENCH_UPSTREAM")
    path = write(tmp_path / name, SECOND[name])
    ours, theirs = native(path), load_second(LoadSpec(path, upstream=second))
    for case in second_cases(ours):
        recorded = record(theirs, case)
        differences = compare(case, recorded, replay(ours, case, recorded))
        assert [d for d in differences if not d.passed] == []


@pytest.mark.parametrize("steps", [2, 6, 15, 20])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_generate_gives_the_native_engines_result(
    model: DiffuseqUpstream, folder: Path, scheduler: str, steps: int
) -> None:
    request = replace(REQUEST, scheduler=scheduler, steps=steps)
    theirs = model.generate(request)
    assert native(folder).generate(request) == theirs
    gap = 20 // steps
    assert theirs.nfe == [steps if scheduler == "ddpm_diffuseq" else len(range(0, 20, gap))] * 3
    assert sum(theirs.nfe) == model.counted.evaluations
    assert theirs.left_off[:2] == [0, 0]
    assert theirs.left_off[2] > 50


def test_bad_requests(model: DiffuseqUpstream) -> None:
    for changed, says in (
        ({"steps": 21}, "more than the 20"),
        ({"steps": 1}, "2 steps or more"),
        ({"task": "prefix"}, "no task 'prefix'"),
        ({"scheduler": "ddim"}, "no scheduler 'ddim'"),
        ({"length": 25}, "outside 1..24"),
        ({"trace": True}, "no intermediate states"),
        ({"options": {"target_room": 1}}, "2 positions for a target or more"),
    ):
        with pytest.raises((AdapterError, NotAvailable), match=says):
            model.generate(replace(REQUEST, **changed))  # type: ignore[arg-type]
    with pytest.raises(NotAvailable, match="no likelihood"):
        model.likelihood(LikelihoodRequest(("a cat",), "elbo"))


def test_bad_checkpoints(tmp_path: Path, checkout: Path) -> None:
    cut = write(tmp_path / "cut", SHAPES["small"])
    (cut / WEIGHTS_NAME).write_bytes((cut / WEIGHTS_NAME).read_bytes()[:1000])
    foreign = write(tmp_path / "foreign", SHAPES["small"])
    torch.save({"weight": torch.zeros(2)}, foreign / WEIGHTS_NAME)
    harmful = write(tmp_path / "harmful", SHAPES["small"])
    torch.save({"weight": Path("x")}, harmful / WEIGHTS_NAME)
    other = write(tmp_path / "other", SHAPES["small"], "no-such-config")
    (other / "config.json").unlink()
    damaged = write(tmp_path / "damaged", SHAPES["small"])
    arguments = json.loads((damaged / "training_args.json").read_text(encoding="utf-8"))
    del arguments["hidden_dim"]
    (damaged / "training_args.json").write_text(json.dumps(arguments), encoding="utf-8")
    second = write(tmp_path / "second", SECOND["v2"])
    for path, says in (
        (cut, "truncated"),
        (foreign, "cannot load .*foreign"),
        (harmful, "more than tensors"),
        (other, "no-such-config"),
        (damaged, "hidden_dim"),
        (second, "cannot load .*second"),
        (tmp_path / "absent", "does not exist"),
    ):
        with pytest.raises(CheckpointError, match=says) as error:
            load(LoadSpec(path, upstream=checkout))
        assert "\n" not in str(error.value)
