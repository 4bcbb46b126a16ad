"""Volume files (NIfTI, MetaImage, NRRD) -> displayed slices, read lazily.

An uncompressed NIfTI is read slice by slice. Other volumes are unpacked once and kept, in their own
dtype, until the next volume is opened.
"""

from __future__ import annotations

import gzip
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from nibabel.fileslice import fileslice
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from numpy.typing import NDArray

from medscan.archive import ArchiveFile, Kind, cut_geometry, open_regular, voxel_names
from medscan.choices import Plane
from medscan.errors import CorruptError, TooLargeError, TruncatedError, UnsupportedError
from medscan.imaging.quiet import no_stderr
from medscan.imaging.types import PixelPlane

_HEADERS = {
    (348, b"n+1"): Nifti1Header,
    (348, b"ni1"): Nifti1PairHeader,
    (540, b"n+2"): Nifti2Header,
    (540, b"ni2"): Nifti2PairHeader,
}


@dataclass(frozen=True, slots=True)
class PlainVoxels:
    """Voxels of an uncompressed file, first axis fastest; slicing reads only that slice."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    def __getitem__(self, slices: tuple[slice | int, ...]) -> NDArray[Any]:
        """Read voxels by basic slices and integers, one for each axis."""
        with open_regular(self.path) as stream:
            voxels: NDArray[Any] = fileslice(
                stream, slices, self.shape, self.dtype, self.offset, "F"
            )
        return voxels


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
            values = self._scaled(stored)
        bad = ~np.isfinite(values)
        if bad.any():
            values[bad] = values[~bad].min() if not bad.all() else 0.0
        return PixelPlane(values)

    def _scaled(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        if (self.slope, self.intercept) == (1.0, 0.0):
            return stored.astype(np.float32)
        scaled = stored.astype(np.float64) * self.slope + self.intercept
        return scaled.astype(np.float32)


def open_volume(file: ArchiveFile, kind: Kind, max_file_bytes: int) -> Volume:
    """Open a volume file; this process keeps the last one open.

    Parameters
    ----------
    file : ArchiveFile
    kind : Kind
        `NIFTI`; any other is opened through SimpleITK.
    max_file_bytes : int
        Limit on the declared bytes of the voxels, checked before any is read.

    Raises
    ------
    FileError
        If the file is over the limit, ends too early or contradicts itself.
    """
    if kind is Kind.NIFTI:
        return _open_nifti(file, max_file_bytes)
    return _open_itk(file, max_file_bytes)


@lru_cache(maxsize=1)
def _open_nifti(file: ArchiveFile, max_file_bytes: int) -> Volume:
    path = file.full
    header = _nifti_header(path)
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    _check_size(shape, dtype.itemsize, max_file_bytes)
    if not header.is_single:
        names = [path.with_name(name) for name in voxel_names(path.name)]
        path = next((name for name in names if name.is_file()), names[0])
    slope, intercept = header.get_slope_inter()
    voxels = _voxels(path, tuple(shape), dtype, header.get_data_offset())
    slope = 1.0 if slope is None else float(slope)
    return Volume(voxels, header.get_best_affine(), slope, float(intercept or 0.0))


def _nifti_header(path: Path) -> Any:
    """Header of a NIfTI-1 or NIfTI-2 file, single or of a pair, by its first bytes."""
    with _open_unpacked(path) as stream:
        start = stream.read(540)
        size = min(int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
        magic = start[344:347] if size == 348 else start[4:7]
        header_type = _HEADERS.get((size, magic))
        if header_type is None:
            raise CorruptError("not a valid NIfTI file")
        if len(start) < size:
            raise TruncatedError("ends within its header")
        return header_type(start[:size], check=False)


def _voxels(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> Any:
    """Lazy voxels of a plain file, an array from a gzipped one."""
    need = math.prod(shape) * dtype.itemsize
    with _open_unpacked(path) as stream:
        if not isinstance(stream, gzip.GzipFile):
            _check_end(os.fstat(stream.fileno()).st_size - offset, need)
            return PlainVoxels(path, shape, dtype, offset)
        _skip(stream, offset)
        data = stream.read(need)
    _check_end(len(data), need)
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F")


def _check_end(have: int, need: int) -> None:
    if have < need:
        raise TruncatedError(f"voxels end at byte {max(0, have)} of {need}")


def _skip(stream: gzip.GzipFile, offset: int) -> None:
    """Read past `offset` bytes in pieces, so that a false offset costs no memory."""
    while offset > 0 and stream.read(min(offset, 1 << 20)):
        offset -= 1 << 20


@contextmanager
def _open_unpacked(path: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Open a file, unpacked if its content is gzip."""
    with open_regular(path) as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        if not packed:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield unpacked


def _check_size(shape: Sequence[int], itemsize: int, max_file_bytes: int) -> None:
    if not shape or min(shape) < 1:
        raise CorruptError("volume without voxels")
    if math.prod(shape) * itemsize > max_file_bytes:
        sizes = " x ".join(map(str, shape))
        raise TooLargeError(f"{sizes} voxels are over the limit of {max_file_bytes} bytes")


@lru_cache(maxsize=1)
def _open_itk(file: ArchiveFile, max_file_bytes: int) -> Volume:
    """Read a MetaImage or NRRD through SimpleITK, which works in LPS."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    with open_regular(file.full) as stream:
        reader.SetImageIO("NrrdImageIO" if stream.read(4) == b"NRRD" else "MetaImageIO")
    reader.SetFileName(str(file.full))
    with no_stderr():
        reader.ReadImageInformation()
    channels = reader.GetNumberOfComponents()
    kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    bits = int(next(iter(re.findall(r"\d+", kind)), "64"))
    _check_size(reader.GetSize(), bits // 8 * channels, max_file_bytes)
    if channels != 1:
        raise UnsupportedError(f"{channels} components a voxel")
    with no_stderr():
        image = reader.Execute()
    return Volume(SimpleITK.GetArrayFromImage(image).T, _itk_affine(image))


def _itk_affine(image: Any) -> NDArray[np.float64]:
    """RAS affine of a SimpleITK image of two to four dimensions."""
    n = image.GetDimension()
    direction = np.eye(max(3, n))
    direction[:n, :n] = np.reshape(image.GetDirection(), (n, n))
    spacing, origin = np.ones(max(3, n)), np.zeros(max(3, n))
    spacing[:n], origin[:n] = image.GetSpacing(), image.GetOrigin()
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * spacing[:3]
    affine[:3, 3] = origin[:3]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
