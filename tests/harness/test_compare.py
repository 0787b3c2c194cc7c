"""`tdbench compare`: pairing, tests, what differs, what is printed, the exit code, the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.compare.command import compare_runs
from harness.compare.finding import Finding
from harness.compare.page import write_page
from harness.compare.request import Request
from harness.compare.result import Result, judged
from harness.compare.text import as_json, terminal, tsv
from harness.compare.words import sentences
from harness.errors import UserError
from harness.store import RunStore
from tests.harness.stored_run import CPU, stored_run


def compared(results: Path, a: str = "a", b: str = "b", **request: Any) -> Result:
    return compare_runs(Request(a, b, **request), results)


def verdicts(result: Result, what: str) -> dict[str, str]:
    return {finding.point: finding.verdict for finding in result.findings if finding.what == what}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run `a`, and `b`, which is the same run again."""
    stored_run(tmp_path, "a")
    stored_run(tmp_path, "b")
    return tmp_path


def test_a_rerun_is_identical(results: Path) -> None:
    found = compared(results)
    assert found.code == 0
    assert found.points == 6
    assert found.identical_texts == (80, 80)
    assert set(verdicts(found, "valid").values()) == {"identical"}
    assert verdicts(found, "bits_per_byte") == {"shaky · exact": "same"}
    assert set(verdicts(found, "nfe").values()) == {"same"}
    assert "identical to A (a) in every figure" in sentences(found)[0]
    assert not found.differs


def test_worse_text_fails_and_says_where(results: Path) -> None:
    stored_run(results, "c", worse_by=0.3, texts="other")
    found = compared(results, b="c")
    assert found.code == 1
    assert verdicts(found, "valid") == {
        "shaky · fine · 4 steps": "worse",
        "shaky · fine · 16 steps": "worse",
        "data": "identical",
    }
    assert verdicts(found, "bits_per_byte") == {"shaky · exact": "worse"}
    assert found.identical_texts == (16, 80), "the control's"
    (finding,) = [f for f in found.findings if f.point == "shaky · fine · 4 steps" and f.what == "valid"]
    assert finding.count == "32 texts in pairs", "both seeds together"
    assert finding.change == pytest.approx((finding.b or 0) / (finding.a or 1) - 1)
    assert finding.low is not None
    assert finding.low < (finding.b or 0) - (finding.a or 0) < (finding.high or 0) < 0
    assert finding.adjusted is not None
    assert finding.p is not None
    assert finding.p < finding.adjusted < 0.05


def test_the_other_way_round_is_better(results: Path) -> None:
    stored_run(results, "c", worse_by=0.3, texts="other")
    found = compared(results, a="c", b="a")
    assert found.code == 0
    assert set(verdicts(found, "bits_per_byte").values()) == {"better"}


def test_a_tolerance_accepts_a_loss(results: Path) -> None:
    stored_run(results, "c", worse_by=0.3, texts="other")
    found = compared(results, b="c", tolerance=0.6)
    assert found.code == 0
    assert {f.verdict for f in found.findings if f.what == "valid" and f.role == "model"} == {"accepted"}


def test_only_the_metrics_named_fail(results: Path) -> None:
    stored_run(results, "c", worse_by=0.3, texts="other")
    assert compared(results, b="c", metrics=("nfe",)).code == 0
    found = compared(results, b="c", metrics=("bits_per_byte",))
    assert found.code == 1
    assert {finding.what for finding in found.failing} == {"bits_per_byte"}


def test_a_figure_of_the_whole_set_fails_only_where_it_is_named_and_its_intervals_are_apart(tmp_path: Path) -> None:
    for name, worse_by in (("a", 0.0), ("near", 0.015), ("far", 0.1)):
        stored_run(tmp_path, name, seeds=[0], worse_by=worse_by, texts=name)
    named = compared(tmp_path, b="far", metrics=("mauve",))
    assert named.code == 1
    assert {finding.what for finding in named.failing} == {"mauve"}
    assert set(verdicts(compared(tmp_path, b="far"), "mauve").values()) == {"not tested", "identical"}
    near = compared(tmp_path, b="near", metrics=("mauve",))
    assert near.code == 0
    assert any("Not judged: 2 figures" in line for line in sentences(near))
    assert compared(tmp_path, b="near", metrics=("mauve",), strict=True).code == 1


