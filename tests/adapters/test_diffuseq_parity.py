"""DiffuSeq's native engine against the authors' recorded figures (tests/goldens/diffuseq-*): of main by ``tdbench
parity``, of v2 by record_diffuseq_v2.py, text of their library versions, and lines of their decoding script."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.base import LoadSpec
from adapters.diffuseq import adapter
from adapters.diffuseq.layout import TrainingArgs
from adapters.diffuseq.parity import cases, replay
from adapters.diffuseq.samplers import SAMPLERS
from adapters.diffuseq.system import DiffuseqProcess, DiffuseqSystem
from adapters.diffuseq.vocabulary import load_vocabulary, pair_row
from adapters.gaussian.model import GaussianModel
from adapters.gaussian.process import Sampling
from adapters.parity import compare
from harness.parity import read_golden
from tests.adapters.diffuseq_checkpoints import SECOND, SHAPES, write
from tests.goldens.record_diffuseq_v2 import COMMIT, second_cases

GOLDENS = Path(__file__).parent.parent / "goldens"
ALL = {**SHAPES, **SECOND}
#: Largest difference when recorded: at the noisy end DDIM and the solver divide by a small alpha.
CLOSE = {"network": 1e-6, "step": 1e-4, "loss": 1e-6, "sample": 0.0}
NAMES = [
    pytest.param(name, case.name, id=f"{name}-{case.name}")
    for name in ALL
    for case, _ in read_golden(GOLDENS / f"diffuseq-{name}.json")
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("diffuseq")
    return {name: write(root / name, shape) for name, shape in ALL.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, GaussianModel]:
    found = {name: adapter.load(LoadSpec(folder)) for name, folder in folders.items()}
    return {name: model for name, model in found.items() if isinstance(model, GaussianModel)}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return {name: {c.name: (c, r) for c, r in read_golden(GOLDENS / f"diffuseq-{name}.json")} for name in ALL}


def facts_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDENS / f"diffuseq-{name}.json").read_text(encoding="utf-8"))
    return found


def system_of(model: GaussianModel) -> DiffuseqSystem:
    assert isinstance(model.system, DiffuseqSystem)
    return model.system


@pytest.mark.parametrize(("checkpoint", "name"), NAMES)
def test_the_authors_figures(models: dict[str, Any], recorded: dict[str, Any], checkpoint: str, name: str) -> None:
    case, theirs = recorded[checkpoint][name]
    differences = compare(case, theirs, replay(models[checkpoint], case, theirs))
    assert [d for d in differences if not d.passed] == []


@pytest.mark.parametrize("name", ALL)
def test_goldens_hold_what_parity_compares_today(models: dict[str, Any], name: str) -> None:
    stored = facts_of(name)["cases"]
    listed = second_cases if name in SECOND else cases
    today = json.loads(json.dumps([asdict(case) for case in listed(models[name])]))
    assert [{key: entry[key] for key in today[0]} for entry in stored] == today


@pytest.mark.parametrize("name", ALL)
def test_goldens_say_where_they_are_from_and_were_close_when_recorded(name: str) -> None:
    facts = facts_of(name)
    commit = COMMIT if name in SECOND else "f78945d79de5783a4329695c0adb1e11adde31bf"
    assert facts["upstream"]["commit"] == commit
    for kind, largest in facts["largest_difference_when_recorded"].items():
        assert largest <= CLOSE[kind], kind


def test_folder_of_goldens_is_complete_and_small() -> None:
    own = {f"diffuseq-{name}{end}" for name in ALL for end in (".json", ".npz")}
    found = [file for file in GOLDENS.glob("diffuseq*") if file.suffix != ".py"]
    assert {file.name for file in found} == own | {"diffuseq-texts.json", "diffuseq-script.json"}
    assert sum(file.stat().st_size for file in found) < 1_200_000


def test_goldens_tell_the_quirks_apart(recorded: dict[str, Any]) -> None:
    """Runs that are the same with and without rounding, or are all padding, would pin nothing."""

    def tokens(checkpoint: str, case: str) -> Tensor:
        found: Tensor = recorded[checkpoint][f"sample {case}"][1]["out/tokens"]
        return found

    assert not torch.equal(tokens("small", "ddpm, 12 levels, seed 4"), tokens("small", "ddpm, 12 levels, seed 5"))
    visited = recorded["v2"]["visited, dpm_solver_diffuseq, 10 steps"][1]
    assert float(visited["out/state/9"].abs().max()) > 0.1
    for name in SHAPES:
        assert len(tokens(name, "ddim, 12 steps").unique()) > 8
    nfe = {c: r[1]["out/nfe"].tolist() for c, r in recorded["square"].items() if c.startswith("sample ddim")}
    assert nfe["sample ddim, 12 steps"] == [17] * 3  # 33 levels, every second one
    assert nfe["sample ddim, 22 steps"] == [33] * 3


def test_the_raw_embedding_is_used(models: dict[str, Any]) -> None:
    """The file holds an average under word_embedding.weight; the authors' figures above are of lm_head.weight."""
    assert "differs" in " ".join(models["small"].notes)


