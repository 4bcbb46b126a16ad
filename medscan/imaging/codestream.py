"""What a compressed frame says of its own size, before a decoder believes it."""

from __future__ import annotations

_BARE = frozenset((0x01, *range(0xD0, 0xDA)))
"""JPEG markers that nothing follows."""
_FRAME = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
"""Start of frame: of each JPEG process, and of JPEG-LS."""


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it tells none.

    Parameters
    ----------
    data : bytes
        Of one frame.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    at = data[:1024].find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 24:
        return None
    right, bottom, left, top = (_number(data, at + n, 4) for n in (8, 12, 16, 20))
    return max(0, bottom - top), max(0, right - left)


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME:
            return _number(data, at + 5, 2), _number(data, at + 7, 2)
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 if marker in _BARE else 2 + max(2, _number(data, at + 2, 2))
    return None


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")
