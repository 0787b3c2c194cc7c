"""What `bench --dry-run` prints, and that it does nothing else."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from harness import dry_run
from harness.choices import Place
from harness.cli import main
from harness.config import BenchConfig
from harness.plan import make_plan


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    """An empty cache, and a folder in which anything that is written is seen."""
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tables(text: str) -> dict[str, pd.DataFrame]:
    """The tab-separated tables by the first word of their heading."""
    blocks = [block for block in text.split("# ")[1:] if not block.startswith("commands")]
    return {b.split(maxsplit=1)[0]: pd.read_csv(io.StringIO(b.partition("\n")[2]), sep="\t") for b in blocks}


def test_the_plan_is_printed_and_nothing_is_done(nothing_here, capsys):
    words = ["model=plaid", "steps=10,20,200", "runtime=local", "device=cpu"]
    assert main(["bench", "--dry-run", *words]) == 0
    shown = capsys.readouterr()
    found = tables(shown.out)
    assert found["jobs"].set_index("model").loc["plaid", ["checkpoint", "runtime", "device"]].tolist() == [
        "tiny",
        "local",
        "cpu",
    ]
    mine = found["points"][found["points"]["job"].str.startswith("plaid")]
    assert set(mine["steps"]) == {"10", "20", "200", "-"}
    assert found["downloads"].empty
    assert shown.out.rstrip().endswith("tdbench bench model=plaid steps=10,20,200 runtime=local device=cpu")
    assert "checkpoint=auto: tiny for plaid: device=cpu" in shown.err
    assert list(nothing_here.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "checkpoint", "size"),
    [
        ("plaid", "plaid-1b", "about 4.7 GB (5.1 GB unpacked)"),
        ("radd", "radd-t-dce", "about 650 MB"),
        ("diffuseq", "diffuseq-qqp", "about 381 MB"),
    ],
)
def test_what_must_be_fetched(model, checkpoint, size, nothing_here, capsys):
    assert main(["bench", "--dry-run", f"model={model}", f"checkpoint={checkpoint}", "runtime=local"]) == 0
    out = capsys.readouterr().out
    (download,) = tables(out)["downloads"].to_dict("records")
    assert (download["model"], download["checkpoint"], download["size"]) == (model, checkpoint, size)
    assert download["place"] == str(nothing_here / "cache/weights" / model / checkpoint)
    (row,) = tables(out)["jobs"].query(f"model == '{model}'").to_dict("records")
    assert row["memory"].startswith("about ")
    assert f"\ntdbench fetch {model}:{checkpoint}\n" in out


def test_what_must_be_built(capsys):
    config = BenchConfig(model=["radd"], controls=[], steps=4, runtime="local", device="cpu")
    plan = make_plan(config)
    job = plan.jobs[0].__class__(**{**vars(plan.jobs[0]), "place": Place("docker", "cpu", "native")})
    plan = plan.__class__(**{**vars(plan), "jobs": [job]})
    dry_run.print_dry_run(plan, "r", ["model=radd"], "mine:1")
    out = capsys.readouterr().out
    assert tables(out)["jobs"].loc[0, "image"] == "containers/native (to be built)"
    assert "\ntdbench images native --variant cpu --base mine:1\n" in out


def test_a_mistake_is_still_one_line(capsys):
    assert main(["bench", "--dry-run", "model=rad"]) == 2
    assert "unknown model 'rad'" in capsys.readouterr().err
