"""Frames -> pixels after rescale, whatever kind of file they lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from medscan.archive import ArchiveFile, Frame, Kind, Stack
from medscan.errors import CorruptError, FileError
from medscan.imaging.dicom import DicomFile
from medscan.imaging.picture import read_picture
from medscan.imaging.quiet import reading
from medscan.imaging.types import PixelPlane
from medscan.imaging.volume import open_volume

Read = Callable[[int], PixelPlane]
_watchers: list[Callable[[ArchiveFile], object]] = []


@dataclass(slots=True)
class KeptPlanes:
    """Planes of one stack that were read once and will be asked for once more.

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
        """The plane, which is then forgotten; None when it is not there."""
        plane = self._planes.pop(frame, None)
        self.room += 0 if plane is None else plane.pixels.nbytes
        return plane


def read_planes(
    stack: Stack, frames: Sequence[Frame], max_file_bytes: int, kept: KeptPlanes | None = None
) -> Iterator[PixelPlane | FileError]:
    """Read frames of a stack in the order given; each file is opened once per run of its frames.

    Parameters
    ----------
    stack : Stack
        Tells kind, size and plane.
    frames : sequence of Frame
    max_file_bytes : int
        Limit on a file's size, unpacked.
    kept : KeptPlanes, optional
        Planes in it are taken from it instead.

    Yields
    ------
    PixelPlane or FileError
        One for each frame: what is wrong with one file costs that file only.
    """
    found = ((frame, kept.take(frame) if kept else None) for frame in frames)
    # Planes that are there already are a run of their own: their file is not opened.
    for (file, there), run in groupby(found, key=lambda pair: (pair[0].file, pair[1] is not None)):
        if there:
            yield from (plane for _, plane in run if plane is not None)
            continue
        try:
            read = _opened(stack, file, max_file_bytes)
        except FileError as error:
            yield from (error for _ in run)
            continue
        for frame, _ in run:
            yield _read(stack, frame, read)


def watch(told: Callable[[ArchiveFile], object]) -> None:
    """Have `told` called with each file that this process reads frames of, before it is opened."""
    _watchers.append(told)


def _opened(stack: Stack, file: ArchiveFile, max_file_bytes: int) -> Read:
    """What reads a frame of the file by its index."""
    for told in _watchers:
        told(file)
    with reading():
        if stack.kind is Kind.DICOM:
            return DicomFile(file, max_file_bytes).plane
        if stack.kind is Kind.PICTURE:
            return partial(read_picture, file, max_file_bytes=max_file_bytes)
        return partial(open_volume(file, stack.kind, max_file_bytes).plane, stack.plane)


def _read(stack: Stack, frame: Frame, read: Read) -> PixelPlane | FileError:
    try:
        with reading():
            return _checked(stack, read(frame.index))
    except FileError as error:
        return error


def _checked(stack: Stack, plane: PixelPlane) -> PixelPlane:
    """The plane, if it is of the size that its header promised."""
    size = plane.pixels.shape[:2]
    if size != (stack.rows, stack.columns):
        raise CorruptError(
            f"decodes to {size[0]} x {size[1]} pixels, "
            f"its header says {stack.rows} x {stack.columns}"
        )
    return plane
