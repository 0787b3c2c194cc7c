"""Weight files: converted ones give what the original holds, all adapters take them, and no code of ours opens a pickle
in another way than `adapters.weights`.
"""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters.base import AdapterError, CheckpointError, LoadSpec
from adapters.diffuseq.checkpoint import load_network as load_diffuseq
from adapters.diffuseq.layout import weights_file
from adapters.gpt2 import adapter as gpt2
from adapters.nanodd.checkpoint import load_network as load_nanodd
from adapters.nested import Packed, PackError, unpack
from adapters.plaid.checkpoint import load_network as load_plaid
from adapters.radd.checkpoint import load_network as load_radd
from adapters.radd.layout import NUMPY_NUMBER
from adapters.weights import ABOUT, CONVERTED, read_weights, safetensors_metadata, weight_file
from harness.worker.convert import convert
from tests.adapters.diffuseq_checkpoints import SHAPES, WEIGHTS_NAME, write
from tests.adapters.plaid_cases import CHECKPOINTS
from tests.checkouts import checkout_of
from tests.goldens.nanodd_cases import CASES
from tests.goldens.radd_checkpoints import write_hub, write_run

ROOT = Path(__file__).parents[2]


# --- no other way to open a pickle ----------------------------------------------------------------------------------

#: Runs in a container that is shut off, and is nowhere imported outside of it.
IN_CONTAINER = {Path("harness/worker/plain_pickle.py")}
#: Modules that run what they read.
MODULES = {"_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
#: Functions and classes that do, by what stands before the dot.
UNSAFE = {
    "numpy": {"load"},
    "torch": {"load"},
    "torch.jit": {"load"},
    "torch.hub": {"load"},
    "yaml": {"load", "load_all", "full_load", "unsafe_load", "Loader", "FullLoader", "UnsafeLoader"},
}
#: Arguments that must have this value wherever they are given.
ARGUMENTS = {"weights_only": True, "allow_pickle": False, "trust_remote_code": False}


def unsafe_uses(code: str) -> list[str]:
    """Every place in some code that could open a pickle and run it."""
    tree = ast.parse(code)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [f"line {getattr(node, 'lineno', 0)}: {what}" for node in ast.walk(tree) for what in _unsafe(node, calls)]


def _unsafe(node: ast.AST, calls: dict[int, ast.Call]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            renamed = alias.asname and alias.name in ("pickle", *UNSAFE) and alias.asname not in ("np", "F")
            if alias.name.split(".")[0] in MODULES or renamed:
                yield f"import {alias.name}"
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        allowed = {"UnpicklingError"} if node.module == "pickle" else names - UNSAFE.get(str(node.module), set())
        if str(node.module).split(".")[0] in MODULES or names - allowed:
            yield f"from {node.module} import {', '.join(names)}"
    if isinstance(node, ast.Attribute):
        owner = ast.unparse(node.value)
        if owner == "pickle" and node.attr != "UnpicklingError":
            yield f"pickle.{node.attr}"
        if node.attr == "read_pickle" or (node.attr in UNSAFE.get(owner, ()) and not _is_safe_load(node, owner, calls)):
            yield f"{owner}.{node.attr}"
    if isinstance(node, ast.keyword) and node.arg in ARGUMENTS:
        value = node.value.value if isinstance(node.value, ast.Constant) else None
        if value is not ARGUMENTS[node.arg]:
            yield f"{node.arg}={ast.unparse(node.value)}"


def _is_safe_load(node: ast.Attribute, owner: str, calls: dict[int, ast.Call]) -> bool:
    """``torch.load(..., weights_only=...)``; which value it has is looked at elsewhere."""
    call = calls.get(id(node))
    return owner == "torch" and call is not None and any(keyword.arg == "weights_only" for keyword in call.keywords)


def test_nothing_of_ours_opens_a_pickle_that_could_run() -> None:
    files = [file for package in ("harness", "adapters", "benchmarks") for file in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {
        str(file.relative_to(ROOT)): uses
        for file in files
        if file.relative_to(ROOT) not in IN_CONTAINER and (uses := unsafe_uses(file.read_text(encoding="utf-8")))
    }
    assert found == {}, "use adapters.weights.read_weights"


@pytest.mark.parametrize("file", sorted(IN_CONTAINER))
def test_what_may_open_one_is_imported_by_the_converter_alone(file: Path) -> None:
    module = ".".join(file.with_suffix("").parts)
    assert unsafe_uses((ROOT / file).read_text(encoding="utf-8")), "needs no exception"
    users = [
        path.relative_to(ROOT)
        for package in ("harness", "adapters", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if module in path.read_text(encoding="utf-8")
    ]
    assert users == [Path("harness/worker/convert.py")]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.load(f)",
        "import pickle\nclass A(pickle.Unpickler): pass",
        "import pickle as p",
        "from pickle import loads",
        "import dill",
        "from joblib import load",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=maybe)",
        "load = torch.load",
        "from torch import load",
        "import torch as t",
        "torch.jit.load(f)",
        "np.load(f, allow_pickle=True)",
        "from numpy import load",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "pandas.read_pickle(f)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_each_unsafe_use_would_be_found(code: str) -> None:
    assert unsafe_uses(code)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\ntry: pass\nexcept pickle.UnpicklingError: pass",
        "from pickle import UnpicklingError",
        "torch.load(f, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(f)",
        "np.load(f, allow_pickle=False)",
        "yaml.safe_load(text)",
        "import torch.nn.functional as F",
        "json.load(f)",
    ],
)
def test_safe_uses_are_not_taken_for_unsafe_ones(code: str) -> None:
    assert unsafe_uses(code) == []


# --- values through a file and back ---------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Equal in type and value all the way down, tensors bit by bit, dictionaries in order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        facts = [(t.dtype, t.shape, t.requires_grad) for t in (one, other)]
        return facts[0] == facts[1] and _bits(one) == _bits(other)
    if isinstance(one, OrderedDict) and not same(vars(one), vars(other)):
        return False
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


def _bits(tensor: Tensor) -> bytes:
    whole = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return whole.view(torch.uint8).numpy().tobytes() if whole.numel() else b""


def converted(value: Any, folder: Path, **options: Any) -> Any:
    """What is read from the conversion of a file that holds a value."""
    torch.save(value, folder / "x.pt", **options)
    convert(folder / "x.pt", folder / "x.pt.safetensors")
    return read_weights(folder / "x.pt.safetensors")


PLAIN: dict[str, Any] = {
    "numbers": [0, -1, 10**40, True, False, 0.1, -0.0, 1e-320, float("nan"), float("inf"), -float("inf"), 1 + 2j],
    "text": ["", "a.b", "é\n\0", "\ud800", b"", b"\x00\xff", bytearray(b"x"), None],
    "containers": [[], {}, (), [[]], ([1], {"a": (2,)}), {1, 2}, frozenset({3}), torch.Size([2, 3])],
    "keys": {1: "a", "1": "b", (1, "x"): "c", None: "d", 1.5: "e", "": "f", "a.b": "g", "tensor": "h", "dict": "i"},
    "order": OrderedDict([("b", 1), ("a", 2)]),
    "of torch": [torch.float16, torch.device("cuda:1"), torch.device("cpu")],
    "looks like a layout": {"list": [{"tensor": "x"}], "dict": [["a", 1]]},
}


@pytest.mark.parametrize("value", PLAIN.values(), ids=PLAIN)
def test_plain_values_come_back_as_they_were(value: Any, tmp_path: Path) -> None:
    assert same(converted(value, tmp_path), value)


def tensor_cases() -> dict[str, Any]:
    base, weight = torch.arange(10.0), torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    twos = torch.tensor([1 + 2j, 3 - 1j])
    return {
        "views of one memory": [base[2:5], base, base[2:5], base[:3]],
        "transposed": [weight, weight.t(), weight[:, 1]],
        "expanded": torch.ones(1).expand(3, 4),
        "empty": [torch.zeros(0), torch.zeros(0, 3), torch.zeros(2, 0)],
        "scalar": torch.tensor(3.5),
        "alone": weight,
        "names that read the same": {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}, "a.b~2": torch.ones(2)},
        "odd names": {
            "": torch.ones(1),
            "\ud800": torch.ones(2),
            "__metadata__": torch.ones(3),
            "format": torch.ones(4),
        },
        "keys of two types": {1: torch.ones(1), "1": torch.zeros(1)},
        "list as of RADD's average": {"shadow_params": [torch.ones(2), torch.zeros(3)], "decay": 0.9},
        "needs a gradient": weight.clone().requires_grad_(),
        "parameters": [torch.nn.Parameter(weight.clone()), torch.nn.Parameter(weight.clone(), requires_grad=False)],
        "state dict of a module": torch.nn.BatchNorm1d(3).state_dict(),
        "complex": [
            twos,
            twos.conj().clone(),
            twos.clone().conj(),
            twos.clone().conj().imag,
            twos.to(torch.complex128),
            torch.tensor(1j),
        ],
        "nan with its bits": torch.tensor([0x7FC00001, 0x7F800000], dtype=torch.int32).view(torch.float32),
    }


