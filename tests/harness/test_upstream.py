"""Checkouts of the authors' code, with small real repositories."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.cards import UpstreamCard, get_card
from harness import fetch, upstream
from harness.errors import UserError

NET, SAMPLE = "weights = 1\n", "steps = 2\n"
ADDRESS = "https://example.org/Authors/Thing"


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *identity, "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def origin(tmp_path) -> Path:
    """The authors' repository: an older commit, the pinned one, a newer one."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "main")
    commit(folder, net="weights = 0\n", sample=SAMPLE, empty="")
    commit(folder, net=NET)
    git(folder, "tag", "pinned")
    commit(folder, sample="steps = 3\n")
    return folder


@pytest.fixture
def card(origin):
    """A card whose code is `origin` at its tag."""
    files = {"net.py": sha(NET), "sample.py": sha(SAMPLE), "empty.py": sha("")}
    own = UpstreamCard(
        repo=ADDRESS,
        commit=git(origin, "rev-parse", "pinned"),
        schedulers=("radd_direct",),
        packages=("numpy", "no-such-package"),
        files=files,
    )
    return replace(get_card("radd"), upstream=own)


@pytest.fixture
def checkout(origin, tmp_path) -> Path:
    """A clone as a user makes it, at the pinned commit."""
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(origin), str(folder))
    git(folder, "checkout", "--quiet", "--detach", "pinned")
    return folder


@pytest.fixture
def unpacked(checkout, tmp_path) -> Path:
    """The pinned files without git, inside another repository."""
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    git(outer, "remote", "add", "origin", "https://example.org/me/mine")
    commit(outer, mine="x = 1\n")
    shutil.copytree(checkout, outer / "thing", ignore=shutil.ignore_patterns(".git"))
    return outer / "thing"


def find(card, path=None, folder=None):
    return upstream.find_checkout(card, SimpleNamespace(upstream_path=path, upstream_folder=folder))


# --- where it is looked for -----------------------------------------------------------------------------------------


def test_a_path_for_one_model_or_for_each(card, checkout):
    found = find(card, str(checkout))
    assert found.path == checkout
    assert found.commit == card.upstream.commit
    assert found.notes == ()
    assert find(card, {"radd": str(checkout)}) == found


@pytest.mark.parametrize("name", ["radd", "Authors+Thing", "Authors-Thing", "Thing"])
def test_a_folder_of_checkouts(card, checkout, tmp_path, name):
    checkout.rename(tmp_path / name)
    assert find(card, folder=str(tmp_path)).path == tmp_path / name


def test_the_cache_is_the_last_place(card, checkout, tmp_path, monkeypatch):
    (tmp_path / "cache" / "upstream").mkdir(parents=True)
    checkout.rename(tmp_path / "cache" / "upstream" / "radd")
    assert find(card).path == tmp_path / "cache" / "upstream" / "radd"
    monkeypatch.delenv("TDBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert upstream.cache_place("radd") == tmp_path / "xdg" / "tdbench" / "upstream" / "radd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert upstream.cache_place("radd") == tmp_path / "home" / ".cache" / "tdbench" / "upstream" / "radd"


def test_nothing_found_names_the_command(card, tmp_path):
    with pytest.raises(UserError, match=r"none in .*cache/upstream/radd: tdbench fetch --upstream radd, or give"):
        find(card)
    with pytest.raises(UserError, match=r"radd, Authors\+Thing, Authors-Thing, Thing: tdbench fetch --upstream radd"):
        find(card, folder=str(tmp_path))
    with pytest.raises(UserError, match=r"upstream\.path of radd '/no/such' does not exist"):
        find(card, "/no/such")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"upstream\.folder '.*/file' is no folder"):
        find(card, folder=str(tmp_path / "file"))


