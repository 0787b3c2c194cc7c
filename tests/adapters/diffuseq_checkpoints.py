"""Small random DiffuSeq checkpoints, the same on every machine.

``python -m tests.adapters.diffuseq_checkpoints FOLDER`` writes them in the authors' published layout. Their goldens are
recorded from there with
``tdbench parity diffuseq checkpoint=FOLDER/<name> upstream.path=CHECKOUT rounds=0 --record``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from adapters.parity import frozen_state

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: Pieces that the clean-up of decoded text looks for, and some that continue a word.
PIECES = """. , ? ! ' s t m ve re ll n do not nothing don i you it is can a the cat dog how what why good
red green blue one two three ##s ##t ##ing ##n ##ed"""
#: Words of the own vocabulary of the checkpoint "words"; "@@" marks a piece that the next one continues.
WORDS = ("a", "the", "cat", "dog", "how", "what", "wh@@", "y", "?", ".", "do", "not", "red", "green", "blue")
WEIGHTS_NAME = "ema_0.9999_000200.pt"


@dataclass(frozen=True)
class Shape:
    """Sizes of a small model, and what of its training arguments is not the authors' default.

    Attributes:
        dims: width D of the embeddings.
        hidden: width H of the encoder; no projections where it is D.
        time_dims: width of the time features.
        steps: T.
        length: tokens of a row.
        words: whether the vocabulary is the authors' own list of words instead of BERT's pieces.
        second: whether it is a model of DiffuSeq-v2, with a learned mean and Bernoulli noise.
        arguments: further training arguments.
    """

    dims: int = 16
    hidden: int = 32
    time_dims: int = 16
    steps: int = 20
    length: int = 24
    layers: int = 2
    heads: int = 4
    words: bool = False
    second: bool = False
    arguments: tuple[tuple[str, Any], ...] = ()

    @property
    def vocabulary(self) -> list[str]:
        """Tokens in the order of their ids."""
        return ["[START]", "[END]", "[UNK]", "[PAD]", *WORDS] if self.words else [*SPECIAL, *PIECES.split()]


#: The golden checkpoints: the usual layout; no projections, odd time features, another schedule; the published T; an
#: own vocabulary.
SHAPES = {
    "small": Shape(),
    "square": Shape(dims=32, time_dims=15, steps=33, length=17, layers=1, arguments=(("noise_schedule", "cosine"),)),
    "long": Shape(steps=2000, length=16, layers=1, heads=2),
    "words": Shape(words=True, steps=60, length=13, layers=1, arguments=(("noise_schedule", "linear"),)),
}
#: DiffuSeq-v2's are recorded by a program of their own (tests/goldens/record_diffuseq_v2.py).
SECOND = {
    "v2": Shape(second=True, steps=20),
    "v2-rejecting": Shape(second=True, steps=20, length=16, layers=1, arguments=(("rejection_rate", 0.8),)),
    "v2-long": Shape(second=True, steps=2000, length=16, layers=1, heads=2),
}


def bert_config(shape: Shape) -> dict[str, Any]:
    """The encoder's config, as `transformers` writes it."""
    return {
        "model_type": "bert",
        "architectures": ["BertForMaskedLM"],
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": 2 * shape.hidden,
        "max_position_embeddings": 32,
        "vocab_size": len(shape.vocabulary),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }


def training_args(shape: Shape, config_name: str) -> dict[str, Any]:
    """The flat argument dict that a training run leaves, the authors' defaults included."""
    arguments = {
        "lr": 0.0001,
        "batch_size": 2048,
        "microbatch": 64,
        "learning_steps": 320000,
        "log_interval": 20,
        "save_interval": 40000,
        "eval_interval": 1000,
        "ema_rate": "0.9999",
        "resume_checkpoint": "none",
        "schedule_sampler": "lossaware",
        "diffusion_steps": shape.steps,
        "noise_schedule": "sqrt",
        "timestep_respacing": "",
        "vocab": "datasets/vocab.txt" if shape.words else "bert",
        "use_plm_init": "no",
        "vocab_size": len(shape.vocabulary),
        "config_name": config_name,
        "notes": "golden",
        "data_dir": "datasets/golden",
        "dataset": "golden",
        "checkpoint_path": "diffusion_models/golden",
        "seq_len": shape.length,
        "hidden_t_dim": shape.time_dims,
        "hidden_dim": shape.dims,
        "dropout": 0.1,
        "use_fp16": False,
        "fp16_scale_growth": 0.001,
        "seed": 102,
        "gradient_clipping": -1.0,
        "weight_decay": 0.0,
        "learn_sigma": False,
        "use_kl": False,
        "predict_xstart": True,
        "rescale_timesteps": True,
        "rescale_learned_sigmas": False,
        "sigma_small": False,
        "emb_scale_factor": 1.0,
    }
    second = {
        "data_split_num": 0,
        "learned_mean_embed": True,
        "denoise": True,
        "denoise_rate": 0.5,
        "rejection_rate": 0.0,
        "reg_rate": 0.01,
        "device": "",
    }
    return {**arguments, **(second if shape.second else {}), **dict(shape.arguments)}