@pytest.mark.parametrize("name", tensor_cases())
@pytest.mark.parametrize("archive", [True, False], ids=["zip", "before torch 1.6"])
def test_tensors_come_back_bit_by_bit(name: str, archive: bool, tmp_path: Path) -> None:
    value = tensor_cases()[name]
    assert same(converted(value, tmp_path, _use_new_zipfile_serialization=archive), value)


KINDS = [getattr(torch, n) for n in dir(torch) if isinstance(getattr(torch, n), torch.dtype)]
DENSE = {d for d in KINDS if d.itemsize and not str(d).startswith(("torch.q", "torch.int", "torch.uint", "torch.bits"))}
DENSE |= {torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64}


@pytest.mark.parametrize("dtype", sorted(DENSE, key=str), ids=str)
def test_every_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    """Also those that safetensors cannot hold; in a file with others, so that bytes lie at odd places."""
    raw = torch.arange(1, 1 + 4 * dtype.itemsize, dtype=torch.uint8)
    value = {"odd": torch.ones(3, dtype=torch.uint8), "x": (raw % 2 if dtype == torch.bool else raw).view(dtype)}
    found = converted(value, tmp_path)
    assert found["x"].dtype == dtype
    assert _bits(found["x"]) == _bits(value["x"])


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    weight = torch.randn(100, 100)
    found = converted({"embedding": weight, "head": weight}, tmp_path)
    assert found["embedding"].data_ptr() == found["head"].data_ptr()
    assert (tmp_path / "x.pt.safetensors").stat().st_size < 1.2 * weight.numel() * 4


