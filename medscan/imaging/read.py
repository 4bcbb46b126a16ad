"""Frames -> pixels after rescale, from any kind of file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from medscan.archive import ArchiveFile, Frame, Kind, Stack
from medscan.decoding import DicomFile, PixelPlane, file_errors
from medscan.errors import CorruptError, FileError
from medscan.imaging.picture import read_mask_page, read_page
from medscan.imaging.volume import open_volume
from medscan.worker import announce

ReadFrame = Callable[[int], PixelPlane]
"""Reads a frame of an open file by its index."""


@dataclass(slots=True)
class KeptPlanes:
    """Planes of one stack that were read to measure it, and are kept to be drawn.

    Parameters
    ----------
    room : int
        Bytes of pixels that may still be kept.
    """

    room: int
    _planes: dict[Frame, PixelPlane] = field(default_factory=dict)

    def keep(self, frame: Frame, plane: PixelPlane) -> None:
        """Keep a plane while there is room."""
        if plane.pixels.nbytes <= self.room:
            self.room -= plane.pixels.nbytes
            self._planes[frame] = plane

    def take(self, frame: Frame) -> PixelPlane | None:
        """Remove and return the plane of a frame; None if it was not kept."""
        plane = self._planes.pop(frame, None)
        self.room += 0 if plane is None else plane.pixels.nbytes
        return plane


def read_planes(
    stack: Stack, frames: Sequence[Frame], max_file_bytes: int, kept: KeptPlanes | None = None
) -> Iterator[PixelPlane | FileError]:
    """Read frames of a stack in order; a file is opened once for each run of its frames.

    Parameters
    ----------
    stack : Stack
        Gives kind, size and plane.
    frames : sequence of Frame
    max_file_bytes : int
        Limit on a file as stored, unpacked and decoded.
    kept : KeptPlanes, optional
        Planes that it holds are taken from it, and not read.

    Yields
    ------
    PixelPlane or FileError
        One for each frame: a broken file costs only its own frames.
    """
    pairs = ((frame, kept.take(frame) if kept else None) for frame in frames)
    # Kept planes form runs of their own, so that their file is not opened.
    for (file, is_kept), run in groupby(pairs, key=lambda p: (p[0].file, p[1] is not None)):
        if is_kept:
            yield from (plane for _, plane in run if plane is not None)
            continue
        try:
            read = _open_file(stack, file, max_file_bytes)
        except FileError as error:
            yield from (error for _ in run)
            continue
        for frame, _ in run:
            yield _read(stack, frame, read)


def read_mask(stack: Stack, frame: Frame, max_file_bytes: int) -> NDArray[np.bool_]:
    """Read where a frame of a mask marks something: every value above 0 does.

    Returns
    -------
    bool (rows, columns)

    Raises
    ------
    FileError
        If it cannot be read.
    """
    if stack.kind is Kind.PICTURE:
        announce(frame.file)
        with file_errors():
            return read_mask_page(frame.file, frame.index, max_file_bytes)
    (plane,) = read_planes(stack, [frame], max_file_bytes)
    if isinstance(plane, FileError):
        raise plane
    marked: NDArray[np.bool_] = np.atleast_3d(plane.pixels).max(axis=2) > 0
    return marked


def _open_file(stack: Stack, file: ArchiveFile, max_file_bytes: int) -> ReadFrame:
    """Open a file of a stack, and return what reads its frames."""
    announce(file)
    with file_errors():
        if stack.kind is Kind.DICOM:
            return DicomFile(file, max_file_bytes).plane
        if stack.kind is Kind.PICTURE:
            return partial(read_page, file, max_file_bytes=max_file_bytes)
        return partial(open_volume(file, stack.kind, max_file_bytes).plane, stack.plane)


def _read(stack: Stack, frame: Frame, read: ReadFrame) -> PixelPlane | FileError:
    try:
        with file_errors():
            return _checked(stack, read(frame.index))
    except FileError as error:
        return error


def _checked(stack: Stack, plane: PixelPlane) -> PixelPlane:
    """Return the plane if it has the size that its header declares; refuse it otherwise."""
    size = plane.pixels.shape[:2]
    if size != (stack.rows, stack.columns):
        raise CorruptError(
            f"decodes to {size[0]} x {size[1]} pixels, "
            f"its header says {stack.rows} x {stack.columns}"
        )
    return plane
