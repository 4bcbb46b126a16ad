"""Volume files (NIfTI, MetaImage, NRRD) -> displayed slices, read lazily.

Voxels are read where the parser of the header says that they lie, through a file opened below the
archive's root. Of unpacked voxels, slices are read one by one. Packed ones are unpacked once and
kept, in their own dtype, until the next volume is opened.
"""

from __future__ import annotations

import bz2
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from nibabel.fileslice import fileslice
from numpy.typing import NDArray

from medscan.archive import (
    ArchiveFile,
    Kind,
    Packing,
    VolumeLayout,
    cut_geometry,
    open_below,
    volume_layout,
)
from medscan.choices import Plane
from medscan.decoding import PixelPlane, finite
from medscan.errors import CorruptError, TooLargeError, TruncatedError

_PIECE = 1 << 20
"""Bytes that are unpacked or passed over at a time, so that a false size costs no memory."""
_STEP = 1 << 14
"""Packed bytes that zlib is handed at a time."""


@dataclass(frozen=True, slots=True)
class PlainVoxels:
    """Voxels of an uncompressed file; slicing reads only that slice.

    Parameters
    ----------
    file : ArchiveFile
        Its root is that of the archive.
    path : str
        Of the file with the voxels, below that root.
    layout : VolumeLayout
    offset : int
        Byte of the first voxel.
    """

    file: ArchiveFile
    path: str
    layout: VolumeLayout
    offset: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes, those of space first."""
        return self.layout.geometry.shape

    def __getitem__(self, slices: tuple[slice | int, ...]) -> NDArray[Any]:
        """Read voxels by basic slices and integers, one for each axis."""
        layout, axes = self.layout, self.layout.axes or tuple(range(len(slices)))
        stored = tuple(slices[axes.index(n)] for n in range(len(axes)))
        with open_below(self.file.root, self.path) as stream:
            voxels: NDArray[Any] = fileslice(
                stream, stored, layout.stored_shape, layout.dtype, self.offset, "F"
            )
        # Axes with an integer are gone; the others are put into the order of the shape.
        left = [n for n in range(len(axes)) if isinstance(stored[n], slice)]
        return voxels.transpose([left.index(n) for n in axes if n in left])


@dataclass(frozen=True, slots=True)
class Volume:
    """Voxels as stored, where they lie, and how they scale to values.

    Parameters
    ----------
    voxels : array-like (ni, nj, nk, ...)
        Sliceable; a structured dtype with fields R, G, B for colour.
    affine : float64 (4, 4)
        Voxel index to RAS millimetres.
    slope, intercept : float
    """

    voxels: Any
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0

    def plane(self, plane: Plane | None, index: int) -> PixelPlane:
        """Slice `index` (as `Frame.index`) of a canonical plane, as displayed.

        NaN and infinite voxels take the smallest finite value of their slice, or 0 without one.
        """
        cut = cut_geometry(self.affine, self.voxels.shape, plane)
        stored = cut.frame(self.voxels, index)
        if stored.dtype.names:
            colour = np.stack([stored[c] for c in "RGB"], axis=-1).astype(np.float32)
            return PixelPlane(colour, white=255.0)
        if np.iscomplexobj(stored):
            stored = np.abs(stored)
        with np.errstate(over="ignore", invalid="ignore"):
            values = finite(self._scaled(stored))
        step = abs(self.slope) if stored.dtype.kind in "iu" else 0.0
        return PixelPlane(values, step=step)

    def _scaled(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        if (self.slope, self.intercept) == (1.0, 0.0):
            return stored.astype(np.float32)
        scaled = stored.astype(np.float64) * self.slope + self.intercept
        return scaled.astype(np.float32)


@lru_cache(maxsize=1)
def open_volume(file: ArchiveFile, kind: Kind, max_file_bytes: int) -> Volume:
    """Open a volume file; this process keeps the last one open.

    Parameters
    ----------
    file : ArchiveFile
    kind : Kind
        `NIFTI` or `ITK`, as its header says.
    max_file_bytes : int
        Limit on the declared bytes of the voxels, checked before any is read.

    Raises
    ------
    FileError
        If the file is over the limit, ends too early or contradicts itself.
    """
    layout = volume_layout(file, kind)
    shape = layout.geometry.shape
    if layout.voxel_bytes > max_file_bytes:
        sizes = " x ".join(map(str, shape))
        raise TooLargeError(f"{sizes} voxels are over the limit of {max_file_bytes} bytes")
    affine = np.reshape(layout.geometry.affine, (4, 4))
    return Volume(_voxels(file, layout, max_file_bytes), affine, layout.slope, layout.intercept)


def _voxels(file: ArchiveFile, layout: VolumeLayout, max_file_bytes: int) -> Any:
    """Lazy voxels of a plain file, an array from a packed one."""
    need = layout.voxel_bytes
    with _opened(file, layout) as (stream, path, packing):
        _pass_lines(stream, layout)
        if packing is Packing.RAW:
            size = os.fstat(stream.fileno()).st_size
            offset = max(0, size - need) if layout.skip < 0 else stream.tell() + layout.skip
            _check_end(size - offset, need)
            return PlainVoxels(file, path, layout, offset)
        data = _unpacked(stream, packing, layout, max_file_bytes)
    _check_end(len(data), need)
    stored = np.frombuffer(data, dtype=layout.dtype).reshape(layout.stored_shape, order="F")
    return stored.transpose(layout.axes) if layout.axes else stored


@contextmanager
def _opened(file: ArchiveFile, layout: VolumeLayout) -> Iterator[tuple[BinaryIO, str, Packing]]:
    """Open the first of the layout's files that exists."""
    for number, (path, packing) in enumerate(layout.files, 1):
        try:
            stream = open_below(file.root, path)
        except FileNotFoundError:
            if number == len(layout.files):
                raise
            continue
        with stream:
            yield stream, path, packing
        return


