"""Where the voxels of a volume file lie, and checks that the readers of all its formats share.

One parser gives both the header of a file and the place of its voxels, which medscan reads itself:
what is checked and what is read cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.archive.header import VolumeGeometry
from medscan.archive.types import ArchiveFile
from medscan.errors import CorruptError, TruncatedError, UnsupportedError

_HIGHEST_RATIO = 1100
"""More than deflate can achieve, which is 1032 to 1."""
_HIGHEST_BZIP2_RATIO = 50_000
"""More than bzip2 achieves: 900,000 equal bytes take some 40."""
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
ASSUMED = "no orientation in the header: assumed"
"""Note on a volume whose header does not say how it lies in the patient."""


class Packing(StrEnum):
    """How voxels are written into their file."""

    RAW = "raw"
    GZIP = "gzip"
    ZLIB = "zlib"
    """A stream of zlib or of gzip."""
    BZIP2 = "bzip2"
    TEXT = "text"
    """Decimal numbers with white space between them."""
    HEX = "hex"
    """Two hexadecimal digits a byte."""


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """Where the voxels of a volume lie in which file, and what their numbers mean.

    Parameters
    ----------
    geometry : VolumeGeometry
    dtype : numpy dtype
        In the byte order of the file; with fields R, G and B for colour.
    files : tuple of (str, Packing)
        Paths below the archive root; the first that exists holds the voxels, packed in that way.
    start : int
        Bytes of that file before the data, which may be packed.
    lines : int
        Lines of text to pass over from there.
    skip : int
        Unpacked bytes to pass over from there; -1: the voxels are the last bytes of the file.
    axes : tuple of int
        Stored axis, the first of which varies fastest, for each axis of the shape; empty where all
        are in order.
    slope, intercept : float
        Value = stored number * slope + intercept.
    notes : tuple of str
        What is unusual about the header.
    """

    geometry: VolumeGeometry
    dtype: np.dtype[Any]
    files: tuple[tuple[str, Packing], ...]
    start: int = 0
    lines: int = 0
    skip: int = 0
    axes: tuple[int, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in the order of the file."""
        shape = self.geometry.shape
        return tuple(shape[self.axes.index(n)] for n in range(len(shape))) if self.axes else shape

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels, unpacked."""
        return math.prod(self.geometry.shape) * self.dtype.itemsize


@contextmanager
def contradictions(*more: type[Exception]) -> Iterator[None]:
    """Raise the errors of a parser whose fields are missing or make no sense as `CorruptError`.

    Parameters
    ----------
    *more
        Errors that a library has for it.
    """
    kinds: tuple[type[Exception], ...] = (ValueError, KeyError, IndexError, OverflowError, *more)
    try:
        yield
    except kinds as error:
        raise CorruptError(f"header contradicts itself: {type(error).__name__}") from error


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse volumes without voxels, or with more axes than any format has."""
    if not shape or min(shape) < 1 or len(shape) > 7:
        raise CorruptError(f"it declares a volume of {shape[:8]} voxels")


def check_bytes(have: int, needed: int, packing: Packing) -> None:
    """Refuse a file whose `have` bytes cannot hold, or unpack to, `needed` bytes."""
    if packing in (Packing.TEXT, Packing.HEX):
        needed = 0  # how many bytes a number takes is known only once it is read
    ratio = {Packing.RAW: 1, Packing.BZIP2: _HIGHEST_BZIP2_RATIO}.get(packing, _HIGHEST_RATIO)
    if needed > have * ratio:
        raise TruncatedError(f"{needed} bytes are declared, the file has {have}")


def flat(affine: NDArray[np.float64]) -> tuple[float, ...]:
    """Flatten an affine row by row; refuse one that is not finite."""
    if not np.isfinite(affine).all():
        raise CorruptError("affine holds no finite numbers")
    return tuple(float(v) for v in np.asarray(affine, dtype=np.float64).ravel())


def lps_affine(steps: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine to RAS millimetres of a header that speaks of LPS, as those of ITK's formats do.

    Parameters
    ----------
    steps : float64 (axes, coordinates)
        LPS step along each voxel axis; what is beyond three of either is ignored. A third step that
        is missing is perpendicular to the others.
    origin : float64 (coordinates,)
        LPS place of the first voxel.
    """
    affine = np.eye(4)
    axes, coordinates = (min(3, n) for n in steps.shape)
    affine[:coordinates, :axes] = steps[:axes, :coordinates].T
    if (axes, coordinates) == (2, 3):
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    affine[:coordinates, 3] = origin[:coordinates]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def beside(file: ArchiveFile, name: str) -> str:
    """Path of another file in the same folder, such as `./x.raw`; refuse any other path."""
    path = PurePosixPath(name)
    outside = len(path.parts) != 1 or path.is_absolute() or path.name == ".."
    if outside or "\\" in name or "\0" in name:
        raise UnsupportedError("its voxels lie in a file outside its own folder")
    return str(PurePosixPath(file.path).with_name(path.name))


def text_layout(
    file: ArchiveFile,
    geometry: VolumeGeometry,
    dtype: np.dtype[Any],
    packing: Packing,
    data: str,
    start: int,
    **more: Any,
) -> VolumeLayout:
    """Locate the voxels of a text header: behind it, or in a file beside it.

    Parameters
    ----------
    file : ArchiveFile
    geometry : VolumeGeometry
        Without size and file of the voxels.
    dtype : numpy dtype
    packing : Packing
    data : str
        Name of the file with the voxels, or LOCAL.
    start : int
        As in `VolumeLayout`.
    **more
        Other fields of the layout.
    """
    if data.upper().startswith(("LIST", "SKIPLIST")) or "%" in data:
        raise UnsupportedError("its data are spread over several files")
    local = data.upper() == "LOCAL"
    path = file.path if local else beside(file, data)
    layout = VolumeLayout(geometry, dtype, ((path, packing),), start, **more)
    needed = layout.voxel_bytes + max(layout.skip, 0)
    if local:
        check_bytes(file.size - start, needed, packing)
    placed = replace(
        geometry,
        data_bytes=start + needed if packing is Packing.RAW else 0,
        companion="" if local else path,
    )
    return replace(layout, geometry=placed)