def test_a_state_dict_keeps_its_names_for_any_reader_of_safetensors(tmp_path: Path) -> None:
    state = torch.nn.Linear(3, 2).state_dict()
    converted(state, tmp_path)
    stored = load_file(tmp_path / "x.pt.safetensors")
    assert {name: tensor.tolist() for name, tensor in stored.items()} == {n: t.tolist() for n, t in state.items()}


def test_numbers_of_numpy_become_numbers(tmp_path: Path) -> None:
    value = [np.float64(0.1), np.float32(0.5), np.int32(7), np.bool_(True), np.str_("a"), np.array(2.5)[()]]
    assert same(converted(value, tmp_path), [0.1, 0.5, 7, True, "a", 2.5])


def test_mappings_of_the_standard_library_become_plain_ones(tmp_path: Path) -> None:
    value = {"a": defaultdict(list, {"x": [1]}), "b": Counter("aab"), "c": Namespace(lr=0.1, x=Namespace())}
    assert same(
        converted(value, tmp_path), {"a": {"x": [1]}, "b": {"a": 2, "b": 1}, "c": Namespace(lr=0.1, x=Namespace())}
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_pickle_itself(protocol: int, tmp_path: Path) -> None:
    value = {"weights": [torch.ones(2, 3).t()], "names": {"a", "b"}, "n": np.float64(2), "raw": b"\xff"}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    convert(tmp_path / "x.pkl", tmp_path / "x.safetensors")
    assert same(read_weights(tmp_path / "x.safetensors"), {**value, "n": 2.0})


def test_the_same_file_is_converted_to_the_same_bytes(tmp_path: Path) -> None:
    content = []
    for _ in range(2):
        converted({"b": torch.ones(3), "a": [torch.zeros(2), 1, {"x"}]}, tmp_path)
        content.append((tmp_path / "x.pt.safetensors").read_bytes())
    assert content[0] == content[1]


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "sparse": (lambda: {"a": torch.eye(2).to_sparse()}, "'a' is a tensor that is sparse_coo"),
    "sparse rows": (lambda: {"a": {"b": torch.eye(2).to_sparse_csr()}}, "'a.b' is a tensor that is sparse_csr"),
    "without data": (lambda: [torch.zeros(2, device="meta")], "'0' is a tensor that is on device 'meta'"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize(("value", "says"), REFUSED.values(), ids=REFUSED)
def test_tensors_that_safetensors_cannot_hold(value: Callable[[], Any], says: str) -> None:
    with pytest.raises(PackError, match=says):
        Packed(value())


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_are_refused() -> None:
    with pytest.raises(PackError, match="'x' is a tensor that is quantised"):
        Packed({"x": torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8)})


def test_what_holds_itself_or_is_too_much() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(PackError, match="holds itself"):
        Packed(ring)
    with pytest.raises(PackError, match="20 MB of plain values"):
        Packed(["x" * 10_000_000, "y" * 10_000_000])


# --- files of strangers ---------------------------------------------------------------------------------------------

BAD_LAYOUTS = {
    "no JSON": "{",
    "empty object": "{}",
    "bare list": "[1]",
    "unknown kind": '{"module": "os"}',
    "no such tensor": '{"tensor": "y"}',
    "tensor of a list": '{"tensor": ["x"]}',
    "dtype of nothing": '{"tensor": "x", "dtype": "load", "shape": [1]}',
    "other shape": '{"tensor": "x", "dtype": "int8", "shape": [3]}',
    "pairs of three": '{"dict": [[1, 2, 3]]}',
    "key that cannot be one": '{"dict": [[{"list": []}, 1]]}',
    "bytes of a number": '{"bytes": 5}',
    "bytes beyond": '{"bytes": "\\u0100"}',
    "complex of text": '{"complex": ["a", 1]}',
    "device of nothing": '{"device": "nowhere"}',
    "size of text": '{"Size": ["a"]}',
    "set of lists": '{"set": [{"list": []}]}',
    "attributes of a dict": '{"dict": [], "attributes": [["a", 1]]}',
    "parameter of whole numbers": '{"tensor": "n", "parameter": true, "requires_grad": true}',
    "deep": '{"list":[' * 100_000,
    "absurd number": "9" * 10_000,
}


@pytest.mark.parametrize("layout", BAD_LAYOUTS.values(), ids=BAD_LAYOUTS)
def test_a_layout_that_makes_no_sense_is_refused_in_one_line(layout: str, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file(
        {"x": torch.zeros(1), "n": torch.zeros(1, dtype=torch.int64)},
        file,
        metadata={ABOUT: '{"layout":' + layout + "}"},
    )
    with pytest.raises(CheckpointError, match="not written by tdbench convert") as error:
        read_weights(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_an_absurdly_long_layout_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="20 MB"):
        unpack('{"layout": "' + "x" * 20_000_000 + '"}', {})


def test_one_tensor_named_often_takes_no_more_memory() -> None:
    node = {"tensor": "x", "dtype": "complex64", "shape": [1000]}
    found = unpack(json.dumps({"layout": {"list": [node] * 1000}}), {"x": torch.zeros(8000, dtype=torch.uint8)})
    assert len({tensor.data_ptr() for tensor in found}) == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08" + bytes(7) + b"{", b"\xff" * 100], ids=repr)
def test_a_damaged_safetensors_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="truncated or no safetensors file"):
        read_weights(tmp_path / "x.safetensors")


def test_safetensors_of_others_give_their_tensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert same(read_weights(tmp_path / "x.safetensors"), {"a": torch.ones(2)})


def test_without_the_package_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted([1], tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(AdapterError, match="needs the package safetensors: pip install"):
        read_weights(tmp_path / "x.pt.safetensors")


def test_the_converted_file_is_taken_where_both_are_there(tmp_path: Path) -> None:
    assert weight_file(tmp_path, "x.pt") == tmp_path / "x.pt"
    converted({"a": 1}, tmp_path)
    assert weight_file(tmp_path, "x.pt") == tmp_path / "x.pt.safetensors"
    (tmp_path / "x.pt").unlink()
    assert weight_file(tmp_path, "x.pt") == tmp_path / "x.pt.safetensors"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x\.pt is missing"):
        read_weights(tmp_path / "x.pt")


def test_refusal_names_the_way_out(tmp_path: Path) -> None:
    torch.save({"a": np.float64(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="take its tensors out in a container: tdbench convert"):
        read_weights(tmp_path / "x.pt")


def test_a_torch_that_cannot_allow_names_refuses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.1 in the image of RADD: its training runs have to be converted."""
    torch.save({"a": torch.ones(2)}, tmp_path / "plain.pt")
    torch.save({"a": np.float64(1)}, tmp_path / "number.pt")
    assert read_weights(tmp_path / "number.pt", NUMPY_NUMBER) == {"a": 1.0}
    monkeypatch.delattr(torch.serialization, "safe_globals")
    assert same(read_weights(tmp_path / "plain.pt", NUMPY_NUMBER), {"a": torch.ones(2)})
    with pytest.raises(CheckpointError, match="tdbench convert"):
        read_weights(tmp_path / "number.pt", NUMPY_NUMBER)


# --- the adapters ---------------------------------------------------------------------------------------------------


def converted_folder(folder: Path, names: list[str]) -> Path:
    """A copy of a checkpoint in which files were converted, as `tdbench convert` leaves it."""
    copy = folder.with_name(folder.name + "-converted")
    shutil.copytree(folder, copy)
    for name in names:
        convert(folder / name, copy / (name + CONVERTED))
        (copy / name).unlink()
    assert not any(ABOUT not in safetensors_metadata(copy / (name + CONVERTED)) for name in names)
    return copy


def state_of(network: torch.nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def write_gpt2(folder: Path) -> Path:
    tiny = ROOT / "adapters" / "gpt2" / "tiny"
    shutil.copytree(tiny, folder)
    torch.save(load_file(tiny / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def write_radd_bin(folder: Path) -> Path:
    write_hub(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def write_diffuseq(folder: Path) -> Path:
    write(folder, SHAPES["small"])
    shutil.copy(folder / WEIGHTS_NAME, folder / "ema_0.9999_000100.pt")
    return folder


PLAID = ("noise_schedule.pt", "gamma_bounds.pt", "embedding_matrix.pt", "model.pt")
Write, Read = Callable[[Path], Path], Callable[[Path], dict[str, Tensor]]
FOLDERS: dict[str, tuple[Write, tuple[str, ...], Read]] = {
    "nanodd": (
        lambda folder: CASES[0].write(folder),
        ("ckpt.pt",),
        lambda folder: state_of(load_nanodd(folder)[0]),
    ),
    "plaid": (
        lambda folder: CHECKPOINTS["small"].write(folder),
        PLAID,
        lambda folder: state_of(load_plaid(folder, {}, "cpu", torch.float32)[0]),
    ),
    "diffuseq": (
        write_diffuseq,
        (WEIGHTS_NAME, "ema_0.9999_000100.pt"),
        lambda folder: state_of(load_diffuseq(folder).network),
    ),
    "radd run": (
        write_run,
        ("checkpoints-meta/checkpoint.pth",),
        lambda folder: state_of(load_radd(folder, "cpu", torch.float32)[0]),
    ),
    "radd bin": (
        write_radd_bin,
        ("pytorch_model.bin",),
        lambda folder: state_of(load_radd(folder, "cpu", torch.float32)[0]),
    ),
    "gpt2": (write_gpt2, ("pytorch_model.bin",), lambda folder: state_of(gpt2.load(LoadSpec(folder))._network)),
}


@pytest.mark.parametrize(("make", "names", "read"), FOLDERS.values(), ids=FOLDERS)
def test_a_converted_folder_is_loaded_as_the_original(
    make: Write, names: tuple[str, ...], read: Read, tmp_path: Path
) -> None:
    folder = make(tmp_path / "original")
    copy = converted_folder(folder, list(names))
    assert same(read(copy), read(folder))


def test_single_converted_files(tmp_path: Path) -> None:
    run = converted_folder(write_run(tmp_path / "run"), ["checkpoints-meta/checkpoint.pth"])
    (run / "checkpoints").mkdir()
    snapshot = (run / "checkpoints-meta" / "checkpoint.pth.safetensors").rename(
        run / "checkpoints" / "c_7.pth.safetensors"
    )
    assert load_radd(snapshot, "cpu", torch.float32)[2]["tokens"] == 37
    nanodd = converted_folder(CASES[0].write(tmp_path / "nanodd"), ["ckpt.pt"])
    assert load_nanodd(nanodd / "ckpt.pt.safetensors")[2].length > 0


def test_the_latest_of_diffuseqs_files_is_taken_converted_or_not(tmp_path: Path) -> None:
    folder = write_diffuseq(tmp_path / "x")
    copy = converted_folder(folder, ["ema_0.9999_000100.pt"])
    assert weights_file(copy).name == WEIGHTS_NAME
    assert (
        weights_file(converted_folder(folder.rename(tmp_path / "y"), [WEIGHTS_NAME])).name == WEIGHTS_NAME + CONVERTED
    )
    assert weights_file(copy, "ema_0.9999_000100.pt").name == "ema_0.9999_000100.pt" + CONVERTED
    with pytest.raises(
        CheckpointError, match=r"has no weights 'x'; it holds ema_0.9999_000100.pt, ema_0.9999_000200.pt"
    ):
        weights_file(copy, "x")


UPSTREAM = {
    "nanodd": ("nanodd", FOLDERS["nanodd"]),
    "plaid": ("plaid", FOLDERS["plaid"]),
    "diffuseq": ("diffuseq", FOLDERS["diffuseq"]),
    "radd run": ("radd", FOLDERS["radd run"]),
    "radd bin": ("radd", FOLDERS["radd bin"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UPSTREAM)
def test_the_authors_code_gets_the_same_from_a_converted_folder(name: str, tmp_path: Path) -> None:
    model, (make, names, _) = UPSTREAM[name]
    engine = __import__(f"adapters.{model}.upstream", fromlist=["load"])
    folder = make(tmp_path / "original")
    copy = converted_folder(folder, list(names))
    spec = LoadSpec(folder, upstream=checkout_of(model))
    one, other = (engine.load(LoadSpec(path, upstream=spec.upstream)) for path in (folder, copy))
    assert same(_weights(one), _weights(other))


def _weights(engine: Any) -> list[dict[str, Tensor]]:
    """State dicts of every module that an engine holds."""
    modules = [value for value in vars(engine).values() if isinstance(value, torch.nn.Module)]
    modules += [v for holder in vars(engine).values() if isinstance(holder, dict) for v in holder.values()]
    return [state_of(module) for module in modules if isinstance(module, torch.nn.Module)]
