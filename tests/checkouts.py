"""Checkouts of the authors' code for tests: TDBENCH_UPSTREAM is a folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.cards import get_card


def checkout_of(model: str) -> Path:
    """The checkout of a model's repository, as OWNER+NAME, NAME or the model's name; skips the test without one."""
    owner, name = str(get_card(model).upstream.repo).split("/")[-2:]
    parent = Path(os.environ.get("TDBENCH_UPSTREAM", "no-such-folder"))
    for folder in (f"{owner}+{name}", name, model):
        if (parent / folder).is_dir():
            return parent / folder
    pytest.skip(f"no checkout of the authors' code: TDBENCH_UPSTREAM names no folder that holds one of {name}")
