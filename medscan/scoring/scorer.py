"""Run slices through a detector in batches of one shape."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medscan.clip import device_errors, is_gpu_full
from medscan.detector import Detector
from medscan.errors import DeviceError
from medscan.profile import MODEL, Clock
from medscan.scoring.lanes import Lanes

if TYPE_CHECKING:
    from torch import Tensor

    from medscan.methods import Method

log = logging.getLogger("medscan.scan")

AUTO_BATCH_SIZES = {"cpu": 8, "cuda": 64}
"""Batch sizes of `--batch-size auto`."""

Tags = list[Any]


@dataclass(frozen=True, slots=True)
class _Output:
    """Scores (B,) and maps (B, G, G) of a batch in host memory.

    Those of a GPU may be read only after the second event; the events enclose its computing.
    """

    score: Tensor
    grid: Tensor
    events: tuple[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """Score and map of one slice.

    Parameters
    ----------
    tag : object
        As passed to `Scorer.add` with the slice.
    score : float
    heatmap : float16 (G, G)
    """

    tag: Any
    score: float
    heatmap: NDArray[np.float16]


_Submitted = tuple[Tags, "Tensor", Future[_Output]]


class Scorer:
    """Fills batches across series and pads the last one, so that all have the same shape.

    Kernels may round differently for another shape: a score would depend on the batch that its
    slice happens to be in. Results come in the order of the slices, a few batches later.

    Parameters
    ----------
    detector : Detector
    method : Method
        Loaded on the device, with its backbone.
    batch_size : int
        Halved when the device runs out of memory.
    lanes : Lanes
        Lanes of the device; detectors share them.
    clock : Clock, optional
        Counts the time that the model works, and that this process waits for it.
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
        method.backbone.between_blocks = lanes.check
        self.filling: tuple[Tags, Tensor] | None = None
        self.fetch_stream: Any = None
        self.submitted: deque[_Submitted] = deque()

    def add(self, tag: Any, image: NDArray[np.float32]) -> Iterator[Scored]:
        """Copy a slice (C, S, S) into the batch; yield the results that are ready."""
        import torch

        tags, batch = self.filling = self.filling or ([], self._empty(image.shape[-1]))
        batch[len(tags)] = torch.from_numpy(image)
        tags.append(tag)
        if len(tags) == len(batch):
            self._submit_filled()
        # Waits only while too many batches are submitted: that bounds the memory they take.
        while len(self.submitted) > self.lanes.ahead or self._is_first_done():
            yield from self._take_first()

    def flush(self) -> Iterator[Scored]:
        """Score the unfinished batch, and yield all results still to come."""
        self._submit_filled()
        while self.submitted:
            yield from self._take_first()

    def _empty(self, side: int) -> Tensor:
        """Return a batch of zeros, pinned for a GPU so that it can be copied while it computes."""
        import torch

        pinned = self.method.backbone.device.type == "cuda"
        with device_errors():
            return torch.zeros(self.batch_size, 3, side, side, pin_memory=pinned)

    def _submit_filled(self) -> None:
        if self.filling is not None:
            self.submitted.append(self._submit(*self.filling))
            self.filling = None

    def _submit(self, tags: Tags, batch: Tensor) -> _Submitted:
        """Give a batch to a lane."""
        return tags, batch, self.lanes.submit(partial(self._predict, batch))

    def _is_first_done(self) -> bool:
        return bool(self.submitted) and self.submitted[0][2].done()

    def _take_first(self) -> Iterator[Scored]:
        """Yield the results of the batch submitted first; submit it again if memory ran out."""
        tags, batch, future = self.submitted.popleft()
        with device_errors():
            try:
                output = self._wait_for(future)
            except RuntimeError as error:
                if not is_gpu_full(error):
                    raise
                self._shrink(error, len(batch))
                # In front and in order, so that results still come in the order of the slices.
                self.submitted.extendleft(reversed([*self._submit_smaller(tags, batch)]))
                return
        grids = output.grid.numpy().astype(np.float16)
        # The last batch is padded: rows without a tag are dropped.
        for tag, score, grid in zip(tags, output.score.tolist(), grids, strict=False):
            yield Scored(tag, score, grid)

    def _submit_smaller(self, tags: Tags, batch: Tensor) -> Iterator[_Submitted]:
        """Submit a batch again, in batches of the reduced size."""
        for first in range(0, len(tags), self.batch_size):
            part = self._empty(batch.shape[-1])
            rows = batch[first : first + self.batch_size]
            part[: len(rows)] = rows
            yield self._submit(tags[first : first + self.batch_size], part)

    def _wait_for(self, future: Future[_Output]) -> _Output:
        with self.clock.waiting(MODEL):
            output = self.lanes.result(future)
            if output.events is not None:
                started, ended = output.events
                ended.synchronize()
                self.clock.add(MODEL, started.elapsed_time(ended) / 1000)
        return output

    def _predict(self, batch: Tensor) -> _Output:
        """Score a batch in a lane; on a GPU, return before it has finished."""
        try:
            if batch.is_pinned():
                return self._predict_on_gpu(batch)
            with self.clock.busy(MODEL):
                return _Output(*self.method.predict(batch))
        except RuntimeError as error:
            if not is_gpu_full(error):
                raise
            # The traceback's frames hold the tensors that filled the memory. Let go of them here:
            # batches that fail one after another would hold theirs until they are taken.
            raise error.with_traceback(None) from None

    def _predict_on_gpu(self, batch: Tensor) -> _Output:
        """Queue the copy of a batch to a GPU, its scoring, and the copy of the results back.

        The copy has a stream of its own: it runs while the GPU computes the batch before.
        """
        import torch

        device = self.method.backbone.device
        cuda: Any = torch.cuda
        started, ended = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        with cuda.device(device):
            self.fetch_stream = self.fetch_stream or cuda.Stream()
            with cuda.stream(self.fetch_stream):
                images = batch.to(device, non_blocking=True)
            computing = cuda.current_stream()
            computing.wait_stream(self.fetch_stream)
            # Tells the allocator not to reuse the memory of `images` before computing is done.
            images.record_stream(computing)
            started.record()
            score, grid = (t.to("cpu", non_blocking=True) for t in self.method.predict(images))
            ended.record()
        return _Output(score, grid, (started, ended))

    def _shrink(self, error: Exception, failed: int) -> None:
        """Halve the batch size after a batch of `failed` slices ran out of memory."""
        import torch

        if failed == 1:
            raise DeviceError("GPU memory is too small for one slice; use --device cpu") from error
        torch.cuda.empty_cache()
        # Several batches of the old size may fail one after another: halve only once.
        if failed // 2 < self.batch_size:
            self.batch_size = failed // 2
            log.warning("out of GPU memory: going on with batches of %d", self.batch_size)
