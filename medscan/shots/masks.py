"""Masks of labelled images: which frames they mark, and where.

Every value above 0 marks, so that label maps can be used as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medscan import archive, reading
from medscan.archive import Frame, Outcome, Stack
from medscan.errors import FileError, UsageError
from medscan.shots.sources import Source


@dataclass(frozen=True, slots=True)
class Mask:
    """The mask of the frames of an image.

    Parameters
    ----------
    name : str
        Of the image.
    stack : Stack
    frames : dict
        Frame of the mask by frame of the image.
    """

    name: str
    stack: Stack
    frames: Mapping[Frame, Frame]

    def marks(self, frame: Frame) -> NDArray[np.bool_]:
        """Where a frame of the image is marked, (rows, columns) as stored.

        Raises
        ------
        UsageError
            If the mask cannot be read.
        """
        try:
            return reading.read_mask(self.stack, self.frames[frame])
        except FileError as error:
            raise UsageError(f"the mask of {self.name} cannot be read: {error}") from error


def mask_of(name: str, path: Path, source: Source, number: int = 0) -> Mask:
    """Find the mask of the frames of an image.

    Parameters
    ----------
    name : str
        Of the image.
    path : Path
        A picture, a volume or a DICOM image, but no DICOM segmentation.
    source : Source
        The image.
    number : int
        Place of its stack in its file; masks of one stack hold for all.

    Raises
    ------
    UsageError
        If it does not exist, is no image, or does not fit.
    """
    if not path.is_file():
        raise UsageError(f"the mask of {name} does not exist: {path}")
    image, stacks = source.stack, _stacks(name, path, source)
    stack = stacks[number if len(stacks) > number else 0]
    sizes = [
        (s.columns, s.rows, count)
        for s, count in ((stack, len(stack.frames)), (image, len(source.frames)))
    ]
    if sizes[0] != sizes[1]:
        text = [" x ".join(str(n) for n in size) for size in sizes]
        raise UsageError(f"the mask of {name} is {text[0]}, but the image is {text[1]}")
    if len(source.frames) > 1 and stack.kind.is_volume != image.kind.is_volume:
        raise UsageError(
            f"the mask of {name} is {'a' if stack.kind.is_volume else 'no'} volume, unlike the "
            "image: nothing says which of its slices is which; convert one of them"
        )
    pairs = zip(_in_file(source.frames), _in_file(stack.frames), strict=True)
    return Mask(name, stack, dict(pairs))


def _in_file(frames: tuple[Frame, ...]) -> list[Frame]:
    """Frames in the order of their file; those of a volume in that of its canonical axes."""
    return sorted(frames, key=lambda frame: frame.index)


def _stacks(name: str, path: Path, source: Source) -> list[Stack]:
    """Stacks of a mask file, a volume cut as the image is."""
    (entry,) = archive.walk(path)
    plane = source.stack.plane if source.stack.kind.is_volume else None
    record = entry if isinstance(entry, Outcome) else reading.read_header(entry)
    catalogue = archive.group([record], plane)
    stacks = [k for study in catalogue.studies for series in study.series for k in series.stacks]
    if not stacks:
        why = next((o.detail or o.reason for o in catalogue.set_aside), "it holds no image")
        raise UsageError(f"the mask of {name} cannot be used: {why}")
    return stacks
