"""Scores and maps of labelled slices, collected until all are scored."""

from __future__ import annotations

import math
import os
import re
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from medscan.clip import device_errors
from medscan.errors import MedscanError
from medscan.methods import Levels, Method
from medscan.parts import scoring
from medscan.profile import Clock
from medscan.runtimes import Model
from medscan.scoring import AUTO_BATCH_SIZES, Lanes
from medscan.shots import LabelledSlice

IN_MEMORY = 64 << 20
"""Bytes of maps that are held in memory before they go to a temporary file."""
_Output = tuple[NDArray[np.float32], ...]
"""Branch scores (B, k) and maps (B, branches, h, w) of a batch, and distances (B,) from shots if
its model gives them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of a slice.

    Parameters
    ----------
    name, patient, study : str
        `study` is the key of the slice's DICOM study, the name of its volume, or the patient of
        an image without volume.
    label : int
        1 abnormal.
    mask : bytes or None
        Bits of (S, S), row by row; None if the pixels are not labelled.
    inside : (int, int, int, int)
        Top, left, bottom, right of the image in the square.
    """

    name: str
    patient: str
    study: str
    label: int
    mask: bytes | None
    inside: tuple[int, int, int, int]


@dataclass(slots=True, weakref_slot=True)
class Observations:
    """Scores and maps of slices; the maps are in a temporary file, so that memory is bounded.

    Parameters
    ----------
    size : int
        Side S of the square.
    shape : tuple of int
        Shape of a slice's maps, (branches, h, w), float32.
    distances : list of float
        Of each slice from the shots, as the gate sees it; NaN where it is not known.
    """

    size: int
    shape: tuple[int, ...] = ()
    truths: list[Truth] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    _maps: tempfile.SpooledTemporaryFile[bytes] = field(
        default_factory=lambda: tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
    )

    def __post_init__(self) -> None:
        weakref.finalize(self, self._maps.close)

    def add(
        self,
        truth: Truth,
        score: NDArray[np.float32],
        maps: NDArray[np.float32],
        distance: float = math.nan,
    ) -> None:
        """Add a slice's branch scores (k,) and maps (branches, h, w), and its distance.

        Raises
        ------
        medscan.errors.MedscanError
            If a value is not finite.
        """
        if not (np.isfinite(score).all() and np.isfinite(maps).all()):
            raise MedscanError(f"{truth.name}: its score is not finite; try --precision fp32")
        self.shape = maps.shape
        self._maps.seek(0, os.SEEK_END)
        self.truths.append(truth)
        self.scores.append(score.astype(np.float64))
        self.distances.append(float(distance))
        self._maps.write(np.ascontiguousarray(maps, np.float32).tobytes())

    def maps(self) -> Iterator[NDArray[np.float32]]:
        """Yield every slice's maps, in the order of `truths`."""
        nbytes = int(np.prod(self.shape)) * 4
        for index in range(len(self.truths)):
            self._maps.seek(index * nbytes)  # another iterator may have moved the file position
            yield np.frombuffer(self._maps.read(nbytes), np.float32).reshape(self.shape)

    def mask(self, truth: Truth) -> NDArray[np.bool_]:
        """Abnormal pixels of a slice, (S, S)."""
        if truth.mask is None:
            return np.zeros((self.size, self.size), np.bool_)
        bits = np.unpackbits(np.frombuffer(truth.mask, np.uint8), count=self.size**2)
        return bits.reshape(self.size, self.size).astype(np.bool_)

    def inside(self, truth: Truth) -> NDArray[np.bool_]:
        """Pixels of the square that belong to the image, (S, S)."""
        top, left, bottom, right = truth.inside
        inside = np.zeros((self.size, self.size), np.bool_)
        inside[top:bottom, left:right] = True
        return inside


class PreparedBatches:
    """Cache of `Method.prepare` over one sequence of slices, for methods with equal settings.

    Parameters
    ----------
    limit : int
        Bytes; batches beyond it are prepared anew each time.
    """

    def __init__(self, limit: int = 2 << 30) -> None:
        self.limit, self.nbytes, self.lock = limit, 0, Lock()
        self.batches: dict[int, torch.Tensor] = {}

    def get(self, method: Method, number: int, images: torch.Tensor) -> torch.Tensor:
        """Return the prepared batch of that number, on the method's device."""
        if number in self.batches:
            return self.batches[number].to(method.backbone.device)
        prepared = method.prepare(images)
        with self.lock:
            self.nbytes += prepared.nbytes
            if self.nbytes <= self.limit:
                self.batches[number] = prepared.cpu()
        return prepared


