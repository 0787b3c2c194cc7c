"""A checkpoint from its sources to its place: whole, verified and recorded, or not there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import threading
import time
from pathlib import Path

import pytest

from harness.download import lock_file, recorded
from harness.errors import UserError
from harness.weights import MANIFEST, is_fetched, place_of, wanted
from harness.weights.fetch import fetch_weights
from harness.weights.place import working_folder
from tests.weights.common import BODY, DOWNLOADS, RELEASE, URL, files_in, manifest_of, release
from tests.weights.conftest import PINNED, CardMaker, sha256
from tests.weights.site import COMMIT, PAGE, Served, Site
from tests.weights.test_archives import tar_of, zip_of

# --- each kind of source --------------------------------------------------------------------------------------------


def test_the_hub(site: Site, model: CardMaker, cache: Path) -> None:
    site.hub("owner/name", {"config.json": b"{}", "a.safetensors": BODY, "b.bin": b"pickle"}, large=("a.safetensors",))
    card, entry = model({"hub": "owner/name"})
    assert not is_fetched(card, entry)
    place = fetch_weights(card, entry)
    assert place == place_of(card, "big") == cache / "weights" / "toy" / "big"
    assert files_in(place) == {"config.json": b"{}", "a.safetensors": BODY}
    assert is_fetched(card, entry)
    manifest = manifest_of(place)
    assert (manifest["model"], manifest["checkpoint"], manifest["sources"]) == ("toy", "big", ["hub owner/name"])
    facts = manifest["files"]["a.safetensors"]
    assert facts.pop("date").startswith("20")
    source = "owner/name@0123456789ab/a.safetensors"
    assert facts == {"size": len(BODY), "sha256": sha256(BODY), "source": source, "revision": COMMIT}
    assert recorded("owner/name@0123456789ab/config.json") == sha256(b"{}")
    assert recorded("owner/name@0123456789ab/a.safetensors") is None, "the Hub itself says it"


def test_nothing_but_the_checkpoint_is_left(site: Site, model: CardMaker, cache: Path) -> None:
    site.add(URL, BODY)
    place = fetch_weights(*model({"url": site.url + URL}))
    assert sorted(p.name for p in place.parent.iterdir()) == [".big.lock", "big"]
    assert not any(path.is_symlink() for path in place.rglob("*"))
    assert stat.S_IMODE((place / "model.pt").stat().st_mode) & 0o444 == 0o444


def test_parts_of_a_release_joined_and_unpacked_with_a_file_of_the_repository(site: Site, model: CardMaker) -> None:
    packed = tar_of(("plaid1b/model.pt", BODY), ("plaid1b/gamma_bounds.pt", b"g"))
    release(site, packed)
    site.add(f"/raw/owner/code/{PINNED}/misc/t.json", b"tokens")
    repository = {"repository": {"misc/t.json": "tokenizer.json"}, "sha256": {"misc/t.json": sha256(b"tokens")}}
    place = fetch_weights(*model({**RELEASE, "about": 60_000, "unpacked": 50_000}, repository))
    assert files_in(place) == {"model.pt": BODY, "gamma_bounds.pt": b"g", "tokenizer.json": b"tokens"}
    files = manifest_of(place)["files"]
    assert files["model.pt"]["source"] == "owner/code@v1/w.tar.gz: model.pt"
    assert files["model.pt"]["revision"] == "v1"
    assert (files["tokenizer.json"]["source"], files["tokenizer.json"]["revision"]) == (
        "owner/code@aaaaaaaaaaaa/misc/t.json",
        PINNED,
    )
    assert recorded("owner/code@v1/w.tar.gz.01") == sha256(site.files[f"{DOWNLOADS}/w.tar.gz.01"].body)


def test_parts_that_are_no_archive_are_one_file(site: Site, model: CardMaker) -> None:
    for i in range(2):
        site.add(f"{DOWNLOADS}/model.pt.{i}", BODY[i * 20_000 : (i + 1) * 20_000])
    place = fetch_weights(*model({**RELEASE, "parts": ["model.pt.0", "model.pt.1"]}))
    assert files_in(place) == {"model.pt": BODY[:40_000]}
    assert manifest_of(place)["files"]["model.pt"]["sha256"] == sha256(BODY[:40_000])


@pytest.mark.parametrize(("name", "pack"), [("w.zip", zip_of), ("w.tar.gz", tar_of)])
def test_a_plain_address_of_an_archive(site: Site, model: CardMaker, name: str, pack) -> None:
    site.add("/get", pack(("run/model.pt", BODY), ("run/sub/a.json", b"{}")))
    place = fetch_weights(*model({"url": site.url + "/get", "name": name}))
    assert files_in(place) == {"model.pt": BODY, "sub/a.json": b"{}"}


def test_a_tokenizer_that_the_card_names_comes_along(
    site: Site, model: CardMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gpt2's is pinned here by its commit and sha256; another one by what the Hub has."""
    site.hub("owner/name", {"config.json": b"{}", "a.safetensors": BODY, "tokenizer.json": b"not this one"})
    site.hub("owner/tokens", {"tokenizer.json": b"tokens", "README.md": b"#"})
    place = fetch_weights(*model({"hub": "owner/name"}, tokenizer="owner/tokens"))
    assert files_in(place) == {"config.json": b"{}", "a.safetensors": BODY, "tokenizer.json": b"tokens"}
    gpt2 = wanted(*model({"hub": "owner/name"}, tokenizer="gpt2"))
    assert gpt2.source == "hub owner/name + hub openai-community/gpt2@607a30d783df"
    assert not gpt2.fetched
    assert wanted(*model({"hub": "owner/name"}, tokenizer="text8")).source == "hub owner/name"
    named = {"hub": "owner/name", "files": ["tokenizer.json"]}
    assert wanted(*model(named, tokenizer="gpt2")).source == "hub owner/name"


