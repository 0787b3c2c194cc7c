"""How the figures of a report were got, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness import comparable
from harness.report.data import Metric, Row, as_text, unique


def method_notes(rows: Sequence[Row], metrics: Sequence[Metric]) -> list[str]:
    """How the figures were got; what the rows say about it is read from them."""
    draws = unique(as_text(r["precision"]) for r in rows if r.get("precision") is not None)
    batches = unique(as_text(r["batch_size"]) for r in rows if r.get("batch_size") is not None)
    notes = [
        "Time: loading, the first call and warm-up are measured apart from the timed part; the device is synchronised "
        "on both sides of a batch. Time per sequence is total seconds by total sequences; the seconds of every batch "
        "are stored.",
        f"Batch size: {', '.join(batches) or 'not recorded'}. Times at different batch sizes are not comparable.",
        "NFE is counted at the network for each sequence, discarded work included; it is not the step count.",
        f"Categorical draws: {', '.join(draws) or 'precision not recorded'}. In single precision rare tokens are lost, "
        "more so with more steps, which fakes a better perplexity.",
        "Intervals are 95 % bootstrap intervals over samples unless the metric's settings say otherwise. Whether "
        "two of them overlap does not settle whether two points differ.",
        "The verdict and the steps to quality call two entries different only by a paired permutation test over the "
        "same samples. The best is picked on the samples that it is tested on, and any entry might have been: so "
        "Holm's adjustment counts every pair of entries of a place, tested or not, which keeps the chance of any false "
        "claim below 5 % for each place. What could have been seen is the difference that the test would find four "
        "times in five at that level. Less varied than real data: the 95 % interval of the difference in unigram "
        "entropy is below 0, without such an adjustment.",
        "Likelihood: an upper bound and an exact figure are of different kinds; a bound above another model's exact "
        "figure does not show that the model is worse.",
        "Rows are ranked together only where data, tokenizer, length, samples, sampling precision, judge and kind of "
        "likelihood agree (for seconds: device, dtype, batch size). A letter beside a name marks a row that differs; "
        "the heading of its group says in what.",
    ]
    if any("ppl" in m.name for m in metrics):
        notes.append("Generative perplexity rewards dull text: read it beside the entropy and the control rows.")
    return notes + [note for holds, note in _SPECIAL_NOTES if any(map(holds, rows))]


#: What is said where any row is of that kind.
_SPECIAL_NOTES: tuple[tuple[Callable[[Row], bool], str], ...] = (
    (
        lambda row: row.get("task") == "seq2seq",
        "Text written from a source: the length of a row and its tokenizer say nothing about the text that is written, "
        "so rows are ranked together where data, samples, sampling precision and the metric's settings agree.",
    ),
    (
        lambda row: bool(row.get("selection")),
        "MBR rows choose, for each source, the candidate that is most like the other candidates; the candidates are "
        "the texts of the rows with a seed. NFE, seconds and evaluations are sums over all candidates.",
    ),
    (
        comparable.is_imported,
        "Imported rows hold texts that were generated elsewhere. Only their quality was measured here; model, steps "
        "and settings are what the import was told.",
    ),
)