def observe(
    method: Method,
    slices: Iterable[LabelledSlice],
    *,
    published: bool,
    cache: PreparedBatches | None = None,
) -> Observations:
    """Score slices in batches of the shape that a scan has, so that scores agree to the last bit.

    Parameters
    ----------
    method : Method
    slices : iterable of LabelledSlice
    published : bool
        Use `Method.published`, as the authors' test code does, instead of `Method.score`.
    cache : PreparedBatches, optional
        Cache of the same slices for methods with the same settings.

    Raises
    ------
    medscan.errors.DeviceError
        If a batch does not fit into the device's memory, or the device is lost.
    """
    run = partial(_run, method, cache or PreparedBatches(0), published=published)
    return _collect(method.backbone.size, str(method.backbone.device), run, slices)


def observe_model(model: Model, slices: Iterable[LabelledSlice]) -> Observations:
    """Score slices as a scan does, with whatever computes the model.

    Raises
    ------
    medscan.errors.DeviceError
        If a batch does not fit into the device's memory, or the device is lost.
    """

    def run(batch: list[LabelledSlice], _number: int) -> _Output:
        images = model.empty(_batch_size(model.device))
        np.asarray(images)[: len(batch)] = np.stack([s.image for s in batch])
        output = model.run(images, Clock())
        score, grid = output.wait(Clock())
        return score[:, None], grid[:, None], output.distances()

    return _collect(model.square.size, model.device, run, slices)


def _collect(
    size: int,
    device: str,
    run: Callable[[list[LabelledSlice], int], _Output],
    slices: Iterable[LabelledSlice],
) -> Observations:
    """Run batches, which are numbered, in the lanes of a device."""
    observed, remaining = Observations(size), iter(slices)
    with Lanes(device) as lanes, device_errors():
        submitted: deque[tuple[list[LabelledSlice], Future[_Output]]] = deque()
        for number in count():
            if not (batch := list(islice(remaining, _batch_size(device)))):
                break
            submitted.append((batch, lanes.submit(partial(run, batch, number))))
            while len(submitted) > lanes.ahead:
                _add(observed, *submitted.popleft(), lanes)
        while submitted:
            _add(observed, *submitted.popleft(), lanes)
    return observed


def _batch_size(device: str) -> int:
    return AUTO_BATCH_SIZES[device.split(":")[0]]


def _add(
    observed: Observations, batch: list[LabelledSlice], future: Future[_Output], lanes: Lanes
) -> None:
    # The last batch is padded: rows without a slice are dropped.
    for labelled, *found in zip(batch, *lanes.result(future), strict=False):
        observed.add(_truth(labelled), *found)


@torch.inference_mode()
def _run(
    method: Method,
    cache: PreparedBatches,
    batch: list[LabelledSlice],
    number: int,
    *,
    published: bool,
) -> _Output:
    """Scores (B, k) and maps (B, branches, h, w) of a batch filled up with black slices."""
    size = method.backbone.size
    images = torch.zeros(_batch_size(method.backbone.device.type), 3, size, size)
    images[: len(batch)] = torch.from_numpy(np.stack([s.image for s in batch]))
    levels = method(cache.get(method, number, images))
    return _published(method, levels) if published else _score(method, levels)


def _score(method: Method, levels: Levels) -> _Output:
    """Scores (B, 1) and maps (B, 1, G, G)."""
    score, grid = method.score(levels)
    return score[:, None].float().cpu().numpy(), grid[:, None].float().cpu().numpy()


def _published(method: Method, levels: Levels) -> _Output:
    """Branch scores (B, k) and full-size maps (B, branches, S, S)."""
    published = method.published(levels, method.backbone.size)
    maps = torch.stack(published.maps, 1).float().cpu().numpy()
    if not published.scores:
        return np.zeros((len(maps), 0), np.float32), maps
    return torch.stack(published.scores, 1).float().cpu().numpy(), maps


def _truth(labelled: LabelledSlice) -> Truth:
    item = labelled.item
    file = file_of(item.name)
    whole = item.sources[0].study if item.sources else item.patient
    return Truth(
        item.name,
        item.patient,
        whole if item.sources or file == item.name else file,
        item.label,
        None if labelled.mask is None else np.packbits(labelled.mask).tobytes(),
        labelled.inside,
    )


def file_of(name: str) -> str:
    """Name of a slice's file: `head.nii.gz` for the slice `head.nii.gz#12`."""
    return re.sub(r"#\d+$", "", name)


def upsample_to_square(grid: NDArray[np.float32], size: int, patch: int) -> NDArray[np.float32]:
    """A grid map (G, G) on the square (S, S), bilinear; pixels beyond the last patch repeat it."""
    if grid.shape[0] == size:
        return grid
    side = patch * grid.shape[0]
    fine = scoring.upsample(torch.from_numpy(grid.copy())[None, None], side, align_corners=False)
    square: NDArray[np.float32] = np.pad(fine[0, 0].numpy(), (0, size - side), mode="edge")
    return square
