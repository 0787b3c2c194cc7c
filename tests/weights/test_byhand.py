"""Without a network: saying what is missing, and taking what somebody put into a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.download import lock_file, record, recorded
from harness.errors import UserError
from harness.weights import MANIFEST, is_fetched, place_of
from harness.weights.fetch import fetch_weights
from tests.weights.common import BODY, RELEASE, files_in, manifest_of
from tests.weights.conftest import PINNED, CardMaker, sha256
from tests.weights.site import COMMIT, Site
from tests.weights.test_archives import tar_of, zip_of

FILE, FOLDER = "1gj9OpGlM9OzbbrCIOfia8Ve6GMDd2Vxa", "1vnhJIUqPQva_x_sH2h5a0moCc1NYmEpr"
TOKENS = {"repository": {"misc/t.json": "tokenizer.json"}, "sha256": {"misc/t.json": sha256(b"tokens")}}


@pytest.fixture
def folder(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder; nothing may touch the network."""
    made = tmp_path / "usb stick"
    made.mkdir()

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr("requests.sessions.Session.request", touched)
    monkeypatch.setattr("huggingface_hub.hf_api.get_session", touched)
    return made


def put(folder: Path, **files: bytes) -> None:
    """Write files; in their names __ stands for / and _dot_ for a dot."""
    for name, body in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


# --- what is missing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_variable", [False, True])
def test_offline_says_what_is_missing_and_where_to_put_it(
    site: Site,
    model: CardMaker,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    by_variable: bool,
) -> None:
    if by_variable:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pinned = {"hub": "owner/pinned", "revision": COMMIT, "files": ["a.pt"], "sha256": {"a.pt": "c" * 64}}
    sources = [RELEASE, TOKENS, {"hub": "owner/name"}, pinned, {"drive_file": FILE}, {"drive_folder": FOLDER}]
    card, entry = model(*sources, {"url": "https://user:secret@example.org/w.bin"})
    with pytest.raises(UserError, match=r"toy:big is not on this machine, and .* nothing is downloaded") as caught:
        fetch_weights(card, entry, offline=not by_variable)
    assert "\n" not in str(caught.value)
    said = capsys.readouterr().err
    for part in (
        f"toy:big is missing: {place_of(card, 'big')}",
        "run 'tdbench fetch toy:big'",
        "run 'tdbench fetch toy:big --from FOLDER'",
        f"w.tar.gz.02  {site.url}/owner/code/releases/download/v1/w.tar.gz.02",
        f"misc/t.json  {site.url}/raw/owner/code/{PINNED}/misc/t.json  sha256 {sha256(b'tokens')}",
        "config,weights,tokenizer  https://huggingface.co/owner/name/tree/main",
        f"a.pt  https://huggingface.co/owner/pinned/resolve/{COMMIT}/a.pt  sha256 {'c' * 64}",
        f"https://drive.google.com/file/d/{FILE}/view",
        f"https://drive.google.com/drive/folders/{FOLDER}",
        "w.bin  https://example.org/w.bin",
    ):
        assert part in said
    assert "secret" not in said
    assert ("HF_HUB_OFFLINE" in str(caught.value)) == by_variable


