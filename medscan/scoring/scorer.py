"""Run slices through a detector in batches of one shape."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.clip import device_errors, is_gpu_full
from medscan.detector import Detector
from medscan.errors import DeviceError
from medscan.profile import MODEL, Clock
from medscan.runtimes import Model, Output
from medscan.scoring.lanes import Lanes

log = logging.getLogger("medscan.scan")

AUTO_BATCH_SIZES = {"cpu": 8, "cuda": 64}
"""Batch sizes of `--batch-size auto`."""

Tags = list[Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """Score and map of one slice.

    Parameters
    ----------
    tag : object
        As passed to `Scorer.add` with the slice.
    score : float
    heatmap : float16 (G, G)
    distance : float
        From the shots, see `medscan.gate`; NaN without a gate.
    """

    tag: Any
    score: float
    heatmap: NDArray[np.float16]
    distance: float = math.nan


_Submitted = tuple[Tags, Any, Future[Output]]


class Scorer:
    """Fills batches across series and pads the last one, so that all have the same shape.

    Kernels may round differently for another shape: a score would depend on the batch that its
    slice happens to be in. Results come in the order of the slices, a few batches later.

    Parameters
    ----------
    detector : Detector
    model : Model
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
        model: Model,
        batch_size: int,
        lanes: Lanes,
        clock: Clock | None = None,
    ) -> None:
        self.detector, self.model, self.batch_size = detector, model, batch_size
        self.lanes, self.clock = lanes, clock or Clock()
        model.interrupt_by(lanes.check)
        self.filling: tuple[Tags, Any] | None = None
        self.submitted: deque[_Submitted] = deque()

    def add(self, tag: Any, image: NDArray[np.float32]) -> Iterator[Scored]:
        """Copy a slice (C, S, S) into the batch; yield the results that are ready."""
        tags, batch = self.filling = self.filling or ([], self.model.empty(self.batch_size))
        np.asarray(batch)[len(tags)] = image
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

    def _submit_filled(self) -> None:
        if self.filling is not None:
            self.submitted.append(self._submit(*self.filling))
            self.filling = None

    def _submit(self, tags: Tags, batch: Any) -> _Submitted:
        """Give a batch to a lane."""
        return tags, batch, self.lanes.submit(partial(self.model.run, batch, self.clock))

    def _is_first_done(self) -> bool:
        return bool(self.submitted) and self.submitted[0][2].done()

    def _take_first(self) -> Iterator[Scored]:
        """Yield the results of the batch submitted first; submit it again if memory ran out."""
        tags, batch, future = self.submitted.popleft()
        with device_errors():
            try:
                with self.clock.waiting(MODEL):
                    output = self.lanes.result(future)
                    scores, grids = output.wait(self.clock)
            except RuntimeError as error:
                if not is_gpu_full(error):
                    raise
                self._shrink(error, len(batch))
                # In front and in order, so that results still come in the order of the slices.
                self.submitted.extendleft(reversed([*self._submit_smaller(tags, batch)]))
                return
        # The last batch is padded: rows without a tag are dropped.
        halves = grids.astype(np.float16)
        rows = zip(tags, scores.tolist(), halves, output.distances().tolist(), strict=False)
        for tag, score, grid, distance in rows:
            yield Scored(tag, score, grid, distance)

    def _submit_smaller(self, tags: Tags, batch: Any) -> Iterator[_Submitted]:
        """Submit a batch again, in batches of the reduced size."""
        for first in range(0, len(tags), self.batch_size):
            part = self.model.empty(self.batch_size)
            rows = batch[first : first + self.batch_size]
            part[: len(rows)] = rows
            yield self._submit(tags[first : first + self.batch_size], part)

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
