"""Run slices through a detector in batches of one shape."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
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

KEPT_SCORES = 4096
"""Scores and maps of the latest different slices that are kept for equal ones."""

Keys = list[bytes]
"""SHA-256 of the pixels of each slice of a batch."""


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


_Submitted = tuple[Keys, Any, Future[Output]]


class Scorer:
    """Fills batches across series and pads the last one, so that all have the same shape.

    Kernels may round differently for another shape: a score would depend on the batch that its
    slice happens to be in. So that it does not, slices with the same pixels have the same score,
    and are scored once: copies of a series, repeated frames. Results come a few batches later, in
    the order in which the first of equal slices came.

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
        self.filling: tuple[Keys, Any] | None = None
        self.submitted: deque[_Submitted] = deque()
        self.repeated = 0
        self._tags: dict[bytes, list[Any]] = {}  # of slices that are being scored
        self._known: OrderedDict[bytes, list[Any]] = OrderedDict()  # of the latest slices

    def add(self, tag: Any, image: NDArray[np.float32]) -> Iterator[Scored]:
        """Take a slice (C, S, S); yield the results that are ready."""
        key = sha256(np.ascontiguousarray(image).data).digest()
        if key in self._known:
            self.repeated += 1
            yield Scored(tag, *self._known[key])
        elif key in self._tags:
            self.repeated += 1
            self._tags[key].append(tag)
        else:
            self._tags[key] = [tag]
            self._fill(key, image)
        # Waits only while too many batches are submitted: that bounds the memory they take.
        while len(self.submitted) > self.lanes.ahead or self._is_first_done():
            yield from self._take_first()

    def flush(self) -> Iterator[Scored]:
        """Score the unfinished batch, and yield all results still to come."""
        self._submit_filled()
        while self.submitted:
            yield from self._take_first()

    def _fill(self, key: bytes, image: NDArray[np.float32]) -> None:
        """Copy a slice into the batch, and submit the batch once it is full."""
        keys, batch = self.filling = self.filling or ([], self.model.empty(self.batch_size))
        np.asarray(batch)[len(keys)] = image
        keys.append(key)
        if len(keys) == len(batch):
            self._submit_filled()

    def _submit_filled(self) -> None:
        if self.filling is not None:
            self.submitted.append(self._submit(*self.filling))
            self.filling = None

    def _submit(self, keys: Keys, batch: Any) -> _Submitted:
        """Give a batch to a lane."""
        return keys, batch, self.lanes.submit(partial(self.model.run, batch, self.clock))

    def _is_first_done(self) -> bool:
        return bool(self.submitted) and self.submitted[0][2].done()

    def _take_first(self) -> Iterator[Scored]:
        """Yield the results of the batch submitted first; submit it again if memory ran out."""
        keys, batch, future = self.submitted.popleft()
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
                self.submitted.extendleft(reversed([*self._submit_smaller(keys, batch)]))
                return
        # The last batch is padded: rows without a key are dropped.
        halves = grids.astype(np.float16)
        rows = zip(keys, scores.tolist(), halves, output.distances().tolist(), strict=False)
        for key, *found in rows:
            self._known[key] = found
            yield from (Scored(tag, *found) for tag in self._tags.pop(key))
        while len(self._known) > KEPT_SCORES:
            self._known.popitem(last=False)

    def _submit_smaller(self, keys: Keys, batch: Any) -> Iterator[_Submitted]:
        """Submit a batch again, in batches of the reduced size."""
        for first in range(0, len(keys), self.batch_size):
            part = self.model.empty(self.batch_size)
            rows = batch[first : first + self.batch_size]
            part[: len(rows)] = rows
            yield self._submit(keys[first : first + self.batch_size], part)

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
