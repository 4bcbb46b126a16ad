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
    from medscan.methods import Method

CHATTY = ("torch", "torch.fx", "torch.export", "torch.onnx", "onnxscript", "onnx_ir")
"""Loggers of what traces and converts."""


def traced(method: Method) -> Any:
    """Trace backbone and method as one `torch.export.ExportedProgram`.

    Its input is `image`, float32 (N, 3, S, S) in [0, 1]; its outputs are scores (N,) and maps
    (N, G, G), float32. N is free.

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
        return torch.export.export(_as_module(method), sample, dynamic_shapes=free)


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


def _as_module(method: Method) -> Any:
    """Wrap backbone and method as one module, from images to scores and maps."""
    from torch import Tensor, nn

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # A method does not register the frozen tower; the graph must hold its weights too.
            self.method, self.tower = method, method.backbone.model

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            score, grid = self.method.score(self.method(self.method.prepare(image)))
            return score.float(), grid.float()

    return Whole().eval()
