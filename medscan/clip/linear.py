"""Linear layers through oneDNN where the CPU has no faster library.

PyTorch multiplies in single precision by MKL, which leaves half of AVX-512 unused on processors
that are not Intel's. oneDNN, which comes with PyTorch and multiplies bfloat16 anyway, takes half
the time there. It sums in another order, so that results differ by rounding.

While a method learns, layers can multiply in bfloat16 as well. Everything between them stays in
single precision: attention too, whose gradient takes PyTorch three times as long in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The operator that PyTorch's compiler calls; every build of PyTorch with oneDNN has it.
_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)

_ATTENTION_OPTIONS = {"need_weights", "attn_mask"}
"""Options of attention that `SelfAttention` handles itself."""


_IN_BF16 = ContextVar("_IN_BF16", default=False)


@contextmanager
def multiplying_in_bf16(*, wanted: bool) -> Iterator[None]:
    """Let linear layers multiply what is in single precision in bfloat16, if that is wanted."""
    token = _IN_BF16.set(wanted)
    try:
        yield
    finally:
        _IN_BF16.reset(token)


def _can_use_onednn(x: Tensor) -> bool:
    """Whether oneDNN may multiply x; it supports neither gradients nor export of the graph."""
    return (
        _ONEDNN is not None
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def apply_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Inputs (..., d), weight (D, d) and bias (D,) -> (..., D), in the inputs' precision."""
    if _IN_BF16.get() and x.dtype == torch.float32:
        return apply_linear(x.bfloat16(), weight, bias).float()
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    if _can_use_onednn(x):
        product: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """nn.Linear computed by `apply_linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """See `apply_linear`."""
        return apply_linear(x, self.weight, self.bias)


class SelfAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention that computes self-attention without weights by `apply_linear`.

    PyTorch's own transposes the batch first; with frozen weights it then copies them for every
    image, which takes most of the time in bfloat16.
    """

    def forward(self, query: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        """See nn.MultiheadAttention."""
        supported = self.batch_first and self.in_proj_weight is not None
        supported = supported and options.keys() <= _ATTENTION_OPTIONS
        to_itself = len(rest) == 2 and rest[0] is query and rest[1] is query
        if options.get("need_weights", True) or not (supported and to_itself):
            return super().forward(query, *rest, **options)
        shape = (*query.shape[:2], 3, self.num_heads, self.head_dim)
        packed = apply_linear(query, self.in_proj_weight, self.in_proj_bias).view(shape)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=options.get("attn_mask"))
        out = self.out_proj
        return apply_linear(mixed.transpose(1, 2).flatten(2), out.weight, out.bias), None


def speed_up(model: nn.Module) -> None:
    """Let a model's layers compute by `apply_linear`; their parameters stay where they are."""
    replacements: dict[type[nn.Module], type[nn.Module]] = {
        nn.Linear: Linear,
        nn.MultiheadAttention: SelfAttention,
    }
    for part in model.modules():
        part.__class__ = replacements.get(type(part), type(part))
