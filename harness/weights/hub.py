"""Files of a model on the Hugging Face Hub: which there are at a commit, and where.

Names, sizes and sha256 come through huggingface_hub; the bytes through `harness.weights.ranged`, because its own
download forgets what came when a command is ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers

from adapters.sources import HubSource, is_safe
from harness.download import TIMEOUT, lock_file, record
from harness.errors import UserError
from harness.weights.items import Item, hub_commit, hub_origin
from harness.weights.place import names_text
from harness.weights.ranged import PROXY_ANSWERS, Address, Unreachable

_WEIGHTS = ("*.safetensors",)
#: Pickles, which are taken where there is nothing better.
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_BESIDE = ("*.json", "*.txt", "*.model", "*.yaml", "*.yml")
#: The same weights for other programs, and what training leaves.
_OTHERS = (
    "flax_*",
    "tf_*",
    "rust_*",
    "onnx/*",
    "openvino*",
    "coreml/*",
    "training_args.bin",
    "optimizer*",
    "scheduler*",
)
_TOKEN_HINT = "Where it is private or wants its terms accepted, do so on its page and set HF_TOKEN."


def hub_items(source: HubSource) -> list[Item]:
    """The files of a source at its commit; a commit that the card does not pin is recorded when it is first met.

    Raises:
        Unreachable: where the Hub does not answer, or refuses.
        UserError: where the repository lacks what the source names.
    """
    pinned = hub_commit(source)
    info = _ask(source.hub, pinned)
    commit = str(pinned or info.sha)
    found = {each.rfilename: each for each in info.siblings or () if is_safe(each.rfilename)}
    names = _named(source, found) if source.files is not None else choose(found)
    if not names:
        raise UserError(f"{source.hub} on the Hub holds no weights that this could take: {names_text(list(found))}.")
    if pinned is None:
        record(source.hub, commit, "commit")
    return [_item(source, commit, name, found[name]) for name in names]


def choose(names: Iterable[str]) -> list[str]:
    """Configuration, weights and tokenizer among the files of a repository: safetensors rather than pickles."""
    kept = [name for name in names if not _is_any(name, _OTHERS)]
    weights = [name for name in kept if _is_any(name, _WEIGHTS)] or [name for name in kept if _is_any(name, _PICKLES)]
    return sorted([*weights, *(name for name in kept if _is_any(name, _BESIDE))]) if weights else []


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) or fnmatch(name.rpartition("/")[2], pattern) for pattern in patterns)


def _named(source: HubSource, found: Iterable[str]) -> list[str]:
    missing = sorted(set(source.names or ()) - set(found))
    if missing:
        raise UserError(
            f"{source.hub} on the Hub has no {names_text(missing)}; it holds {names_text(sorted(found)) or 'nothing'}."
        )
    return list(source.names or ())


def _item(source: HubSource, commit: str, name: str, facts: Any) -> Item:
    large = facts.lfs.sha256 if facts.lfs else None
    url = huggingface_hub.hf_hub_url(source.hub, name, revision=commit)
    return Item(
        name=name,
        target=source.files[name] if source.files is not None else name,
        origin=hub_origin(source, commit, name),
        remote=Address(url, url, build_hf_headers(library_name="tdbench"), _TOKEN_HINT),
        size=facts.lfs.size if facts.lfs else facts.size,
        sha256=source.sha256.get(name) or large,
        rule="published" if name in source.sha256 else "as the Hub says",
        revision=commit,
    )


def _ask(repository: str, revision: str | None) -> Any:
    """What the Hub says of a repository."""
    api = huggingface_hub.HfApi(library_name="tdbench")
    what = f"{repository} on the Hub"
    try:
        return api.model_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT)
    except GatedRepoError:
        raise Unreachable(f"{what} is given only to those who accept its terms. {_TOKEN_HINT}") from None
    except RevisionNotFoundError:
        lock = lock_file(repository, "commit")
        moved = f" If its authors have rewritten it, delete {lock} to take their latest." if lock.is_file() else ""
        raise UserError(f"{what} has no commit {revision}.{moved}") from None
    except RepositoryNotFoundError:
        raise Unreachable(f"{what} does not exist, or is private. {_TOKEN_HINT}") from None
    except HfHubHTTPError as error:
        raise Unreachable(f"{what} cannot be asked for: {error.response.status_code}. {_TOKEN_HINT}") from None
    except (HTTPError, OSError):
        raise Unreachable(f"{what} cannot be asked for: no connection to {api.endpoint}.") from None
    except (ValueError, TypeError, KeyError):
        raise Unreachable(f"{what} cannot be asked for: {api.endpoint} gave something else. {PROXY_ANSWERS}") from None
