"""The corpora: every YAML, readers of every format, windows, splits, bad files."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adapters.tokenizers import wrap_tokenizer
from benchmarks.base import Source, SourceRequest
from benchmarks.corpora import prompts, source
from benchmarks.corpora.readers import documents, part
from benchmarks.corpora.settings import Corpus, Split, read_corpus
from benchmarks.texts import cut, text8
from harness.benchmarks import Benchmark, all_benchmarks, get_benchmark
from harness.errors import UserError

CORPORA = [b for b in all_benchmarks().values() if b.corpus and b.source.startswith("benchmarks.corpora")]
DATA = Path(os.environ.get("TDBENCH_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PLAIN = Corpus("line", "text", "none", "nobody", "\n", "a line break", {})


def ask(
    name: str, path: Path, length: int = 16, samples: int = 1000, normalize: str = "none", **options: Any
) -> Source:
    benchmark = get_benchmark(name)
    request = SourceRequest(
        seed=0,
        samples=samples,
        length=length,
        options={**benchmark.options, **options},
        normalize=normalize,
        name=name,
        corpus=benchmark.corpus,
        path=path,
    )
    return (prompts if benchmark.source.endswith("prompts") else source).build(request)


def texts_of(path: Path, corpus: Corpus = PLAIN, **split: Any) -> list[str]:
    return list(documents(path, corpus, Split((), (), **split)))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
    return path


# Every YAML


def test_the_corpora_of_the_field_are_there() -> None:
    names = {"text8", "enwik8", "wikitext2", "wikitext103", "ptb", "lm1b", "openwebtext", "lambada"}
    assert names | {"tinyshakespeare", "owt_prompts"} == {benchmark.name for benchmark in CORPORA}


@pytest.mark.parametrize("benchmark", CORPORA, ids=lambda benchmark: benchmark.name)
def test_every_corpus_is_pinned_and_says_what_it_does(benchmark: Benchmark) -> None:
    corpus = read_corpus(benchmark.corpus, benchmark.name)
    assert benchmark.licence
    assert benchmark.counts["samples"] > 0
    assert corpus.detokenized_by
    assert corpus.boundary
    for split in corpus.splits.values():
        assert split.names
        for file in split.files:
            hashes = [digest for digest in (file.sha256, *split.known) if digest is not None]
            assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in hashes)
            assert file.sha256 or len(file.revision) == 40, "a URL without a hash pins nothing"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joiner": None}, r"benchmark 'x': its YAML's 'corpus' lacks 'joiner'"),
        ({"colum": "text"}, r"unknown key in benchmark 'x'.*'colum'. Did you mean 'column'"),
        ({"documents": "lines"}, "Did you mean 'line'"),
        ({"detokenize": "wikitex"}, "Did you mean 'wikitext'"),
        ({"splits": {"test": {"names": ["a"]}}}, r"corpus'.splits.test lacks 'files'"),
        ({"splits": {"test": {"names": ["a"], "files": [{"sha256": None}]}}}, "needs 'url', or 'hub'"),
        ({"splits": {"test": ["a"]}}, "is not a mapping"),
    ],
)
def test_a_yaml_that_lacks_something_is_named(change: dict[str, Any], message: str) -> None:
    whole = {**get_benchmark("ptb").corpus, **change}
    with pytest.raises(UserError, match=message) as caught:
        read_corpus({key: value for key, value in whole.items() if value is not None}, "x")
    assert "\n" not in str(caught.value)


# Readers


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("line", ["a b", "c", "d"]),
        ("row", [" a b \n", "c\n", "d\n"]),
        ("blank_line", [" a b ", "c\nd"]),
        ("whole", [" a b \r\n \nc\nd"]),
    ],
)
def test_plain_text_is_cut_into_documents(tmp_path: Path, rule: str, expected: list[str]) -> None:
    path = write(tmp_path / "a.txt", "\ufeff a b \r\n \nc\nd")
    assert texts_of(path, replace(PLAIN, documents=rule)) == expected


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    raw = "".join(json.dumps({"text": t, "other": 1}) + "\n\n" for t in ("a\nb", "", "ü")).encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert texts_of(tmp_path / name) == ["a\nb", "", "ü"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b"', r"a\.jsonl, line 3 is no JSON: "),
        ('{"txt": "b"}', r"a\.jsonl, line 3 has no field 'text'"),
        ('["b"]', r"line 3 has no field 'text'"),
        ('{"text": 5}', r"line 3: 'text' is no text but int"),
    ],
)
def test_broken_json_lines_are_named_by_number(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "a"}}\n\n{line}\n')
    with pytest.raises(UserError, match=message) as caught:
        texts_of(path)
    assert "\n" not in str(caught.value)


def test_parquet_and_its_last_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": [f"t{i}" for i in range(3000)], "n": range(3000)}).to_parquet(path)
    assert texts_of(path) == [f"t{i}" for i in range(3000)]
    assert texts_of(path, last_rows=2) == ["t2998", "t2999"]
    assert len(texts_of(path, last_rows=5000)) == 3000
    with pytest.raises(UserError, match=r"has no column 'sentence', only text, n"):
        texts_of(path, replace(PLAIN, column="sentence"))


def test_archives_give_the_named_members_in_order(tmp_path: Path) -> None:
    files = {"d/b-2": "two", "d/b-1": "one", "d/c": "no"}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    for name in ("a.zip", "a.tar.gz"):
        assert texts_of(tmp_path / name, members=("d/b-*",)) == ["one", "two"]
        with pytest.raises(UserError, match="has no member x"):
            texts_of(tmp_path / name, members=("x",))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.jsonl.gz", "a.parquet"])
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "this is none of those formats")
    with pytest.raises(UserError, match=f"{name} is") as caught:
        texts_of(path, members=("*",))
    assert "\n" not in str(caught.value)


def test_cut_off_archives_are_named(tmp_path: Path) -> None:
    raw = gzip.compress(json.dumps({"text": "a" * 1000}).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(raw[:-12])
    with pytest.raises(UserError, match="is damaged"):
        texts_of(tmp_path / "a.jsonl.gz")


def test_text_that_is_not_utf8_or_empty(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc \xff")
    with pytest.raises(UserError, match=r"a.txt is not UTF-8: byte 4 \(0xff\)"):
        texts_of(tmp_path / "a.txt")
    write(tmp_path / "a.txt", "\n \n")
    with pytest.raises(UserError, match=r"a\.txt is empty"):
        texts_of(tmp_path / "a.txt")


def test_shares_of_a_file_meet_at_characters_and_leave_nothing_out() -> None:
    raw = "aé世🎉b".encode() * 7
    for ends in ((0.0, 0.9, 0.95, 1.0), (0.0, 0.31, 0.5, 1.0)):
        parts = [part(raw, pair) for pair in itertools.pairwise(ends)]
        assert b"".join(parts) == raw
        assert all(isinstance(piece.decode("utf-8"), str) for piece in parts)


# Splits and windows


def numbered(count: int, name: str = "s") -> str:
    return "".join(f"{name} {i} word .\n" for i in range(count))


def test_joined_text_is_cut_without_overlap_and_the_sets_are_disjoint(tmp_path: Path) -> None:
    write(tmp_path / "ptb.test.txt", numbered(60))
    write(tmp_path / "ptb.valid.txt", numbered(40, "v"))
    write(tmp_path / "ptb.train.txt", numbered(50, "t"))
    got = ask("ptb", tmp_path)
    whole = numbered(60).rstrip("\n")
    pieces = cut(whole, 16)
    assert [w.text for w in got.references] == pieces[0::2]
    assert [w.text for w in got.data] == pieces[1::2]
    assert got.heldout == numbered(40, "v").rstrip("\n")
    assert got.train == numbered(50, "t").rstrip("\n")
    facts = got.facts
    assert (facts["split"], facts["heldout_split"], facts["train"], facts["train_note"]) == (
        "test", "validation", "train", None,
    )  # fmt: skip
    assert facts["windows_available"] == len(pieces)
    assert facts["dropped_characters"] == len(whole) - 16 * len(pieces)
    assert "at a stride of 16" in facts["windowing"]
    assert "a line break between sentences" in facts["windowing"]
    assert [file["file"] for file in facts["source"]] == ["ptb.test.txt"]
    assert facts["source"][0]["pinned"] is False


def test_without_a_train_file_the_controls_count_in_validation_text(tmp_path: Path) -> None:
    write(tmp_path / "test.txt", numbered(30))
    write(tmp_path / "valid.txt", numbered(20, "v"))
    got = ask("wikitext2", tmp_path)
    assert got.train.startswith("v 0 word")
    assert got.facts["train_note"] == "counted on valid.txt: there is no training split here"
    assert got.heldout.startswith("s 0 word")


def test_where_there_is_only_the_test_text_nothing_is_counted(tmp_path: Path) -> None:
    got = ask("lambada", write(tmp_path / "mine.txt", numbered(30)))
    assert (got.train, got.facts["train"]) == ("", "none")
    assert got.facts["train_note"] == "there is no training text beside the evaluated one"
    assert got.references[0].text.startswith("\ns 0 word")


def test_one_document_a_window(tmp_path: Path) -> None:
    path = write(tmp_path / "test.txt", "short\n" + "a much longer passage than the window\n" * 2 + "x y\n")
    got = ask("lambada", path, wrapped=False)
    assert [w.text for w in got.references] == ["\nshort", "\na much longer p"]
    assert [w.text for w in got.data] == ["\na much longer p", "\nx y"]
    assert got.facts["stride"] is None
    assert got.facts["dropped_characters"] == 2 * len("assage than the window")


def test_another_split_may_be_evaluated(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        write(tmp_path / f"ptb.{name}.txt", numbered(30, name))
    got = ask("ptb", tmp_path, split="train")
    assert got.references[0].text.startswith("train 0")
    assert got.train.startswith("valid 0")
    assert "the training split is the evaluated one" in got.facts["train_note"]
    with pytest.raises(UserError, match=r"unknown split of benchmark ptb 'tset'\. Did you mean 'test'"):
        ask("ptb", tmp_path, split="tset")


def test_limits_stop_the_reading_and_are_said(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"ptb.{name}.txt", numbered(100, name))
    got = ask("ptb", tmp_path, train_characters=50, heldout_characters=64)
    assert (len(got.train), len(got.heldout)) == (50, 64)
    assert numbered(100, "train").startswith(got.train)
    assert (got.facts["train_cut_at"], got.facts["heldout_cut_at"]) == (50, 64)
    whole = ask("ptb", tmp_path, train_characters=None, heldout_characters=None)
    assert (whole.facts["train_cut_at"], whole.facts["heldout_cut_at"]) == (None, None)
    assert whole.train == numbered(100, "train").rstrip("\n")


@pytest.mark.parametrize("name", ["text8", "enwik8", "tinyshakespeare"])
def test_one_file_holds_all_splits_by_share(tmp_path: Path, name: str) -> None:
    raw = ("abcdefghi " * 400)[:4000]
    file = {"text8": "text8", "enwik8": "enwik8", "tinyshakespeare": "input.txt"}[name]
    got = ask(name, write(tmp_path / file, raw), length=10)
    again = ask(name, tmp_path, length=10)
    assert got.train == again.train == raw[:3600]
    assert got.heldout == raw[3600:3800]
    assert got.references[0].text == raw[3800:3810]
    assert got.facts["windows_available"] == 20
    assert (got.tokenizer == "text8") == (name == "text8")


def test_text8_zip_is_read_where_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "text8.zip", "w") as archive:
        archive.writestr("text8", "abcdefghi " * 400)
    assert ask("text8", tmp_path).train == ask("text8", tmp_path / "text8.zip").train == "abcdefghi " * 360


@pytest.mark.parametrize("name", ["wikitext2", "ptb", "lambada", "enwik8"])
def test_every_corpus_can_be_mapped_to_27_symbols(tmp_path: Path, name: str) -> None:
    text = "It 's the 3rd – “ Test ” ; of N things .\n" * 200
    file = "enwik8" if name == "enwik8" else "test.txt"
    got = ask(name, write(tmp_path / file, text), normalize="text8")
    assert got.tokenizer == "text8"
    joined = "".join(w.text for pair in zip(got.references, got.data, strict=False) for w in pair)
    assert joined == text8(joined + " x")[: len(joined)]
    assert (got.tokens, got.facts["normalize"]) == ("text8", "text8")


def test_natural_text_can_be_encoded_by_its_own_tokenizer(tmp_path: Path) -> None:
    got = ask("wikitext2", write(tmp_path / "test.txt", "Zoë met 世界 ( “ hi ” ) .\n" * 20))
    assert not isinstance(got.tokenizer, str)
    tokenizer = wrap_tokenizer(got.tokenizer)
    text = got.references[0].text
    assert "(“ hi ”)" in got.heldout
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_text_that_is_not_what_the_papers_score_is_marked(tmp_path: Path) -> None:
    clean = ask("wikitext2", write(tmp_path / "a.txt", "some words here .\n" * 20))
    marked = ask("wikitext2", write(tmp_path / "b.txt", "some <unk> here .\n" * 20))
    assert clean.facts["data_notes"] == ["a.txt: not the files that the benchmark pins by sha256"]
    assert any("<unk>" in note for note in marked.facts["data_notes"])
    assert (clean.facts["marks"], marked.facts["marks"]) == ([], ["<unk>"])


def test_missing_files_say_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "ptb.valid.txt", numbered(30))
    with pytest.raises(UserError, match=r"no file for the split 'test': looked for ptb\.test\.txt, test\.txt"):
        ask("ptb", tmp_path)
    with pytest.raises(UserError, match="there is no such file or folder"):
        ask("ptb", tmp_path / "none")


def test_a_split_too_short_for_two_windows(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"the split 'test' has 20 characters, which make 1 windows of 16; needed are 2"
    ):
        ask("ptb", write(tmp_path / "test.txt", "x" * 20))


# Prompts


def write_prompts(path: Path, contexts: list[str]) -> Path:
    return write(path, "".join(json.dumps({"context_string": text}) + "\n" for text in contexts))


def test_prompts_are_those_of_the_context(tmp_path: Path) -> None:
    write_prompts(tmp_path / "ctx25.jsonl", ["short one", "another"])
    write_prompts(tmp_path / "owt_eval_input_ctx50.jsonl", [f"a longer one {i}" for i in range(5)])
    assert ask("owt_prompts", tmp_path, context=25).prompts == ["short one", "another"]
    got = ask("owt_prompts", tmp_path, samples=3)
    assert got.prompts == ["a longer one 0", "a longer one 1", "a longer one 2"]
    assert (got.references, got.data) == ([], [])
    # The controls have nothing else to count in.
    assert got.train.split("\n") == [f"a longer one {i}" for i in range(5)]
    assert "contexts themselves" in got.facts["train_note"]
    assert got.facts["prompts_available"] == 5
    with pytest.raises(UserError, match=r"no prompts of 100 tokens: looked for owt_eval_input_ctx100\.jsonl"):
        ask("owt_prompts", tmp_path, context=100)
    with pytest.raises(UserError, match="unknown context of benchmark owt_prompts '30'"):
        ask("owt_prompts", tmp_path, context=30)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(None, "One, two three"), (100, "One, two three"), (9, "two three"), (8, "three"), (3, "ree")],
)
def test_long_prompts_keep_their_end_from_a_word_on(tmp_path: Path, keep: int | None, expected: str) -> None:
    write_prompts(tmp_path / "ctx50.jsonl", ["One, two three"])
    assert ask("owt_prompts", tmp_path, prompt_characters=keep).prompts == [expected]


def test_prompts_in_27_symbols_and_those_that_vanish(tmp_path: Path) -> None:
    write_prompts(tmp_path / "ctx50.jsonl", ["It’s 5 p.m.", "世界 …", "ok"])
    got = ask("owt_prompts", tmp_path, normalize="text8")
    assert got.prompts == ["it s five p m", "ok"]
    assert got.facts["prompts_dropped"] == 1
    write_prompts(tmp_path / "ctx50.jsonl", ["世界"])
    with pytest.raises(UserError, match="no prompt is left of 1"):
        ask("owt_prompts", tmp_path, normalize="text8")


# The real files


def real(*names: str) -> Path:
    path = DATA.joinpath(*names)
    if not path.exists():
        pytest.skip(f"no data at {path}: set TDBENCH_DATA")
    return path


def test_the_penn_treebank_at_hand_is_the_pinned_one() -> None:
    got = ask("ptb", real("ptb"), length=1024)
    assert [file["pinned"] for file in got.facts["source"] + got.facts["train_source"]] == [True, True]
    assert got.facts["data_notes"] == []
    assert not any(mark in got.heldout for mark in ("<unk>", " n't", " N ", " 's"))
    assert got.heldout.count("\n") == 3760


def test_the_prompts_at_hand_are_the_pinned_ones() -> None:
    got = ask("owt_prompts", real("owt_prompts"))
    assert got.facts["prompts_available"] == 1000
    assert got.facts["source"][0]["pinned"] is True


def test_the_wikitext_at_hand_is_marked_as_another_form() -> None:
    facts = ask("wikitext2", real("wikitext2"), length=1024).facts
    assert facts["source"][0]["pinned"] is False
    assert any("not the raw form" in note for note in facts["data_notes"])
