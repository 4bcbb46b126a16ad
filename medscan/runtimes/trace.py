"""A detector in PyTorch -> one traced program, from images to scores and maps."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

from medscan.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

    from medscan.methods import Method

CHATTY = ("torch", "torch.fx", "torch.export", "torch.onnx", "onnxscript", "onnx_ir")
"""Loggers of what traces and converts."""


def outputs(method: Method, images: Tensor) -> tuple[Tensor, ...]:
    """Scores (B,), maps (B, G, G) and, of a method with a gate, distances (B,), float32.

    Parameters
    ----------
    method : Method
    images : Tensor (B, 3, S, S)
        In [0, 1].
    """
    import torch

    with torch.inference_mode():
        return _computed(method, images, gated=True)


def _computed(method: Method, images: Tensor, *, gated: bool) -> tuple[Tensor, ...]:
    prepared = method.prepare(images)
    score, grid = method.score(method(prepared))
    found = score.float(), grid.float()
    if not gated or method.gate is None:
        return found
    return *found, method.gate(method.outline(prepared))


def traced(method: Method, *, gated: bool = False) -> Any:
    """Trace backbone and method as one `torch.export.ExportedProgram`.

    Its input is `image`, float32 (N, 3, S, S) in [0, 1]; its outputs are scores (N,) and maps
    (N, G, G), float32, and if `gated` the distances (N,) of a method with a gate. N is free.

    Raises
    ------
    ExportError
        If what it computes depends on values in a way that no graph can hold.
    """
    import torch

    size = method.backbone.size
    free = {"image": {0: torch.export.Dim("batch", min=1)}}
    with converting(method), torch.no_grad():
        sample = (torch.zeros(2, 3, size, size),)
        return torch.export.export(_as_module(method, gated=gated), sample, dynamic_shapes=free)


@contextmanager
def converting(method: Method) -> Iterator[None]:
    """Quieten what traces and converts, which prints whole programs, and raise one line.

    Raises
    ------
    ExportError
        If a converter fails inside.
    """
    import torch
    from torch._dynamo.exc import UserError

    levels = {name: logging.getLogger(name).level for name in CHATTY}
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, UserError) as error:
        why = " ".join(str(error).split())[:200]
        raise ExportError(f"method {method.name} cannot be converted: {why}") from error
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _as_module(method: Method, *, gated: bool) -> Any:
    """Wrap backbone and method as one module, from images to what is computed of them."""
    from torch import nn

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # A method does not register the frozen tower; the graph must hold its weights too.
            self.method, self.tower = method, method.backbone.model

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            return _computed(self.method, image, gated=gated)

    return Whole().eval()