def test_offline_a_damaged_checkpoint_is_missing(
    site: Site, model: CardMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("/model.pt", BODY)
    card, entry = model({"url": f"{site.url}/model.pt"})
    place = fetch_weights(card, entry)
    (place / "model.pt").write_bytes(bytes(len(BODY)))
    with pytest.raises(UserError, match="offline nothing is downloaded"):
        fetch_weights(card, entry, offline=True)
    assert "damaged since it was fetched: model.pt" in capsys.readouterr().err


# --- files as they are downloaded -----------------------------------------------------------------------------------


def test_parts_and_a_file_of_the_repository(model: CardMaker, folder: Path) -> None:
    packed = tar_of(("plaid1b/model.pt", BODY))
    for i in range(3):
        (folder / RELEASE["parts"][i]).write_bytes(packed[i * 20_000 : (i + 1) * 20_000])
    put(folder, t_dot_json=b"tokens", other_dot_txt=b"not asked for")
    before = files_in(folder)
    card, entry = model(RELEASE, TOKENS)
    place = fetch_weights(card, entry, given=folder)
    assert files_in(place) == {"model.pt": BODY, "tokenizer.json": b"tokens"}
    assert files_in(folder) == before, "the user's files stay"
    assert is_fetched(card, entry)
    assert recorded("owner/code@v1/w.tar.gz.00") == sha256(packed[:20_000])
    assert manifest_of(place)["files"]["model.pt"]["revision"] == "v1"


@pytest.mark.parametrize("name", ["misc__t_dot_json", "t_dot_json", "tokenizer_dot_json"])
def test_a_file_may_lie_where_a_person_would_put_it(model: CardMaker, folder: Path, name: str) -> None:
    put(folder, **{name: b"tokens"})
    assert files_in(fetch_weights(*model(TOKENS), given=folder)) == {"tokenizer.json": b"tokens"}


def test_a_copy_of_a_hub_repository(model: CardMaker, folder: Path) -> None:
    """As git clones it: everything is there, and what the download would take is taken."""
    put(folder, config_dot_json=b"{}", a_dot_safetensors=BODY, b_dot_bin=b"1", README_dot_md=b"#", _dot_git__x=b"1")
    put(folder, tokenizer_dot_json=b"tokens")
    place = fetch_weights(*model({"hub": "owner/name"}, tokenizer="owner/tokens"), given=folder)
    assert files_in(place) == {"config.json": b"{}", "a.safetensors": BODY, "tokenizer.json": b"tokens"}
    assert manifest_of(place)["files"]["a.safetensors"]["revision"] is None


def test_a_commit_that_is_recorded_is_that_of_the_files(model: CardMaker, folder: Path) -> None:
    record("owner/name", COMMIT, "commit")
    put(folder, a_dot_pt=BODY)
    place = fetch_weights(*model({"hub": "owner/name"}), given=folder)
    assert manifest_of(place)["files"]["a.pt"]["revision"] == COMMIT


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_the_one_file_of_drive_whatever_its_name(model: CardMaker, folder: Path, pack: Any) -> None:
    put(folder, **{f"its name_dot_{'zip' if pack is zip_of else 'tar_dot_gz'}": pack(("run/ema.pt", BODY))})
    assert files_in(fetch_weights(*model({"drive_file": FILE}), given=folder)) == {"ema.pt": BODY}


def test_a_folder_of_drive_as_files_or_as_the_zip_that_drive_makes(model: CardMaker, folder: Path) -> None:
    put(folder, run__ema_dot_pt=BODY, run__args_dot_json=b"{}")
    card, entry = model({"drive_folder": FOLDER})
    place = fetch_weights(card, entry, given=folder)
    assert files_in(place) == {"ema.pt": BODY, "args.json": b"{}"}
    for path in (place, folder / "run"):
        shutil.rmtree(path)
    put(folder, **{"drive-download-2026_dot_zip": zip_of(("run/ema.pt", BODY), ("run/args.json", b"{}"))})
    assert files_in(fetch_weights(card, entry, given=folder)) == {"ema.pt": BODY, "args.json": b"{}"}


@pytest.mark.parametrize(
    ("source", "files", "message"),
    [
        (RELEASE, {}, r"lacks w\.tar\.gz\.00, w\.tar\.gz\.01, w\.tar\.gz\.02 of github owner/code@v1\.$"),
        (RELEASE, {"w_dot_tar_dot_gz_dot_00": b"1"}, r"lacks w\.tar\.gz\.01, w\.tar\.gz\.02 of"),
        (
            {"hub": "owner/name"},
            {"README_dot_md": b"#"},
            r"should hold the files of hub owner/name, and holds README\.md",
        ),
        ({"hub": "owner/name"}, {}, "should hold the files of hub owner/name, and holds none"),
        (
            {"drive_file": FILE},
            {"a": b"1", "b": b"2"},
            f"should hold the one file of drive file {FILE}, and holds a, b",
        ),
        ({"drive_folder": FOLDER}, {}, "should hold the files of drive folder"),
        (TOKENS, {"t_dot_json": b"others"}, rf"has the sha256 {sha256(b'others')}, and {sha256(b'tokens')} is wanted"),
        ({"drive_file": FILE}, {"w_dot_zip": zip_of(("../evil", b"1"))}, "would be written outside its folder"),
        ({"drive_file": FILE}, {"w_dot_zip": b"PK"}, r"w\.zip is truncated or damaged"),
    ],
)
def test_what_a_folder_must_hold(
    model: CardMaker, folder: Path, source: dict, files: dict[str, bytes], message: str
) -> None:
    put(folder, **files)
    card, entry = model(source)
    with pytest.raises(UserError, match=message) as caught:
        fetch_weights(card, entry, given=folder)
    assert "\n" not in str(caught.value)
    assert not is_fetched(card, entry)


def test_no_folder(model: CardMaker, folder: Path) -> None:
    with pytest.raises(UserError, match=r"--from .*missing is no folder"):
        fetch_weights(*model(RELEASE), given=folder / "missing")


def test_what_an_earlier_try_took_is_not_taken_again(model: CardMaker, folder: Path) -> None:
    """A first try failed at the second file; the user has put a better first one since."""
    put(folder, a_dot_pt=b"bad copy", t_dot_json=b"others")
    card, entry = model({"hub": "owner/name"}, TOKENS)
    with pytest.raises(UserError, match="is wanted"):
        fetch_weights(card, entry, given=folder)
    put(folder, a_dot_pt=BODY, t_dot_json=b"tokens")
    assert files_in(fetch_weights(card, entry, given=folder)) == {"a.pt": BODY, "tokenizer.json": b"tokens"}


def test_a_file_that_differs_from_an_earlier_download(model: CardMaker, folder: Path) -> None:
    record("owner/code@v1/model.pt", sha256(BODY))
    put(folder, model_dot_pt=b"others")
    with pytest.raises(UserError, match=f"and had {sha256(BODY)} when it first came"):
        fetch_weights(*model({**RELEASE, "parts": ["model.pt"]}), given=folder)


# --- a folder that was fetched elsewhere ----------------------------------------------------------------------------


@pytest.fixture
def elsewhere(site: Site, model: CardMaker, tmp_path: Path) -> Path:
    """A checkpoint fetched on another machine, copied here."""
    site.hub("owner/name", {"config.json": b"{}", "a.safetensors": BODY}, large=("a.safetensors",))
    place = fetch_weights(*model({"hub": "owner/name"}))
    copy = tmp_path / "copied"
    place.rename(copy)
    for lock in (tmp_path / "cache" / "locks").iterdir():
        lock.unlink()
    site.asked.clear()
    return copy


def test_a_copied_checkpoint_is_verified_and_taken(site: Site, model: CardMaker, elsewhere: Path) -> None:
    card, entry = model({"hub": "owner/name"})
    place = fetch_weights(card, entry, offline=True, given=elsewhere)
    assert files_in(place) == files_in(elsewhere) == {"config.json": b"{}", "a.safetensors": BODY}
    there, here = manifest_of(elsewhere)["files"], manifest_of(place)["files"]
    for name in there:
        assert {**there[name], "date": None} == {**here[name], "date": None}
    assert is_fetched(card, entry)
    assert site.asked == []


def test_copying_into_the_cache_is_enough(site: Site, model: CardMaker, elsewhere: Path) -> None:
    card, entry = model({"hub": "owner/name"})
    elsewhere.rename(place_of(card, "big"))
    assert is_fetched(card, entry)
    assert fetch_weights(card, entry, offline=True) == place_of(card, "big")


def test_a_copy_that_was_damaged_on_its_way(model: CardMaker, elsewhere: Path) -> None:
    (elsewhere / "a.safetensors").write_bytes(bytes(len(BODY)))
    with pytest.raises(
        UserError, match=r"is not as it was fetched: a\.safetensors is missing or damaged\. Copy it again"
    ):
        fetch_weights(*model({"hub": "owner/name"}), given=elsewhere)


def test_a_copy_of_something_else(model: CardMaker, elsewhere: Path) -> None:
    with pytest.raises(UserError, match="holds toy:big from hub owner/name, not toy:big from hub owner/other"):
        fetch_weights(*model({"hub": "owner/other"}), given=elsewhere)


def test_a_manifest_does_not_outweigh_the_card(model: CardMaker, elsewhere: Path) -> None:
    """Somebody changed a file and the manifest with it."""
    forged = b"forged"
    (elsewhere / "a.safetensors").write_bytes(forged)
    manifest = manifest_of(elsewhere)
    manifest["files"]["a.safetensors"].update(size=len(forged), sha256=sha256(forged))
    (elsewhere / MANIFEST).write_text(json.dumps(manifest))
    named = {"hub": "owner/name", "files": ["config.json", "a.safetensors"], "sha256": {"a.safetensors": sha256(BODY)}}
    with pytest.raises(UserError, match=rf"{sha256(forged)}, and {sha256(BODY)} is wanted \(published\)"):
        fetch_weights(*model(named), given=elsewhere)
    record("owner/name@0123456789ab/a.safetensors", sha256(BODY))
    with pytest.raises(
        UserError, match=rf"{sha256(forged)}, and {sha256(BODY)} is wanted \(as .* or an earlier download"
    ):
        fetch_weights(*model({"hub": "owner/name"}), given=elsewhere)
    lock_file("owner/name@0123456789ab/a.safetensors").unlink()


@pytest.mark.parametrize("absolute", [False, True])
def test_a_manifest_that_leaves_its_folder(model: CardMaker, elsewhere: Path, tmp_path: Path, absolute: bool) -> None:
    """To a file that is there and has the right content."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"{}")
    manifest = manifest_of(elsewhere)
    manifest["files"][str(outside) if absolute else "../outside"] = manifest["files"]["config.json"]
    (elsewhere / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"is not as it was fetched: .*outside"):
        fetch_weights(*model({"hub": "owner/name"}), given=elsewhere)
