from __future__ import annotations

import ast
import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters import cards
from adapters.base import TASKS
from harness.errors import UserError
from harness.upstream import find_checkout

ROOT = Path(__file__).parents[2]
SHARED = ("base", "parity", "texts", "tokenizers", "upstream")
OLD_IMAGES = [
    *(ROOT / "adapters" / f"{name}.py" for name in SHARED),
    *sorted((ROOT / "adapters").glob("*/upstream.py")),
    *sorted((ROOT / "harness" / "worker").glob("*.py")),
]
WITH_UPSTREAM = sorted(name for name, card in cards.all_cards().items() if "upstream" in card.engines)


@pytest.fixture
def uncached():
    cards.all_cards.cache_clear()
    yield
    cards.all_cards.cache_clear()


def test_a_model_of_a_third_party_is_found_by_its_entry_point(monkeypatch, uncached):
    entry = SimpleNamespace(name="shaky", value="tests.fakes.shaky")
    monkeypatch.setattr(cards.metadata, "entry_points", lambda group: [entry] if group == "tdbench.adapters" else [])
    card = cards.get_card("shaky")
    assert card.module == "tests.fakes.shaky"
    assert card.folder == ROOT / "tests" / "fakes" / "shaky"
    assert "radd" in cards.all_cards()


def test_an_entry_point_that_names_no_package_says_so(monkeypatch, uncached):
    entry = SimpleNamespace(name="ghost", value="tests.fakes.ghost")
    monkeypatch.setattr(cards.metadata, "entry_points", lambda group: [entry])
    with pytest.raises(UserError, match=r"entry point 'ghost'.*'tests.fakes.ghost'"):
        cards.all_cards()


@pytest.mark.parametrize("name", sorted(cards.all_cards()))
def test_cards_agree_with_their_folder(name):
    card = cards.get_card(name)
    assert card.name == card.folder.name == name
    assert set(card.tasks) <= set(TASKS)
    assert card.schedulers
    assert card.checkpoints
    assert (card.likelihood is None) == (not card.estimators)
    for checkpoint in card.checkpoints.values():
        assert checkpoint.kind in ("tiny", "published", "none")
        if checkpoint.kind == "tiny":
            assert (card.folder / checkpoint.path / "training.json").is_file()
    assert callable(importlib.import_module(f"{card.module}.adapter").load)


@pytest.mark.parametrize("name", ["radd", "nanodd"])
def test_every_scheduler_of_a_card_exists_in_the_code(name):
    adapter = importlib.import_module(f"adapters.{name}.adapter")
    from adapters.masked.samplers import SCHEDULERS

    card = cards.get_card(name)
    assert set(card.schedulers) == set(SCHEDULERS) | set(adapter.SCHEDULERS)
    assert set(card.estimators) == set(adapter.ESTIMATORS)


def test_models_with_code_of_their_authors():
    assert WITH_UPSTREAM == ["diffuseq", "nanodd", "plaid", "radd"]
    assert cards.get_card("gpt2").engines == ("native",)


@pytest.mark.parametrize("name", WITH_UPSTREAM)
def test_what_a_card_says_of_the_authors_code(name):
    card = cards.get_card(name)
    own = card.upstream
    assert len(bytes.fromhex(own.commit)) == 20
    assert own.files
    assert all(len(bytes.fromhex(digest)) == 32 for digest in own.files.values())
    assert not any(Path(file).is_absolute() or ".." in Path(file).parts for file in own.files)
    assert set(own.options) <= set(own.schedulers)
    offer = card.offer("upstream")
    assert tuple(offer.schedulers) == own.schedulers
    assert tuple(offer.estimators) == own.estimators
    assert set(offer.tasks) <= set(card.tasks)
    assert [scheduler.name for scheduler in offer.schedulers.values() if scheduler.default] == [own.schedulers[0]]
    assert callable(importlib.import_module(offer.module).load)
    assert card.offer("native").schedulers == card.schedulers


@pytest.mark.parametrize("name", WITH_UPSTREAM)
def test_the_digests_of_a_card_are_those_of_the_authors_files(name):
    """Every file of a checkout at the pinned commit, and so that `find_checkout` has nothing to remark."""
    folder = os.environ.get("TDBENCH_UPSTREAM")
    if not folder:
        pytest.skip("TDBENCH_UPSTREAM names no folder that holds checkouts of the authors' code")
    settings = SimpleNamespace(upstream_path=None, upstream_folder=folder)
    notes = find_checkout(cards.get_card(name), settings).notes
    assert not [note for note in notes if "it is no git checkout; the files we import are those of commit" not in note]


@pytest.mark.parametrize("path", OLD_IMAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_runs_in_old_images_keeps_to_python_3_8(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
