"""Values of a DICOM data set, whatever is wrong with them."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on bytes that are not what they claim to be."""
_TEXT_LIMIT = 256
_SEVERAL = (list, MultiValue)


def value(ds: Dataset, keyword: str) -> Any:
    """An element's value, None where it is missing, empty or not what its VR says."""
    try:
        return ds.get(keyword)
    except BROKEN:
        return None


def text(ds: Dataset, keyword: str) -> str:
    """An element's value as text, at most 256 characters; empty where there is none."""
    found = value(ds, keyword)
    if found is None or isinstance(found, pydicom.Sequence):
        return ""
    parts = found if isinstance(found, _SEVERAL) else [found]
    try:
        return "\\".join(str(p).strip(" \0\t\r\n") for p in parts)[:_TEXT_LIMIT]
    except BROKEN:
        return ""


def integer(ds: Dataset, keyword: str) -> int | None:
    """An element's first value as a whole number, if it is one."""
    found = value(ds, keyword)
    if isinstance(found, _SEVERAL):
        found = found[0] if found else None
    try:
        return None if found is None else int(found)
    except (ValueError, TypeError, OverflowError):
        return None


def numbers(sources: list[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    """The first `count` finite numbers that one of `sources` has under this keyword."""
    for ds in sources:
        found = value(ds, keyword)
        parts = list(found) if isinstance(found, _SEVERAL) else [found]
        if len(parts) < count or parts[0] is None:
            continue
        try:
            floats = tuple(float(p) for p in parts[:count])
        except (ValueError, TypeError, OverflowError):
            continue
        if all(math.isfinite(n) and abs(n) < 1e9 for n in floats):
            return floats
    return None


def sequence(ds: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none where it is missing or no sequence."""
    found = value(ds, keyword)
    return list(found) if isinstance(found, pydicom.Sequence) else []
