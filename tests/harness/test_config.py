from __future__ import annotations

import pytest

from harness.config import BenchConfig, ReportConfig, build, describe
from harness.errors import UserError


def test_defaults_are_complete():
    config = build(BenchConfig, [])
    assert config.step_counts == [4, 10, 20, 64]
    assert not config.steps_given
    assert config.engine == ["native"]
    assert config.schedulers == ["default"]
    assert config.controls == ["data", "shuffled", "copy", "unigram", "bigram", "repetitive"]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["steps=4"], "steps", [4]),
        (["steps=4,16"], "steps", [4, 16]),
        (["steps=[4,16,16]"], "steps", [4, 16]),
        (["model=radd,nanodd"], "model", ["radd", "nanodd"]),
        (["model=radd"], "model", ["radd"]),
        (["controls=[]"], "controls", []),
        (["options={temperature: 0.5}"], "options", {"temperature": 0.5}),
        (["options.temperature=0.5"], "options", {"temperature": 0.5}),
        (["checkpoint={radd: a/b, nanodd: tiny}"], "checkpoint", {"radd": "a/b", "nanodd": "tiny"}),
        (["time_limit=1.5"], "time_limit", 1.5),
        (["length=32"], "length", 32),
        (["data=some/file.txt"], "data", "some/file.txt"),
        (["engine=native,upstream"], "engine", ["native", "upstream"]),
        (["engine=upstream"], "engine", ["upstream"]),
        (["upstream.path=some/folder"], "upstream_path", "some/folder"),
        (["upstream.path={radd: a/b}"], "upstream_path", {"radd": "a/b"}),
        (["upstream.path.radd=a/b"], "upstream_path", {"radd": "a/b"}),
        (["upstream.folder=some/folder"], "upstream_folder", "some/folder"),
        (["benchmark.path=some/file"], "benchmark_path", "some/file"),
        (["benchmark.options={split: test}"], "benchmark_options", {"split": "test"}),
        (["benchmark.options.split=test"], "benchmark_options", {"split": "test"}),
        (["steps=4,16"], "step_counts", [4, 16]),
    ],
)
def test_words_become_values(words, name, value):
    assert getattr(build(BenchConfig, words), name) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=0"], "steps must be a whole number, 1 or more, got '0'"),
        (["steps=-4"], "steps must be"),
        (["steps=four"], "steps must be .* got 'four'"),
        (["steps=2.5"], "steps must be .* got '2.5'"),
        (["steps=4,0"], "steps must be"),
        (["steps=[]"], "at least one value"),
        (["samples=0"], "samples must be"),
        (["samples=many"], "samples"),
        (["length=0"], "length must be"),
        (["seeds=-1"], "seeds must be"),
        (["batch_size=0"], "batch_size must be"),
        (["time_limit=0"], "time_limit must be"),
        (["time_limit=.inf"], "time_limit must be"),
        (["dtype=float31"], "unknown dtype 'float31'. Did you mean 'float32'"),
        (["engine=upstrem"], "unknown engine 'upstrem'. Did you mean 'upstream'"),
        (["engine=native,theirs"], "unknown engine 'theirs'"),
        (["upstream.pth=x"], "unknown setting 'upstream.pth'. Did you mean 'upstream.path'"),
        (["upstream=x"], "unknown setting 'upstream'"),
        (["benchmark.options=test"], "benchmark.options must be a mapping such as {split: test}"),
        (["runtime=dokcer"], "unknown runtime 'dokcer'. Did you mean 'docker'"),
        (["runtime=local", "image=native"], "image= and image.base= are of runtime=docker"),
        (["memory=0"], "memory must be a number of GiB above 0, got '0'"),
        (["memory=lots"], "memory must be"),
        (["stepz=4"], "unknown setting 'stepz'. Did you mean 'steps'"),
        (["steps"], "'steps' is not of the form key=value"),
        (["options=hot"], "options must be a mapping"),
        (["steps=[4"], "steps"),
    ],
)
def test_bad_settings_get_one_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        build(BenchConfig, words)
    assert "\n" not in str(caught.value)


def test_a_required_setting_is_asked_for():
    with pytest.raises(UserError, match="run is missing: give it as run="):
        build(ReportConfig, [])


def test_every_setting_has_help():
    text = describe(BenchConfig)
    for name in ("steps", "schedulers", "judge", "trace"):
        assert f"  {name} " in text
