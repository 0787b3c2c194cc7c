"""The effort of a card as it is read; what the report makes of it is in tests/harness/report/test_effort.py."""

from __future__ import annotations

from datetime import date

import pytest

from harness.effort import CodeSize, Effort, Needs, Stated, measure, month_of, read_effort
from harness.errors import UserError


def test_nothing_said_is_nothing_known():
    assert read_effort({}, "card.yaml") == Effort()
    assert month_of(Effort()) is None


def test_what_is_said_is_typed():
    effort = read_effort(
        {
            "paper": "2023-05",
            "last_commit": date(2023, 5, 29),
            "compute": [{"text": "30 days", "source": "paper", "gpu_days": 240}],
            "code": {"files": 2, "lines": 30},
            "needs": {"source": "requirements.txt", "packages": 3},
            "took": ["a stand-in"],
        },
        "card.yaml",
    )
    assert effort.compute == (Stated("30 days", "paper", gpu_days=240),)
    assert (effort.code, effort.needs) == (CodeSize(2, 30), Needs("requirements.txt", packages=3))
    assert (month_of(effort), effort.took) == (date(2023, 5, 1), ("a stand-in",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"gpus": 3}, "gpus"),
        ({"data": [{"text": "a fact without a source"}]}, "source"),
        ({"paper": "May 2023"}, "not a year and month like '2023-05'"),
        ({"last_commit": "29 May"}, "not a date like"),
    ],
)
def test_what_a_card_cannot_say_is_refused(data, message):
    with pytest.raises(UserError, match=message):
        read_effort(data, "card.yaml")


def test_lines_are_counted_without_blank_ones_in_all_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.py").write_text("x = 1\n\n   \ny = 2\n")
    (tmp_path / "two.py").write_text("# a comment counts\n")
    (tmp_path / "words.md").write_text("not code\n")
    assert measure(tmp_path) == CodeSize(2, 3)
    assert measure(tmp_path, tmp_path / "a") == CodeSize(2, 3)
