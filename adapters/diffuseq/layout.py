"""Names and numbers of DiffuSeq's published folder, for our loader and beside the authors' code. Python 3.8 syntax."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Union

from adapters.base import CheckpointError
from adapters.weights import CONVERTED, original_name, weight_file

#: All settings of the training, as one flat JSON object.
ARGS = "training_args.json"
#: What the authors' decoding script looks for; names sort by step.
WEIGHTS = "ema*.pt"
#: Architecture of the encoder, where it is not one of `KNOWN_CONFIGS`.
CONFIG = "config.json"
#: Of a model with a vocabulary of its own (argument `vocab` other than "bert").
OWN_VOCABULARY = "vocab.json"
#: The tied embedding: the file has the moving average under the first name and the raw weight under the second, and
#: loading into tied storage leaves the second.
EMBEDDING, HEAD = "word_embedding.weight", "lm_head.weight"

#: Architectures by the name that `config_name` gives, so that nothing is asked of a hub.
KNOWN_CONFIGS: Dict[str, Dict[str, Any]] = {
    "bert-base-uncased": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }
}
#: No DiffuSeq number comes near this; it keeps a wrong file from asking for more than tensor sizes can express.
LARGEST = 1 << 24


@dataclass(frozen=True)
class TrainingArgs:
    """What a folder's training_args.json says, checked; names as in the file.

    Attributes:
        hidden_dim: width D of the embeddings.
        hidden_t_dim: width of the time features.
        seq_len: row length L, source and target together.
        diffusion_steps: noise levels T.
        noise_schedule: its name.
        timestep_respacing: "" for all levels, "N", "a,b,c" or "ddimN".
        rescale_timesteps: whether the network's time is index * 1000 / T, not the index.
        dropout: in training.
        config_name: hub name or folder of the encoder's architecture.
        vocab: "bert", or the file that an own vocabulary was made from.
        learned_mean_embed, denoise, denoise_rate, rejection_rate: of DiffuSeq-v2 (arXiv 2310.05793).
    """

    hidden_dim: int
    hidden_t_dim: int
    seq_len: int
    diffusion_steps: int
    noise_schedule: str = "sqrt"
    timestep_respacing: str = ""
    rescale_timesteps: bool = True
    dropout: float = 0.1
    config_name: str = "bert-base-uncased"
    vocab: str = "bert"
    learned_mean_embed: bool = False
    denoise: bool = False
    denoise_rate: float = 0.2
    rejection_rate: float = 0.0


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of the BERT encoder; names as in its config.json."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12


def weights_file(path: Path, name: Optional[str] = None) -> Path:
    """The weights of a folder: those named, or of the most steps (run_decode.py: sorted, descending).

    Args:
        path: the model folder, or one of its weight files.
        name: file name inside the folder.

    Raises:
        CheckpointError: where there is no such file.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path} does not exist: give a folder with {WEIGHTS} and {ARGS}.")
    found = sorted({original_name(file) for ending in ("", CONVERTED) for file in path.glob(WEIGHTS + ending)})
    if name is not None:
        file = weight_file(path, name)
        if not file.is_file():
            raise CheckpointError("{} has no weights '{}'; it holds {}.".format(path, name, ", ".join(found) or "none"))
        return file
    if not found:
        inside = sorted({file.parent.name for file in path.glob("*/" + WEIGHTS + "*")})
        held = ", ".join(inside[:3] or sorted(file.name for file in path.iterdir())[:5]) or "nothing"
        hint = "give one of its folders" if inside else "it needs {} and {}".format(WEIGHTS, ARGS)
        raise CheckpointError(f"checkpoint {path} is no DiffuSeq folder: {hint}; found {held}.")
    return weight_file(path, found[-1])