# --- once, and still the same ---------------------------------------------------------------------------------------


def test_what_is_there_is_verified_and_not_fetched_again(site: Site, model: CardMaker) -> None:
    site.add(URL, BODY)
    card, entry = model({"url": site.url + URL})
    place = fetch_weights(card, entry)
    site.asked.clear()
    assert fetch_weights(card, entry) == place
    assert fetch_weights(card, entry, offline=True) == place
    assert site.asked == []


def test_a_changed_byte_is_found_and_the_file_fetched_again(
    site: Site, model: CardMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add(URL, BODY)
    card, entry = model({"url": site.url + URL})
    place = fetch_weights(card, entry)
    (place / "model.pt").write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    assert is_fetched(card, entry), "sizes alone are looked at here"
    fetch_weights(card, entry)
    assert f"damaged since it was fetched: model.pt in {place}" in capsys.readouterr().err
    assert files_in(place) == {"model.pt": BODY}


@pytest.mark.parametrize("harm", ["missing", "short", "manifest", "half a manifest"])
def test_what_is_not_whole_does_not_count(site: Site, model: CardMaker, harm: str) -> None:
    site.add(URL, BODY)
    card, entry = model({"url": site.url + URL})
    place = fetch_weights(card, entry)
    path = place / (MANIFEST if "manifest" in harm else "model.pt")
    if harm in ("missing", "manifest"):
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20])
    assert not is_fetched(card, entry)
    assert wanted(card, entry).state == "partly"
    fetch_weights(card, entry)
    assert files_in(place) == {"model.pt": BODY}
    assert wanted(card, entry).state == "fetched"


def test_a_swap_that_was_killed_halfway(site: Site, model: CardMaker) -> None:
    site.add(URL, BODY)
    card, entry = model({"url": site.url + URL})
    place = fetch_weights(card, entry)
    old = working_folder(place) / "old"
    old.parent.mkdir()
    place.rename(old)
    assert not is_fetched(card, entry)
    assert files_in(fetch_weights(card, entry)) == {"model.pt": BODY}
    assert not working_folder(place).exists()


def test_another_source_in_the_card_is_another_checkpoint(site: Site, model: CardMaker) -> None:
    site.add(URL, BODY)
    site.add("/new/model.pt", b"newer")
    fetch_weights(*model({"url": site.url + URL}))
    newer = model({"url": f"{site.url}/new/model.pt"})
    assert not is_fetched(*newer)
    assert files_in(fetch_weights(*newer)) == {"model.pt": b"newer"}