def test_inconclusive_is_said_and_fails_only_when_strict(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", seeds=[0], likelihood=False)
    stored_run(tmp_path, "b", seeds=[0], likelihood=False, jitter=0.2, texts="other")
    found = compared(tmp_path, tolerance=0.001)
    assert {f.verdict for f in found.findings if f.what == "valid" and f.role == "model"} <= {"noise", "same"}
    assert found.undecided
    assert any(line.startswith("Inconclusive for") for line in sentences(found))
    assert found.code == 0
    assert compared(tmp_path, tolerance=0.001, strict=True).code == 1
    assert not compared(tmp_path).undecided, "nothing was asked for that could have been missed"


def test_seconds_are_told_and_fail_only_on_request(results: Path) -> None:
    stored_run(results, "slow", slower=1.5)
    found = compared(results, b="slow")
    assert found.code == 0
    assert verdicts(found, "seconds")["shaky, 2 points together"] == "worse"
    (finding,) = [f for f in found.findings if f.point == "shaky, 2 points together"]
    assert finding.ratio == pytest.approx(1.5, rel=0.02)
    assert (finding.low or 0) < 1.5 < (finding.high or 0)
    assert compared(results, b="slow", max_slowdown=1.1).code == 1
    assert compared(results, b="slow", max_slowdown=1.7).code == 0
    assert compared(results, max_slowdown=1.1).code == 0, "a rerun is no slowdown"


def test_one_slow_point_among_many_fails(results: Path) -> None:
    found = compared(_with_a_slow_point(results), b="c", max_slowdown=1.2)
    assert [(f.point, f.what) for f in found.failing] == [("shaky · fine · 4 steps", "seconds")]


def _with_a_slow_point(results: Path) -> Path:
    store = stored_run(results, "c", steps=(4, *range(16, 24)))
    stored_run(results, "wide", steps=(4, *range(16, 24)))
    (results / "a").rename(results / "unused")
    (results / "wide").rename(results / "a")
    path = store.job_folder("shaky-1") / "batches.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["seconds"] *= 1.5 if line["point"].startswith("shaky-generate-4-") else 1
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return results


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ({**CPU, "cpu": "Other CPU"}, "machine Invented CPU, 4 CPUs in A, Other CPU, 4 CPUs in B"),
        ({**CPU, "threads": 1}, "threads 2 in A, 1 in B"),
        ({**CPU, "cpu_count": 64}, "machine Invented CPU, 4 CPUs in A, Invented CPU, 64 CPUs in B"),
    ],
)
def test_seconds_of_other_conditions_are_never_a_regression(results: Path, machine: dict[str, Any], why: str) -> None:
    stored_run(results, "there", slower=9.0, machine=machine)
    found = compared(results, b="there", max_slowdown=1.1)
    assert found.code == 0
    notes = {f.note for f in found.findings if f.what == "seconds"}
    assert notes == {f"not the same conditions: {why}"}
    assert set(verdicts(found, "valid").values()) == {"identical"}, "quality is compared all the same"


def test_another_judge_or_version_is_not_compared(results: Path) -> None:
    stored_run(results, "c", texts="other", settings={"judge": "tests/other", "judge_digest": "bb22"})
    found = compared(results, b="c")
    notes = {f.note for f in found.findings if f.what == "valid"}
    assert notes == {"judge tests/judge (aa11) in A, tests/other (bb22) in B"}
    assert set(verdicts(found, "valid").values()) == {"not compared"}
    assert found.code == 0
    assert compared(results, b="c", strict=True).code == 1


def test_a_failed_point_fails_and_a_mended_one_does_not(results: Path) -> None:
    stored_run(results, "c", failed=[16])
    found = compared(results, b="c")
    assert found.code == 1
    assert [(b.point, b.state, b.why) for b in found.broken] == [
        (f"shaky · fine · 16 steps · seed {seed}", "failed", "no room") for seed in (0, 1)
    ]
    back = compared(results, a="c", b="a")
    assert back.code == 0
    assert len(back.mended) == 2