def test_a_wrong_network_is_found_out(models: dict[str, Any], recorded: dict[str, Any]) -> None:
    """One weight of the output layer changed by 1 % fails network, step and loss."""
    weight = system_of(models["small"]).network.output_down_proj[2].weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[3] *= 1.01
        for name in ("network, whole rows", "step ddpm, no clamp", "loss, draw 0"):
            case, theirs = recorded["small"][name]
            assert not all(d.passed for d in compare(case, theirs, replay(models["small"], case, theirs))), name
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_text_is_that_of_the_authors_library_versions(tmp_path: Path) -> None:
    """Recorded with transformers 4.22.2 and tokenizers 0.12.1 (record_diffuseq_texts.py)."""
    golden = facts_of("texts")
    (tmp_path / "vocab.txt").write_text("\n".join(golden["vocabulary"]) + "\n", encoding="utf-8")
    words = load_vocabulary("folder", tmp_path, TrainingArgs(16, 16, 24, 20))
    ids = {piece: i for i, piece in enumerate(golden["vocabulary"])}
    for line, text in golden["texts"].items():
        row = [ids[piece] for piece in line.split()]
        while row and row[-1] == ids["[PAD]"]:
            row.pop()  # decode_token drops them first; the recording is of the library alone
            text = text.removesuffix(" [PAD]") if row else ""
        assert words.decode(row) == text, line
    assert golden["texts"]["what do not i do not do ?"] == "what don't i don't do?"
    assert golden["versions"] == {"transformers": "4.22.2", "tokenizers": "0.12.1"}


@pytest.mark.parametrize("index", range(4))
def test_the_lines_of_their_decoding_script(models: dict[str, Any], index: int) -> None:
    """sample_seq2seq.py from a jsonl file and a seed, in the authors' library versions (record_diffuseq_script.py).

    Their data loader draws one number before the first noise.
    """
    golden = facts_of("script")
    settings, lines = golden["runs"][index]["settings"], golden["runs"][index]["lines"]
    system = system_of(models["small"])
    words, length = system.tokenizer, system.args.seq_len
    rows = [pair_row(words.encode(s.strip()), words.encode(t.strip()), length, words) for s, t in golden["pairs"]]
    ids, given = torch.tensor([row for row, _ in rows]), [count for _, count in rows]
    process = DiffuseqProcess(system, ids, given, [0] * len(ids), clamp=True)
    system.counted.reset(len(ids))
    generator = torch.Generator().manual_seed(settings["seed2"])
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    options = {"clamp_step": settings["clamp_step"], "top_p": settings["top_p"]}
    name = "ddpm_diffuseq" if settings["step"] == system.args.diffusion_steps else "ddim_diffuseq"
    with torch.no_grad():
        z = SAMPLERS[name](process, system.schedule, settings["step"], Sampling((), generator, options))
        written = process.finish(z).tokens
    for row, true, start, line in zip(written, ids.tolist(), given, lines, strict=True):
        said = {"recover": row[start:], "reference": true[start:], "source": true[:start]}
        assert {key: words.decode(part) for key, part in said.items()} == line
