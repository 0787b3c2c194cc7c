"""Prompts as rows, texts as windows, windows as figures."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from adapters.base import AdapterError, GenerateRequest, Prompt
from adapters.texts import Windows, WindowSums, cut, decode_rows, prompt_rows, windows_of
from adapters.tokenizers import Text8Tokenizer

TOKENIZER = Text8Tokenizer()
MASK = 27


def request(*prompts: Prompt, length: int = 4, count: int | None = None) -> GenerateRequest:
    return GenerateRequest(count or len(prompts), length, 1, "any", task="infill", prompts=prompts)


def test_prompts_stand_at_both_ends() -> None:
    rows = prompt_rows(request(Prompt("ab", "c"), Prompt("", "bc"), Prompt("a"), Prompt()), TOKENIZER, MASK)
    assert rows.dtype == torch.int64
    assert rows.tolist() == [[1, 2, MASK, 3], [MASK, MASK, 2, 3], [1, MASK, MASK, MASK], [MASK] * 4]
    assert decode_rows(TOKENIZER, rows)[0] == "ab█c"


def test_without_prompts_all_is_to_be_written() -> None:
    assert prompt_rows(request(count=2), TOKENIZER, MASK).tolist() == [[MASK] * 4] * 2


@pytest.mark.parametrize("prompt", [Prompt("abcd"), Prompt("abc", "d"), Prompt("", "abcde")])
def test_a_prompt_must_leave_something_to_write(prompt: Prompt) -> None:
    with pytest.raises(AdapterError, match=r"prompt 1 has \d tokens, which leaves nothing to write in 4"):
        prompt_rows(request(Prompt("a"), prompt), TOKENIZER, MASK)


def test_cutting_keeps_every_id_once() -> None:
    assert cut(range(7), 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert cut(range(6), 3) == [[0, 1, 2], [3, 4, 5]]
    assert cut(range(7), None) == [list(range(7))]
    assert cut([], 3) == cut([], None) == []


def test_windows_of_one_length_stand_together() -> None:
    groups = windows_of(["abcde", "", "xy", "abc"], TOKENIZER, 3)
    assert [group.texts for group in groups] == [[0, 2], [0, 3]]
    assert [group.tokens.tolist() for group in groups] == [[[4, 5], [24, 25]], [[1, 2, 3], [1, 2, 3]]]


def test_sums_with_independent_errors() -> None:
    long, short = Windows([0, 0, 1], torch.zeros(3, 5)), Windows([1], torch.zeros(1, 2))
    sums = WindowSums(3)
    sums.add(long, [1.0, 2.0, 4.0], [3.0, 4.0, 0.0], [7, 7, 1])
    sums.add(short, [0.5], [0.0], [2])
    result = sums.result("upper_bound")
    assert (result.kind, result.nfe) == ("upper_bound", [14, 3, 0])
    assert [(t.nats, t.standard_error, t.tokens) for t in result.texts] == [
        (3.0, 5.0, 10),
        (4.5, 0.0, 7),
        (0.0, 0.0, 0),
    ]


def test_an_unknown_error_stays_unknown() -> None:
    sums = WindowSums(1)
    sums.add(Windows([0, 0], torch.zeros(2, 5)), [1.0, 1.0], [0.1, math.nan], [1, 1])
    assert sums.result("upper_bound").texts[0].standard_error is None


def test_figures_must_be_one_a_window() -> None:
    with pytest.raises(ValueError, match=r"differ in number: \(2, 2, 2, 1\)"):
        WindowSums(1).add(Windows([0, 0], torch.zeros(2, 5)), [1.0, 1.0], [0.0, 0.0], [1])


def test_old_images_need_torch_alone() -> None:
    code = (
        "import sys; sys.modules['tokenizers'] = sys.modules['yaml'] = None\n"
        "import adapters.texts, adapters.tokenizers\n"
        "assert 'transformers' not in sys.modules and 'huggingface_hub' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
