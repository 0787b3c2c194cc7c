"""The authors' DiffuSeq (main branch) behind the common interface: their rows, network, diffusion, rounding and
decoding, run as they are.

What is replaced, for a while and inside their modules only:

- `datasets` and `psutil`, which they use to tokenize in four processes and to print memory: stand-ins that do the same
  to a table in memory, in this process.
- basic_utils.TransformerNetModel, where only a diffusion is wanted: respacing needs no second network.
- transformer_model.AutoConfig, which asks a hub: the encoder's config comes from the checkpoint folder, or is known.
- basic_utils.os, which they ask for LOCAL_RANK; what their tokenizer saves goes to a temporary folder.
- the decoder of the tokenizer, where the installed `tokenizers` no longer cleans up text as their pinned version did
  (see `adapters.diffuseq.texts.clean_up`).
- the network, given to their samplers wrapped: counted.

DiffuSeq-v2 is another branch of their repository; its samplers are compared in tests/adapters/test_diffuseq_v2.py.
"""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple, Type

import torch
from torch import Tensor

from adapters.base import (
    AdapterError,
    CheckpointError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LoadSpec,
)
from adapters.diffuseq.layout import ARGS, read_args, read_encoder, weights_file
from adapters.diffuseq.recording import record
from adapters.diffuseq.texts import plain_text, target_room
from adapters.diffuseq.their_data import CutSources, TheirTokenizer, load_tokens, quiet, stand_ins
from adapters.upstream import UpstreamModel, import_modules, patched
from adapters.weights import read_weights

__all__ = ["DiffuseqUpstream", "load", "record"]

#: Their modules that are imported; diffuseq.utils.nn and diffuseq.utils.losses come with them.
MODULES = (
    "basic_utils",
    "diffuseq.gaussian_diffusion",
    "diffuseq.rounding",
    "diffuseq.text_datasets",
    "diffuseq.transformer_model",
)
PACKAGES = ("transformers", "tokenizers")
TASKS = ("seq2seq",)
SCHEDULERS = ("ddpm_diffuseq", "ddim_diffuseq")
#: Fewest levels of a chain whose tables their code can make.
FEWEST = 2
#: What a row has besides source and target: start, end, and a separator.
ROW_TOKENS = 3
#: What their loader raises for a folder that it cannot read.
REFUSALS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError, EOFError)
DEFAULTS = {"clamp_step": 0, "top_p": 0, "clip_denoised": False}


