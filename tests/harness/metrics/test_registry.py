from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import MissingPackage, UserError
from harness.metrics import Score, ScoreInput, all_metrics, get_metric

SCRIPT = """
import datasets
import evaluate


class Share(evaluate.Metric):
    def _info(self):
        texts = datasets.Value("string")
        features = datasets.Features({"predictions": texts, "references": texts})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        same = sum(p == r for p, r in zip(predictions, references))
        return {"share": same / len(predictions), "count": len(predictions), "note": "text", "bad": float("nan")}
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("evaluate")
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "share.py"
    path.write_text(SCRIPT)
    return str(path)


def test_names_are_unique_and_described() -> None:
    for name, metric in all_metrics().items():
        assert name == metric.name
        assert metric.version >= 1
        assert metric.better in ("higher", "lower", "none")
        assert metric.summary
        assert metric.unit


def test_unknown_name_says_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'gen_ppl'"):
        get_metric("genppl")


def test_a_score_has_a_value_or_a_reason() -> None:
    with pytest.raises(ValueError, match="either"):
        Score(None)
    with pytest.raises(ValueError, match="either"):
        Score(1.0, reason="no")


def test_looking_up_metrics_loads_no_heavy_package() -> None:
    heavy = ("torch", "mauve", "evaluate", "transformers", "sacrebleu")
    code = f"import sys, harness.metrics; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_evaluate_by_path_offline(script: str) -> None:
    metric = get_metric(f"evaluate:{script}")
    score = metric.score(ScoreInput(["a", "b", "c", "d"], ["a", "x", "x", "d", "e"]))
    assert (score.value, score.low) == (0.5, None)
    assert score.detail["figures"] == {"share": 0.5, "count": 4.0}
    assert metric.settings(ScoreInput([]))["references"] == "held-out texts, not paired"


def test_evaluate_prefers_paired_references_and_takes_a_key(script: str) -> None:
    data = ScoreInput(["a", "b"], references=["x", "x"], paired_references=[["a"], ["b"]], task="prefix")
    assert get_metric(f"evaluate:{script}").score(data).value == 1.0
    assert get_metric(f"evaluate:{script}#count").score(data).value == 2.0
    assert get_metric(f"evaluate:{script}").settings(data)["references"] == "paired"


def test_evaluate_reasons(script: str, tmp_path: Path) -> None:
    score = get_metric(f"evaluate:{script}#other").score(ScoreInput(["a"], ["a"]))
    assert score.reason == "the metric gives no finite figure 'other': name one with #KEY, of share, count"
    score = get_metric(f"evaluate:{script}").score(ScoreInput(["a", "b"], ["a"]))
    assert score.reason == "2 samples but only 1 held-out texts"
    score = get_metric(f"evaluate:{tmp_path}/absent.py").score(ScoreInput(["a"], ["a"]))
    assert score.reason is not None
    assert "cannot be loaded" in score.reason


def test_evaluate_needs_a_name_and_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="names no metric"):
        get_metric("evaluate:")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match="pip install evaluate"):
        get_metric("evaluate:rouge")