def shapes_of(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters by their published names, the tied `lm_head.weight` left out."""
    config = bert_config(shape)
    d, h, f, t = shape.dims, shape.hidden, config["intermediate_size"], shape.time_dims
    found: dict[str, tuple[int, ...]] = {"mean_embed": (d,)} if shape.second else {}

    def linear(name: str, rows: int, columns: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (h,), (h,)

    found["word_embedding.weight"] = (len(shape.vocabulary), d)
    found["lm_head.bias"] = (len(shape.vocabulary),)
    linear("time_embed.0", 4 * t, t)
    linear("time_embed.2", h, 4 * t)
    if d != h:
        linear("input_up_proj.0", h, d)
        linear("input_up_proj.2", h, h)
    for layer in range(shape.layers):
        place = f"input_transformers.layer.{layer}"
        for name in ("query", "key", "value"):
            linear(f"{place}.attention.self.{name}", h, h)
        linear(f"{place}.attention.output.dense", h, h)
        norm(f"{place}.attention.output.LayerNorm")
        linear(f"{place}.intermediate.dense", f, h)
        linear(f"{place}.output.dense", h, f)
        norm(f"{place}.output.LayerNorm")
    found["position_embeddings.weight"] = (config["max_position_embeddings"], h)
    norm("LayerNorm")
    if d != h:
        linear("output_down_proj.0", h, h)
        linear("output_down_proj.2", d, h)
    return found


def weights(shape: Shape, seed: int = 11) -> dict[str, Tensor]:
    """A published file's content: the averaged embedding under `word_embedding.weight`, the raw one, which the authors'
    tied model ends up with, under `lm_head.weight`."""
    state = {name: torch.from_numpy(value) for name, value in frozen_state(shapes_of(shape), seed).items()}
    raw = frozen_state({"lm_head.weight": shapes_of(shape)["word_embedding.weight"]}, seed)
    state["lm_head.weight"] = torch.from_numpy(raw["lm_head.weight"])
    for name in ("word_embedding.weight", "lm_head.weight"):
        state[name] *= shape.dims**0.5  # their embeddings start as standard normals
    if "output_down_proj.2.weight" in state:
        state["output_down_proj.2.weight"] *= 3  # else all predictions round to the same few tokens
    state["position_ids"] = torch.arange(bert_config(shape)["max_position_embeddings"])[None]
    return state


def pieces_tokenizer(shape: Shape) -> Tokenizer:
    """A tokenizer as that of bert-base-uncased, with few pieces."""
    ids = {piece: i for i, piece in enumerate(shape.vocabulary)}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    made.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    made.add_special_tokens(list(SPECIAL))
    return made


def write(folder: Path, shape: Shape, config_name: str = "bert-config") -> Path:
    """A model folder as a training run leaves it. The encoder's config, which the authors' code gets by its name,
    stands in it."""
    folder.mkdir(parents=True)
    torch.save(weights(shape), folder / WEIGHTS_NAME)
    _write_json(folder / "training_args.json", training_args(shape, config_name))
    _write_json(folder / "config.json", bert_config(shape))
    if shape.words:
        _write_json(folder / "vocab.json", {word: i for i, word in enumerate(shape.vocabulary)})
        return folder
    pieces_tokenizer(shape).save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(shape.vocabulary) + "\n", encoding="utf-8")
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    _write_json(folder / "special_tokens_map.json", special)
    facts = {"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer", **special}
    _write_json(folder / "tokenizer_config.json", facts)
    return folder


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    for name, shape in {**SHAPES, **SECOND}.items():
        print(write(Path(sys.argv[1]) / name, shape))
