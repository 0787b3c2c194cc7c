from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters import cards
from adapters.base import TASKS
from harness.errors import UserError

ROOT = Path(__file__).parents[2]
OLD_IMAGES = [ROOT / "adapters" / "base.py", *sorted((ROOT / "harness" / "worker").glob("*.py"))]


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


@pytest.mark.parametrize("path", OLD_IMAGES, ids=lambda path: path.name)
def test_what_runs_in_old_images_keeps_to_python_3_8(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
