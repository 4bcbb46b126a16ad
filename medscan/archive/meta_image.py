"""Read the text headers of MetaImage files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medscan.archive.header import VolumeGeometry
from medscan.archive.layout import (
    RGB,
    Packing,
    VolumeLayout,
    check_shape,
    contradictions,
    flat,
    lps_affine,
    text_layout,
)
from medscan.archive.types import ArchiveFile
from medscan.errors import CorruptError, UnsupportedError

_TYPES = {
    "CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
"""Numbers by ElementType without MET_; a LONG has four bytes on every system."""
_NO_NUMBERS = ("ASCII_CHAR", "STRING", "OTHER", "NONE")
_MILLIMETRES = {"um": 0.001, "mm": 1.0, "cm": 10.0}
"""Millimetres in DistanceUnits."""

Fields = dict[str, str]


def read_meta_image(file: ArchiveFile, head: bytes) -> VolumeLayout:
    """Read a MetaImage header.

    Raises
    ------
    FileError
        If the header is of an unsupported kind, ends too early or contradicts itself.
    """
    fields, end = _fields(head)
    with contradictions():
        return _layout(file, fields, end)


def _fields(head: bytes) -> tuple[Fields, int]:
    """Fields of a header, of which ElementDataFile is the last, and its length."""
    fields: Fields = {}
    end = 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        key, _, value = line.decode("utf-8", "surrogateescape").partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return fields, end


def _layout(file: ArchiveFile, fields: Fields, end: int) -> VolumeLayout:
    shape = tuple(int(v) for v in fields["DimSize"].split())
    check_shape(shape)
    if len(shape) != int(fields.get("NDims", len(shape))):
        raise CorruptError("NDims and DimSize differ")
    if len(shape) == 1:
        raise UnsupportedError("it has a single axis")
    packing = _packing(fields)
    data = fields["ElementDataFile"]
    start, skip = _start(int(fields.get("HeaderSize", "0")), packing)
    if data.upper() == "LOCAL" and not start:
        start = end
    geometry = VolumeGeometry(shape, _affine(fields, len(shape)))
    return text_layout(file, geometry, _dtype(fields), packing, data, start, skip=skip)


def _start(header_size: int, packing: Packing) -> tuple[int, int]:
    """Bytes before the data, and after unpacking: HeaderSize -1 puts the data at the end."""
    if header_size >= 0:
        return header_size, 0
    if packing is not Packing.RAW:
        raise UnsupportedError("its packed voxels have no stated start")
    return 0, -1


def _is_true(fields: Fields, *names: str) -> bool:
    return any(fields.get(name, "")[:1] in ("T", "t", "1") for name in names if fields.get(name))


def _packing(fields: Fields) -> Packing:
    if _is_true(fields, "CompressedData"):
        return Packing.ZLIB
    stated = fields.get("BinaryData")
    return Packing.TEXT if stated and not _is_true(fields, "BinaryData") else Packing.RAW


def _dtype(fields: Fields) -> np.dtype[np.generic]:
    name = fields["ElementType"].removeprefix("MET_")
    if name in _NO_NUMBERS or name.endswith(("_ARRAY", "_MATRIX")):
        raise UnsupportedError("its voxels are not numbers")
    big = _is_true(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    dtype = np.dtype(_TYPES[name]).newbyteorder(">" if big else "<")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels == 3 and dtype == np.uint8:
        return RGB
    if channels != 1:
        raise UnsupportedError(f"it has {channels} numbers a voxel")
    return dtype


def _affine(fields: Fields, dimension: int) -> tuple[float, ...]:
    unit = _MILLIMETRES.get(fields.get("DistanceUnits", "mm").lower(), 1.0)
    directions = np.eye(dimension)
    matrix = _first(fields, ("TransformMatrix", "Rotation", "Orientation"))
    if matrix:
        directions = np.reshape(matrix, directions.shape)
    spacing = _vector(fields, ("ElementSpacing", "ElementSize"), [1.0] * dimension)
    origin = _vector(fields, ("Offset", "Origin", "Position"), [0.0] * dimension)
    steps: NDArray[np.float64] = directions * np.array(spacing)[:, None]
    return flat(lps_affine(steps * unit, np.array(origin) * unit))


def _first(fields: Fields, keys: Sequence[str]) -> list[float]:
    """Numbers of the first of these fields that there is; none without any."""
    text = next((fields[key] for key in keys if key in fields), "")
    return [float(v) for v in text.split()]


def _vector(fields: Fields, keys: Sequence[str], default: list[float]) -> list[float]:
    values = _first(fields, keys)
    if values and len(values) != len(default):
        raise CorruptError("its vectors and its dimensions differ in number")
    return values or default
