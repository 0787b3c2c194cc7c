"""``tdbench fetch`` as a person sees it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from adapters import cards
from harness.errors import UserError
from harness.weights import Download, fetch_command, fetch_weights, is_fetched, place_of, wanted
from tests.weights.common import BODY, RELEASE, URL
from tests.weights.conftest import CardMaker
from tests.weights.site import Site


@pytest.fixture
def known(site: Site, model: CardMaker, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The only models: `toy` with one published checkpoint, and those of the project."""
    site.add(URL, BODY)
    card, big = model({"url": site.url + URL, "size": len(BODY)})
    other = dataclasses.replace(big, name="other")
    tiny = cards.CheckpointCard("tiny", "tiny", path="tiny")
    unknown = cards.CheckpointCard("nowhere", "published")
    entries = {"tiny": tiny, "big": big, "other": other, "nowhere": unknown}
    everything = {**cards.all_cards(), "toy": dataclasses.replace(card, checkpoints=entries)}
    monkeypatch.setattr("adapters.cards.all_cards", lambda: everything)
    monkeypatch.setattr("harness.weights.command.all_cards", lambda: everything)
    return site


def test_fetching_says_where_it_is_and_how_to_use_it(
    known: Site, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    assert fetch_command("toy:other") == 0
    place = cache / "weights" / "toy" / "other"
    assert capsys.readouterr().out.splitlines() == [
        f"Toy: other is in {place}: 1 files, 50 kB, verified",
        "use it with: model=toy checkpoint=other",
    ]


def test_without_a_checkpoint_it_is_the_first_published_one(known: Site, cache: Path) -> None:
    fetch_command("toy")
    assert (cache / "weights" / "toy" / "big" / "model.pt").read_bytes() == BODY


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, r"fetch what\? tdbench fetch MODEL or MODEL:CHECKPOINT"),
        ("tow", r"unknown model 'tow'. Did you mean 'toy'"),
        ("toy:bgi", r"unknown checkpoint of toy 'bgi'. Did you mean 'big'"),
        ("toy:", "unknown checkpoint of toy ''. Known: big, nowhere, other, tiny"),
        ("toy:tiny", "toy:tiny ships with the project: there is nothing to fetch"),
        ("toy:nowhere", "the card of toy names no source for 'nowhere'.*checkpoint=FOLDER"),
        ("unigram", "unigram is a control and has no weights to fetch"),
        ("unigram:none", "unigram is a control and has no weights to fetch"),
    ],
)
@pytest.mark.parametrize("offline", [False, True])
def test_what_cannot_be_meant(known: Site, name: str | None, message: str, offline: bool) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fetch_command(name, offline=offline)
    assert "\n" not in str(caught.value)
    assert known.asked == []


def test_dry_run_touches_nothing(known: Site, capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert fetch_command("toy", dry_run=True) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split("\t") == ["model", "checkpoint", "source", "files", "size", "place", "state"]
    place = str(cache / "weights" / "toy" / "big")
    assert row.split("\t") == ["toy", "big", f"url {known.url}{URL}", "model.pt", "50 kB", place, "not fetched"]
    assert known.asked == []
    assert not cache.exists()


def test_dry_run_of_all(known: Site, capsys: pytest.CaptureFixture[str]) -> None:
    fetch_command("toy:big")
    capsys.readouterr()
    assert fetch_command(None, dry_run=True) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]
    named = {(row[0], row[1]): row for row in rows}
    assert {("toy", "big"), ("plaid", "plaid-1b"), ("radd", "radd-t-dce"), ("gpt2", "gpt2-large")} <= set(named)
    assert all(len(row) == 7 for row in rows)
    assert named["toy", "big"][-1] == "fetched"
    assert named["toy", "other"][-1] == "not fetched"
    assert named["toy", "nowhere"][2:5] == ["no source is known", "-", "unknown"]
    assert named["plaid", "plaid-1b"][4] == "about 4.7 GB (5.1 GB unpacked)"
    assert named["diffuseq", "diffuseq-qqp"][4] == "about 381 MB"
    assert not any(row[:2] == ["toy", "tiny"] for row in rows)


def test_what_others_ask(known: Site, model: CardMaker, cache: Path) -> None:
    card, entry = model({**RELEASE, "size": 5, "unpacked": 7}, {"url": known.url + URL, "about": 3})
    assert wanted(card, entry) == Download(
        model="toy",
        checkpoint="big",
        source=f"github owner/code@v1 + url {known.url}{URL}",
        size=8,
        place=place_of(card, "big"),
        fetched=False,
        files="w.tar.gz.00,w.tar.gz.01,w.tar.gz.02; model.pt",
        unpacked=7,
    )
    assert wanted(*model({"url": known.url + URL}, {**RELEASE, "size": 5})).size is None
    only = model({"url": known.url + URL})
    assert not is_fetched(*only)
    assert fetch_weights(*only) == cache / "weights" / "toy" / "big"
    assert is_fetched(*only)


def test_a_folder_given_by_hand(known: Site, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.pt").write_bytes(BODY)
    fetch_command("toy", offline=True, given=str(tmp_path / "mine"))
    assert (cache / "weights" / "toy" / "big" / "model.pt").read_bytes() == BODY
    assert known.asked == []


def test_looking_brings_no_library_of_the_network() -> None:
    """Every command looks whether checkpoints are here."""
    import subprocess
    import sys

    code = (
        "import harness.weights, sys; print([m for m in ('requests', 'gdown', 'huggingface_hub') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