def test_one_path_for_several_models_is_refused():
    settings = SimpleNamespace(upstream_path="x", upstream_folder=None)
    upstream.check_settings(["radd"], settings)
    with pytest.raises(UserError, match=r"upstream\.path=\{radd: FOLDER, nanodd: FOLDER\}"):
        upstream.check_settings(["radd", "nanodd"], settings)
    with pytest.raises(UserError, match=r"unknown model in upstream\.path 'rad'. Did you mean 'radd'"):
        upstream.check_settings(["radd"], SimpleNamespace(upstream_path={"rad": "x"}, upstream_folder=None))


# --- what it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://github.com/Authors/Thing", "authors/thing"),
        ("https://user:secret@example.org/Authors/Thing.git/", "authors/thing"),
        ("git@example.org:authors/thing.git", "authors/thing"),
        ("ssh://git@example.org:22/group/Authors/Thing", "authors/thing"),
        ("/mirrors/Authors/Thing.git", "authors/thing"),
        ("thing", None),
    ],
)
def test_repositories_are_known_by_owner_and_name(address, name):
    assert upstream.slug(address) == name


def test_another_commit_is_a_note_that_names_both(card, checkout):
    git(checkout, "checkout", "--quiet", "main")
    found = find(card, str(checkout))
    head = git(checkout, "rev-parse", "HEAD")
    assert found.commit == head
    assert found.notes == (
        f"upstream: commit {head[:12]} is checked out, the pinned one is {card.upstream.commit[:12]}.",
        f"upstream: differs from commit {card.upstream.commit[:12]} in sample.py.",
    )
    commit(checkout, sample=SAMPLE)
    (note,) = find(card, str(checkout)).notes
    assert "the files we import are the same" in note


def test_uncommitted_changes_are_a_note_and_another_digest(card, checkout):
    clean = find(card, str(checkout))
    (checkout / "untracked.py").write_text("x = 1\n")
    assert find(card, str(checkout)) == clean
    (checkout / "net.py").write_text("weights = 7\n")
    changed = find(card, str(checkout))
    assert "uncommitted changes in net.py" in changed.notes[0]
    assert "in net.py" in changed.notes[1]
    assert changed.digest != clean.digest
    (checkout / "net.py").write_text(NET)
    os.utime(checkout / "net.py", (1, 1))
    assert find(card, str(checkout)) == clean, "a file with the same content is not changed"


def test_a_remote_vouches_for_a_repository_without_the_pinned_commit(card, tmp_path):
    folder = tmp_path / "fork"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commit(folder, net="weights = 5\n", sample=SAMPLE, empty="")
    with pytest.raises(UserError, match=r"needs a checkout of .*Authors/Thing, and .* a git repository without that"):
        find(card, str(folder))
    git(folder, "remote", "add", "origin", "https://user:secret@example.org/Else/Other.git")
    with pytest.raises(UserError, match=r"is one of else/other\. tdbench fetch --upstream radd") as caught:
        find(card, str(folder))
    assert "secret" not in str(caught.value)
    git(folder, "remote", "add", "mirror", "git@mirror.example.org:authors/thing.git")
    assert "differs from commit" in find(card, str(folder)).notes[1]


def test_content_vouches_for_a_repository_of_the_users_own(card, unpacked):
    git(unpacked, "init", "--quiet")
    head = commit(unpacked)
    found = find(card, str(unpacked))
    assert found.commit == head
    assert "the files we import are the same" in found.notes[0]


def test_a_shallow_clone(card, origin, tmp_path):
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=pinned", f"file://{origin}", str(tmp_path / "shallow"))
    assert find(card, str(tmp_path / "shallow")).notes == ()


def test_without_git_the_content_is_checked(card, unpacked):
    """The folder lies inside another repository, which must not be taken for it."""
    found = find(card, str(unpacked))
    assert found.commit is None
    assert found.notes == (
        "upstream: the commit is unknown, it is no git checkout; the files we import are those of commit "
        f"{card.upstream.commit[:12]}.",
    )
    (unpacked / "net.py").write_text("weights = 2\n")
    notes = find(card, str(unpacked)).notes
    assert "expected commit" in notes[0]
    assert notes[1].endswith("in net.py.")
    (unpacked / "sample.py").write_text("steps = 5\n")
    with pytest.raises(UserError, match="none of its files are those of commit"):
        find(card, str(unpacked))  # only the empty file is the same, which says nothing


