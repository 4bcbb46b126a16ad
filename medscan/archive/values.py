"""Values of DICOM elements, read so that a broken value counts as a missing one."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from medscan.archive.elements import Items

BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on malformed bytes."""
_TEXT_LIMIT = 256
_tag_of = lru_cache(maxsize=256)(tag_for_keyword)
_SEVERAL = (list, MultiValue)
_SEQUENCES = (pydicom.Sequence, Items)
_FAR = 1e9
"""No number of a header is as large: positions are millimetres, times milliseconds."""


def has(ds: Dataset, keyword: str) -> bool:
    """Whether an element is there: much faster than to ask the data set, or to read it."""
    return _tag_of(keyword) in ds.keys()  # noqa: SIM118 - "in ds" makes a Tag of each keyword


def value(ds: Dataset, keyword: str) -> Any:
    """Value of an element; None where it is missing, empty or cannot be read by its VR."""
    try:
        return ds.get(keyword)
    except BROKEN:
        return None


def at(ds: Dataset, tag: int) -> Any:
    """Value of an element by its tag, such as a private one; None as from `value`."""
    try:
        found: Any = ds.get(tag)
        return found.value if isinstance(found, DataElement) else found
    except BROKEN:
        return None


def text(ds: Dataset, keyword: str) -> str:
    """Value of an element as text of at most 256 characters; empty where it is missing."""
    raw = value(ds, keyword)
    if type(raw) is str:  # most are: instances of MultiValue take much longer to tell
        return raw.strip(" \0\t\r\n")[:_TEXT_LIMIT]
    if raw is None or isinstance(raw, _SEQUENCES):
        return ""
    parts = raw if isinstance(raw, _SEVERAL) else [raw]
    try:
        return "\\".join(str(p).strip(" \0\t\r\n") for p in parts)[:_TEXT_LIMIT]
    except BROKEN:
        return ""


def integer(ds: Dataset, keyword: str) -> int | None:
    """First value of an element as a whole number; None where that is impossible."""
    raw = value(ds, keyword)
    if type(raw) is int:
        return raw
    if isinstance(raw, _SEVERAL):
        raw = raw[0] if raw else None
    try:
        return None if raw is None else int(raw)
    except (ValueError, TypeError, OverflowError):
        return None


def integers(ds: Dataset, keyword: str) -> tuple[int, ...]:
    """All values of an element as whole numbers; empty where one of them is not."""
    raw = value(ds, keyword)
    try:
        return tuple(map(int, _parts(raw)))
    except (ValueError, TypeError, OverflowError):
        return ()


def numbers(sources: list[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    """First `count` numbers of an element, from the first source where all of them are finite."""
    for ds in sources:
        raw = value(ds, keyword)
        if raw is None:
            continue
        parts = _parts(raw)
        if len(parts) < count or parts[0] is None:
            continue
        try:
            floats = tuple(map(float, parts[:count]))
        except (ValueError, TypeError, OverflowError):
            continue
        if all([-_FAR < n < _FAR for n in floats]):  # false for NaN
            return floats
    return None


def _parts(raw: Any) -> list[Any]:
    """All values of an element, of which most have one."""
    if isinstance(raw, (float, int, str)):  # instances of MultiValue take much longer to tell
        return [raw]
    return list(raw) if isinstance(raw, _SEVERAL) else [raw]


def sequence(ds: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; an empty list where it is missing or not a sequence."""
    raw = value(ds, keyword)
    return [*raw] if isinstance(raw, _SEQUENCES) else []
