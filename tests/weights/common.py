"""What several test files of fetching use."""

from __future__ import annotations

import json
import os
from pathlib import Path

from harness.weights import MANIFEST
from tests.weights.site import Served, Site

BODY = os.urandom(50_000)
RELEASE = {"github": "owner/code", "release": "v1", "parts": ["w.tar.gz.00", "w.tar.gz.01", "w.tar.gz.02"]}
DOWNLOADS = "/owner/code/releases/download/v1"
URL = "/files/model.pt"


def in_place(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint without its manifest."""
    return {name: body for name, body in in_place(folder).items() if name != MANIFEST}


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def release(site: Site, packed: bytes, count: int = 3) -> list[Served]:
    """Serve an archive in parts of unequal length."""
    cuts = [0, *(len(packed) * (i + 1) // (count + 1) for i in range(count - 1)), len(packed)]
    return [site.add(f"{DOWNLOADS}/w.tar.gz.{i:02}", packed[cuts[i] : cuts[i + 1]]) for i in range(count)]
