"""What a compressed frame declares about itself, read before a decoder trusts it."""

from __future__ import annotations

from typing import NamedTuple

_BARE = frozenset((0x01, *range(0xD0, 0xDA)))
"""JPEG markers without a length or content."""
_FRAME = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
"""Markers that start a frame, in each JPEG process and in JPEG-LS."""


class Declared(NamedTuple):
    """Size of a codestream in pixels, and bits of a sample."""

    rows: int
    columns: int
    bits: int


def declared(data: bytes) -> Declared | None:
    """Read the size and depth of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it has none.

    Parameters
    ----------
    data : bytes
        Codestream of one frame.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    offset = data[:1024].find(b"\xff\x4f\xff\x51")
    if offset < 0 or len(data) < offset + 43:
        return None
    right, bottom, left, top = (_number(data, offset + n, 4) for n in (8, 12, 16, 20))
    bits = (data[offset + 42] & 0x7F) + 1  # the highest bit says whether it is signed
    return Declared(max(0, bottom - top), max(0, right - left), bits)


def _jpeg(data: bytes) -> Declared | None:
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker in _FRAME:
            rows, columns = _number(data, offset + 5, 2), _number(data, offset + 7, 2)
            return Declared(rows, columns, data[offset + 4])
        if marker == 0xFF:  # a fill byte
            offset += 1
        else:
            offset += 2 if marker in _BARE else 2 + max(2, _number(data, offset + 2, 2))
    return None


def _number(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "big")
