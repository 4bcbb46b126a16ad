"""Read the headers of NIfTI files, without voxels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medscan.archive.header import VolumeGeometry
from medscan.archive.layout import (
    ASSUMED,
    Packing,
    VolumeLayout,
    beside,
    check_bytes,
    check_shape,
    contradictions,
    flat,
)
from medscan.archive.sniff import Content
from medscan.archive.types import MADE_BY_MEDSCAN, MAKER, ArchiveFile, Outcome, Reason
from medscan.errors import CorruptError, TruncatedError, UnsupportedError

_CIFTI = range(3000, 3100)
_BITS = 1
"""Data type DT_BINARY."""
_MILLIMETRES = {1: 1000.0, 3: 0.001}
"""Millimetres in the spatial unit of xyzt_units, where it is metre or micron."""
_SPATIAL_UNIT = 0b111
_QFORM_USED = "sform cannot be used: qform taken"

Affine = NDArray[np.float64]


def read_nifti(file: ArchiveFile, content: Content) -> VolumeLayout | Outcome:
    """Read a NIfTI-1 or NIfTI-2 header, of a single file or a pair, gzip-compressed or not.

    Returns
    -------
    VolumeLayout
        Of an image.
    Outcome
        Of a file that holds no volume, or that medscan made.

    Raises
    ------
    FileError
        If the file ends too early, contradicts itself or is of a kind that is not read.
    """
    header, length = _parsed(content.head)
    with contradictions(HeaderDataError):
        if int(header["intent_code"]) in _CIFTI:
            return Outcome(file, Reason.NOT_AN_IMAGE, "CIFTI: grey ordinates, not a volume")
        if bytes(header["descrip"]).startswith(MAKER.encode() + b" "):
            return Outcome(file, Reason.DERIVED, MADE_BY_MEDSCAN)
        return _layout(file, content, header, length)


def voxel_names(header: str) -> tuple[str, ...]:
    """Names that the voxel file of a pair may have, from the path of its header file."""
    name = PurePosixPath(header).name
    start = PurePosixPath(name.removesuffix(".gz")).stem
    return tuple(start + suffix for suffix in (".img", ".IMG", ".img.gz"))


def _parsed(head: bytes) -> tuple[Any, int]:
    """Header, and its length in bytes."""
    # The first field is the header's length, in either byte order.
    first = head[0] if head[0] in (0x5C, 0x1C) else head[3]
    header_type, length = (Nifti1Header, 348) if first == 0x5C else (Nifti2Header, 540)
    if len(head) < length:
        raise TruncatedError("it ends within its header")
    return header_type(head[:length], check=False), length


def _layout(file: ArchiveFile, content: Content, header: Any, length: int) -> VolumeLayout:
    if int(header["datatype"]) == _BITS:
        raise UnsupportedError("its voxels are single bits")
    shape = tuple(int(n) for n in header.get_data_shape())
    check_shape(shape[: int(header["dim"][0])] if header["dim"][0] < 8 else ())
    dtype = header.get_data_dtype()
    geometry, notes = _geometry(header, shape)
    needed = math.prod(shape) * dtype.itemsize
    slope, intercept = _scaling(header)
    if b"ni" in (content.head[344:346], content.head[4:6]):
        offset = _whole(header["vox_offset"])
        names = [beside(file, name) for name in voxel_names(file.path)]
        files = tuple((n, Packing.GZIP if n.endswith(".gz") else Packing.RAW) for n in names)
        geometry = replace(geometry, data_bytes=needed + offset, companion=names[0])
    else:
        offset = _voxel_offset(header, content.head[length : length + 4], length)
        packing = Packing.GZIP if content.gzipped else Packing.RAW
        check_bytes(file.size, needed + offset, packing)
        files = ((file.path, packing),)
    return VolumeLayout(
        geometry, dtype, files, skip=offset, slope=slope, intercept=intercept, notes=notes
    )


def _whole(offset: float) -> int:
    return max(0, int(offset)) if math.isfinite(offset) else 0


def _voxel_offset(header: Any, extension: bytes, length: int) -> int:
    """Byte of a single file at which the voxels start.

    Some writers leave vox_offset at 0. The voxels then follow the header and its four bytes of
    extension flags (NIfTI-1.1, "extender"), if these announce no extension, whose length would be
    unknown.
    """
    stated = _whole(header["vox_offset"])
    if stated >= length:
        return stated
    if stated or extension[:1] not in (b"", b"\0"):
        raise CorruptError("its header does not say where its voxels start")
    return length + 4


def _scaling(header: Any) -> tuple[float, float]:
    """Slope and intercept: a slope that is 0 or not finite scales nothing (nifti1.h)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _geometry(header: Any, shape: tuple[int, ...]) -> tuple[VolumeGeometry, tuple[str, ...]]:
    """Affines in millimetres, of which the sform is preferred, and notes on them."""
    unit = _MILLIMETRES.get(int(header["xyzt_units"]) & _SPATIAL_UNIT, 1.0)
    codes = int(header["qform_code"]), int(header["sform_code"])
    qform = _usable(header.get_qform, unit) if codes[0] > 0 else None
    sform = _usable(header.get_sform, unit) if codes[1] > 0 else None
    best, notes = (qform, (_QFORM_USED,)) if codes[1] > 0 else (qform, ())
    if sform is not None:
        best, notes = sform, ()
    if best is None:  # a singular affine is refused when the volume is cut
        best = _in_millimetres(header.get_best_affine(), unit)
        notes = (ASSUMED,) if max(codes) <= 0 else ()
    stated = VolumeGeometry(
        shape,
        flat(best),
        qform=() if qform is None else flat(qform),
        sform=() if sform is None else flat(sform),
        codes=codes,
    )
    return stated, notes


def _usable(form: Callable[[], Affine], unit: float) -> Affine | None:
    """Affine in millimetres; None if it is not finite, or has no extent in some direction."""
    try:
        affine = _in_millimetres(form(), unit)
    except (HeaderDataError, ValueError, ArithmeticError):  # a quaternion that is no rotation
        return None
    usable = np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]) != 0
    return affine if usable else None


def _in_millimetres(affine: Affine, unit: float) -> Affine:
    scaled: Affine = np.diag([unit, unit, unit, 1.0]) @ affine
    return scaled