class DiffuseqUpstream(UpstreamModel):
    """The authors' code with one checkpoint.

    Args:
        code: their modules by name.
        network: their TransformerNetModel, in eval mode on its device.
        tokens: their `myTokenizer`.
        args: the training arguments.
        spec: what was loaded.
    """

    def __init__(
        self, code: Mapping[str, ModuleType], network: Any, tokens: Any, args: Mapping[str, Any], spec: LoadSpec
    ) -> None:
        self.code = code
        self.network = network
        self.args = args
        self.tokens = tokens
        self.table = torch.nn.Embedding.from_pretrained(network.word_embedding.weight.clone())
        super().__init__(
            name="diffuseq",
            tokenizer=TheirTokenizer(tokens),
            mask_id=int(network.word_embedding.weight.shape[0]),
            counted=CountedNetwork(network, spec.device),
            device=spec.device,
            length=int(args["seq_len"]),
            parameter_count=sum(p.numel() for p in network.parameters()),
            tasks=TASKS,
            schedulers=SCHEDULERS,
            estimators=(),
        )

    def evaluate(self, x: Tensor, times: Tensor) -> Tensor:
        """Their network, counted, as their samplers see it."""
        out: Tensor = self.counted(list(range(len(x))), x, times)
        return out

    @property
    def steps(self) -> int:
        """T."""
        return int(self.args["diffusion_steps"])

    def diffusion(self, respacing: Optional[str] = None) -> Any:
        """Their SpacedDiffusion: over the levels that the training arguments keep, or that `respacing` does."""
        utils = self.code["basic_utils"]
        chosen = self.args if respacing is None else {**self.args, "timestep_respacing": respacing}
        with patched(utils, TransformerNetModel=lambda **_: None):
            _, made = utils.create_model_and_diffusion(**chosen)
        return made

    def rows(
        self, sources: Sequence[str], targets: Sequence[str], length: int, tokens: Any = None
    ) -> Tuple[Tensor, Tensor]:
        """Pairs as their data code lays them out.

        Args:
            sources, targets: texts.
            length: L of a row.
            tokens: their tokenizer, or one that stands in for it.

        Returns:
            ids [B, L], and 0 where they are given, else 1 [B, L].
        """
        lines = {"src": [text.strip() for text in sources], "trg": [text.strip() for text in targets]}
        with quiet():
            helper = self.code["diffuseq.text_datasets"].helper_tokenize
            table = helper(lines, tokens or self.tokens, length)["train"]
        return torch.tensor(table["input_ids"]), torch.tensor(table["input_mask"])

    def check(self, request: GenerateRequest) -> None:
        super().check(request)
        checked(request.options)
        room = target_room(request.options, request.length)
        if room < 2:
            raise AdapterError(
                "the authors' rows have 2 positions for a target or more: give length or target_room more"
            )
        if request.steps > self.steps:
            raise AdapterError(f"{request.steps} steps are more than the {self.steps} the model was trained with")
        if request.scheduler == "ddpm_diffuseq" and request.steps < FEWEST:
            raise AdapterError(f"the authors' chain needs {FEWEST} steps or more, got {request.steps}")

    def begin(self, ids: Tensor, mask: Tensor) -> Tuple[Tensor, Dict[str, Any]]:
        """The first state [B, L, D], and what every sampler of theirs is told, as in their script.

        Args:
            ids, mask: as of `rows`, on the device.
        """
        x_start = self.network.get_embeds(ids)
        noise = torch.randn_like(x_start)
        wide = torch.broadcast_to(mask.unsqueeze(dim=-1), x_start.shape)
        return torch.where(wide == 0, x_start, noise), {"mask": wide, "x_start": x_start}

    def run(
        self, ids: Tensor, mask: Tensor, steps: int, scheduler: str, options: Mapping[str, Any]
    ) -> Iterator[Dict[str, Any]]:
        """One of their samplers from torch's global generator, as their script calls it.

        Args:
            ids, mask: as of `rows`, on the device.

        Yields:
            what their sampler gives after each evaluation.
        """
        chosen = checked(options)
        start, given = self.begin(ids, mask)
        common = {
            "noise": start,
            "clip_denoised": chosen["clip_denoised"],
            "denoised_fn": partial(self.code["diffuseq.rounding"].denoised_fn_round, None, self.table),
            "model_kwargs": {},
            "device": torch.device(self.device),
            **given,
        }
        network, shape = self.evaluate, tuple(start.shape)
        if scheduler == "ddim_diffuseq":
            gap = self.steps // steps
            return iter(self.diffusion().ddim_sample_loop_progressive(network, shape, gap=gap, **common))
        clamp = {"top_p": chosen["top_p"], "clamp_step": chosen["clamp_step"], "clamp_first": True}
        diffusion = self.diffusion(None if steps == self.steps else str(steps))
        return iter(diffusion.p_sample_loop_progressive(network, shape, **clamp, **common))

    def write(
        self, ids: Tensor, mask: Tensor, steps: int, scheduler: str, options: Mapping[str, Any], seed: int
    ) -> Tensor:
        """Ids [B, L] of the last state. It keeps every state, as their loops do."""
        torch.manual_seed(seed)
        states = [out["sample"] for out in self.run(ids, mask, steps, scheduler, options)]
        logits = self.network.get_logits(states[-1])
        tokens: Tensor = torch.topk(logits, k=1, dim=-1).indices[..., 0]
        return tokens

    @torch.no_grad()
    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.check(request)
        sources = [prompt.source for prompt in request.prompts]
        room = target_room(request.options, request.length)
        cut = CutSources(self.tokens, request.length - room - ROW_TOKENS)
        ids, mask = self.rows(sources, [""] * len(sources), request.length, cut)
        self.counted.reset(request.count)
        tokens = self.write(
            ids.to(self.device),
            mask.to(self.device),
            request.steps,
            request.scheduler,
            request.options,
            request.seed,
        ).cpu()
        # Their logits are of all positions; what is given is given.
        tokens = torch.where(mask == 0, ids, tokens)
        given = (mask == 0).sum(-1).tolist()
        written = [row[start:] for row, start in zip(tokens.tolist(), given)]
        return GenerateResult(
            tokens=tokens.tolist(),
            texts=[plain_text(self.tokenizer.decode(ids)) for ids in written],
            nfe=list(self.counted.nfe),
            generated_tokens=[sum(token != self.tokens.pad_token_id for token in row) for row in written],
            left_off=cut.left_off[: request.count],
        )


