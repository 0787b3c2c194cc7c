"""The benchmark `text`: normalisation, splitting, windows, bad files."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.tokenizers import wrap_tokenizer
from benchmarks.base import Source, SourceRequest
from benchmarks.text.source import build, split_heldout
from benchmarks.texts import cut, read_text, text8
from harness.errors import UserError


def ask(data: Path | None, *, samples: int = 100, normalize: str = "text8", reference: Path | None = None) -> Source:
    options = {"heldout_share": 0.1}
    request = SourceRequest(0, samples, 16, options, data=data, reference=reference, normalize=normalize)
    return build(request)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("it's 42", "it s four two"),
        ("a1b", "a one b"),
        ("0123456789", "zero one two three four five six seven eight nine"),
        ("  tabs\t\nand  lines \n", "tabs and lines"),
        ("café au lait", "caf au lait"),
        ("\u212aelvin K", "elvin k"),
        ("٣ three", "three"),
        ("@-@ <unk>", "unk"),
        ("…", ""),
    ],
)
def test_text8(raw: str, expected: str) -> None:
    assert text8(raw) == expected
    assert text8(expected) == expected


def test_split_is_at_white_space_behind_the_first_nine_tenths() -> None:
    text = "abc " * 25
    train, held = split_heldout(text, 0.1)
    assert (train, held) == ("abc " * 23, "abc " * 2)
    assert split_heldout("x" * 50, 0.1) == ("x" * 50, "")


def test_cut_drops_a_short_rest() -> None:
    assert cut("abcdefgh", 3) == ["abc", "def"]
    assert cut("ab", 3) == []


def test_held_out_sets_are_disjoint_pieces_of_the_held_out_text(tmp_path: Path) -> None:
    text = " ".join(f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600))
    source = ask(write(tmp_path / "a.txt", text))
    assert source.train + " " + source.heldout == text8(text)
    pieces = cut(source.heldout, 16)
    assert [w.text for w in source.references] == pieces[0::2]
    assert [w.text for w in source.data] == pieces[1::2]
    for window in source.references:
        assert (len(window.text), window.prefix, window.suffix) == (16, window.text[:4], window.text[-4:])
        assert window.text not in source.train


def test_samples_are_spread_over_the_held_out_text(tmp_path: Path) -> None:
    reference = write(tmp_path / "r.txt", "".join(chr(97 + i // 32) * 32 for i in range(26 * 32)))
    source = ask(write(tmp_path / "a.txt", "abc " * 10), samples=5, reference=reference)
    assert len(source.references) == 5
    assert source.references[0].text[0] == "a"
    assert source.references[-1].text[0] > "s"


def test_reference_leaves_the_whole_file_for_training(tmp_path: Path) -> None:
    data, reference = write(tmp_path / "a.txt", "abc " * 10), write(tmp_path / "r.txt", "Held Out " * 10)
    source = ask(data, reference=reference)
    assert source.train == ("abc " * 10).strip()
    assert source.heldout == ("held out " * 10).strip()


def test_without_normalisation_every_text_can_be_encoded(tmp_path: Path) -> None:
    text = "Ünï — 世界\r\nTab\t. " * 40
    data = tmp_path / "a.txt"
    data.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))
    source = ask(data, normalize="none")
    assert not isinstance(source.tokenizer, str)
    tokenizer = wrap_tokenizer(source.tokenizer)
    assert (source.train + source.heldout) == text.replace("\r\n", "\n")
    assert tokenizer.decode(tokenizer.encode(source.train)) == source.train
    assert len(tokenizer.encode(source.train)) == len(source.train.encode("utf-8"))


def test_bad_files_are_named_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"\xef\xbb\xbfabc \xff def")
    cases = [
        (tmp_path / "none.txt", "there is no such file"),
        (tmp_path, "cannot be read"),
        (write(tmp_path / "empty.txt", ""), "is empty"),
        (write(tmp_path / "blank.txt", " \n\t"), "is empty"),
        (broken, r"not UTF-8: byte 7 \(0xff\)"),
    ]
    for path, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            read_text(path, "DATA")
        assert "DATA=" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a b c", "1234567890" * 2, "… " * 500])
def test_too_short_text_says_how_much_is_needed(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"too short.*needed are 16 and 32"):
        ask(write(tmp_path / "a.txt", text))


def test_missing_file() -> None:
    with pytest.raises(UserError, match="DATA=FILE"):
        ask(None)
