"""Which files of a model on the Hub are taken, and what its answers mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.sources import HubSource
from harness.download import lock_file, recorded
from harness.errors import UserError
from harness.weights.hub import choose, hub_items
from harness.weights.ranged import Unreachable
from tests.weights.conftest import sha256
from tests.weights.site import COMMIT, PAGE, Site

REPO = "owner/name"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"pickle", "README.md": b"#"}
NEWER = "f" * 40

GPT2 = [
    ".gitattributes", "64-8bits.tflite", "README.md", "config.json", "flax_model.msgpack", "generation_config.json",
    "merges.txt", "model.safetensors", "onnx/config.json", "onnx/decoder_model.onnx", "onnx/tokenizer.json",
    "pytorch_model.bin", "rust_model.ot", "tf_model.h5", "tokenizer.json", "tokenizer_config.json", "vocab.json",
]  # fmt: skip


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (
            GPT2,
            ["config.json", "generation_config.json", "merges.txt", "model.safetensors", "tokenizer.json",
             "tokenizer_config.json", "vocab.json"],
        ),
        (["README.md", "ckpt.pt", ".gitattributes"], ["ckpt.pt"]),
        (["config.json", "model.bin", "training_args.bin", "optimizer.pt"], ["config.json", "model.bin"]),
        (["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "model.bin"],
         ["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"]),
        (["meta/checkpoint.pth", ".hydra/config.yaml"], [".hydra/config.yaml", "meta/checkpoint.pth"]),
        (["README.md", "config.json"], []),
        ([], []),
    ],
)  # fmt: skip
def test_which_files(there: list[str], chosen: list[str]) -> None:
    assert choose(there) == chosen


def test_files_of_the_latest_commit_which_is_recorded(site: Site, cache: Path) -> None:
    site.hub(REPO, FILES, large=("model.safetensors",))
    config, weights = hub_items(HubSource(hub=REPO))
    assert (config.name, config.target, config.size, config.sha256) == ("config.json", "config.json", 2, None)
    assert (weights.name, weights.size, weights.sha256) == ("model.safetensors", 7, sha256(b"weights"))
    assert (weights.origin, weights.revision, weights.rule) == (
        "owner/name@0123456789ab/model.safetensors",
        COMMIT,
        "as the Hub says",
    )
    assert recorded(REPO, "commit") == COMMIT
    weights.remote.download(cache / "w", weights.size, True)
    assert (cache / "w").read_bytes() == b"weights"


def test_a_later_fetch_asks_for_the_recorded_commit(site: Site) -> None:
    site.hub(REPO, FILES)
    hub_items(HubSource(hub=REPO))
    site.hub(REPO, {**FILES, "model.safetensors": b"newer"}, commit=NEWER)
    site.asked.clear()
    assert {item.revision for item in hub_items(HubSource(hub=REPO))} == {COMMIT}
    assert [path for _, path, _ in site.asked] == [f"/api/models/{REPO}/revision/{COMMIT}"]
    lock_file(REPO, "commit").unlink()
    assert {item.revision for item in hub_items(HubSource(hub=REPO))} == {NEWER}


def test_the_cards_commit_names_and_sha256(site: Site) -> None:
    site.hub(REPO, FILES, commit=NEWER, large=("model.safetensors",))
    source = HubSource(
        hub=REPO,
        revision=NEWER,
        files={"model.safetensors": "a.safetensors", "config.json": "sub/config.json"},
        sha256={"model.safetensors": "c" * 64},
    )
    weights, config = hub_items(source)
    assert (weights.target, weights.sha256, weights.rule) == ("a.safetensors", "c" * 64, "published")
    assert config.target == "sub/config.json"
    assert recorded(REPO, "commit") is None


def test_names_that_leave_the_folder_are_not_taken(site: Site) -> None:
    site.hub(REPO, {"../evil.json": b"", "config.json": b"{}", "ckpt.pt": b"1"})
    assert [item.name for item in hub_items(HubSource(hub=REPO))] == ["ckpt.pt", "config.json"]


def test_a_token_goes_to_the_hub_and_into_no_message(site: Site, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    site.hub(REPO, FILES)
    item = hub_items(HubSource(hub=REPO))[0]
    item.remote.download(cache / "w")
    assert {headers.get("Authorization", headers.get("authorization")) for _, _, headers in site.asked} == {
        "Bearer hf_secret"
    }
    site.files[f"/{REPO}/resolve/{COMMIT}/config.json"].status = 403
    with pytest.raises(Unreachable, match=r"403, access is refused\. Where it is private.*HF_TOKEN") as caught:
        item.remote.download(cache / "w2")
    assert "hf_secret" not in str(caught.value)
    assert "hf_secret" not in repr(item.remote)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "RepoNotFound", "owner/name on the Hub does not exist, or is private.*HF_TOKEN"),
        (404, "RepoNotFound", "owner/name on the Hub does not exist, or is private.*HF_TOKEN"),
        (403, "GatedRepo", "owner/name on the Hub is given only to those who accept its terms.*HF_TOKEN"),
        (404, "RevisionNotFound", "has no commit None"),
        (403, "", "owner/name on the Hub cannot be asked for: 403"),
        (500, "", "owner/name on the Hub cannot be asked for: 500"),
    ],
)
def test_what_the_hub_refuses(site: Site, status: int, code: str, message: str) -> None:
    site.refuse_hub(f"/api/models/{REPO}", status, code)
    with pytest.raises(UserError, match=message) as caught:
        hub_items(HubSource(hub=REPO))
    assert "\n" not in str(caught.value)


def test_a_recorded_commit_that_is_gone(site: Site) -> None:
    site.hub(REPO, FILES)
    hub_items(HubSource(hub=REPO))
    site.refuse_hub(f"/api/models/{REPO}/revision/{COMMIT}", 404, "RevisionNotFound")
    with pytest.raises(
        UserError, match=rf"has no commit {COMMIT}\. If its authors have rewritten it, delete .*\.commit"
    ):
        hub_items(HubSource(hub=REPO))


def test_no_connection(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match=r"cannot be asked for: no connection to http://127\.0\.0\.1:1\.$"):
        hub_items(HubSource(hub=REPO))


@pytest.mark.parametrize("body", [PAGE, b"[]", b'{"hello": 1}'])
def test_something_else_answers(site: Site, body: bytes) -> None:
    site.add(f"/api/models/{REPO}", body, headers={"Content-Type": "text/html"})
    with pytest.raises(Unreachable, match=r"gave something else\. A proxy, or the log-in page of a network"):
        hub_items(HubSource(hub=REPO))


def test_a_repository_that_lacks_what_the_card_names(site: Site) -> None:
    site.hub(REPO, FILES)
    with pytest.raises(UserError, match=r"owner/name on the Hub has no other\.pt; it holds README\.md, config\.json"):
        hub_items(HubSource(hub=REPO, files={"other.pt": "other.pt"}))


def test_a_repository_without_weights(site: Site) -> None:
    site.hub(REPO, {"README.md": b"#"})
    with pytest.raises(UserError, match=r"holds no weights that this could take: README\.md"):
        hub_items(HubSource(hub=REPO))
    assert recorded(REPO, "commit") is None
