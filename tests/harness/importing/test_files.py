from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.importing.files import expand, read_generations, read_texts, seeds_of

LINE = {"recover": "[CLS] a b? [SEP][PAD]", "reference": " [CLS] c [SEP]", "source": "[CLS] d [SEP] [SEP]"}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_diffuseq_is_cleaned_as_its_evaluation_does(tmp_path: Path) -> None:
    found = read_generations(write(tmp_path / "a.json", lines(LINE, {**LINE, "recover": "[CLS] [SEP]"})), "diffuseq")
    assert [sample.text for sample in found.samples] == ["a b?", ""]  # an empty text is a text
    assert found.sources == ["d", "d"]
    assert found.references == [("c",), ("c",)]


def test_jsonl_with_several_true_texts_compressed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(lines({"text": "a ", "source": "s", "references": ["x", "y"], "extra": 1}))
    found = read_generations(path, "jsonl")
    assert (found.samples[0].text, found.sources, found.references) == ("a ", ["s"], [("x", "y")])
    plain = read_generations(write(tmp_path / "b", lines({"text": "a", "reference": "x"})), "jsonl")
    assert (plain.sources, plain.references) == (None, [("x",)])


def test_text_keeps_empty_lines_and_drops_the_mark_of_windows(tmp_path: Path) -> None:
    found = read_generations(write(tmp_path / "a.txt", "\ufeffa\r\n\nb"), "text")
    assert [sample.text for sample in found.samples] == ["a", "", "b"]
    assert found.sources is None


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("diffuseq", lines(LINE) + "{broken\n", "line 2: this is no JSON object"),
        ("diffuseq", lines(LINE, ["a"]), "line 2: this is no JSON object but"),
        ("diffuseq", lines(LINE) + "\n", "line 2: this is no JSON object"),
        ("diffuseq", lines({"recover": "a", "source": "b"}), "line 1: no 'reference'. It has: recover, source"),
        ("diffuseq", lines({**LINE, "recover": None}), "'recover' must be a text, got null"),
        ("diffuseq", lines(LINE, {**LINE, "source": "[CLS] [SEP] [SEP]"}), "line 2: the source is empty"),
        ("diffuseq", lines({**LINE, "reference": "[CLS]  [SEP]"}), "line 1: the reference is empty"),
        ("jsonl", lines({"texts": "a"}), "line 1: no 'text'. It has: texts"),
        ("jsonl", lines({"text": "a", "references": []}), "'references' must be a list of one text or more"),
        ("jsonl", lines({"text": "a", "references": ["b", " "]}), "line 1: the reference is empty"),
        ("jsonl", lines({"text": "a", "references": ["b"], "reference": "b"}), "not both"),
        ("jsonl", lines({"text": "a", "source": "b"}, {"text": "c"}), "line 2: no source, though other lines"),
        ("text", "", "is empty"),
    ],
)
def test_bad_files_say_file_and_line(tmp_path: Path, form: str, content: str, message: str) -> None:
    path = write(tmp_path / "bad.x", content)
    with pytest.raises(UserError) as raised:
        read_generations(path, form)
    assert str(path) in str(raised.value)
    assert message in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.txt cannot be read: No such file"):
        read_generations(tmp_path / "absent.txt", "text")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a\n" * 100)[:-12])
    with pytest.raises(UserError, match=r"cut\.gz cannot be read"):
        read_generations(tmp_path / "cut.gz", "text")
    (tmp_path / "plain.gz").write_text("a")
    with pytest.raises(UserError, match="Not a gzipped file"):
        read_generations(tmp_path / "plain.gz", "text")
    (tmp_path / "latin").write_bytes(b"a\nb\xe9\n")
    with pytest.raises(UserError, match="line 2: this is no UTF-8"):
        read_generations(tmp_path / "latin", "text")


def test_texts_beside_may_not_be_empty(tmp_path: Path) -> None:
    assert read_texts(write(tmp_path / "s", "a\n b \n"), "source") == ["a", "b"]
    with pytest.raises(UserError, match="line 2: the source is empty"):
        read_texts(write(tmp_path / "s", "a\n\nb\n"), "source")


def test_a_folder_gives_its_files_of_seeds(tmp_path: Path) -> None:
    for name in ("seed2.json", "seed10_x.jsonl.gz", "mbr.jsonl", "out.log", ".hidden.json"):
        write(tmp_path / name, "")
    meant, others = expand([tmp_path], "diffuseq")
    assert [path.name for path in meant] == ["seed10_x.jsonl.gz", "seed2.json"]
    assert [path.name for path in others] == ["mbr.jsonl", "out.log"]
    assert seeds_of(meant, []) == [10, 2]


def test_a_folder_without_seeds_gives_all_its_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "notes.md"):
        write(tmp_path / name, "")
    meant, others = expand([tmp_path, tmp_path / "b.txt"], "text")
    assert [path.name for path in meant] == ["a.txt", "b.txt", "b.txt"]
    assert [path.name for path in others] == ["notes.md"]
    with pytest.raises(UserError, match=r"holds no file that ends in \.json"):
        expand([tmp_path], "jsonl")


def test_seeds() -> None:
    files = [Path("seed10.json"), Path("seed11.json")]
    assert seeds_of(files, []) == [10, 11]
    assert seeds_of([*files, Path("last.json")], []) == [0, 1, 2]
    assert seeds_of(files, [5, 6]) == [5, 6]
    with pytest.raises(UserError, match="1 seeds for 2 files"):
        seeds_of(files, [1])
    with pytest.raises(UserError, match="seed 10 stands for two files"):
        seeds_of([Path("a/seed10.json"), Path("b/seed10.json")], [])