def test_points_of_one_run_only_are_named_with_what_differs(results: Path) -> None:
    stored_run(results, "c", steps=(4, 64), points={"length": 32})
    found = compared(results, b="c")
    assert "nearest there differs in length 8, there 32" in {alone.why for alone in found.only_a}
    assert found.points == 1, "the likelihood"


def test_nothing_to_compare_is_code_2(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", likelihood=False)
    stored_run(tmp_path, "b", likelihood=False, points={"data": "d2"})
    found = compared(tmp_path)
    assert found.code == 2
    assert sentences(found)[0] == "Nothing of B (b) could be compared with A (a)."


def test_settings_may_differ_and_are_said(results: Path) -> None:
    stored_run(
        results, "c", texts="other", worse_by=0.3, points={"options": {"temperature": 3.0}}, config={"threads": 1}
    )
    found = compared(results, b="c")
    assert found.code == 1
    assert ("points", "options.temperature (5 points)", "1.0", "3.0") in found.differs
    assert ("setting", "threads", "empty", "1") in found.differs
    exact = compared(results, b="c", by=("engine",))
    assert exact.points == 1, "the likelihood, which has no temperature"


def test_an_equal_point_is_paired_before_a_similar_one(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", seeds=[0], likelihood=False)
    both = stored_run(tmp_path, "b", seeds=[0], likelihood=False)
    other = stored_run(tmp_path / "more", "b", seeds=[0], likelihood=False, points={"options": {"temperature": 3.0}})
    plan = json.loads((both.folder / "run.json").read_text())
    plan["points"] = [*other.plan["points"], *plan["points"]]
    (both.folder / "run.json").write_text(json.dumps(plan))
    found = compared(tmp_path)
    assert found.points == 3
    assert not [difference for difference in found.differs if difference.kind == "points"]


def test_weights_data_and_versions_that_differ_are_said(results: Path) -> None:
    store = stored_run(results, "c", machine={**CPU, "torch": "2.1"})
    for path, old, new in (
        (store.folder / "run.json", '"torch": "2.0"', '"torch": "2.1"'),
        (store.job_folder("shaky-1") / "sessions.jsonl", "c" * 64, "d" * 64),
        (store.benchmark_data("toy") / "benchmark.json", '"version": 1', '"version": 2'),
    ):
        path.write_text(path.read_text().replace(old, new))
    said = {(d.kind, d.what): (d.a, d.b) for d in compared(results, b="c").differs}
    assert said["environment", "packages.torch"] == ("2.0", "2.1")
    assert said["data", "toy, version"] == ("1", "2")
    assert said["weights", "shaky"] == ("c" * 12, "d" * 12)


def test_holm_covers_all_tests_and_seconds_apart() -> None:
    def finding(p: float, what: str = "valid") -> Finding:
        return Finding("x", what, what, "higher", a=1.0, b=0.5, p=p, verdict="noise", low=0.4, high=0.6)

    found = judged([finding(0.02), finding(0.03), finding(0.04, "seconds")], Request("a", "b"))
    assert [f.adjusted for f in found] == [0.04, 0.04, 0.04]
    assert judged([finding(0.03), finding(0.03)], Request("a", "b"))[0].verdict == "noise", "0.06 together"


def test_runs_of_one_name_are_compared_by_their_folders(results: Path) -> None:
    stored_run(results / "elsewhere", "a", worse_by=0.3, texts="other")
    assert compared(results, b=str(results / "elsewhere" / "a")).code == 1


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"a": "nope"}, "no run 'nope'"),
        ({"a": "some/where"}, "no run in the folder some/where"),
        ({"metrics": ("vaild",)}, "unknown metric 'vaild'. Did you mean 'valid'?"),
        ({"metrics": ("seconds",)}, "--max-slowdown"),
        ({"by": ("machine",)}, "unknown field for --by 'machine'"),
        ({"tolerance": -0.1}, "--tolerance must be 0 or more"),
        ({"tolerance": float("nan")}, "--tolerance must be 0 or more"),
        ({"max_slowdown": 0.9}, "--max-slowdown must be 1 or more"),
    ],
)
def test_wrong_requests(results: Path, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        compare_runs(Request(**{"a": "a", "b": "b", **request_}), results)


def test_the_command_prints_and_returns_the_code(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(results, "c", worse_by=0.3, texts="other")
    where = ["--results", str(results), "--reports", str(results / "reports")]
    assert main(["compare", "a", "b", *where]) == 0
    assert "80 of 80 texts are identical" in capsys.readouterr().out
    assert main(["compare", "a", "c", *where, "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["exit_code"] == 1
    assert "page: " in printed.err, "nothing but JSON on stdout"
    assert main(["compare", "a", "c", *where, "--tsv", "--tolerance", "0.6", "--metrics", "valid,nfe"]) == 0
    assert {line.count("\t") for line in capsys.readouterr().out.splitlines()} == {15}
    assert (results / "reports" / "compare-a-c" / "index.html").is_file()
    assert main(["compare", "a", "nope", *where]) == 2


def test_help_explains_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = capsys.readouterr().out
    assert all(f"\n  {code}  " in text for code in (0, 1, 2))


def test_text_has_every_row_on_request(results: Path) -> None:
    found = compared(results)
    assert "Identical (" not in terminal(found)
    assert "Identical (6)" in terminal(found, all_rows=True), "four of points, two of the control"


def test_what_is_unknown_is_empty_or_null(results: Path) -> None:
    found = compared(results)
    rows = [line.split("\t") for line in tsv(found).splitlines()]
    head = rows[0]
    identical = dict(zip(head, rows[1], strict=True))
    assert identical["p"] == identical["low"] == ""
    assert json.loads(as_json(found))["findings"][0]["p"] is None


def test_the_page_says_the_same_and_runs_nothing_of_the_texts(results: Path) -> None:
    stored_run(results, "c", worse_by=0.3, texts="other", config={"benchmark_options": "<script>alert(1)</script>"})
    found = compared(results, b="c")
    page = write_page(found, results / "page").read_text()
    assert "worse beyond noise in 3 figures of 3 points" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert not re.search(r"\sstyle=|\son[a-z]+=", page)
    assert "Content-Security-Policy" in page


def test_a_page_of_nothing_opens(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", steps=(), likelihood=False, points={"data": "d1"})
    stored_run(tmp_path, "b", steps=(), likelihood=False, points={"data": "d2"})
    found = compared(tmp_path)
    assert found.code == 2
    assert "nothing compared" in write_page(found, tmp_path / "page").read_text()


def edited(store: RunStore, name: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Change every line of the files of a name; None leaves a line out."""
    for path in store.folder.rglob(name):
        lines = [change(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines if line))


def test_runs_of_other_seeds_can_be_compared(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", seeds=(10, 11), likelihood=False)
    stored_run(tmp_path, "b", seeds=(15, 16), likelihood=False)
    stored_run(tmp_path, "worse", seeds=(15, 16), likelihood=False, worse_by=0.4, texts="other")
    assert "--by seed pairs them" in compared(tmp_path).only_a[0].why
    same, worse = compared(tmp_path, by=("seed",)), compared(tmp_path, b="worse", by=("seed",))
    assert same.points == 5
    assert {"noise"} == {f.verdict for f in same.findings if f.what == "valid" and f.role == "model"}
    assert {f.count for f in same.findings if f.what == "valid" and f.role == "model"} == {"32 texts in pairs"}
    assert (same.code, worse.code) == (0, 1)


def test_more_seeds_on_one_side_are_left_alone(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", seeds=(0,), likelihood=False)
    stored_run(tmp_path, "b", seeds=(5, 6), likelihood=False)
    found = compared(tmp_path, by=("seed",))
    assert found.points == 3
    assert [alone.point.endswith("seed 6") for alone in found.only_b] == [True, True]


def test_without_any_quality_a_gate_says_nothing(results: Path) -> None:
    store = stored_run(results, "c", texts="other", likelihood=False)
    (store.folder / "scores.jsonl").unlink()
    found = compared(results, b="c")
    assert set(verdicts(found, "nfe").values()) == {"same"}
    assert found.code == 2
    assert sentences(found)[0] == "No figure that is looked at in B (c) could be compared with A (a)."
    assert compared(results, b="c", metrics=("nfe",)).code == 0, "what the user asked for"


def test_the_same_texts_need_no_scores(results: Path) -> None:
    store = stored_run(results, "c", likelihood=False)
    (store.folder / "scores.jsonl").unlink()
    assert compared(results, b="c").code == 0
    assert compared(results, b="c", metrics=("valid",)).code == 2


def test_the_same_control_alone_settles_nothing(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", likelihood=False)
    stored_run(tmp_path, "b", steps=(7,), likelihood=False)
    found = compared(tmp_path)
    assert (found.points, found.identical_texts) == (1, (16, 16))
    assert found.code == 2


def test_a_metric_that_has_no_figure_anywhere_is_known(tmp_path: Path) -> None:
    for name in ("a", "b"):
        edited(
            stored_run(tmp_path, name),
            "scores.jsonl",
            lambda line: line | ({"value": None, "reason": "too few"} if line["metric"] == "mauve" else {}),
        )
    assert compared(tmp_path, metrics=("mauve",)).code == 2
    with pytest.raises(UserError, match="unknown metric 'mauvee'"):
        compared(tmp_path, metrics=("mauvee",))


def test_a_machine_that_is_not_recorded_is_not_taken_for_the_same(results: Path) -> None:
    store = stored_run(results, "c", slower=3.0)
    edited(store, "sessions.jsonl", lambda line: None)
    found = compared(results, b="c", max_slowdown=1.1)
    assert {f.verdict for f in found.findings if f.what in ("seconds", "memory") and f.role == "model"} == {
        "not compared"
    }
    assert "machine Invented CPU, 4 CPUs in A, not recorded in B" in "".join(sentences(found))


def test_facts_of_workers_are_those_that_were_recorded(results: Path) -> None:
    stored_run(results, "c", machine={**CPU, "cpu": "Other CPU"})
    (line,) = [line for line in compared(results, b="c").differs if line.kind == "environment"]
    assert line == ("environment", "worker.cpu", "Invented CPU", "Other CPU")


def test_many_settings_that_one_run_does_not_have_are_one_line(results: Path) -> None:
    store = stored_run(results, "c")
    path = store.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": {}}))
    stored_run(results, "d", config={"steps": [4], "draws": 16, "samples": 8})
    found = compared(results, a="d", b="c").differs
    assert [(line.what, line.a, line.b) for line in found] == [("others", "5 recorded", "not recorded")]


def test_worse_by_the_intervals_is_said(tmp_path: Path) -> None:
    stored_run(tmp_path, "a", seeds=(0,), likelihood=False)
    stored_run(tmp_path, "b", seeds=(0,), likelihood=False, worse_by=0.05, jitter=0.3, texts="other")
    said = [line for line in sentences(compared(tmp_path)) if line.startswith("Worse by the intervals")]
    assert len(said) == 1
    assert "2 figures" in said[0]
    assert "(mauve)" in said[0]
    assert not [line for line in sentences(compared(tmp_path, "b", "a")) if line.startswith("Worse by the intervals")]


def test_one_folder_twice_is_said(results: Path) -> None:
    assert "same folder" in sentences(compared(results, b=str(results / "a")))[1]
    assert "same folder" not in "".join(sentences(compared(results)))


def test_points_that_b_has_not_finished_are_counted(results: Path) -> None:
    edited(stored_run(results, "c"), "points.jsonl", lambda line: None if "-16-1-" in line["point"] else line)
    assert "5 points finished in both, 0 only in A, 0 only in B, 1 in both but finished only in A." in sentences(
        compared(results, b="c")
    )


def test_a_place_that_cannot_be_written_names_the_option(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "file").write_text("x")
    assert main(["compare", "a", "b", "--results", str(results), "--reports", str(results / "file")]) == 2
    assert "Choose another with --reports." in capsys.readouterr().err
