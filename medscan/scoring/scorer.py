"""Batches of slices through a detector, always of one shape."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medscan.detector import Detector
from medscan.errors import DeviceError
from medscan.profile import MODEL, Clock
from medscan.scoring.lanes import Lanes

if TYPE_CHECKING:
    from torch import Tensor

    from medscan.methods import Method

log = logging.getLogger("medscan.scan")

AUTO = {"cpu": 8, "cuda": 64}
"""Batch sizes of `--batch-size auto`."""


FULL = ("can't allocate memory", "not enough memory", "out of memory")
"""How PyTorch says that the memory of the CPU, or of its driver, is full."""

Tags = list[Any]


@dataclass(frozen=True, slots=True)
class _Found:
    """Scores (B,) and maps (B, G, G) of a batch on the host, once a GPU's events have passed."""

    score: Tensor
    grid: Tensor
    events: tuple[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What a detector says of one slice.

    Parameters
    ----------
    tag : object
        Given with the slice.
    score : float
    heatmap : float16 (G, G)
    """

    tag: Any
    score: float
    heatmap: NDArray[np.float16]


_Sent = tuple[Tags, "Tensor", Future[_Found]]


class Scorer:
    """Fills batches across series and pads the last, so that no kernel sees another shape.

    Results come in the order of the slices, a few batches later.

    Parameters
    ----------
    detector : Detector
    method : Method
        On its backbone, on its device.
    batch_size : int
        Halved when the device runs out of memory.
    lanes : Lanes
        Of the device; detectors share it.
    clock : Clock, optional
        Is told how long the model worked, and how long it was waited for.
    """

    def __init__(
        self,
        detector: Detector,
        method: Method,
        batch_size: int,
        lanes: Lanes,
        clock: Clock | None = None,
    ) -> None:
        self.detector, self.method, self.batch_size = detector, method, batch_size
        self.lanes, self.clock = lanes, clock or Clock()
        self.filling: tuple[Tags, Tensor] | None = None
        self.fetching: Any = None
        self.under_way: deque[_Sent] = deque()

    def add(self, tag: Any, image: NDArray[np.float32]) -> Iterator[Scored]:
        """Take a slice (C, S, S), whose memory is free again then; yields what is finished."""
        import torch

        tags, batch = self.filling = self.filling or ([], self._empty(image.shape[-1]))
        batch[len(tags)] = torch.from_numpy(image)
        tags.append(tag)
        if len(tags) == len(batch):
            self._send_filled()
        while len(self.under_way) > self.lanes.ahead or self._is_first_done():
            yield from self._take()

    def flush(self) -> Iterator[Scored]:
        """Score whatever waits."""
        self._send_filled()
        while self.under_way:
            yield from self._take()

    def _empty(self, side: int) -> Tensor:
        """A batch of nothing, from where a GPU can fetch it by itself."""
        import torch

        pinned = self.method.backbone.device.type == "cuda"
        with device_errors():
            return torch.zeros(self.batch_size, 3, side, side, pin_memory=pinned)

    def _send_filled(self) -> None:
        if self.filling is not None:
            self.under_way.append(self._sent(*self.filling))
            self.filling = None

    def _sent(self, tags: Tags, batch: Tensor) -> _Sent:
        """Let a lane have a batch."""
        return tags, batch, self.lanes.submit(partial(self._predict, batch))

    def _is_first_done(self) -> bool:
        return bool(self.under_way) and self.under_way[0][2].done()

    def _take(self) -> Iterator[Scored]:
        """Results of the batch that was sent first; in smaller ones again if memory ran out."""
        import torch

        tags, batch, future = self.under_way.popleft()
        with device_errors():
            try:
                found = self._waited(future)
            except torch.cuda.OutOfMemoryError as error:
                # The frames of its traceback hold the tensors that memory ran out with.
                self._shrink(error.with_traceback(None), len(batch))
                self.under_way.extendleft(reversed([*self._smaller(tags, batch)]))
                return
        grids = found.grid.numpy().astype(np.float16)
        for tag, score, grid in zip(tags, found.score.tolist(), grids, strict=False):
            yield Scored(tag, score, grid)

    def _smaller(self, tags: Tags, batch: Tensor) -> Iterator[_Sent]:
        """A batch in parts of today's size."""
        for first in range(0, len(tags), self.batch_size):
            part = self._empty(batch.shape[-1])
            rows = batch[first : first + self.batch_size]
            part[: len(rows)] = rows
            yield self._sent(tags[first : first + self.batch_size], part)

    def _waited(self, future: Future[_Found]) -> _Found:
        with self.clock.waiting(MODEL):
            found = future.result()
            if found.events is not None:
                begun, done = found.events
                done.synchronize()
                self.clock.add(MODEL, begun.elapsed_time(done) / 1000)
        return found

    def _predict(self, batch: Tensor) -> _Found:
        """Score a batch, in a lane; of a GPU's work only the beginning is waited for."""
        if not batch.is_pinned():
            with self.clock.busy(MODEL):
                return _Found(*self.method.predict(batch))
        return self._queued(batch)

    def _queued(self, batch: Tensor) -> _Found:
        """Have a GPU fetch a batch while it computes the one before, and bring the results."""
        import torch

        device = self.method.backbone.device
        cuda: Any = torch.cuda
        begun, done = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        with cuda.device(device):
            self.fetching = self.fetching or cuda.Stream()
            with cuda.stream(self.fetching):
                images = batch.to(device, non_blocking=True)
            computing = cuda.current_stream()
            computing.wait_stream(self.fetching)
            images.record_stream(computing)
            begun.record()
            found = [t.to("cpu", non_blocking=True) for t in self.method.predict(images)]
            done.record()
        return _Found(found[0], found[1], (begun, done))

    def _shrink(self, error: Exception, failed: int) -> None:
        """Go on with half the batch size."""
        import torch

        if failed == 1:
            raise DeviceError("GPU memory is too small for one slice; use --device cpu") from error
        self.batch_size = max(1, min(self.batch_size, failed // 2))
        torch.cuda.empty_cache()
        log.warning("out of GPU memory: going on with batches of %d", self.batch_size)


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise DeviceError, in one line, for what goes wrong inside because of the device."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = _device_error(error)
        if told is None:
            raise
        raise told from error


def _device_error(error: Exception) -> DeviceError | None:
    """What an error says of the device, in one line; None when it is a mistake of the program."""
    import torch

    said = str(error).partition("\n")[0]
    full = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    if full or any(words in said for words in FULL):
        return DeviceError("memory is too small for the detector; give a smaller --batch-size")
    if isinstance(error, RuntimeError) and _is_lost(error):
        return DeviceError(f"the GPU is lost ({said})")
    return None


def _is_lost(error: RuntimeError) -> bool:
    """Whether the device, rather than the program, is what failed."""
    import torch

    kind: type[Exception] | None = getattr(torch, "AcceleratorError", None)  # since PyTorch 2.8
    if kind is not None and isinstance(error, kind):
        return True
    return any(name in str(error) for name in ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS"))