def checked(options: Mapping[str, Any]) -> Dict[str, Any]:
    """Their options with defaults. Raises `AdapterError` for a value they cannot take."""
    chosen = {**DEFAULTS, **{name: value for name, value in options.items() if name in DEFAULTS}}
    for name in ("clamp_step", "top_p"):
        if isinstance(chosen[name], bool) or not isinstance(chosen[name], (int, float)):
            raise AdapterError(f"{name} must be a number, got {chosen[name]!r}")
    if not isinstance(chosen["clip_denoised"], bool):
        raise AdapterError("clip_denoised must be true or false, got {!r}".format(chosen["clip_denoised"]))
    return chosen


def load(spec: LoadSpec) -> DiffuseqUpstream:
    """Load a checkpoint with the authors' code.

    Raises:
        AdapterError: for a missing checkout or package, or a dtype their code has not.
        CheckpointError: for a folder that their code cannot read.
    """
    return load_engine(spec, DiffuseqUpstream, MODULES)


def load_engine(
    spec: LoadSpec, engine: Type[DiffuseqUpstream], modules: Sequence[str], **changed: Any
) -> DiffuseqUpstream:
    """`load` for a branch of their repository.

    Args:
        spec: what to load.
        engine: class for the branch.
        modules: their modules that are imported.
        changed: training arguments in place of those of the folder.
    """
    if spec.upstream is None:
        raise AdapterError(
            "the upstream engine of diffuseq needs a checkout of the authors' code: upstream.path=FOLDER."
        )
    if spec.checkpoint is None:
        raise AdapterError("diffuseq needs a checkpoint: name one, or give a folder.")
    if spec.dtype != "float32":
        raise AdapterError(f"the authors' code of diffuseq computes in float32, not in '{spec.dtype}'.")
    code = import_modules(spec.upstream, modules, "diffuseq", PACKAGES, stand_ins())
    file = weights_file(spec.checkpoint)
    folder = file.parent
    read_args(folder)
    try:
        args = {**json.loads((folder / ARGS).read_text(encoding="utf-8")), **changed}
        network = _network(code, file, args)
        tokens = load_tokens(code, folder, args)
    except REFUSALS as error:
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(f"the authors' code cannot load {folder}: {type(error).__name__}: {reason}") from error
    return engine(code, network.to(spec.device), tokens, args, spec)


def _network(code: Mapping[str, ModuleType], file: Path, args: Mapping[str, Any]) -> Any:
    """Their network with the averaged weights, in eval mode."""
    from transformers import BertConfig  # their package, so checked for by now

    chosen = BertConfig(**asdict(read_encoder(file.parent, args["config_name"])), hidden_dropout_prob=args["dropout"])
    chosen._attn_implementation = "eager"  # what newer versions choose, with a warning
    stand_in = Namespace(from_pretrained=lambda _: chosen)
    with patched(code["diffuseq.transformer_model"], AutoConfig=stand_in):
        network, _ = code["basic_utils"].create_model_and_diffusion(**args)
    network.load_state_dict(read_weights(file))
    return network.eval().requires_grad_(False)
