"""Batches of slices through a detector, always of one shape."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medscan.detector import Detector
from medscan.errors import DeviceError

if TYPE_CHECKING:
    from medscan.methods import Method

log = logging.getLogger("medscan.scan")

AUTO = {"cpu": 8, "cuda": 64}
"""Batch sizes of `--batch-size auto`."""


FULL = ("can't allocate memory", "not enough memory", "out of memory")
"""How PyTorch says that the memory of the CPU, or of its driver, is full."""


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


class Scorer:
    """Fills batches across series and pads the last, so that no kernel sees another shape.

    Parameters
    ----------
    detector : Detector
    method : Method
        On its backbone, on its device.
    batch_size : int
        Halved when the device runs out of memory.
    """

    def __init__(self, detector: Detector, method: Method, batch_size: int) -> None:
        self.detector, self.method, self.batch_size = detector, method, batch_size
        self.waiting: list[tuple[Any, NDArray[np.float32]]] = []

    def add(self, tag: Any, image: NDArray[np.float32]) -> Iterator[Scored]:
        """Take a slice (C, S, S); yields a batch's results whenever one is full."""
        self.waiting.append((tag, image))
        if len(self.waiting) >= self.batch_size:
            yield from self.flush()

    def flush(self) -> Iterator[Scored]:
        """Score whatever waits."""
        while self.waiting:
            batch = self.waiting[: self.batch_size]
            found = self._run([image for _, image in batch])
            if found is None:
                continue
            del self.waiting[: len(batch)]
            for (tag, _), score, grid in zip(batch, *found, strict=False):
                yield Scored(tag, float(score), grid)

    def _run(self, images: list[NDArray[np.float32]]) -> tuple[Any, Any] | None:
        """Scores and maps of at most a batch; None when memory ran out and the batch shrank."""
        import torch

        side = images[0].shape[-1]
        batch = np.zeros((self.batch_size, 3, side, side), np.float32)
        for row, image in zip(batch, images, strict=False):
            row[:] = image
        try:
            return self._predict(batch)
        except torch.cuda.OutOfMemoryError as error:
            self._shrink(error)
            return None
        except (RuntimeError, MemoryError) as error:
            told = device_error(error)
            if told is None:
                raise
            raise told from error

    def _predict(self, batch: NDArray[np.float32]) -> tuple[Any, Any]:
        import torch

        score, grid = self.method.predict(torch.from_numpy(batch))
        return score.cpu().numpy(), grid.cpu().numpy().astype(np.float16)

    def _shrink(self, error: Exception) -> None:
        """Go on with half the batch size."""
        import torch

        if self.batch_size == 1:
            raise DeviceError("GPU memory is too small for one slice; use --device cpu") from error
        self.batch_size = max(1, self.batch_size // 2)
        torch.cuda.empty_cache()
        log.warning("out of GPU memory: going on with batches of %d", self.batch_size)


def device_error(error: Exception) -> DeviceError | None:
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
