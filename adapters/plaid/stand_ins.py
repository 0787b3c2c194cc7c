"""Stand-ins for what the authors' Plaid imports and no current machine has: fused kernels, mup, and a GPU.

The kernels are those of flash-attention 1.0.6 and of apex at the time of the authors' release, in plain torch: the same
function with the same roundings, and gradients. What is imported for a command line or a plot alone is an empty module.

Python 3.8 syntax with torch alone: this runs inside old images too.
"""

from __future__ import annotations

import contextlib
import io
import sys
import types
import warnings
from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RMS_EPSILON = 1e-5


class FusedRMSNorm(nn.Module):
    """apex.normalization.FusedRMSNorm: the mean square in float32, the result rounded to the dtype of the input before
    it is scaled. Under autocast apex rounds the input and the scale first.

    Args:
        dim: of the last dimension.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if torch.is_autocast_enabled():
            dtype = torch.get_autocast_gpu_dtype()
            x, weight = x.to(dtype), weight.to(dtype)
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + RMS_EPSILON)
        return (wide * scale).to(x.dtype) * weight


class FusedMLP(nn.Module):
    """flash_attn.ops.fused_dense.FusedMLP without biases: two linear layers around the tanh-approximated GELU.

    Args:
        dim: of input and output.
        hidden: of the layer between them.
        bias1, bias2: must be False, as the authors have them.
        checkpoint_lvl: how much the backward pass recomputes; of no effect on the result.
    """

    def __init__(self, dim: int, hidden: int, bias1: bool, bias2: bool, checkpoint_lvl: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden, bias=bias1)
        self.fc2 = nn.Linear(hidden, dim, bias=bias2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


def apply_rotary_emb_qkv_(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """flash_attn.layers.rotary.apply_rotary_emb_qkv_: halves of the head dimension of q and k rotated, v as it is;
    float32 arithmetic, rounded to the dtype of the input once.

    Args:
        qkv: [B, S, 3, H, D].
        cos, sin: [S, D / 2], already rounded to the dtype of `qkv`.

    Returns:
        the rotated [B, S, 3, H, D]; `qkv` is left as it is, unlike theirs.
    """
    first, second = qkv[:, :, :2].float().chunk(2, dim=-1)
    cos, sin = cos.float()[:, None, None], sin.float()[:, None, None]
    turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
    return torch.cat((turned.to(qkv.dtype), qkv[:, :, 2:]), dim=2)


def flash_attn_unpadded_qkvpacked_func(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, causal: bool = False
) -> Tensor:
    """flash_attn.flash_attn_interface.flash_attn_unpadded_qkvpacked_func: softmax attention within each segment.

    Args:
        qkv: [N, 3, H, D]: all segments one behind the other.
        cu_seqlens: borders of the segments, 0 first and N last.
        max_seqlen: longest segment.
        dropout_p: must be 0, as the authors have it.
        causal: whether positions see earlier ones alone.

    Returns:
        [N, H, D].
    """
    if dropout_p:
        raise ValueError("attention has no dropout here, got {}".format(dropout_p))
    lengths = cu_seqlens.diff().tolist()
    if len(set(lengths)) == 1:
        return _attention(qkv.unflatten(0, (len(lengths), lengths[0])), causal).flatten(0, 1)
    return torch.cat([_attention(part[None], causal)[0] for part in qkv.split(lengths) if len(part)])


def _attention(qkv: Tensor, causal: bool) -> Tensor:
    """[B, S, 3, H, D] -> [B, S, H, D]."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)


class MuReadout(nn.Linear):
    """mup.MuReadout: a linear layer that knows how many times wider it is than its base.

    Their network applies the layer itself, and reads the two factors from here.
    """

    #: Factor on the input.
    output_mult: float = 1.0
    #: Inputs of the same layer in the base model; `set_base_shapes` sets it.
    base_inputs: int = 0

    def width_mult(self) -> float:
        """How many times wider than the base."""
        return self.in_features / self.base_inputs


def set_base_shapes(model: nn.Module, base: nn.Module, delta: nn.Module) -> None:
    """mup.set_base_shapes as far as a loaded network feels it. Theirs rescales the random start too, which the
    checkpoint then replaces."""
    theirs = dict(base.named_modules())
    for name, module in model.named_modules():
        if isinstance(module, MuReadout):
            module.base_inputs = theirs[name].in_features


def no_optimizer(*args: Any, **kwargs: Any) -> None:
    """mup.MuAdam: nothing is trained here."""


def stand_ins() -> Dict[str, types.ModuleType]:
    """The modules by the names under which theirs import them."""
    contents: Mapping[str, Mapping[str, Any]] = {
        "apex": {},
        "apex.normalization": {"FusedRMSNorm": FusedRMSNorm},
        "flash_attn": {},
        "flash_attn.flash_attn_interface": {"flash_attn_unpadded_qkvpacked_func": flash_attn_unpadded_qkvpacked_func},
        "flash_attn.layers": {},
        "flash_attn.layers.rotary": {"apply_rotary_emb_qkv_": apply_rotary_emb_qkv_},
        "flash_attn.ops": {},
        "flash_attn.ops.fused_dense": {"FusedMLP": FusedMLP},
        "mup": {"MuReadout": MuReadout, "set_base_shapes": set_base_shapes, "MuAdam": no_optimizer},
        # Command line, progress bar, plots, the corpus they train on.
        "fire": {},
        "tqdm": {"tqdm": iter},
        "matplotlib": {"use": lambda backend: None},
        "matplotlib.pyplot": {},
        "orjson": {},
    }
    modules = {name: types.ModuleType(name) for name in contents}
    for name, content in contents.items():
        modules[name].__dict__.update(content)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, modules[name])
    return modules


class OnDevice(TorchFunctionMode):
    """Their "cuda", which is written everywhere, is the given device.

    Args:
        device: torch device name.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.cuda:
            return args[0].to(self.device)
        kwargs = kwargs or {}
        if kwargs.get("device") == "cuda":
            kwargs = {**kwargs, "device": self.device}
        return func(*args, **kwargs)


@contextlib.contextmanager
def their_world(device: str, modules: Mapping[str, types.ModuleType]) -> Iterator[None]:
    """What their code runs in; everything is as before afterwards.

    New tensors are float64, which they set for the whole process, and on the device; products may round to TF32, which
    they allow (sample.py and train.py, main). `modules` can be imported: theirs look for the rotation kernel at every
    call, and take another path where they do not find it. What they print is dropped, and so are warnings of names that
    torch renamed and of CUDA that is not there.

    Args:
        device: torch device name.
        modules: of `stand_ins`.
    """
    kept = {name: sys.modules.get(name) for name in modules}
    dtype, tf32 = torch.get_default_dtype(), (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if device != "cpu":
            stack.enter_context(torch.device(device))
        stack.enter_context(OnDevice(device))
        try:
            sys.modules.update(modules)
            torch.set_default_dtype(torch.float64)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
            for name, module in kept.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module
