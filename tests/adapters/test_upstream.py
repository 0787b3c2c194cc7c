"""What the upstream engines share, with small checkouts made here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from adapters.base import AdapterError, GenerateRequest, LikelihoodRequest, NotAvailable, Prompt
from adapters.parity import Case, Recording, compare, frozen_state, probe_tokens, random_weights
from adapters.upstream import StandIn, import_modules, patched, their_locals
from tests.fakes.twin.adapter import Twin


def checkout(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def get(folder: Path, *names: str, **shims: ModuleType) -> dict[str, ModuleType]:
    return import_modules(folder, names, "thing", ["some-package"], shims)


def test_modules_come_from_the_checkout_and_leave_nothing_behind(tmp_path: Path) -> None:
    first = checkout(tmp_path / "a", json="import helper\nvalue = helper.value", helper="value = 1")
    second = checkout(tmp_path / "b", helper="value = 2")
    before, path = dict(sys.modules), list(sys.path)
    assert get(first, "json")["json"].value == 1  # also where the standard library has one of that name
    assert get(second, "helper")["helper"].value == 2
    assert sys.modules == before
    assert sys.path == path
    assert sorted(file.name for file in first.iterdir()) == ["helper.py", "json.py"]


def test_shims_are_there_for_the_import_only(tmp_path: Path) -> None:
    shim = ModuleType("flash_thing")
    shim.__dict__["fast"] = 7
    folder = checkout(tmp_path / "a", net="from flash_thing import fast")
    assert get(folder, "net", flash_thing=shim)["net"].fast == 7
    assert "flash_thing" not in sys.modules


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "class A: pass\nA[int]",
            r"thing cannot be imported in Python 3\.\d+\.\d+ with torch .*TypeError.*use the image containers",
        ),
        ("def broken(:", r"cannot be imported in Python .*SyntaxError"),
        ("import no_such.part", r"the authors' code of thing needs the package 'no_such', which is not installed: "),
        ("from torch import no_such_name", "needs another version of the package 'torch' .*no_such_name"),
        ("import other", "is not the authors' code of thing at the pinned commit"),
    ],
)
def test_import_errors(tmp_path: Path, code: str, says: str) -> None:
    folder = checkout(tmp_path / "a", net=code)
    if code == "import other":
        (folder / "other").mkdir()
        (folder / "other" / "__init__.py").write_text("from other.lost import x")
    before = dict(sys.modules)
    with pytest.raises(AdapterError, match=says) as error:
        get(folder, "net")
    assert "\n" not in str(error.value)
    assert sys.modules == before
    if "package" in says:
        assert "pip install some-package" in str(error.value)
        assert "containers/thing" in str(error.value)


def test_a_checkout_without_a_wanted_module_or_without_itself(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="tdbench fetch --upstream thing"):
        get(checkout(tmp_path / "a"), "net_of_theirs")
    with pytest.raises(AdapterError, match="does not exist"):
        get(tmp_path / "nowhere", "net")


def test_locals_of_their_functions_are_read_or_missed_aloud(tmp_path: Path) -> None:
    code = "def sample(ask):\n    changed = [1]\n    return ask()\ndef draw(ask):\n    return ask()\n"
    net = get(checkout(tmp_path / "a", net=code), "net")["net"]

    def ask() -> list[int]:
        (found,) = their_locals(net, ("sample",), ("changed",))
        return found  # type: ignore[no-any-return]

    assert net.sample(ask) == [1]
    with pytest.raises(AdapterError, match=r"net.py has no sample .* changed.*pinned commit"):
        net.draw(ask)

    def sample() -> list[int]:
        changed = [2]
        assert changed
        return ask()

    with pytest.raises(AdapterError, match="no sample"):  # a function of that name, but not theirs
        sample()


def _fail_inside(context: AbstractContextManager[None], holds: Callable[[], bool]) -> None:
    with context:
        assert holds()
        raise ZeroDivisionError


def test_patches_end_and_stand_ins_pass_on() -> None:
    module = ModuleType("m")
    module.__dict__["value"] = 1
    with pytest.raises(ZeroDivisionError):
        _fail_inside(patched(module, value=2), lambda: module.value == 2)
    assert module.value == 1
    stand_in = StandIn(torch, float16=torch.float32)
    assert (stand_in.float16, stand_in.int64) == (torch.float32, torch.int64)


def request(**changes: object) -> GenerateRequest:
    return GenerateRequest(**{"count": 2, "length": 6, "steps": 3, "scheduler": "twin_draw", **changes})  # type: ignore[arg-type]


def test_generate_counts_and_keeps_prompts() -> None:
    model = Twin(lambda x: 2 * x)
    result = model.generate(request(task="prefix", prompts=(Prompt("ab"), Prompt("c")), seed=4))
    assert [row[:1] for row in result.texts] == ["a", "c"]
    assert result.tokens[0][:2] == [1, 2]
    assert result.nfe == [3, 3]
    assert result.generated_tokens == [4, 5]
    assert result == model.generate(request(task="prefix", prompts=(Prompt("ab"), Prompt("c")), seed=4))


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"scheduler": "ancestral"}, AdapterError, "has no scheduler 'ancestral', only twin_draw"),
        ({"task": "infill"}, AdapterError, "has no task 'infill', only unconditional, prefix"),
        ({"length": 13}, AdapterError, "length 13 is outside 1..12"),
        ({"steps": 0}, AdapterError, "steps must be 1 or more"),
        ({"trace": True}, NotAvailable, "hands out no intermediate states"),
        ({"task": "prefix", "prompts": (Prompt("abcdef"), Prompt("a"))}, AdapterError, "leaves nothing to write"),
    ],
)
def test_refused_requests(changes: dict[str, object], kind: type[AdapterError], says: str) -> None:
    with pytest.raises(kind, match=says):
        Twin(lambda x: x).generate(request(**changes))


def test_likelihood_of_long_short_and_empty_texts() -> None:
    model = Twin(lambda x: x)
    texts = ("a" * 30, "b", "")
    result = model.likelihood(LikelihoodRequest(texts, "twin_bound", {"draws": 2}))
    assert [text.nats for text in result.texts] == [30, 2, 0]
    assert [text.tokens for text in result.texts] == [30, 1, 0]
    assert [text.standard_error for text in result.texts] == [0.75**0.5, 0.5, 0]
    assert result.nfe == [3, 1, 0]
    assert model.likelihood(LikelihoodRequest(("b",), "twin_bound", {"draws": 1})).texts[0].standard_error is None
    with pytest.raises(AdapterError, match="no likelihood estimator 'exact', only twin_bound"):
        model.likelihood(LikelihoodRequest(texts, "exact"))


CASE = Case("c", "step")


def largest(theirs: Recording, ours: Recording) -> list[tuple[str, float, bool]]:
    return [(d.what, d.largest, d.passed) for d in compare(CASE, theirs, ours)]


def test_compare_scales_floats_and_counts_integers() -> None:
    theirs = {"in/x": torch.zeros(1), "out/p/0": torch.tensor([0.0, 10.0]), "out/p/1": torch.tensor([1.0])}
    ours = {"out/p/0": torch.tensor([0.0005, 10.0]), "out/p/1": torch.tensor([1.0])}
    ((what, gap, passed),) = largest(theirs, ours)
    assert (what, passed) == ("p", True)
    assert gap == pytest.approx(5e-5)
    ours["out/p/1"] = torch.tensor([1.001])
    assert not compare(CASE, theirs, ours)[0].passed
    assert largest({"out/t": torch.tensor([1, 2, 3])}, {"out/t": torch.tensor([1, 0, 0])}) == [("t", 2.0, False)]


@pytest.mark.parametrize(
    "ours",
    [
        {},
        {"out/a": torch.zeros(3)},
        {"out/a": torch.tensor([1.0, torch.inf])},
        {"out/a": torch.tensor([1, 2])},
        {"out/a": torch.tensor([1.0, torch.nan]), "out/b": torch.zeros(1)},
    ],
)
def test_what_cannot_be_compared_fails(ours: dict[str, Tensor]) -> None:
    assert not all(d.passed for d in compare(CASE, {"out/a": torch.tensor([1.0, torch.nan])}, ours))


def test_compare_wants_outputs_and_takes_what_is_unknown_or_empty_on_both_sides() -> None:
    same = {"out/a": torch.tensor([torch.nan, -torch.inf]), "out/b": torch.zeros(0, 3), "out/c": torch.zeros(2)}
    assert all(d.passed and d.largest == 0 for d in compare(CASE, same, {k: v.clone() for k, v in same.items()}))
    with pytest.raises(ValueError, match="records no output"):
        compare(CASE, {"in/a": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="kind of case"):
        Case("x", "sampling")


def test_tokens_are_judged_only_where_both_engines_draw_alike() -> None:
    case = Case("s", "sample")
    theirs, ours = {"out/tokens": torch.tensor([1])}, {"out/tokens": torch.tensor([2])}
    assert not compare(case, theirs, ours)[0].passed
    (reported,) = compare(case, theirs, ours, draws_agree=False)
    assert (reported.passed, reported.tolerance, reported.largest) == (True, None, 1)


def test_frozen_weights_never_change() -> None:
    state = frozen_state({"a.weight": (2, 3), "a.bias": (2,), "norm.weight": (2,)}, 11)
    assert {name: value.dtype.name for name, value in state.items()} == dict.fromkeys(state, "float32")
    assert all((value != 0).all() for value in state.values())
    assert state["a.bias"].tolist() == frozen_state({"a.bias": (2,)}, 11)["a.bias"].tolist()
    assert state["a.weight"].sum() == pytest.approx(FROZEN_SUM, abs=1e-6)


#: Goldens rest on these numbers.
FROZEN_SUM = 0.6055887937545776


def test_random_weights_come_and_go() -> None:
    module = torch.nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with random_weights(module, None):
        assert torch.equal(module.weight, before["weight"])
    with pytest.raises(ZeroDivisionError):
        _fail_inside(random_weights(module, 1), lambda: not torch.equal(module.weight, before["weight"]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_probe_tokens() -> None:
    tokens = probe_tokens(3, 200, 27, [0.0, 0.5, 1.0], seed=1)
    shares = (tokens == 27).double().mean(-1).tolist()
    assert shares == [0.0, pytest.approx(0.5, abs=0.12), 1.0]
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) == 27


def test_a_stand_in_can_be_asked_for(tmp_path: Path) -> None:
    """torch 2.1 and transformers look for packages with `find_spec`, which raises for a module without a spec."""
    (tmp_path / "theirs.py").write_text("import importlib.util, shim\nfound = importlib.util.find_spec('shim')\n")
    code = import_modules(tmp_path, ["theirs"], "some", [], {"shim": ModuleType("shim")})
    assert code["theirs"].found.name == "shim"
