"""BERTScore (Zhang et al. 2020, arXiv 1904.09675) by the package bert-score: F1, no idf weights, not rescaled.

`bertscore` takes the model of DiffuSeq's and Bridge-Gap's evaluation, if it is on this machine already: it is of
several GB and never fetched unasked. ``bertscore:MODEL`` takes a local folder, or a model of that name from the Hub.
Figures of different models have nothing to do with each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.metrics.base import Metric, SampleValues, Score, ScoreInput, missing
from harness.stats import bootstrap_mean

NAME = "bertscore"
PREFIX = f"{NAME}:"
USUAL_MODEL = "microsoft/deberta-xlarge-mnli"
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model.bin"]
#: A tokenizer that knows no longest text says a number beyond this.
_NO_LIMIT = 10**6


def bertscore_metric(name: str) -> Metric:
    """The metric called ``bertscore:MODEL``; loads nothing yet. Raises `UserError` where no model is named."""
    model = name.removeprefix(PREFIX)
    if not model:
        raise UserError(f"'{name}' names no model. Give {PREFIX}FOLDER or {PREFIX}NAME, or {NAME} for {USUAL_MODEL}.")
    return _metric(name, model, fetch=True)


def bertscore(data: ScoreInput, model: str, fetch: bool) -> Score:
    """Mean F1 over samples; of several true texts the best one counts, and an empty text has 0, as in the package.

    Args:
        data: the samples.
        model: a folder, or a name on the Hub.
        fetch: whether a model that is not on this machine may be downloaded.
    """
    folder, problem = _find(model, fetch)
    if folder is None:
        return missing(problem or "")
    try:
        scorer = _load(folder, model)
    except ImportError:
        return missing("missing package: pip install bert-score")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return missing(f"the BERTScore model '{model}' cannot be loaded: {reason[0]}")
    precision, recall, f1 = _scores(scorer, data.texts, data.paired_references or ())
    detail = {"precision": _mean(precision), "recall": _mean(recall), "layers": scorer.num_layers, "samples": len(f1)}
    detail["empty_texts"] = sum(not text.strip() for text in data.texts)
    return Score(_mean(f1), *bootstrap_mean(f1, data.seed), detail=detail, samples=SampleValues.mean(f1))


def _scores(scorer: Any, texts: Sequence[str], paired: Sequence[Sequence[str]]) -> list[list[float]]:
    """Precision, recall and F1 of each text. The package cannot encode an empty one with today's transformers."""
    references = [[text for text in true if text.strip()] for true in paired]
    whole = [i for i, text in enumerate(texts) if text.strip() and references[i]]
    columns = [[0.0] * len(texts) for _ in range(3)]
    if whole:
        found = scorer.score([texts[i] for i in whole], [references[i] for i in whole])
        for column, values in zip(columns, found, strict=True):
            for i, value in zip(whole, values.tolist(), strict=True):
                column[i] = value
    return columns


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@cache
def _find(model: str, fetch: bool) -> tuple[Path | None, str | None]:
    """The folder of a model, or why there is none."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(model, allow_patterns=_FILES, local_files_only=not fetch)), None
    except HFValidationError:
        return None, f"the BERTScore model '{model}' is neither a folder here nor a name of the Hub"
    except (OSError, ValueError, HfHubHTTPError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        advice = f"name a folder or a model to fetch: {PREFIX}MODEL"
        reason = f"it cannot be had ({first})" if fetch else advice
        return None, f"the BERTScore model '{model}' is not on this machine: {reason}"


@cache
def _load(folder: Path, model: str) -> Any:
    """bert-score's scorer with the layer that its authors tuned, the last one for a model they do not list."""
    import torch
    from bert_score import BERTScorer
    from bert_score.utils import model2layers
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    tuned = {name.split("/")[-1]: layers for name, layers in model2layers.items()}
    layers = tuned.get(model.rstrip("/").split("/")[-1], config.num_hidden_layers)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scorer = BERTScorer(model_type=str(folder), num_layers=layers, device=device, use_fast_tokenizer=True)
    # A tokenizer without a limit makes the package ask for one that no tokenizer can hold.
    if scorer._tokenizer.model_max_length > _NO_LIMIT:
        scorer._tokenizer.model_max_length = config.max_position_embeddings
    return scorer


@cache
def _digest(folder: Path) -> str:
    """Digest of the weights, 16 hex digits."""
    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model.bin")]):
        with open(path, "rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]


def _settings(_: ScoreInput, model: str, fetch: bool) -> dict[str, Any]:
    folder, _problem = _find(model, fetch)
    digest = _digest(folder) if folder else None
    return {"model": model, "model_digest": digest, "idf": False, "rescaled": False, "references": "best"}


def _metric(name: str, model: str, fetch: bool) -> Metric:
    return Metric(
        name=name,
        version=1,
        unit="F1, -1..1",
        better="higher",
        needs=frozenset({"paired_references"}),
        compute=partial(bertscore, model=model, fetch=fetch),
        summary=f"BERTScore F1 with {model}, mean over samples",
        settings=partial(_settings, model=model, fetch=fetch),
    )


METRICS = (_metric(NAME, USUAL_MODEL, fetch=False),)
