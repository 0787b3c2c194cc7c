"""How much memory a job may take, before it is run: an estimate, and called so wherever it is shown."""

from __future__ import annotations

from adapters.cards import CheckpointCard

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Of each logit: the network's own output, and its probabilities in float64 for the draws.
_LOGIT = 12
#: What torch and the driver take before anything is loaded, bytes.
_CONTEXT = 1 << 30


def needed_memory(entry: CheckpointCard, batch_size: int, length: int, dtype: str) -> int | None:
    """Bytes of device memory that generating with a checkpoint takes, about; None where its card gives no size.

    Weights, the logits of one batch with their probabilities, and what a process takes anyway. Activations inside the
    network are left out: they are freed block by block, and smaller than the logits for all published models.

    Args:
        entry: the checkpoint, with its counts of parameters and of words.
        batch_size: sequences in one batch.
        length: tokens per sequence.
        dtype: of the network.
    """
    if not entry.parameters or not entry.vocabulary:
        return None
    logits = batch_size * length * entry.vocabulary * _LOGIT
    return entry.parameters * _BYTES[dtype] + logits + _CONTEXT


def gib(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / 2**30:.1f} GiB"
