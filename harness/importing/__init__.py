"""Generations made elsewhere become rows of a run: read (`files`), compared with what the run has (`agree`), written
(`rows`).
"""

from __future__ import annotations

from harness.importing.request import FORMATS, ImportRequest
from harness.importing.rows import Import, imported_points, prepare_import, write_import

__all__ = ["FORMATS", "Import", "ImportRequest", "imported_points", "prepare_import", "write_import"]