def test_a_subfolder_of_a_repository_is_not_the_repository(card, checkout):
    (checkout / "sub").mkdir()
    with pytest.raises(UserError, match="it is no git checkout"):
        find(card, str(checkout / "sub"))


def test_missing_files_are_named(card, checkout):
    (checkout / "sample.py").unlink()
    with pytest.raises(UserError, match=r"lacks sample\.py\. Check out commit"):
        find(card, str(checkout))


def test_a_card_without_file_digests_follows_all_python_files(card, checkout, unpacked):
    bare = replace(card, upstream=replace(card.upstream, files={}))
    first = find(bare, str(checkout))
    assert first.notes == ()
    (checkout / "extra.py").write_text("x = 1\n")
    assert find(bare, str(checkout)).digest != first.digest
    with pytest.raises(UserError, match="not shown to be one"):
        find(bare, str(unpacked))


@pytest.mark.parametrize("trouble", ["not installed", "ownership", "broken"])
def test_git_trouble_is_a_note_where_the_content_is_right(card, checkout, tmp_path, monkeypatch, trouble):
    if trouble == "not installed":
        monkeypatch.setattr(upstream.shutil, "which", lambda name: None)
    elif trouble == "ownership":
        fake = tmp_path / "bin" / "git"
        fake.parent.mkdir()
        fake.write_text("#!/bin/sh\necho \"fatal: detected dubious ownership in repository at 'x'\" >&2\nexit 128\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    else:
        (checkout / ".git" / "HEAD").write_text("nonsense")
    (note,) = find(card, str(checkout)).notes
    reason = {"not installed": "git is not installed", "ownership": "dubious ownership", "broken": "not a git"}[trouble]
    assert reason in note
    assert "those of commit" in note


def test_variables_of_an_outer_git_do_not_mislead(card, checkout, unpacked, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(unpacked.parent / ".git"))
    assert find(card, str(checkout)).notes == ()


# --- fetching -------------------------------------------------------------------------------------------------------


@pytest.fixture
def fetching(card, origin, monkeypatch):
    """`fetch.fetch_upstream` for the fake card; its address is `origin` unless another is given."""
    own = replace(card, upstream=replace(card.upstream, repo=str(origin)))
    monkeypatch.setattr(fetch, "get_card", lambda name: own if name == "radd" else get_card(name))
    return own


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_fetch_into_the_cache_then_find_it(fetching, tmp_path, capsys):
    place = fetch.fetch_upstream("radd")
    assert place == tmp_path / "cache" / "upstream" / "radd"
    assert leftovers(place.parent) == ["radd"]
    assert git(place, "rev-parse", "HEAD") == fetching.upstream.commit
    assert find(fetching).notes == ()
    assert place.stat().st_mode & 0o055 == 0o055 & ~fetch._umask()
    shutil.rmtree(fetching.upstream.repo)
    assert fetch.fetch_upstream("radd") == place, "a second fetch needs no repository"
    assert "nothing was downloaded" in capsys.readouterr().out


def test_fetch_from_a_mirror_a_bundle_or_a_server_without_single_commits(fetching, origin, tmp_path, monkeypatch):
    git(tmp_path, "clone", "--quiet", "--bare", str(origin), str(tmp_path / "mirror.git"))
    git(origin, "bundle", "create", "--quiet", str(tmp_path / "thing.bundle"), "--all")
    monkeypatch.chdir(tmp_path)
    for number, source in enumerate(["mirror.git", "thing.bundle", f"file://{tmp_path}/mirror.git"]):
        assert upstream.inspect(fetch.fetch_upstream("radd", source, f"to{number}"), fetching).notes == ()
    real = fetch.git

    def refuses(folder, *words, **more):
        if "--depth=1" in words:
            raise upstream.GitError("Server does not allow request for unadvertised object")
        return real(folder, *words, **more)

    monkeypatch.setattr(fetch, "git", refuses)
    assert upstream.inspect(fetch.fetch_upstream("radd", None, "to9"), fetching).notes == ()


def test_fetch_never_overwrites(fetching, tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    fetch.fetch_upstream("radd", to=str(place))  # an empty folder is as good as none
    (place / "net.py").write_text("mine\n")
    with pytest.raises(UserError, match=r"is not empty and not what was asked for.*uncommitted changes in net\.py"):
        fetch.fetch_upstream("radd", to=str(place))
    assert (place / "net.py").read_text() == "mine\n"
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not what was asked for"):
        fetch.fetch_upstream("radd", to=str(tmp_path / "file"))


def test_fetch_another_repository(fetching, unpacked):
    with pytest.raises(UserError, match=r"has no commit .*: it is not"):
        fetch.fetch_upstream("radd", str(unpacked.parent))
    assert leftovers(upstream.cache_place("radd").parent) == []


def test_fetch_files_that_are_not_the_pinned_ones(fetching, monkeypatch):
    wrong = replace(fetching, upstream=replace(fetching.upstream, files={"net.py": "0" * 64}))
    monkeypatch.setattr(fetch, "get_card", lambda name: wrong)
    with pytest.raises(UserError, match=r"is not the pinned code.*in net\.py"):
        fetch.fetch_upstream("radd")
    assert leftovers(upstream.cache_place("radd").parent) == []


def test_fetch_without_git(fetching, monkeypatch):
    monkeypatch.setattr(upstream.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"git is not installed.*Install git, or unpack commit [0-9a-f]{40}"):
        fetch.fetch_upstream("radd")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "http://user:secret@127.0.0.1:9/Authors/Thing",
            r"cannot clone http://127\.0\.0\.1:9/Authors/Thing for radd: .*",
        ),
        ("/no/such/repository", "cannot clone /no/such/repository for radd: '?/no/such/repository'? does not"),
    ],
)
def test_fetch_from_a_place_that_does_not_answer(fetching, source, message):
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch_upstream("radd", source)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert leftovers(upstream.cache_place("radd").parent) == []


