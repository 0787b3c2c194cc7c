"""Small random judges in Hugging Face layout."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from adapters.tokenizers import bpe_tokenizer, word_tokenizer

WORDS = ["the", "cat", "sat", "on", "mat", "dog", "."]


def write_judge(folder: Path, tokenizer_kind: str = "words", positions: int = 8, seed: int = 0) -> Path:
    """A random GPT-2 in Hugging Face layout whose probabilities differ clearly between tokens."""
    tokenizer = word_tokenizer(WORDS) if tokenizer_kind == "words" else bpe_tokenizer(["the cat sat"], 260)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=positions,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.5,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder
