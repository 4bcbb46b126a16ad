"""Read the headers of MetaImage and NRRD files; SimpleITK reads their voxels later.

The text is parsed here because headers may be read in the main process, which no foreign decoder
may bring down.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medscan.archive.header import Header, VolumeGeometry
from medscan.archive.sniff import Content
from medscan.archive.types import ArchiveFile, Kind
from medscan.archive.volume import beside, check_bytes, check_shape, flat, volume_header
from medscan.errors import CorruptError, UnsupportedError

_TEXT_HEADER = 2**20
"""Longest header, in bytes."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_META_BYTES = {
    "CHAR": 1,
    "SHORT": 2,
    "INT": 4,
    "LONG": 4,
    "LONG_LONG": 8,
    "FLOAT": 4,
    "DOUBLE": 8,
}
_NRRD_BYTES = {
    "char": 1,
    "int8": 1,
    "short": 2,
    "int16": 2,
    "int": 4,
    "int32": 4,
    "long long": 8,
    "longlong": 8,
    "int64": 8,
    "float": 4,
    "double": 8,
}
_NRRD_SPACES = {
    "left-posterior-superior": (1, 1),
    "lps": (1, 1),
    "right-anterior-superior": (-1, -1),
    "ras": (-1, -1),
    "left-anterior-superior": (1, -1),
    "las": (1, -1),
}


def read_itk(file: ArchiveFile, stream: BinaryIO, content: Content) -> Header:
    """Read a MetaImage or NRRD header.

    Raises
    ------
    FileError
        If the header is of an unsupported kind, ends too early or contradicts itself.
    """
    stream.seek(0)
    head = stream.read(_TEXT_HEADER)
    try:
        volume = (_nrrd if content.name == "NRRD" else _meta_image)(file, head)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise CorruptError(f"header contradicts itself: {type(error).__name__}") from error
    return volume_header(file, Kind.ITK, volume, ())


def _meta_fields(head: bytes) -> tuple[dict[str, str], int]:
    """Fields of a MetaImage header, of which ElementDataFile is the last, and its length."""
    fields: dict[str, str] = {}
    end = 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        key, _, value = line.decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return fields, end


def _meta_image(file: ArchiveFile, head: bytes) -> VolumeGeometry:
    fields, end = _meta_fields(head)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels not in (1, 3):
        raise UnsupportedError(f"it has {channels} channels a voxel")
    shape = tuple(int(v) for v in fields["DimSize"].split())
    check_shape(shape)
    if len(shape) != int(fields.get("NDims", len(shape))):
        raise CorruptError("NDims and DimSize differ")
    steps = np.eye(len(shape))
    matrix = next(
        (fields[k] for k in ("TransformMatrix", "Rotation", "Orientation") if k in fields), ""
    )
    if matrix:
        steps = np.reshape([float(v) for v in matrix.split()], steps.shape)
    spacing = _vector(fields, ("ElementSpacing", "ElementSize"), [1.0] * len(shape))
    origin = _vector(fields, ("Offset", "Origin", "Position"), [0.0] * len(shape))
    affine = _affine(steps * np.array(spacing)[:, None], origin)
    name = fields["ElementType"].removeprefix("MET_").removeprefix("U")
    needed = math.prod(shape) * channels * _META_BYTES[name]
    packed = fields.get("CompressedData", "False").lower() == "true"
    return _volume(file, shape, affine, needed, packed, fields["ElementDataFile"], end)


def _vector(fields: dict[str, str], keys: Sequence[str], default: list[float]) -> list[float]:
    values = next((fields[k].split() for k in keys if k in fields), None)
    if values is None:
        return default
    if len(values) != len(default):
        raise CorruptError("its vectors and its dimensions differ in number")
    return [float(v) for v in values]


def _affine(steps: NDArray[np.float64], origin: Sequence[float]) -> tuple[float, ...]:
    """Affine to RAS, from the LPS step along each voxel axis (as rows) and an LPS origin."""
    affine = np.eye(4)
    n = min(3, len(steps))
    affine[:n, :n] = steps[:n, :n].T
    affine[:n, 3] = origin[:n]
    return flat(_LPS_TO_RAS @ affine)


def _volume(
    file: ArchiveFile,
    shape: tuple[int, ...],
    affine: tuple[float, ...],
    needed: int,
    packed: bool,
    data: str,
    header_bytes: int,
) -> VolumeGeometry:
    """Locate the voxels: behind the header, or in a file beside it."""
    if data.upper() == "LOCAL":
        check_bytes(file.size - header_bytes, needed, packed)
        return VolumeGeometry(shape, affine, needed)
    if data.upper().startswith("LIST") or "%" in data:
        raise UnsupportedError("its data are spread over several files")
    return VolumeGeometry(shape, affine, 0 if packed else needed, beside(file, data))


def _nrrd(file: ArchiveFile, head: bytes) -> VolumeGeometry:
    text, blank, _ = head.partition(b"\n\n")
    text, crlf, _ = text.partition(b"\r\n\r\n")
    lines = text.decode("latin-1").splitlines()[1:]
    pairs = (line.partition(":") for line in lines if line and line[0] != "#" and ":=" not in line)
    fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
    shape = tuple(int(v) for v in fields["sizes"].split())
    check_shape(shape)
    if len(shape) != int(fields["dimension"]):
        raise CorruptError("dimension and sizes differ")
    kind = (
        fields["type"].lower().removesuffix("_t").removeprefix("unsigned ").removeprefix("signed ")
    )
    kind = kind.removeprefix("u")
    needed = math.prod(shape) * _NRRD_BYTES[{"uchar": "char"}.get(kind, kind)]
    affine = _nrrd_affine(fields, len(shape))
    packed = fields.get("encoding", "raw").lower() != "raw"
    data = fields.get("data file", fields.get("datafile", "LOCAL"))
    return _volume(file, shape, affine, needed, packed, data, len(text) + len(blank or crlf))


def _nrrd_affine(fields: dict[str, str], dimension: int) -> tuple[float, ...]:
    directions = fields.get("space directions", "")
    if not directions:
        spacing = _vector(fields, ("spacings",), [1.0] * dimension)
        return _affine(np.diag([s if math.isfinite(s) else 1.0 for s in spacing]), [0.0] * 3)
    vectors = re.findall(r"none|\([^()]*\)", directions)  # linear, also without closing brackets
    if len(vectors) != dimension or "none" in vectors[:3]:
        raise UnsupportedError("its first three axes are not all spatial")
    rows = [[float(v) for v in vector.strip("()").split(",")] for vector in vectors[:3]]
    origin = [float(v) for v in fields.get("space origin", "(0,0,0)").strip("()").split(",")]
    space = fields.get("space", "lps").lower()
    if space not in _NRRD_SPACES:
        raise UnsupportedError("NRRD space without patient coordinates")
    signs = np.array([*_NRRD_SPACES[space], 1.0])
    return _affine(np.array(rows, dtype=np.float64) * signs, list(np.array(origin) * signs))
