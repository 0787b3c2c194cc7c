"""Data of prompt benchmarks: prefixes to continue, with no true continuation and no held-out text beside them.

The controls that count (unigram, ...) need a text of the same kind, and the whole contexts are the only one there is.
"""

from __future__ import annotations

from benchmarks.base import Source, SourceRequest
from benchmarks.corpora.files import find_files, local_inputs, not_pinned, split_names
from benchmarks.corpora.readers import documents
from benchmarks.corpora.settings import read_corpus
from benchmarks.texts import text8, tokenizer_for
from harness.errors import UserError, unknown

__all__ = ["build", "local_inputs"]


def build(request: SourceRequest) -> Source:
    """The first `samples` prompts of a set, in the file's order.

    Raises:
        UserError: for an unknown set, files that are missing or bad, or a set in which no prompt is left.
    """
    corpus = read_corpus(request.corpus, request.name)
    context = str(request.options["context"])
    if context not in corpus.splits:
        raise unknown(f"context of benchmark {request.name}", context, corpus.splits)
    if context not in split_names(corpus, request.path, context):
        names = ", ".join(corpus.splits[context].names)
        raise UserError(f"benchmark.path={request.path} has no prompts of {context} tokens: looked for {names}.")
    as_text8 = request.normalize == "text8"
    keep = request.options["prompt_characters"]
    found = list(find_files(corpus, context, request.path))
    raw = [text for file in found for text in documents(file.path, corpus, corpus.splits[context])]
    contexts = [text8(text) if as_text8 else text for text in raw]
    prompts = [_last(context, keep) for context in contexts]
    left = [prompt for prompt in prompts if prompt.strip()]
    if not left:
        raise UserError(f"benchmark {request.name}: no prompt is left of {len(raw)} in {found[0].path.name}.")
    return Source(
        train=(" " if as_text8 else "\n").join(contexts),
        heldout="",
        references=[],
        data=[],
        tokenizer=tokenizer_for(as_text8),
        tokens="text8" if as_text8 else "words",
        prompts=left[: request.samples],
        facts={
            "normalize": request.normalize,
            "options": dict(request.options),
            "context_tokens": int(context),
            "prompts_available": len(left),
            "prompts_dropped": len(raw) - len(left),
            "prompt_rule": f"the last {keep} characters of each context" if keep else "each context whole",
            "windowing": "one context a prompt; there is no true continuation, so no references and no likelihood",
            "source": [file.fact() for file in found],
            "train": f"the {len(contexts)} contexts themselves",
            "train_note": "counted on the whole contexts themselves: there is no training text beside the prompts",
            "remarks": list(corpus.remarks),
            "data_notes": not_pinned(found),
        },
    )


def _last(text: str, count: int | None) -> str:
    """The last `count` characters from a word's beginning on, or all; text of one long word is cut inside it."""
    if count is None or len(text) <= count:
        return text
    tail = text[-count:]
    inside_word = not text[-count - 1].isspace() and not tail[0].isspace()
    words = tail.split(maxsplit=1)
    return (words[1] if inside_word and len(words) > 1 else tail).lstrip()
