"""What a metric is: a named, versioned plain function from a set of samples to a figure or a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from harness.metrics.judge import Judge

Better = Literal["higher", "lower", "none"]
Need = Literal["judge", "references", "paired_references", "sources", "candidates"]


@dataclass(frozen=True)
class ScoreInput:
    """The samples of one point and what they are compared with.

    Attributes:
        texts: what the model wrote, by index; for prefix and infill without the given part, on all sides.
        references: held-out real texts, to be compared as a set.
        paired_references: the true texts of each sample, one or more, aligned with `texts`; None where there are none
            (unconditional generation, say).
        sources: what each text was written from, aligned with `texts`; None but for seq2seq.
        candidates: all texts that each of `texts` was chosen from, aligned with it; None where there was no choice.
        task: "unconditional", "prefix", "infill" or "seq2seq".
        facts: benchmark facts (benchmark.json); `tokens` is "words" or "text8".
        judge: the language model that scores texts, or None.
        seed: of resampling, subsets and k-means.
    """

    texts: Sequence[str]
    references: Sequence[str] = ()
    paired_references: Sequence[Sequence[str]] | None = None
    sources: Sequence[str] | None = None
    candidates: Sequence[Sequence[str]] | None = None
    task: str = "unconditional"
    facts: Mapping[str, Any] = field(default_factory=dict)
    judge: Judge | None = None
    seed: int = 0


@dataclass(frozen=True)
class SampleValues:
    """What a figure is made of, sample by sample, so that two points can be compared in pairs.

    Every such figure is a function of sums over samples: a mean, a ratio, the exponential of a ratio, a corpus BLEU.

    Attributes:
        statistic: name of that function (`harness.paired.STATISTICS`).
        rows: n rows of k numbers, one row a sample in the order of the samples; their columns are what is summed.
    """

    statistic: str
    rows: Sequence[Sequence[float]]

    @classmethod
    def mean(cls, values: Sequence[float | None]) -> SampleValues:
        """Of the mean of one value a sample; a sample of None does not count."""
        return cls("mean", [[0.0, 0] if value is None else [value, 1] for value in values])

    @classmethod
    def quotient(cls, statistic: str, above: Sequence[float], below: Sequence[float]) -> SampleValues:
        """Of "ratio" or "exp_ratio": numerator and denominator of each sample, both 0 where it has none.

        Raises:
            ValueError: when the two differ in length.
        """
        return cls(statistic, [list(pair) for pair in zip(above, below, strict=True)])


@dataclass(frozen=True)
class Score:
    """A figure with its interval, or None with the reason.

    Attributes:
        value: the figure, None where it cannot be known.
        low: lower end of the 95 % interval, None where there is none.
        high: upper end.
        reason: why `value` is None; None otherwise.
        detail: whatever is needed to compute the figure otherwise (counts, sums, signatures).
        samples: what the figure is made of, sample by sample; None for figures of a whole set (MAUVE, self-BLEU).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    samples: SampleValues | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a score has either a value or a reason")


def missing(reason: str, **detail: Any) -> Score:
    """A score without a figure."""
    return Score(None, reason=reason, detail=detail)


def _no_settings(_: ScoreInput) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Metric:
    """One named figure.

    Attributes:
        name: column name; what the user types.
        version: raised whenever the same samples would give another figure.
        unit: of the figure.
        better: "higher", "lower", or "none" where only closeness to the data's own figure means anything.
        needs: inputs without which there is no figure.
        compute: the function itself; called only when `needs` are met and there is at least one text.
        summary: one line: what it is and its source.
        settings: what the figure depends on beside the samples, known before anything is computed.
    """

    name: str
    version: int
    unit: str
    better: Better
    needs: frozenset[Need]
    compute: Callable[[ScoreInput], Score]
    summary: str
    settings: Callable[[ScoreInput], dict[str, Any]] = _no_settings

    def score(self, data: ScoreInput) -> Score:
        """`compute`, or the reason why the inputs do not allow it."""
        if not data.texts:
            return missing("no samples")
        if "judge" in self.needs and data.judge is None:
            return missing("no judge: give one with judge=FOLDER")
        if "references" in self.needs and not data.references:
            return missing("no held-out texts")
        if "paired_references" in self.needs and data.paired_references is None:
            return missing(f"no true text for each sample: the task is {data.task}")
        if "sources" in self.needs and data.sources is None:
            return missing(f"no sources: the task is {data.task}")
        if "candidates" in self.needs and data.candidates is None:
            return missing("one text for each prompt: candidates come from several seeds, in a row of their own")
        return self.compute(data)
