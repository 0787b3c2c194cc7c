from __future__ import annotations

import json
import math

import pytest

from harness.table import table
from harness.worker.jsonl import append_line
from tests.harness.conftest import make_point


def batch(point, index, size, seconds, **extra):
    samples = [
        {"index": index * 4 + i, "tokens": [1], "text": "t", "nfe": 2 + i, "generated_tokens": 8} for i in range(size)
    ]
    line = {"point": point["fingerprint"], "batch": index, "session": "s", "seconds": seconds}
    return line | {"network_seconds": seconds / 2, "peak_memory_bytes": 10 + index, "samples": samples} | extra


def write(store, points, batches=(), rows=(), sessions=()):
    store.write_plan({"points": points, "config": {}, "command": "test"})
    folder = store.job_folder("shaky-1")
    folder.mkdir(parents=True)
    for name, lines in (("batches", batches), ("points", rows), ("sessions", sessions)):
        for line in lines:
            append_line(folder / f"{name}.jsonl", line)


def row(point, **changes):
    base = {"point": point["fingerprint"], "session": "s", "status": "done", "reason": None, "message": None}
    return base | {"same_as": None, "warmup_seconds": [1.0, 0.5], "notes": []} | changes


def test_cost_figures_from_hand_made_batches(store):
    point = make_point(samples=10)
    lines = [batch(point, 0, 4, 2.0), batch(point, 1, 4, 4.0), batch(point, 2, 2, 1.0)]
    write(store, [point], lines, [row(point)], [{"session": "s", "load_seconds": 3.0, "parameters": 7}])
    found = table(store).iloc[0]
    assert found["status"] == "done"
    assert found["samples_done"] == 10
    assert found["seconds_median"] == 3.0, "the small last batch must not count in the median"
    assert found["seconds_total"] == 7.0
    assert found["tokens_per_second"] == pytest.approx(80 / 7)
    assert found["seconds_per_sequence"] == pytest.approx(0.7)
    assert found["network_seconds_total"] == 3.5
    assert found["nfe_mean"] == pytest.approx((2 + 3 + 4 + 5 + 2 + 3 + 4 + 5 + 2 + 3) / 10)
    assert (found["nfe_min"], found["nfe_max"]) == (2, 5)
    assert found["peak_memory_bytes"] == 12
    assert (found["first_call_seconds"], found["warmup_seconds"], found["load_seconds"]) == (1.0, 1.5, 3.0)


def test_states_of_points(store):
    points = [make_point(seed=i) for i in range(5)]
    lines = [batch(points[1], 0, 4, 1.0), *(batch(points[2], i, 4, 1.0) for i in range(3))]
    rows = [row(points[2]), row(points[3], status="failed", reason="exception", message="boom", warmup_seconds=None)]
    rows += [row(points[4], status="same_as", same_as=points[2]["fingerprint"], warmup_seconds=None)]
    write(store, points, lines, rows)
    frame = table(store)
    assert list(frame["status"]) == ["pending", "partial", "done", "failed", "same_as"]
    assert frame.loc[3, "reason"] == "exception"
    assert frame.loc[0, "seconds_total"] != frame.loc[0, "seconds_total"], "unknown is missing, never 0"


def test_a_batch_written_twice_counts_once(store):
    point = make_point(samples=4)
    write(store, [point], [batch(point, 0, 4, 1.0), batch(point, 0, 4, 9.0)], [row(point)])
    assert table(store).loc[0, "batches"] == 1


def test_memory_is_missing_where_the_machine_does_not_say(store):
    point = make_point(samples=4)
    write(store, [point], [batch(point, 0, 4, 1.0, peak_memory_bytes=None)], [row(point)])
    assert math.isnan(table(store).loc[0, "peak_memory_bytes"] or math.nan)


def test_likelihood_is_summed_before_it_is_divided(store):
    point = make_point(None, None, kind="likelihood", estimator="exact", task=None, samples=2, options={})
    sizes = {"bytes": 10, "chars": 8, "words": 2, "nfe": 1}
    figures = [
        {"index": 0, "nats": 10.0, "standard_error": 0.3, "tokens": 4, **sizes},
        {"index": 1, "nats": 2.0, "standard_error": 0.4, "tokens": 2, **sizes},
    ]
    line = batch(point, 0, 0, 1.0)
    del line["samples"]
    write(store, [point], [line | {"likelihoods": figures, "bound": "upper_bound"}], [row(point, warmup_seconds=None)])
    found = table(store).iloc[0]
    assert found["nats_per_token"] == pytest.approx(2.0), "not the mean of 2.5 and 1.0"
    assert found["bits_per_byte"] == pytest.approx(12 / 20 / math.log(2))
    assert found["bits_per_char"] == pytest.approx(12 / 16 / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(2))
    assert found["standard_error"] == pytest.approx(0.5 / 6)
    assert found["bound"] == "upper_bound"


def test_the_terms_of_a_bound_are_columns(store):
    point = make_point(None, None, kind="likelihood", estimator="vlb", task=None, samples=3, options={})
    sizes = {"standard_error": 0.1, "bytes": 10, "chars": 8, "words": 2, "nfe": 1}
    figures = [
        {"index": 0, "nats": 0.0, "tokens": 0, **sizes},  # an empty text has no terms
        {"index": 1, "nats": 6.0, "tokens": 2, "terms": {"prior": 1.0, "diffusion": 5.0}, **sizes},
        {"index": 2, "nats": 9.0, "tokens": 3, "terms": {"prior": 2.0, "diffusion": 7.0}, **sizes},
    ]
    line = batch(point, 0, 0, 1.0)
    del line["samples"]
    write(store, [point], [line | {"likelihoods": figures, "bound": "upper_bound"}], [row(point, warmup_seconds=None)])
    found = table(store).iloc[0]
    assert found["prior_nats_per_token"] == pytest.approx(3 / 5)
    assert found["diffusion_nats_per_token"] == pytest.approx(12 / 5)


