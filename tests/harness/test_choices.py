"""What `auto` chooses, and that an explicit value is taken or refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from adapters.cards import CheckpointCard, get_card
from harness.choices import Choices, Place
from harness.config import BenchConfig
from harness.devices import Gpu, parse_device
from harness.errors import UserError
from harness.images import Image
from harness.memory import needed_memory

GIB = 1 << 30
BIG, SMALL = Gpu("H200", 139 * GIB), Gpu("T4", 15 * GIB)
IMAGE = Image("native", "tdbench/native:0123456789ab", "sha256:1", None, "cuda", "base", 1, "3.11")


@dataclass
class Fake:
    """A machine as a test wants it."""

    gpus: tuple[Gpu, ...] = ()
    torch_gpus: int = 0
    engine_problem: str | None = "no Docker engine answers at nowhere."
    engine_gpu_problem: str | None = "the engine has no NVIDIA runtime."
    built: tuple[str, ...] = ()

    def find_image(self, name: str, device: str, base: str | None) -> Image | None:
        return IMAGE if name in self.built and base in (None, IMAGE.base) else None


BARE = Fake()
ENGINE = Fake(engine_problem=None)
BUILT = Fake(engine_problem=None, built=("native", "radd"))
GPU = Fake(gpus=(BIG,), torch_gpus=1)
GPU_ENGINE = Fake(gpus=(BIG, BIG), torch_gpus=0, engine_problem=None, engine_gpu_problem=None)


def choices(machine: Fake, **settings) -> Choices:
    return Choices(BenchConfig(**settings), machine)


def place(machine: Fake, model: str = "radd", engine: str = "native", published: bool = False, **settings) -> Place:
    return choices(machine, **settings).place(get_card(model), engine, published)


# --- checkpoint -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "settings", "name", "reason"),
    [
        (BARE, {}, "tiny", "no CUDA device here"),
        (GPU, {}, "plaid-1b", "a CUDA device with room for it is here"),
        (GPU_ENGINE, {}, "plaid-1b", "a CUDA device with room"),
        (GPU_ENGINE, {"runtime": "local"}, "tiny", "no CUDA device here"),
        (GPU, {"device": "cpu"}, "tiny", "device=cpu"),
        (Fake(gpus=(SMALL,), torch_gpus=1), {}, "tiny", r"takes about 29\.\d GiB at batch_size=64 and 15\.0 GiB are"),
        (Fake(gpus=(SMALL,), torch_gpus=1), {"batch_size": 8}, "plaid-1b", "with room"),
        (Fake(gpus=(SMALL, BIG), torch_gpus=2), {"device": "cuda:1"}, "plaid-1b", "with room"),
    ],
    ids=str,
)
def test_the_published_checkpoint_where_a_gpu_has_room_for_it(machine, settings, name, reason):
    chosen = choices(machine, **settings)
    assert chosen.checkpoint(get_card("plaid")) == name
    (note,) = chosen.notes()
    assert note.startswith(f"checkpoint=auto: {name} for plaid: ")
    assert re.search(reason, note)


def test_one_note_for_all_models_of_one_reason():
    chosen = choices(BARE)
    for model in ("radd", "nanodd", "radd"):
        chosen.checkpoint(get_card(model))
    assert chosen.notes() == ["checkpoint=auto: tiny for radd, nanodd: no CUDA device here."]


def test_an_explicit_checkpoint_is_taken_and_not_remarked_on():
    chosen = choices(BARE, checkpoint={"radd": "radd-t-dce"})
    assert chosen.checkpoint(get_card("radd")) == "radd-t-dce"
    assert chosen.checkpoint(get_card("nanodd")) == "tiny", "auto where the mapping says nothing"
    assert choices(BARE, checkpoint="plaid-1b").checkpoint(get_card("plaid")) == "plaid-1b"
    assert choices(GPU, checkpoint="tiny").checkpoint(get_card("plaid")) == "tiny"


def test_the_estimate_grows_with_what_it_is_made_of():
    entry = get_card("plaid").checkpoints["plaid-1b"]
    usual = needed_memory(entry, 8, 1024, "float32")
    assert usual > entry.parameters * 4
    assert needed_memory(entry, 16, 1024, "float32") > usual > needed_memory(entry, 8, 1024, "bfloat16")
    assert needed_memory(CheckpointCard("x", "published"), 8, 1024, "float32") is None


# --- runtime and device ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "settings", "published", "expected"),
    [
        (BARE, {}, False, Place("local", "cpu")),
        (ENGINE, {}, False, Place("local", "cpu")),
        (ENGINE, {}, True, Place("docker", "cpu", "native")),
        (BUILT, {}, False, Place("docker", "cpu", "native", IMAGE)),
        (BUILT, {"runtime": "local"}, False, Place("local", "cpu")),
        (ENGINE, {"runtime": "docker"}, False, Place("docker", "cpu", "native")),
        (BUILT, {"runtime": "docker", "image_base": "base"}, False, Place("docker", "cpu", "native", IMAGE)),
        (BUILT, {"runtime": "docker", "image_base": "other"}, False, Place("docker", "cpu", "native")),
        (GPU, {}, True, Place("local", "cuda")),
        (GPU_ENGINE, {}, True, Place("docker", "cuda", "native")),
        (GPU_ENGINE, {"device": "cuda:1", "runtime": "docker"}, True, Place("docker", "cuda:1", "native")),
        # A container that has no GPU must not take a job from a Python that has one.
        (Fake(gpus=(BIG,), torch_gpus=1, engine_problem=None, built=("native",)), {}, True, Place("local", "cuda")),
    ],
    ids=str,
)
def test_where_a_job_runs(machine, settings, published, expected):
    assert place(machine, published=published, **settings) == expected


def test_the_authors_code_runs_in_its_own_image_unless_another_is_named():
    assert place(BUILT, engine="upstream").image_name == "radd"
    assert place(BUILT, engine="upstream", image="native").image_name == "native"
    own = place(ENGINE, model="gpt2", engine="upstream")
    assert own.runtime == "local", "auto: no image of that name"


@pytest.mark.parametrize(
    ("machine", "settings", "note"),
    [
        (BARE, {}, "runtime=auto: local for radd: no Docker engine answers here."),
        (ENGINE, {}, "runtime=auto: local for radd: the image is not built (make images NAMES=native)."),
        (BUILT, {}, "runtime=auto: docker for radd: an engine answers and has the image, or may build it."),
    ],
)
def test_the_reason_is_said(machine, settings, note):
    chosen = choices(machine, **settings)
    chosen.place(get_card("radd"), "native", False)
    assert chosen.notes() == [note]


@pytest.mark.parametrize(
    ("machine", "settings", "message"),
    [
        (BARE, {"runtime": "docker"}, "runtime=docker: no Docker engine answers"),
        (ENGINE, {"runtime": "docker", "device": "cuda"}, "'cuda' asked for, but the engine has no NVIDIA runtime"),
        (GPU_ENGINE, {"runtime": "docker", "device": "cuda:2"}, "'cuda:2' asked for, but there are 2 CUDA devices"),
        (BARE, {"device": "cuda"}, "no CUDA device that torch can use"),
        (BARE, {"device": "gpu"}, "unknown device 'gpu'"),
        (ENGINE, {"runtime": "docker", "image": "natve"}, "unknown image 'natve'. Did you mean 'native'"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_one_line(machine, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        place(machine, **settings)
    assert "\n" not in str(caught.value)


def test_an_image_that_nobody_wrote():
    with pytest.raises(UserError, match=r"containers/gpt2.*image=native"):
        place(ENGINE, model="gpt2", engine="upstream", runtime="docker")


def test_devices_are_named_as_torch_names_them():
    assert [parse_device(name) for name in ("cpu", "cuda", "cuda:3")] == [("cpu", 0), ("cuda", 0), ("cuda", 3)]
    for name in ("cuda:x", "mps", "cuda:-1", ""):
        with pytest.raises(UserError, match="unknown device"):
            parse_device(name)