def read_args(folder: Path) -> TrainingArgs:
    """The settings in a folder's training_args.json.

    Raises:
        CheckpointError: for a file that is missing or damaged, a setting that makes no sense, or a kind of model that
            the authors never published (noise prediction, learned variances).
    """
    file = folder / ARGS
    content = _read_object(file)
    for key, wanted in (("predict_xstart", True), ("learn_sigma", False)):
        if content.get(key, wanted) is not wanted:
            raise CheckpointError(f"{file}: {key} is {content[key]!r}; only models with {key} {wanted} can be run.")
    steps = _count(content, "diffusion_steps", file)
    if steps < 2:
        raise CheckpointError(f"{file}: diffusion_steps is {steps}; a chain has 2 or more.")
    return TrainingArgs(
        hidden_dim=_count(content, "hidden_dim", file),
        hidden_t_dim=_count(content, "hidden_t_dim", file),
        seq_len=_count(content, "seq_len", file),
        diffusion_steps=steps,
        noise_schedule=_of(str, content, "noise_schedule", "sqrt", file),
        timestep_respacing=_of(str, content, "timestep_respacing", "", file),
        rescale_timesteps=_of(bool, content, "rescale_timesteps", True, file),
        dropout=_share(content, "dropout", 0.1, file),
        config_name=_of(str, content, "config_name", "bert-base-uncased", file),
        vocab=_of(str, content, "vocab", "bert", file),
        learned_mean_embed=_of(bool, content, "learned_mean_embed", False, file),
        denoise=_of(bool, content, "denoise", False, file),
        denoise_rate=_share(content, "denoise_rate", 0.2, file),
        rejection_rate=_share(content, "rejection_rate", 0.0, file),
    )


def read_encoder(folder: Path, config_name: str) -> EncoderConfig:
    """The encoder's architecture: of the folder's own config.json, or a folder or known name that `config_name` gives.

    Args:
        folder: the model folder; a relative `config_name` is looked for in it, too.
        config_name: of the training arguments.

    Raises:
        CheckpointError: where the architecture is not at hand, or is none of a BERT encoder.
    """
    places = [folder / CONFIG, folder / config_name / CONFIG, Path(config_name) / CONFIG]
    file = next((place for place in places if place.is_file()), None)
    if file is not None:
        content = _read_object(file)
    elif config_name in KNOWN_CONFIGS:
        content, file = KNOWN_CONFIGS[config_name], folder / ARGS
    else:
        raise CheckpointError(
            f"{folder / ARGS}: the architecture '{config_name}' (config_name) is not at hand: put its {CONFIG} beside "
            f"the weights; known by name: {', '.join(KNOWN_CONFIGS)}."
        )
    if content.get("hidden_act", "gelu") != "gelu":
        raise CheckpointError(f"{file}: hidden_act is {content['hidden_act']!r}; only 'gelu' can be run.")
    config = EncoderConfig(
        hidden_size=_count(content, "hidden_size", file),
        num_hidden_layers=_count(content, "num_hidden_layers", file),
        num_attention_heads=_count(content, "num_attention_heads", file),
        intermediate_size=_count(content, "intermediate_size", file),
        max_position_embeddings=_count(content, "max_position_embeddings", file),
        attention_probs_dropout_prob=_share(content, "attention_probs_dropout_prob", 0.1, file),
        layer_norm_eps=_share(content, "layer_norm_eps", 1e-12, file),
    )
    if config.hidden_size % config.num_attention_heads:
        raise CheckpointError(
            f"{file}: hidden_size {config.hidden_size} is no multiple of {config.num_attention_heads} heads."
        )
    return config


def _read_object(file: Path) -> Dict[str, Any]:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: a DiffuSeq folder has it beside the weights.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}): get it again.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds a {type(content).__name__}, not keys and values.")
    return content


def _count(content: Mapping[str, Any], key: str, file: Path) -> int:
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
        raise CheckpointError(f"{file}: '{key}' is {value!r}; it must be a whole number from 1 to {LARGEST}.")
    return value


def _of(kind: type, content: Mapping[str, Any], key: str, default: Union[str, bool], file: Path) -> Any:
    value = content.get(key, default)
    if not isinstance(value, kind):
        raise CheckpointError(f"{file}: '{key}' is {value!r}; it must be a {kind.__name__}.")
    return value


def _share(content: Mapping[str, Any], key: str, default: float, file: Path) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise CheckpointError(f"{file}: '{key}' is {value!r}; it must be a number from 0 to below 1.")
    return float(value)
