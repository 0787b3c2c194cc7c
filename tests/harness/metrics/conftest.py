"""A small random judge of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.metrics.judge import Judge, load_judge
from tests.harness.metrics.random_judge import write_judge


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tmp_path_factory.mktemp("judge") / "words")


@pytest.fixture(scope="session")
def word_judge(judge_folder: Path) -> Judge:
    return load_judge(str(judge_folder), device="cpu")


@pytest.fixture(scope="session")
def byte_judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return load_judge(str(write_judge(tmp_path_factory.mktemp("judge") / "bytes", "bytes", positions=64)), device="cpu")