def _pass_lines(stream: BinaryIO, layout: VolumeLayout) -> None:
    stream.seek(layout.start)
    for _ in range(layout.lines):
        while (piece := stream.readline(_PIECE)) and not piece.endswith(b"\n"):
            pass
        if not piece:
            raise TruncatedError("it ends within the lines before its voxels")


def _unpacked(
    stream: BinaryIO, packing: Packing, layout: VolumeLayout, max_file_bytes: int
) -> bytes | bytearray:
    """Bytes of the voxels; fewer if the data end early."""
    if packing in (Packing.TEXT, Packing.HEX):
        _skip(stream, layout.skip)
        text = stream.read(max_file_bytes + 1)
        if len(text) > max_file_bytes:
            raise TooLargeError(f"its text is over the limit of {max_file_bytes} bytes")
        return _from_text(text, packing, layout)
    if packing is Packing.BZIP2:
        with bz2.open(stream) as reader:
            _skip(reader, layout.skip)
            data: bytes = reader.read(layout.voxel_bytes)
            _skip(reader, max_file_bytes)  # the checksum is at the end
        return data
    return _inflated(stream, layout, max_file_bytes)


def _inflated(stream: BinaryIO, layout: VolumeLayout, max_file_bytes: int) -> bytearray:
    """Bytes of voxels packed by gzip or zlib, of which the checksum at the end holds."""
    data, passed = bytearray(), 0
    for piece, is_end in _inflate(stream):
        start = max(0, layout.skip - passed)
        passed += len(piece)
        data += piece[start : start + layout.voxel_bytes - len(data)]
        if is_end and len(data) == layout.voxel_bytes:
            break
        if passed > layout.skip + max_file_bytes:
            raise TooLargeError(f"unpacked, it is over the limit of {max_file_bytes} bytes")
    return data


def _inflate(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Unpack a stream of zlib, or the members of a gzip file, in pieces.

    With each piece it says whether a checksum followed, and held. There may be a member for every
    64 KiB (BGZF): no more than `_STEP` bytes are handed to one, which copies what it leaves over.

    Raises
    ------
    TruncatedError
        If it ends before a checksum.
    CorruptError
        If it is damaged.
    """
    packed, engine = memoryview(stream.read(_PIECE)), _engine()
    while packed:
        taken = packed[:_STEP]
        try:
            piece = engine.decompress(taken, _PIECE)
        except zlib.error as error:
            raise CorruptError(f"its packed voxels are damaged: {error}") from error
        yield piece, engine.eof
        left = len(engine.unused_data if engine.eof else engine.unconsumed_tail)
        packed = packed[len(taken) - left :] or memoryview(stream.read(_PIECE))
        engine = _engine() if engine.eof else engine
    raise TruncatedError("it ends before its packed voxels do")


def _engine() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS + 32)


def _from_text(text: bytes, packing: Packing, layout: VolumeLayout) -> bytes:
    if packing is Packing.HEX:
        return bytes.fromhex(text.decode("ascii"))[: layout.voxel_bytes]
    count = layout.voxel_bytes // layout.dtype.itemsize
    number = int if layout.dtype.kind in "iu" else float
    words = text.split(maxsplit=count)[:count]
    return np.fromiter(map(number, words), layout.dtype, len(words)).tobytes()


def _check_end(have: int, need: int) -> None:
    if have < need:
        raise TruncatedError(f"voxels end at byte {max(0, have)} of {need}")


def _skip(stream: Any, offset: int) -> None:
    """Read past `offset` bytes in pieces."""
    while offset > 0 and stream.read(min(offset, _PIECE)):
        offset -= _PIECE
