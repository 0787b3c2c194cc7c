"""Metrics: one small file each, plain functions over texts. `get_metric` finds one by name.

Importing this package loads neither torch nor any optional package.
"""

from __future__ import annotations

from harness.metrics.base import Metric, Score, ScoreInput, missing
from harness.metrics.registry import all_metrics, get_metric

__all__ = ["Metric", "Score", "ScoreInput", "all_metrics", "get_metric", "missing"]