def test_a_second_process_waits_and_fetches_nothing(
    site: Site, model: CardMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add(URL, BODY)
    card, entry = model({"url": site.url + URL})
    place = place_of(card, "big")
    place.parent.mkdir(parents=True)
    done: list[Path] = []
    waiting = threading.Thread(target=lambda: done.append(fetch_weights(card, entry)))
    with open(place.parent / ".big.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting.start()
        time.sleep(0.3)
        assert not done
        assert site.asked == []
    waiting.join(20)
    assert done == [place]
    assert "waiting: another process is fetching toy:big" in capsys.readouterr().err


# --- what differs ---------------------------------------------------------------------------------------------------


def test_a_wrong_sha256_of_the_card(site: Site, model: CardMaker, cache: Path) -> None:
    site.add(URL, BODY)
    card, entry = model({"url": site.url + URL, "sha256": {"model.pt": "c" * 64}})
    with pytest.raises(UserError, match=rf"has the sha256 {sha256(BODY)}, and {'c' * 64} is wanted \(published\)"):
        fetch_weights(card, entry)
    assert not is_fetched(card, entry)
    assert not list(cache.rglob("model.pt*")), "it is not kept"
    assert recorded(site.url + URL) is None


def test_a_wrong_sha256_of_the_hub(site: Site, model: CardMaker) -> None:
    site.hub("owner/name", {"a.pt": BODY}, large=("a.pt",))
    site.files[f"/owner/name/resolve/{COMMIT}/a.pt"].body = bytes(len(BODY))
    with pytest.raises(UserError, match=rf"and {sha256(BODY)} is wanted \(as the Hub says\)"):
        fetch_weights(*model({"hub": "owner/name"}))


def test_what_came_first_is_recorded_and_a_later_difference_is_an_error(site: Site, model: CardMaker) -> None:
    site.add(URL, BODY)
    card, entry = model({"url": site.url + URL})
    place = fetch_weights(card, entry)
    shutil.rmtree(place)
    site.add(URL, b"replaced by its authors")
    lock = lock_file(site.url + URL)
    with pytest.raises(UserError) as caught:
        fetch_weights(card, entry)
    message = str(caught.value)
    assert "\n" not in message
    for part in (sha256(BODY), sha256(b"replaced by its authors"), "its authors replaced it", f"delete {lock}."):
        assert part in message
    assert not is_fetched(card, entry)
    lock.unlink()
    assert files_in(fetch_weights(card, entry)) == {"model.pt": b"replaced by its authors"}


def test_a_truncated_archive_is_removed_and_not_recorded(site: Site, model: CardMaker, cache: Path) -> None:
    packed = tar_of(("model.pt", BODY))
    release(site, packed[:-5000])
    card, entry = model(RELEASE)
    with pytest.raises(UserError, match=r"^w\.tar\.gz is truncated or damaged") as caught:
        fetch_weights(card, entry)
    assert "\n" not in str(caught.value)
    assert not is_fetched(card, entry)
    assert not list((cache / "weights").rglob("w.tar.gz*"))
    release(site, packed)
    assert files_in(fetch_weights(card, entry)) == {"model.pt": BODY}


def test_an_archive_that_escapes(site: Site, model: CardMaker, cache: Path) -> None:
    release(site, tar_of(("model.pt", BODY), ("../../../../evil", b"x")))
    with pytest.raises(UserError, match=r"holds '\.\./\.\./\.\./\.\./evil', which would be written outside its folder"):
        fetch_weights(*model(RELEASE))
    assert not list(cache.parent.rglob("evil"))
    assert not (cache / "weights" / "toy" / "big").exists()


@pytest.mark.parametrize("name", ["model.pt", MANIFEST])
def test_two_files_of_one_name(site: Site, model: CardMaker, name: str) -> None:
    site.add(URL, BODY)
    site.add("/w.zip", zip_of((name, b"2")))
    with pytest.raises(UserError, match=f"'{name}' comes twice"):
        fetch_weights(*model({"url": site.url + URL}, {"url": f"{site.url}/w.zip"}))


def test_an_archive_without_files(site: Site, model: CardMaker) -> None:
    site.add("/w.zip", zip_of())
    with pytest.raises(UserError, match="the sources of toy:big hold no files"):
        fetch_weights(*model({"url": f"{site.url}/w.zip"}))


# --- broken off -----------------------------------------------------------------------------------------------------


def test_the_next_command_goes_on_where_the_first_one_stopped(site: Site, model: CardMaker, cache: Path) -> None:
    """The finished part is not fetched again, the broken one from where it broke."""
    parts = release(site, tar_of(("model.pt", BODY)))
    parts[1].breaks = [5000, *[0] * 20]
    card, entry = model(RELEASE)
    with pytest.raises(UserError, match=r"goes on from there\. By hand: tdbench fetch toy:big --offline says how"):
        fetch_weights(card, entry)
    assert wanted(card, entry).state == "partly"
    assert not place_of(card, "big").exists()
    parts[1].breaks = []
    site.asked.clear()
    assert files_in(fetch_weights(card, entry)) == {"model.pt": BODY}
    assert site.gets(f"{DOWNLOADS}/w.tar.gz.00") == []
    assert [asked["Range"] for asked in site.gets(f"{DOWNLOADS}/w.tar.gz.01")] == ["bytes=5000-"]


def test_files_of_another_commit_are_not_mixed_in(site: Site, model: CardMaker) -> None:
    site.hub("owner/name", {"a.pt": BODY, "config.json": b"old"})
    site.files[f"/owner/name/resolve/{COMMIT}/config.json"].status = 404
    card, entry = model({"hub": "owner/name"})
    with pytest.raises(UserError, match="404"):
        fetch_weights(card, entry)
    newer = "f" * 40
    site.hub("owner/name", {"a.pt": b"new", "config.json": b"new"}, commit=newer)
    place = fetch_weights(*model({"hub": "owner/name", "revision": newer}))
    assert files_in(place) == {"a.pt": b"new", "config.json": b"new"}


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (Served(b"", status=404), "404, there is no such file"),
        (Served(b"", status=403), "403, access is refused"),
        (Served(b"", status=500), "its server says 500"),
        (Served(PAGE, headers={"Content-Type": "text/html"}), "gave a web page instead of the file"),
    ],
)
def test_what_the_network_refuses_is_one_line_with_the_way_by_hand(
    site: Site, model: CardMaker, served: Served, message: str
) -> None:
    site.files[URL] = served
    with pytest.raises(UserError, match=message) as caught:
        fetch_weights(*model({"url": site.url + URL}))
    assert str(caught.value).endswith("By hand: tdbench fetch toy:big --offline says how.")
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_opened(site: Site, model: CardMaker, tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/ran",))

    body = pickle.dumps(Evil())
    site.add(URL, body)
    place = fetch_weights(*model({"url": site.url + URL}))
    assert not (tmp_path / "ran").exists()
    assert hashlib.sha256((place / "model.pt").read_bytes()).hexdigest() == sha256(body)
