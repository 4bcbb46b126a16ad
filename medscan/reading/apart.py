"""Windows, slices, planes and masks of a stack, each read in a worker process that may die."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medscan import archive, imaging
from medscan.archive import ArchiveFile, Frame, Record, Stack
from medscan.choices import MAX_FILE_BYTES
from medscan.errors import FileError
from medscan.imaging import PixelPlane, Slice, Window
from medscan.worker import call


def measure(stack: Stack, rule: str, modality: str) -> Window:
    """Measure the window of a stack; see `medscan.imaging.measure`.

    Raises
    ------
    UsageError
        If the rule cannot be parsed.
    FileError
        If none of the frames needed can be read.
    """
    return call(imaging.measure, stack, rule, modality, MAX_FILE_BYTES)


def render(
    stack: Stack, frames: Sequence[Frame], size: int, window: Window
) -> list[Slice | FileError]:
    """Draw frames of a stack; see `medscan.imaging.render`."""
    try:
        return call(imaging.render, _bare(stack), frames, size, window, MAX_FILE_BYTES)
    except FileError as error:
        return [error] * len(frames)


def read_plane(stack: Stack, frame: Frame) -> PixelPlane | FileError:
    """Read a frame of a stack; see `medscan.imaging.read_planes`."""
    try:
        return call(_plane, _bare(stack), frame)
    except FileError as error:
        return error


def read_header(file: ArchiveFile) -> Record:
    """Read the header of a file, without what its name in a BIDS data set says."""
    return call(_header, file)


def _header(file: ArchiveFile) -> Record:
    return archive.read_header(file, by_name=False)


def read_mask(stack: Stack, frame: Frame) -> NDArray[np.bool_]:
    """Read where a frame of a mask marks something; see `medscan.imaging.read_mask`.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    return call(imaging.read_mask, _bare(stack), frame, MAX_FILE_BYTES)


def _plane(stack: Stack, frame: Frame) -> PixelPlane | FileError:
    return next(imaging.read_planes(stack, [frame], MAX_FILE_BYTES))


def _bare(stack: Stack) -> Stack:
    """The stack without its frames, of which there may be thousands."""
    return replace(stack, frames=())
