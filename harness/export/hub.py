"""Figures as the YAML that a model repository on the Hugging Face Hub may hold.

* ``model-index.yaml``: the `model-index` block of a model card's head
  (https://github.com/huggingface/hub-docs/blob/main/modelcard.md).
* ``.eval_results/*.yaml``: results that the Hub shows beside a benchmark's leaderboard
  (https://huggingface.co/docs/hub/eval-results), one file for each way of sampling. Its `verifyToken` is given by the
  Hub for evaluations it ran itself, so none is ever written here.

Nothing is sent anywhere: the files are for the owner of the repository, or for a pull request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.repocard_data import eval_results_to_model_index
from huggingface_hub.utils import HFValidationError, validate_repo_id

from adapters.cards import all_cards
from adapters.sources import HubSource
from harness.benchmarks import all_benchmarks
from harness.errors import UserError
from harness.export.records import Record, digest, records_of
from harness.export.text import one_line, texts_of
from harness.report.data import Estimate, as_text, unique
from harness.report.format import interval
from harness.report.page import Page
from harness.report.places import Place, slug
from harness.report.text import visible

#: The names of our metrics among those at https://hf.co/metrics, where they are the same thing.
_HUB_METRICS = {
    **{"gen_ppl": "perplexity", "perplexity": "perplexity", "mauve": "mauve", "bertscore": "bertscore"},
    **{"bleu": "sacrebleu", "chrf": "chrf", "rouge_1": "rouge", "rouge_2": "rouge", "rouge_l": "rouge"},
}
_FILE_SPLIT = re.compile(r"(?:.*/)?([a-z]+)-\d+-of-\d+\.\w+")


class Dataset(NamedTuple):
    """A benchmark's data on the Hub: owner/name, subset, split and commit, None where unknown."""

    id: str
    config: str | None
    split: str | None
    revision: str


@dataclass(frozen=True)
class HubFiles:
    """What is written, by name below the export's folder, and why the rest is not, one line each."""

    files: dict[str, bytes]
    notes: list[str]


def hub_files(page: Page, formats: Sequence[str], given: Sequence[str] = (), source_url: str | None = None) -> HubFiles:
    """The files of all checkpoints in a run that have a repository on the Hub.

    Args:
        page: the run.
        formats: "eval_results", "model_index" or both.
        given: repositories of checkpoints as the user names them: OWNER/NAME where the run has one checkpoint, else
            MODEL=OWNER/NAME or MODEL:CHECKPOINT=OWNER/NAME.
        source_url: a page that shows these results, to be named as their source.

    Raises:
        UserError: for a repository or checkpoint that cannot be.
    """
    checkpoints = _checkpoints(page)
    repositories, notes = _repositories(checkpoints, given)
    files: dict[str, bytes] = {}
    for checkpoint, repository in repositories.items():
        results = [result for result in checkpoints[checkpoint] if result.figures]
        folder = f"hub/{repository.replace('/', '--')}"
        if "model_index" in formats and results:
            files[f"{folder}/model-index.yaml"] = _yaml(_model_index(page, repository, results, source_url))
        if "eval_results" in formats:
            files |= {f"{folder}/{name}": text for name, text in _eval_results(page, results, source_url).items()}
            notes += _without_dataset(results)
    if any("/.eval_results/" in name for name in files):
        notes.append(
            ".eval_results: the Hub shows an entry only where the dataset is a registered benchmark and its eval.yaml "
            "has a task of that id; whether these datasets are was not looked up."
        )
    return HubFiles(files, list(dict.fromkeys(notes)))


def _checkpoints(page: Page) -> dict[tuple[str, str, str], list[Record]]:
    """The records of each checkpoint (model, checkpoint, its kind); controls have none."""
    mine = [record for record in records_of(page) if record.role != "control"]
    keys = dict.fromkeys((record.model, record.checkpoint, record.kind) for record in mine)
    return {key: [r for r in mine if (r.model, r.checkpoint, r.kind) == key] for key in keys}


def _repositories(
    checkpoints: Mapping[tuple[str, str, str], Any], given: Sequence[str]
) -> tuple[dict[tuple[str, str, str], str], list[str]]:
    """Owner/name on the Hub by checkpoint, and why others have none."""
    found = _chosen(checkpoints, given)
    left: dict[str, list[str]] = {}
    for model, checkpoint, kind in checkpoints:
        if (model, checkpoint, kind) in found:
            continue
        repository = _published(model, checkpoint) if kind == "published" else None
        if repository:
            found[model, checkpoint, kind] = repository
        else:
            why = "their weights are not from the Hub" if kind == "published" else f"checkpoints of kind '{kind}'"
            left.setdefault(why, []).append(f"{model}:{checkpoint}")
    notes = [
        f"nothing for the Hub of {', '.join(names)} ({why}); --model-id {names[0]}=OWNER/NAME writes it nevertheless."
        for why, names in left.items()
    ]
    return found, notes


def _published(model: str, checkpoint: str) -> str | None:
    card = all_cards().get(model)
    sources = card.checkpoints[checkpoint].source if card and checkpoint in card.checkpoints else ()
    return next((source.hub for source in sources if isinstance(source, HubSource)), None)


