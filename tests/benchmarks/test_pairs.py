"""Benchmarks of pairs: every YAML, every form of file, splits, bad files."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.base import Pair, Source, SourceRequest
from benchmarks.pairs import files, source
from benchmarks.pairs.settings import read_pair_corpus
from harness.benchmarks import all_benchmarks, get_benchmark, prepare
from harness.errors import UserError

PAIRS = [b for b in all_benchmarks().values() if b.source == "benchmarks.pairs.source"]
DATA = Path(os.environ.get("TDBENCH_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
LINES = [("Wie geht es?", "How are you?"), ("Danke.", "Thank you."), ("Ja.", "Yes.")]


def request(
    name: str, path: Path | None, samples: int = 1000, normalize: str = "none", **options: Any
) -> SourceRequest:
    benchmark = get_benchmark(name)
    return SourceRequest(
        seed=0,
        samples=samples,
        length=benchmark.length,
        options={**benchmark.options, "lowercase": False, **options},
        normalize=normalize,
        name=name,
        corpus=benchmark.corpus,
        path=path,
    )


def ask(name: str, path: Path | None, **options: Any) -> Source:
    return source.build(request(name, path, **options))


def json_lines(path: Path, lines: Sequence[tuple[str, str]], names: tuple[str, str] = ("src", "trg")) -> Path:
    text = "".join(json.dumps(dict(zip(names, line, strict=True)), ensure_ascii=False) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


def pairs(lines: Sequence[tuple[str, str]]) -> list[Pair]:
    return [Pair(source, (target,)) for source, target in lines]


def archive(path: Path, members: Mapping[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


# Every YAML


def test_the_benchmarks_are_there() -> None:
    names = {"qqp", "wiki_auto", "quasar_t", "commonsense_dialogue", "iwslt14_de_en", "wmt14_en_de"}
    assert {benchmark.name for benchmark in PAIRS} == names


@pytest.mark.parametrize("benchmark", PAIRS, ids=lambda b: b.name)
def test_every_benchmark_is_whole(benchmark: Any) -> None:
    corpus = read_pair_corpus(benchmark.corpus, benchmark.name)
    assert benchmark.tasks == ("seq2seq",)
    assert not benchmark.references  # no likelihood
    assert set(corpus.splits) == {"train", "validation", "test"}
    assert benchmark.options["split"] in corpus.splits
    assert corpus.splits["test"].files
    for split in corpus.splits.values():
        assert all(not remote.url or remote.url.startswith("https://") for remote in split.files)


class DriveFolder:
    """A public folder on Google Drive with these files."""

    def __init__(self, **files: str) -> None:
        self.files = {name.replace("_", "."): text for name, text in files.items()}
        self.downloads: list[str] = []

    def items(self, source: Any) -> list[Any]:
        return [SimpleNamespace(target=name, remote=DriveEntry(self, name)) for name in self.files]


@dataclass
class DriveEntry:
    folder: DriveFolder
    name: str

    def download(self, target: Path) -> None:
        self.folder.downloads.append(self.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.folder.files[self.name])


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DriveFolder:
    line = json.dumps({"src": "how are you ?", "trg": "how is it going ?"}) + "\n"
    folder = DriveFolder(train_jsonl=line * 3, valid_jsonl=line, test_jsonl=line * 2)
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.weights.drive.drive_items", folder.items)
    return folder


def test_files_on_google_drive_are_fetched_once(drive: DriveFolder) -> None:
    made = ask("qqp", None)
    assert [pair.source for pair in made.pairs] == ["how are you ?"] * 2
    assert len(made.train_pairs) == 3
    ask("qqp", None)
    assert sorted(drive.downloads) == ["test.jsonl", "train.jsonl", "valid.jsonl"]


def test_a_file_that_changed_in_the_cache_is_refused(drive: DriveFolder, tmp_path: Path) -> None:
    ask("qqp", None)
    (file,) = (tmp_path / "cache/downloads").glob("*-test.jsonl")
    file.write_text("{}")
    with pytest.raises(UserError, match=r"recorded when it first came.*remove it and try again"):
        ask("qqp", None)


@pytest.mark.parametrize("name", ["qqp", "wiki_auto", "quasar_t", "commonsense_dialogue"])
def test_what_the_folder_lacks_is_one_line(name: str, drive: DriveFolder) -> None:
    del drive.files["test.jsonl"]
    with pytest.raises(UserError, match=r"Google Drive folder \S+ has no test.jsonl, only .*benchmark.path=FILE") as e:
        ask(name, None)
    assert "\n" not in str(e.value)


# Forms of files


@pytest.mark.parametrize("names", [("src", "trg"), ("source", "target"), ("source", "reference")])
@pytest.mark.parametrize("file", ["test.jsonl", "test.jsonl.gz", "other.json"])
def test_json_lines(tmp_path: Path, names: tuple[str, str], file: str) -> None:
    made = ask("qqp", json_lines(tmp_path / file, LINES, names))
    assert made.pairs == pairs(LINES)
    assert (made.train, made.train_pairs, made.heldout_pairs, made.data_pairs) == ("", [], [], [])
    assert made.facts["train_note"] == "there are no training pairs beside the evaluated ones"


def test_two_files_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "test.de").write_bytes("\ufeffWie geht es?\r\n Danke. \r\nJa.\r\n".encode())
    (tmp_path / "test.en").write_text("How are you?\nThank you.\nYes.")
    assert ask("iwslt14_de_en", tmp_path).pairs == pairs(LINES)


def test_the_campaigns_own_archives(tmp_path: Path) -> None:
    parts = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
    members = {}
    for i, part in enumerate(parts):
        for language, word in (("de", "Satz"), ("en", "sentence")):
            text = f'<doc>\n<seg id="1"> {word} {i} &amp; mehr </seg>\n<seg id="2">{word}</seg>\n</doc>\n'
            members[f"de-en/IWSLT14.{part}.de-en.{language}.xml"] = text
    for language, words in (("de", "Titel eins zwei"), ("en", "title one two")):
        first, second, third = words.split()
        text = f"<url>x</url>\n<title>{first}</title>\n<talkid>1</talkid>\n{second}\n{third}\n"
        members[f"de-en/train.tags.de-en.{language}"] = text
    made = ask("iwslt14_de_en", archive(tmp_path / "de-en.tgz", members), heldout_pairs=1)
    assert [pair.source for pair in made.pairs[::2]] == [f"Satz {i} & mehr" for i in range(5)]
    assert [pair.references[0] for pair in made.pairs[1::2]] == ["sentence"] * 5
    assert made.train_pairs == pairs([("Titel", "title"), ("eins", "one")])
    assert made.heldout_pairs == pairs([("zwei", "two")])
    assert made.facts["heldout_split"] == source.CUT_OFF
    with tarfile.open(tmp_path / "de-en.tgz") as tar:
        tar.extractall(tmp_path, filter="data")
    assert ask("iwslt14_de_en", tmp_path / "de-en", heldout_pairs=1).pairs == made.pairs


def test_an_archive_that_lacks_a_member(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no member \*newstest2014-deen-src\.en\.sgm"):
        ask("wmt14_en_de", archive(tmp_path / "test-full.tgz", {"a.txt": "a"}))


def test_a_source_is_fetched_where_no_file_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {"src.en": "one", "ref.de": "eins"}
    members = {f"newstest2014-deen-{side}.sgm": f'<seg id="1">{text}</seg>\n' for side, text in sides.items()}
    made = archive(tmp_path / "test-full.tgz", members)
    asked: list[str] = []

    def fetched(remote: Any, names: Any) -> Any:
        asked.append(remote.url)
        return files.Found(made, "0" * 64, remote.where, None)

    monkeypatch.setattr(files, "fetch", fetched)
    found = ask("wmt14_en_de", None)
    assert asked == ["https://statmt.org/wmt14/test-full.tgz"]
    assert found.pairs == pairs([("one", "eins")])
    assert found.facts["source"][0]["source"] == "https://statmt.org/wmt14/test-full.tgz"


# Splits and options


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    json_lines(tmp_path / "train.jsonl", [(f"Train {i}", f"Ziel {i}") for i in range(10)] + [LINES[0]])
    json_lines(tmp_path / "valid.jsonl", [("Valid", "Prüfung")])
    json_lines(tmp_path / "test.jsonl", LINES)
    return tmp_path


def test_splits_of_a_folder(folder: Path) -> None:
    made = ask("qqp", folder)
    assert made.pairs == pairs(LINES)
    assert len(made.train_pairs) == 11
    assert made.train.splitlines()[:2] == ["Ziel 0", "Ziel 1"]
    assert made.heldout_pairs == pairs([("Valid", "Prüfung")])
    assert made.heldout == "Prüfung\n"
    assert made.facts["overlap_with_training"] == pytest.approx(1 / 3)
    assert made.facts["heldout_split"] == "validation"


def test_options(folder: Path) -> None:
    made = ask("qqp", folder, samples=2, train_pairs=3, lowercase=True)
    assert made.pairs == pairs([("wie geht es?", "how are you?"), ("danke.", "thank you.")])
    assert len(made.train_pairs) == 3
    assert made.facts["train_cut_at"] == 3
    assert made.facts["pairs_available"] == 3
    assert ask("qqp", folder, split="validation").pairs == pairs([("Valid", "Prüfung")])
    assert len(ask("qqp", folder, train_pairs=None).train_pairs) == 11


def test_the_training_split_may_be_evaluated_but_is_not_trained_on(folder: Path) -> None:
    made = ask("qqp", folder, split="train")
    assert len(made.pairs) == 11
    assert made.train_pairs == []


def test_without_a_validation_split_the_end_of_the_training_pairs_is_held_out(folder: Path) -> None:
    (folder / "valid.jsonl").unlink()
    made = ask("qqp", folder, heldout_pairs=4)
    assert len(made.train_pairs) == 7
    assert [pair.source for pair in made.heldout_pairs] == ["Train 7", "Train 8", "Train 9", LINES[0][0]]
    assert not {pair.source for pair in made.train_pairs} & {pair.source for pair in made.heldout_pairs}
    tiny = ask("qqp", folder, heldout_pairs=100)
    assert len(tiny.train_pairs) == 1


def test_line_breaks_inside_a_target_do_not_break_the_training_text(tmp_path: Path) -> None:
    json_lines(tmp_path / "train.jsonl", [("a", "one\ntwo"), ("b", "three"), ("c", "four")])
    made = ask("qqp", json_lines(tmp_path / "test.jsonl", LINES).parent, heldout_pairs=1)
    assert made.train == "one two\nthree\n"


# Bad input


def test_empty_sides_are_left_out_and_counted(folder: Path) -> None:
    json_lines(folder / "test.jsonl", [*LINES, ("", "x"), ("y", "  "), ("", "")])
    made = ask("qqp", folder)
    assert made.pairs == pairs(LINES)
    assert made.facts["pairs_left_out"] == 3
    assert made.facts["data_notes"][0] == "3 pairs of the split 'test' have an empty source or target and are left out"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"src": "a", "trg": "b"', r"test\.jsonl, line 2 is no JSON"),
        ('{"src": "a"}', r"line 2 has no fields 'src' and 'trg', or 'source' and 'target'"),
        ('["a", "b"]', "line 2 has no fields"),
        ('{"src": "a", "trg": 3}', r"line 2: 'trg' is no text but int"),
        ('{"src": null, "trg": "b"}', r"line 2: 'src' is no text but NoneType"),
    ],
)
def test_broken_lines(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "test.jsonl").write_text('{"src": "a", "trg": "b"}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        ask("qqp", tmp_path / "test.jsonl")


def test_unequal_sides(tmp_path: Path) -> None:
    (tmp_path / "test.de").write_text("a\nb\n")
    (tmp_path / "test.en").write_text("a\n")
    with pytest.raises(UserError, match=r"test\.de has 2 lines and .*test\.en has 1: they must be as many"):
        ask("iwslt14_de_en", tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["test.de"], r"has test\.de, but not its other side: test\.en"),
        (["test.txt"], r"has no file for the split 'test': looked for test\.jsonl, or test\.jsonl\.gz, or "),
        ([], "has no file for the split 'test'"),
    ],
)
def test_files_that_are_missing(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).write_text("a\n")
    with pytest.raises(UserError, match=message):
        ask("iwslt14_de_en", tmp_path)


def test_one_side_alone(tmp_path: Path) -> None:
    (tmp_path / "test.de").write_text("a\n")
    with pytest.raises(UserError, match="one side of the pairs at most: give a file of JSON lines, or a folder"):
        ask("iwslt14_de_en", tmp_path / "test.de")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"\xff\n", "not UTF-8: byte 0"),
        (b'{"src": " ", "trg": "b"}\n', "no pair of the split 'test'"),
    ],
)
def test_files_without_a_pair(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "test.jsonl").write_bytes(raw)
    with pytest.raises(UserError, match=message):
        ask("qqp", tmp_path)


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="is damaged or no archive"):
        ask("qqp", tmp_path)


def test_other_settings_that_cannot_be(folder: Path) -> None:
    with pytest.raises(UserError, match=r"unknown split of benchmark qqp 'tset'\. Did you mean 'test'"):
        ask("qqp", folder, split="tset")
    with pytest.raises(UserError, match="pairs, which are not normalised"):
        ask("qqp", folder, normalize="text8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spilts": {}}, "unknown key .* 'spilts'"),
        ({"splits": {"test": {}}}, "lacks 'names'"),
        ({"splits": {"test": {"names": [], "sides": ["a"]}}}, "sources and targets come in twos"),
        ({"splits": {"test": {"names": [], "files": [{"sha256": None}]}}}, "a file needs 'url'"),
    ],
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_pair_corpus({**get_benchmark("qqp").corpus, **change}, "qqp")


# Prepared data


def test_prepared_files(folder: Path, tmp_path: Path) -> None:
    benchmark = replace(get_benchmark("qqp"), options={**get_benchmark("qqp").options, "lowercase": False})
    data = prepare(benchmark, tmp_path / "data", samples=2, path=folder)
    read = {
        name: [json.loads(line) for line in (data.folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("prompts", "references", "data", "train_pairs", "heldout_pairs")
    }
    assert read["prompts"][0] == {
        "prefix": "",
        "suffix": "",
        "reference": "How are you?",
        "source": "Wie geht es?",
        "references": ["How are you?"],
    }
    assert [line["text"] for line in read["references"]] == ["How are you?", "Thank you."]
    assert read["data"] == []
    assert read["train_pairs"][0] == {"source": "Train 0", "target": "Ziel 0"}
    assert read["heldout_pairs"] == [{"source": "Valid", "target": "Prüfung"}]
    assert (data.prompts, data.references, data.windows, data.facts["pairs"]) == (2, 2, 0, True)
    assert prepare(benchmark, tmp_path / "data", samples=2, path=folder) == data
    json_lines(folder / "train.jsonl", LINES)
    assert prepare(benchmark, tmp_path / "data", samples=2, path=folder).digest != data.digest


def test_prepared_paraphrases(tmp_path: Path) -> None:
    benchmark = replace(get_benchmark("toy_paraphrase"), options={"train_pairs": 100})
    data = prepare(benchmark, tmp_path / "a", samples=5)
    prompts = [json.loads(line) for line in (data.folder / "prompts.jsonl").read_text().splitlines()]
    assert all(len(prompt["references"]) == 4 and prompt["references"][0] == prompt["reference"] for prompt in prompts)
    assert len((data.folder / "data.jsonl").read_text().splitlines()) == data.windows == 5
    assert len((data.folder / "train_pairs.jsonl").read_text().splitlines()) == 100
    other = prepare(benchmark, tmp_path / "b", samples=5)
    assert other.digest == data.digest
    assert {p.name: p.read_bytes() for p in data.folder.iterdir()} == {
        p.name: p.read_bytes() for p in other.folder.iterdir()
    }


# The real files


def test_the_real_translation_set() -> None:
    path = DATA / "iwslt14_deen" / "test.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    made = ask("iwslt14_de_en", path.parent, samples=10_000)
    assert len(made.pairs) == 6750
    assert made.pairs[2].references == ("and of course, we all share the same adaptive imperatives.",)


def test_the_real_question_pairs() -> None:
    path = DATA / "qqp_bridge_gap_20steps" / "mbr.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    made = ask("qqp", path, samples=10_000)
    assert len(made.pairs) == 1091
    assert made.pairs[1] == Pair("how can i be a good geologist?", ("what should i do to be a great geologist?",))