class _Locked(BaseHTTPRequestHandler):
    """A server that wants a password."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.end_headers()

    def log_message(self, *args):
        pass


def test_a_server_that_wants_a_password_is_an_error_and_not_a_question(fetching):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match=r"cannot clone http://127.* for radd: could not read Username"):
            fetch.fetch_upstream("radd", f"http://127.0.0.1:{server.server_port}/Authors/Thing")
        server.shutdown()


def test_git_that_never_answers_is_given_up(checkout, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    with pytest.raises(upstream.GitError, match="no answer within 0 s"):
        upstream.git(checkout, "status", patience=0.2)


def test_fetch_into_a_place_that_cannot_be_written(fetching, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write into .*cache/upstream: .*Choose --to=FOLDER"):
        fetch.fetch_upstream("radd")


def test_an_interrupted_fetch_leaves_nothing(fetching, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_transfer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_upstream("radd")
    assert leftovers(upstream.cache_place("radd").parent) == []


def test_two_fetches_at_once(fetching, monkeypatch):
    real = fetch._clone

    def slow(card, source, folder):
        real(card, source, folder)
        monkeypatch.setattr(fetch, "_clone", real)
        fetch.fetch_upstream("radd")

    monkeypatch.setattr(fetch, "_clone", slow)
    place = fetch.fetch_upstream("radd")
    assert leftovers(place.parent) == ["radd"]
    assert find(fetching).notes == ()


def test_fetch_for_a_model_without_code_of_its_authors():
    with pytest.raises(
        UserError, match=r"gpt2 has no code of its authors to fetch\. Models that have: diffuseq, nanodd, plaid, radd"
    ):
        fetch.fetch_upstream("gpt2")


def test_missing_packages_are_told_apart(card):
    assert fetch.missing_packages(card) == ["no-such-package"]
    assert fetch.pip_line(["a", "b"]) == "pip install -c constraints.txt a b"
