"""Whether pixel data are what the header declares: items say how long they are (PS3.5 A.4)."""

from __future__ import annotations

from typing import BinaryIO

from medscan.errors import CorruptError, TruncatedError

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_NEVER_WRITTEN = bytes(4)
"""What a copy holds behind the part that was copied, if room for the rest was made beforehand."""
_HEAD = 8
"""Bytes of an item's tag and length."""


def check_count(found: int, frames: int) -> None:
    """Refuse pixel data of more frames than the header declares: those would not be looked at.

    Raises
    ------
    CorruptError
        If there are more.
    """
    if found > frames:
        raise CorruptError(f"its pixel data hold {found} frames, and its header declares {frames}")


def check_fragments(stream: BinaryIO, start: int, size: int, frames: int) -> None:
    """Refuse compressed pixel data that end before their delimiter.

    Parameters
    ----------
    stream : binary file
        The object. Of one that ends with the delimiter, only the end is read.
    start : int
        Offset of the first item.
    size : int
        Bytes of the object.
    frames : int
        Number of frames. Data with a fragment for each may lack the delimiter.

    Raises
    ------
    TruncatedError
        If they end within a fragment, or too early.
    """
    if _item(stream, size - _HEAD) == (_END, 0):
        return
    fragments, position, written = -1, start, True  # the first item is an offset table
    while position + _HEAD <= size and written:
        tag, length = _item(stream, position)
        if tag not in (_ITEM, _NEVER_WRITTEN):
            return  # the end, or nothing that can be understood: decoders shall say what is wrong
        written = tag == _ITEM
        position += _HEAD + length
        fragments += 1
    if not written or position > size or fragments < frames:
        raise TruncatedError("its compressed pixels end before their last frame does")


def _item(stream: BinaryIO, position: int) -> tuple[bytes, int]:
    stream.seek(max(0, position))
    head = stream.read(_HEAD)
    return head[:4], int.from_bytes(head[4:], "little")