def test_the_newest_score_of_a_metric_wins(store):
    point = make_point(samples=4)
    write(store, [point], [batch(point, 0, 4, 1.0)], [row(point)])
    for value in (1.0, 2.0):
        score = {"point": point["fingerprint"], "metric": "m", "version": 1, "value": value, "low": 0.5, "high": 3.0}
        store.append_score(score | {"reason": None})
    found = table(store).iloc[0]
    assert (found["m"], found["m_low"], found["m_high"]) == (2.0, 0.5, 3.0)


def likelihood_run(store, nats, facts=None, **changes):
    """A finished likelihood point with these nats of texts of 10 words, 50 characters and 60 bytes."""
    if facts is not None:
        (store.benchmark_data("toy") / "benchmark.json").write_text(json.dumps(facts))
    point = make_point(None, None, kind="likelihood", estimator="exact", task=None, samples=len(nats), options={})
    point |= {"batch_size": len(nats), **changes}
    sizes = {"standard_error": 0.0, "tokens": 12, "words": 10, "chars": 50, "bytes": 60, "nfe": 1}
    figures = [{"index": i, "nats": value, **sizes} for i, value in enumerate(nats)]
    line = batch(point, 0, 0, 1.0)
    del line["samples"]
    lines = [line | {"likelihoods": figures, "bound": "exact"}]
    write(store, [point], lines, [row(point, warmup_seconds=None, notes=["said"])])
    return table(store).iloc[0]


def test_every_likelihood_figure_has_its_interval_from_the_same_resamples(store):
    found = likelihood_run(store, [20.0, 22.0, 25.0, 19.0])
    for name in ("bits_per_byte", "bits_per_char", "bits_per_token", "nats_per_token", "perplexity"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
    assert found["bits_per_char_low"] / found["bits_per_byte_low"] == pytest.approx(60 / 50)
    assert found["bits_per_token_high"] / found["bits_per_byte_high"] == pytest.approx(60 / 12)
    assert found["perplexity_high"] == pytest.approx(math.exp(found["nats_per_token_high"]))


def test_one_text_has_no_interval(store):
    found = likelihood_run(store, [20.0])
    assert math.isnan(found["bits_per_char_low"] or math.nan)


ENTROPY = {"tokens": "words", "entropy_rate_nats_per_token": 2.0}


@pytest.mark.parametrize(
    ("nats", "facts", "marked"),
    [
        ([15.0, 16.0, 15.5, 15.2] * 8, ENTROPY, True),
        ([15.0, 25.0, 12.0, 26.0] * 8, ENTROPY, False),  # below on average, but not by more than the interval
        ([21.0, 22.0, 21.5, 21.2] * 8, ENTROPY, False),
        ([15.0, 16.0, 15.5, 15.2], ENTROPY, False),  # too few texts to call anything wrong
        ([15.0], ENTROPY, False),
        ([15.0, 16.0, 15.5, 15.2] * 8, {"tokens": "words"}, False),
        ([15.0, 16.0, 15.5, 15.2] * 8, None, False),
        ([15.0, 16.0, 15.5, 15.2] * 8, {"tokens": "text8", "entropy_rate_nats_per_token": 0.2}, False),  # 50 characters
    ],
)
def test_a_figure_below_the_entropy_of_the_source_is_marked(store, nats, facts, marked):
    """Counted in the source's own unit, words here, not in the model's tokens."""
    notes = likelihood_run(store, nats, facts)["notes"]
    assert notes[0] == "said"
    assert any("below the entropy of the source" in note for note in notes) == marked


def test_settings_of_a_score_and_the_machine_are_in_the_row(store):
    point = make_point(samples=4)
    session = {"session": "s", "load_seconds": 3.0, "parameters": 7}
    session["environment"] = {"cpu": "C", "gpu": None, "threads": 2}
    write(store, [point], [batch(point, 0, 4, 1.0)], [row(point)], [session])
    score = {"point": point["fingerprint"], "metric": "m", "version": 3, "settings": {"judge": "j"}, "reason": None}
    store.append_score(score | {"value": 1.0, "low": None, "high": None})
    found = table(store).iloc[0]
    assert found["m_settings"] == {"version": 3, "judge": "j"}
    assert (found["machine"], found["threads"]) == ("C", 2)


def test_rows_that_differ_are_marked_with_the_reason(store):
    points = [make_point(seed=i, precision="float64") for i in range(2)]
    points.append(make_point(seed=2, precision="float16"))
    lines = [batch(point, i, 4, 1.0) for point in points for i in range(3)]
    write(store, points, lines, [row(point) for point in points])
    frame = table(store)
    assert list(frame["comparable_group"]) == ["main", "main", "a"]
    assert frame.loc[2, "not_comparable_because"] == "sampling precision float16, others float64"


def test_notes_of_the_plan_stand_in_rows_that_have_not_run(store):
    write(store, [make_point(samples=4, notes=["fewer texts"])])
    assert table(store).loc[0, "notes"] == ["fewer texts"]
