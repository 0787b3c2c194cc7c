"""The build context: what a Dockerfile finds in it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from harness.images.context import context, tar_stream
from harness.images.recipe import read_recipe
from harness.images.requirements import Requirement
from harness.images.wheelhouse import Wheel
from tests.images.trial import Trial, sha256

LABELS = {"a.b": "c", "d": "e:1@f"}


def unpacked(files) -> dict[str, bytes | None]:
    """Content of each member of the tar, None for a folder."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_stream(files)))) as archive:
        members = {member.name: archive.extractfile(member) for member in archive}
        return {name: stream.read() if stream else None for name, stream in members.items()}


def wheels_of(trial: Trial) -> list[Wheel]:
    return [
        Wheel(path, Requirement(name, version, (sha256(path),)))
        for name, version, path in (("tiny", "1.0", trial.tiny), ("torch", "2.0.0", trial.torch))
    ]


def test_a_build_without_network_finds_everything_it_copies(trial: Trial) -> None:
    found = unpacked(context(read_recipe("trial"), "cuda", None, wheels_of(trial), LABELS))
    assert found == {
        "Dockerfile": trial.dockerfile.read_bytes() + b'LABEL a.b="c" d="e:1@f"\n',
        "install.sh": (trial.containers / "install.sh").read_bytes(),
        "pip": None,
        "pip/pip.conf": b"[global]\nno-index = true\n",
        "python": None,
        "rest": None,
        "rest/requirements.txt": f"tiny===1.0 --hash=sha256:{sha256(trial.tiny)}\n".encode(),
        f"rest/{trial.tiny.name}": trial.tiny.read_bytes(),
        "torch": None,
        "torch/requirements.txt": f"torch===2.0.0 --hash=sha256:{sha256(trial.torch)}\n".encode(),
        f"torch/{trial.torch.name}": trial.torch.read_bytes(),
    }


def test_a_python_and_the_variant_come_along(trial: Trial, tmp_path: Path) -> None:
    archive = tmp_path / "some-python.tar.gz"
    archive.write_bytes(b"python")
    found = unpacked(context(read_recipe("trial"), "cpu", archive, [], LABELS))
    assert found["python/python.tar.gz"] == b"python"
    assert found["torch/cpu"] == b""


def test_the_same_files_give_the_same_bytes(trial: Trial) -> None:
    def bytes_now() -> bytes:
        return b"".join(tar_stream(context(read_recipe("trial"), "cuda", None, wheels_of(trial), LABELS)))

    before = bytes_now()
    trial.tiny.touch()
    trial.torch.chmod(0o600)
    assert bytes_now() == before


def test_a_build_with_network_has_pips_settings_and_the_ca_bundle(trial: Trial, monkeypatch, tmp_path: Path) -> None:
    bundle = tmp_path / "company.pem"
    bundle.write_text("a certificate")
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nindex-url = https://weak.example/simple\ntimeout = 7\nquiet = 1\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///srv/simple\nhttps://cpu.example/whl https://more.example/simple")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "not-there.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    found = unpacked(context(read_recipe("trial"), "cpu", None, None, LABELS))
    said = (found["pip/pip.conf"] or b"").decode().splitlines()
    assert said[0] == "[global]"
    assert set(said[1:]) == {
        "index-url = https://index.example/simple",
        "extra-index-url = https://cpu.example/whl https://more.example/simple",
        "timeout = 7",
        "cert = /build/pip/ca.pem",
    }
    assert found["pip/ca.pem"] == b"a certificate"
    assert found["torch/requirements.txt"] == b"torch==2.0.0\n"
    assert found["rest/requirements.txt"] == f"tiny===1.0 --hash=sha256:{sha256(trial.tiny)}\n".encode()
    assert not [name for name in found if name.endswith(".whl")]


@pytest.mark.parametrize("variable", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_any_of_the_usual_variables_names_the_bundle(trial: Trial, monkeypatch, tmp_path: Path, variable: str) -> None:
    for each in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(each, raising=False)
    assert "pip/ca.pem" not in unpacked(context(read_recipe("trial"), "cuda", None, None, LABELS))
    (tmp_path / "ca").write_text(variable)
    monkeypatch.setenv(variable, str(tmp_path / "ca"))
    assert unpacked(context(read_recipe("trial"), "cuda", None, None, LABELS))["pip/ca.pem"] == variable.encode()
