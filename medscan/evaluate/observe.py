"""What a detector says of labelled slices, kept until all are seen."""

from __future__ import annotations

import os
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from medscan.errors import MedscanError
from medscan.fit import LabelledSlice
from medscan.methods import Levels, Method
from medscan.parts import scoring

BATCH = 16
IN_MEMORY = 64 << 20
"""Bytes of maps that are held before they go to a temporary file."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a slice.

    Parameters
    ----------
    name, patient, study : str
        `study` is the volume that the slice is of, or the patient of a picture.
    label : int
        1 abnormal.
    mask : bytes or None
        Bits of (S, S), row by row; None where nothing is known of the pixels.
    inside : (int, int, int, int)
        Top, left, bottom, right of the picture in the square.
    """

    name: str
    patient: str
    study: str
    label: int
    mask: bytes | None
    inside: tuple[int, int, int, int]


@dataclass(slots=True, weakref_slot=True)
class Observations:
    """Scores and maps of slices; the maps wait in a temporary file, so that memory is bounded.

    Parameters
    ----------
    size : int
        Side S of the square.
    shape : tuple of int
        Of a slice's maps, (branches, h, w), float32.
    """

    size: int
    shape: tuple[int, ...] = ()
    truths: list[Truth] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    _maps: tempfile.SpooledTemporaryFile[bytes] = field(
        default_factory=lambda: tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
    )

    def __post_init__(self) -> None:
        weakref.finalize(self, self._maps.close)

    def add(self, truth: Truth, score: NDArray[np.float32], maps: NDArray[np.float32]) -> None:
        """Take what was found of a slice: branch scores (k,) and maps (branches, h, w).

        Raises
        ------
        medscan.errors.MedscanError
            Not all of it is finite.
        """
        if not (np.isfinite(score).all() and np.isfinite(maps).all()):
            raise MedscanError(f"{truth.name}: its score is not finite; try --precision fp32")
        self.shape = maps.shape
        self._maps.seek(0, os.SEEK_END)
        self.truths.append(truth)
        self.scores.append(score.astype(np.float64))
        self._maps.write(np.ascontiguousarray(maps, np.float32).tobytes())

    def maps(self) -> Iterator[NDArray[np.float32]]:
        """Every slice's maps, in the order in which they came."""
        each = int(np.prod(self.shape)) * 4
        for place in range(len(self.truths)):
            self._maps.seek(place * each)  # another reader may have moved it
            yield np.frombuffer(self._maps.read(each), np.float32).reshape(self.shape)

    def mask(self, truth: Truth) -> NDArray[np.bool_]:
        """The abnormal pixels of a slice, (S, S)."""
        if truth.mask is None:
            return np.zeros((self.size, self.size), np.bool_)
        bits = np.unpackbits(np.frombuffer(truth.mask, np.uint8), count=self.size**2)
        return bits.reshape(self.size, self.size).astype(np.bool_)

    def inside(self, truth: Truth) -> NDArray[np.bool_]:
        """The pixels of the square that belong to the picture, (S, S)."""
        top, left, bottom, right = truth.inside
        found = np.zeros((self.size, self.size), np.bool_)
        found[top:bottom, left:right] = True
        return found


class PreparedBatches:
    """What `Method.prepare` makes of one sequence of slices, kept for the next method like it.

    Parameters
    ----------
    limit : int
        Bytes; what is beyond is prepared anew each time.
    """

    def __init__(self, limit: int = 2 << 30) -> None:
        self.limit, self.held = limit, 0
        self.batches: dict[int, torch.Tensor] = {}

    def of(self, method: Method, number: int, images: torch.Tensor) -> torch.Tensor:
        """The prepared batch of that number, on the method's device."""
        if number in self.batches:
            return self.batches[number].to(method.backbone.device)
        prepared = method.prepare(images)
        self.held += prepared.nbytes
        if self.held <= self.limit:
            self.batches[number] = prepared.cpu()
        return prepared


@torch.inference_mode()
def observe(
    method: Method,
    slices: Iterable[LabelledSlice],
    *,
    published: bool,
    kept: PreparedBatches | None = None,
) -> Observations:
    """Score slices, in batches.

    Parameters
    ----------
    method : Method
    slices : iterable of LabelledSlice
    published : bool
        Take what the authors' test code takes, `Method.published`, instead of `Method.score`.
    kept : PreparedBatches, optional
        Of the same slices and a method with the same settings.
    """
    found, kept = Observations(method.backbone.size), kept or PreparedBatches(0)
    waiting, number = iter(slices), 0
    while batch := list(islice(waiting, BATCH)):
        images = torch.from_numpy(np.stack([s.image for s in batch]))
        levels = method(kept.of(method, number, images))
        scores, maps = _published(method, levels) if published else _scored(method, levels)
        for row, labelled in enumerate(batch):
            found.add(_truth(labelled), scores[row], maps[row])
        number += 1
    return found


def _scored(method: Method, levels: Levels) -> tuple[NDArray[np.float32], ...]:
    """Scores (B, 1) and maps (B, 1, G, G)."""
    score, grid = method.score(levels)
    return score[:, None].float().cpu().numpy(), grid[:, None].float().cpu().numpy()


def _published(method: Method, levels: Levels) -> tuple[NDArray[np.float32], ...]:
    """Branch scores (B, k) and full-size maps (B, branches, S, S)."""
    found = method.published(levels, method.backbone.size)
    maps = torch.stack(found.maps, 1).float().cpu().numpy()
    if not found.scores:
        return np.zeros((len(maps), 0), np.float32), maps
    return torch.stack(found.scores, 1).float().cpu().numpy(), maps


def _truth(labelled: LabelledSlice) -> Truth:
    item = labelled.item
    file = file_of(item.name)
    return Truth(
        item.name,
        item.patient,
        item.patient if file == item.name else file,
        item.label,
        None if labelled.mask is None else np.packbits(labelled.mask).tobytes(),
        labelled.inside,
    )


def file_of(name: str) -> str:
    """Name of the file that a slice such as `head.nii.gz#12` is of."""
    return re.sub(r"#\d+$", "", name)


def enlarged(grid: NDArray[np.float32], size: int, patch: int) -> NDArray[np.float32]:
    """A grid map (G, G) on the square (S, S), bilinear; pixels beyond the last patch repeat it."""
    if grid.shape[0] == size:
        return grid
    side = patch * grid.shape[0]
    fine = scoring.upsample(torch.from_numpy(grid.copy())[None, None], side, align_corners=False)
    found: NDArray[np.float32] = np.pad(fine[0, 0].numpy(), (0, size - side), mode="edge")
    return found
