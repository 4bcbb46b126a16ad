"""Detectors computed by PyTorch, on CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medscan.choices import Precision, RuntimeName
from medscan.clip import device_errors, is_gpu_full
from medscan.profile import MODEL, Clock
from medscan.runtimes.base import Check, Computed, Output, Square
from medscan.runtimes.trace import outputs

if TYPE_CHECKING:
    from torch import Tensor

    from medscan.methods import Method


class TorchModel:
    """A method with its backbone; see `medscan.runtimes.base.Model`.

    Parameters
    ----------
    method : Method
        Loaded on the device.
    precision : Precision
        Of the backbone.
    """

    def __init__(self, method: Method, precision: Precision = Precision.FP32) -> None:
        self.method, self.computed = method, Computed(precision, RuntimeName.TORCH)
        self._fetch_stream: Any = None

    @property
    def device(self) -> str:
        """As in `Model`."""
        return str(self.method.backbone.device)

    @property
    def square(self) -> Square:
        """As in `Model`."""
        return Square.of(self.method.backbone)

    def interrupt_by(self, check: Check) -> None:
        """As in `Model`."""
        self.method.backbone.between_blocks = check

    def empty(self, count: int) -> Tensor:
        """Return a batch, pinned for a GPU so that it can be copied while the GPU computes."""
        import torch

        side, pinned = self.method.backbone.size, self.device.startswith("cuda")
        with device_errors():
            return torch.zeros(count, 3, side, side, pin_memory=pinned)

    def run(self, batch: Tensor, clock: Clock) -> Output:
        """Score a batch; on a GPU, return before it has finished."""
        try:
            if batch.is_pinned():
                return self._run_on_gpu(batch)
            with clock.busy(MODEL):
                return _output(outputs(self.method, batch))
        except RuntimeError as error:
            if not is_gpu_full(error):
                raise
            # The traceback's frames hold the tensors that filled the memory. Let go of them here:
            # batches that fail one after another would hold theirs until they are taken.
            raise error.with_traceback(None) from None

    def _run_on_gpu(self, batch: Tensor) -> Output:
        """Queue the copy of a batch to a GPU, its scoring, and the copy of the results back.

        The copy has a stream of its own: it runs while the GPU computes the batch before.
        """
        import torch

        device = self.method.backbone.device
        cuda: Any = torch.cuda
        started, ended = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        with cuda.device(device):
            self._fetch_stream = self._fetch_stream or cuda.Stream()
            with cuda.stream(self._fetch_stream):
                images = batch.to(device, non_blocking=True)
            computing = cuda.current_stream()
            computing.wait_stream(self._fetch_stream)
            # Tells the allocator not to reuse the memory of `images` before computing is done.
            images.record_stream(computing)
            started.record()
            found = [t.to("cpu", non_blocking=True) for t in outputs(self.method, images)]
            ended.record()
        return _output(found, (started, ended))


def _output(found: Sequence[Tensor], events: tuple[Any, Any] | None = None) -> Output:
    score, grid, *distance = found
    return Output(score, grid, events, *distance)
