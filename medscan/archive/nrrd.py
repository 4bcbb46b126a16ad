"""Read the text headers of NRRD files (teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medscan.archive.header import VolumeGeometry
from medscan.archive.layout import (
    ASSUMED,
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
    name: dtype
    for dtype, names in {
        "i1": "char, signed char, int8, int8_t",
        "u1": "uchar, unsigned char, uint8, uint8_t",
        "i2": "short, short int, signed short, signed short int, int16, int16_t",
        "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
        "i4": "int, signed int, int32, int32_t",
        "u4": "uint, unsigned int, uint32, uint32_t",
        "i8": "longlong, long long, long long int, signed long long, signed long long int, "
        "int64, int64_t",
        "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(", ")
}
_PACKINGS = {
    "raw": Packing.RAW,
    "gzip": Packing.GZIP,
    "gz": Packing.GZIP,
    "bzip2": Packing.BZIP2,
    "bz2": Packing.BZIP2,
    "text": Packing.TEXT,
    "txt": Packing.TEXT,
    "ascii": Packing.TEXT,
    "hex": Packing.HEX,
}
_SPACES = {
    name: signs
    for signs, names in {
        (1, 1): ("left-posterior-superior", "lps"),
        (-1, -1): ("right-anterior-superior", "ras"),
        (1, -1): ("left-anterior-superior", "las"),
    }.items()
    for name in names
}
"""Signs that turn x and y of a space into those of LPS."""
_MILLIMETRES = {
    name: size
    for size, names in {
        1e-6: ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
        1e-3: ("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometers"),
        10.0: ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
        1e3: ("m", "meter", "meters", "metre", "metres"),
    }.items()
    for name in names
}
"""Millimetres in a unit; any other is taken for millimetres."""
_SPATIAL = ("domain", "space", "???", "none")
"""Kinds of axes that space may run along."""
_LISTS = ("list", "time", "point", "vector", "scalar", "stub")
"""Kinds of axes of which each place holds an image of its own."""

Fields = dict[str, str]
Rows = NDArray[np.float64]


class _Axes(NamedTuple):
    """Axes by their places in the file: of space, of which three at most, and all others."""

    space: list[int]
    others: list[int]


def read_nrrd(file: ArchiveFile, head: bytes) -> VolumeLayout:
    """Read an NRRD header.

    Raises
    ------
    FileError
        If the header is of an unsupported kind, ends too early or contradicts itself.
    """
    fields, end = _fields(head)
    with contradictions():
        return _layout(file, fields, end)


def _fields(head: bytes) -> tuple[Fields, int]:
    """Fields by name without spaces, up to the first empty line, and the place after that."""
    fields: Fields = {}
    end = 0
    while end < len(head):
        start, end = end, head.find(b"\n", end) + 1 or len(head)
        line = head[start:end].decode("utf-8", "surrogateescape").rstrip("\r\n")
        if not line:
            break
        key, _, value = line.partition(":")
        if not line.startswith("#") and not value.startswith("="):  # key:=value says nothing here
            fields[key.strip().lower().replace(" ", "")] = value.strip()
    return fields, end


def _layout(file: ArchiveFile, fields: Fields, end: int) -> VolumeLayout:
    sizes = tuple(int(v) for v in fields["sizes"].split())
    check_shape(sizes)
    if len(sizes) != int(fields["dimension"]):
        raise CorruptError("dimension and sizes differ")
    packing = _packing(fields)
    dtype = _dtype(fields, packing)
    kinds = [*fields.get("kinds", "").lower().split(), *["???"] * len(sizes)][: len(sizes)]
    vectors = _directions(fields, len(sizes))
    if dtype == np.uint8 and (sizes[0], kinds[0]) == (3, "rgb-color"):
        dtype, sizes, kinds, vectors = RGB, sizes[1:], kinds[1:], vectors[1:]
    axes = _axes(kinds, vectors)
    geometry, notes = _geometry(fields, sizes, axes, vectors)
    order = (*axes.space, *axes.others)
    skip = int(fields.get("byteskip", "0"))
    if skip < -1 or (skip < 0 and packing is not Packing.RAW):
        raise CorruptError("its byte skip is negative")
    data = fields.get("datafile", "LOCAL")
    return text_layout(
        file,
        geometry,
        dtype,
        packing,
        data,
        end if data == "LOCAL" else 0,
        lines=max(0, int(fields.get("lineskip", "0"))),
        skip=skip,
        axes=() if order == tuple(range(len(order))) else order,
        notes=notes,
    )


def _packing(fields: Fields) -> Packing:
    packing = _PACKINGS.get(fields.get("encoding", "raw").lower())
    if packing is None:
        raise UnsupportedError("its voxels are encoded in a way that is not read here")
    return packing


def _dtype(fields: Fields, packing: Packing) -> np.dtype[np.generic]:
    name = " ".join(fields["type"].lower().split())
    if name == "block":
        raise UnsupportedError("its voxels are not numbers")
    if name not in _TYPES:
        raise CorruptError("its type is none of the format's")
    dtype, order = np.dtype(_TYPES[name]), fields.get("endian", "").lower()
    if dtype.itemsize > 1 and packing is not Packing.TEXT and order not in ("little", "big"):
        raise CorruptError("it does not state the byte order of its voxels")
    return dtype.newbyteorder(">" if order == "big" else "<")


def _directions(fields: Fields, dimension: int) -> list[list[float] | None]:
    """Step along each axis in its space; None for an axis that does not run through space."""
    text = fields.get("spacedirections", "")
    if not text:
        return [None] * dimension
    vectors = re.findall(r"none|\([^()]*\)", text)  # linear, also without closing brackets
    if len(vectors) != dimension:
        raise UnsupportedError("its axes and their directions differ in number")
    return [None if vector == "none" else _numbers(vector) for vector in vectors]


def _numbers(vector: str) -> list[float]:
    return [float(v) for v in vector.strip("() ").split(",")]


def _axes(kinds: list[str], vectors: list[list[float] | None]) -> _Axes:
    """Tell the axes of space from those of time, echo or component.

    Raises
    ------
    UnsupportedError
        If fewer than two run through space, or the others hold parts of a colour or a tensor.
    """
    if any(vectors):
        space = [n for n, vector in enumerate(vectors) if vector and any(vector[:3])]
    else:
        space = [n for n, kind in enumerate(kinds) if kind in _SPATIAL][:3]
    others = [n for n in range(len(kinds)) if n not in space]
    odd = next((kinds[n] for n in others if kinds[n] not in (*_SPATIAL, *_LISTS)), None)
    if odd is not None:
        raise UnsupportedError("its voxels are colours, vectors or tensors")
    if len(space) < 2 or len(space) > 3:
        raise UnsupportedError(f"{len(space)} of its axes run through space")
    if len(space) == 2 and others:
        raise UnsupportedError("it is a list of pictures, not a volume")
    return _Axes(space, others)


def _geometry(
    fields: Fields, sizes: tuple[int, ...], axes: _Axes, vectors: list[list[float] | None]
) -> tuple[VolumeGeometry, tuple[str, ...]]:
    """Shape with space first, affine, and notes."""
    shape = tuple(sizes[n] for n in (*axes.space, *axes.others))
    name = fields.get("space", "").lower()
    if any(vectors):
        affine = _oriented(fields, name, [vectors[n] or [] for n in axes.space])
        notes = () if name else (ASSUMED,)
    else:
        affine, notes = _along_axes(fields, sizes, axes.space), (ASSUMED,)
    return VolumeGeometry(shape, flat(affine)), notes


def _oriented(fields: Fields, name: str, rows: list[list[float]]) -> Rows:
    """Affine of axes with directions in a space, LPS where none is named."""
    space = name.removesuffix("-time") if "-" in name else name[:3] if len(name) == 4 else name
    signs = _SPACES.get(space or "lps")
    if signs is None:
        raise UnsupportedError("NRRD space without patient coordinates")
    origin = _numbers(fields["spaceorigin"]) if "spaceorigin" in fields else [0.0] * len(rows[0])
    if any(len(row) != len(origin) for row in rows):
        raise CorruptError("its vectors and its dimensions differ in number")
    if any(any(row[3:]) for row in rows):
        raise UnsupportedError("one of its axes runs through both space and time")
    count = min(3, len(origin))
    units = [*_units(fields.get("spaceunits", "")), 1.0, 1.0, 1.0][:count]
    scale = np.array([*signs, 1.0][:count]) * units
    steps = np.array([row[:count] for row in rows], dtype=np.float64) * scale
    return lps_affine(steps, np.array(origin[:count]) * scale)


def _along_axes(fields: Fields, sizes: tuple[int, ...], space: list[int]) -> Rows:
    """Affine of axes that run along x, y and z: by their spacings, else by their ends."""
    count = int(fields["dimension"])
    shift = count - len(sizes)  # an axis of colour was left out
    spacings, lows, highs = (
        [*(float(v) for v in fields.get(name, "").split()), *[math.nan] * count][shift:count]
        for name in ("spacings", "axismins", "axismaxs")
    )
    centres = (fields.get("centerings") or fields.get("centers") or "").lower().split()[shift:]
    units = [*_units(fields.get("units", ""))[shift:], *[1.0] * count]
    steps, origin = np.zeros((len(space), len(space))), np.zeros(len(space))
    for place, n in enumerate(space):
        nodes = n < len(centres) and centres[n] == "node"
        step, low = spacings[n], lows[n]
        if not math.isfinite(step):
            step = (highs[n] - low) / (max(1, sizes[n] - 1) if nodes else sizes[n])
        step = step if math.isfinite(step) and step else 1.0
        # The low end of a cell is its border, that of a node its centre.
        start = (low + (0.0 if nodes else step / 2)) if math.isfinite(low) else 0.0
        steps[place, place], origin[place] = step * units[n], start * units[n]
    return lps_affine(steps, origin)


def _units(text: str) -> list[float]:
    """Millimetres in each unit of a list in quotation marks."""
    return [_MILLIMETRES.get(unit.strip().lower(), 1.0) for unit in re.findall(r'"([^"]*)"', text)]