def _chosen(checkpoints: Mapping[tuple[str, str, str], Any], given: Sequence[str]) -> dict[tuple[str, str, str], str]:
    found = {}
    for word in given:
        name, equals, repository = word.rpartition("=")
        try:
            validate_repo_id(repository)
        except HFValidationError:
            raise UserError(f"--model-id: '{repository}' is no name on the Hub such as OWNER/NAME.") from None
        mine = [key for key in checkpoints if not equals or name in (key[0], f"{key[0]}:{key[1]}")]
        if len(mine) != 1:
            known = ", ".join(f"{model}:{checkpoint}" for model, checkpoint, _ in checkpoints) or "none"
            raise UserError(
                f"--model-id '{word}' fits {len(mine)} checkpoints of the run, not one. "
                f"Give MODEL:CHECKPOINT=OWNER/NAME; the run has: {known}."
            )
        found[mine[0]] = repository
    return found


def _model_index(
    page: Page, repository: str, results: Sequence[Record], source_url: str | None
) -> dict[str, list[dict[str, Any]]]:
    entries = []
    for result in results:
        dataset, benchmark = _dataset(result.place), as_text(result.place.benchmark)
        for metric, (title, value) in result.figures.items():
            entries.append(
                EvalResult(
                    task_type="text2text-generation" if result.place.task == "seq2seq" else "text-generation",
                    dataset_type=dataset.id if dataset else benchmark,
                    dataset_name=_label(benchmark),
                    dataset_config=dataset.config if dataset else None,
                    dataset_split=dataset.split if dataset else None,
                    dataset_revision=dataset.revision if dataset else None,
                    metric_type=_HUB_METRICS.get(metric, metric),
                    metric_name=one_line(f"{title} ({_how(result)})"),
                    metric_value=value.value,
                    metric_args={**_protocol(result), **_interval(value)},
                    source_name="tdbench" if source_url else None,
                    source_url=source_url,
                )
            )
    return {"model-index": eval_results_to_model_index(repository.split("/")[-1], entries)}


def _how(record: Record) -> str:
    """Task and sampling in a few words."""
    return f"{record.place.task}, {record.name}" if record.place.task else record.name


def _protocol(record: Record) -> dict[str, Any]:
    """What the figures depend on, and the evaluations they took."""
    nfe = record.costs.get("nfe_mean")
    return {**record.protocol, **({} if nfe is None else {"nfe": nfe})}


def _interval(value: Estimate) -> dict[str, Any]:
    return {} if value.low is None or value.high is None else {"interval_95": [value.low, value.high]}


def _eval_results(page: Page, results: Sequence[Record], source_url: str | None) -> dict[str, bytes]:
    """One file a result, its metrics as tasks; none where the benchmark's data are not on the Hub."""
    files = {}
    for result in results:
        dataset = _dataset(result.place)
        if dataset is None:
            continue
        entries = [
            EvalResultEntry(
                dataset_id=dataset.id,
                task_id=metric,
                value=value.value,
                dataset_revision=dataset.revision,
                date=one_line(page.data.created),
                source_url=source_url,
                source_name="tdbench" if source_url else None,
                notes=_notes(result, value),
            )
            for metric, (_, value) in result.figures.items()
        ]
        name = f"{result.place.id}-{slug(result.name)}-{digest(result.fingerprints)[:8]}"
        files[f".eval_results/{name}.yaml"] = _yaml(eval_result_entries_to_yaml(entries))
    return files


def _notes(result: Record, value: Estimate) -> str:
    ends = interval(value.low, value.high)
    words = [_how(result), *(f"{key} {as_text(given)}" for key, given in _protocol(result).items())]
    return one_line("; ".join([*words, *([f"95 % interval {ends}"] if ends else [])]))


def _without_dataset(results: Sequence[Record]) -> list[str]:
    names = unique(result.place.benchmark for result in results if not _hub_files_of(result.place))
    return [f".eval_results: nothing for benchmark {name}, its data have no dataset on the Hub." for name in names]


def _label(benchmark: str) -> str:
    known = all_benchmarks().get(benchmark)
    return known.label if known else benchmark


def _hub_files_of(place: Place) -> list[Mapping[str, Any]]:
    """The files on the Hub that the benchmark's evaluated part is read from, as its YAML names them."""
    known = all_benchmarks().get(as_text(place.benchmark))
    splits = known.corpus.get("splits", {}) if known else {}
    part = place.facts.get("split") or (known.options.get("split") if known else None)
    return [file for file in splits.get(part, {}).get("files", ()) if file.get("hub")]


def _dataset(place: Place) -> Dataset | None:
    files = _hub_files_of(place)
    if not files:
        return None
    path = str(files[0]["path"])
    named = _FILE_SPLIT.fullmatch(path)
    config = path.split("/")[0] if "/" in path else None
    return Dataset(files[0]["hub"], config, named.group(1) if named else None, files[0]["revision"])


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(texts_of(value, visible), sort_keys=False, allow_unicode=True, width=110).encode()
