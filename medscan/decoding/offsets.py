"""Where the frames of compressed pixel data start (PS3.5 A.4)."""

from __future__ import annotations

import re
import struct
from itertools import pairwise

from pydicom.dataset import Dataset

from medscan.archive import check_count
from medscan.errors import TruncatedError

_EXTENDED = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_ITEM = b"\xfe\xff\x00\xe0"
_FRAME = re.compile(
    rb"\xff\xd8\xff|\xff\x4f\xff\x51|\0\0\0\x0cjP  |[\1-\x0f]\0\0\0\x40\0\0\0", re.DOTALL
)
"""How a frame starts: in JPEG and JPEG-LS, JPEG 2000, its file format, and RLE (PS3.5 G.5)."""


def check_offsets(header: Dataset, frames: int) -> None:
    """Drop offset tables that contradict the fragments: decoders follow them blindly.

    Without a table, frames are told apart by their fragments.

    Parameters
    ----------
    header : Dataset
        With compressed pixel data.
    frames : int

    Raises
    ------
    CorruptError
        If more frames start in them than are declared: those would not be looked at.
    TruncatedError
        If no table tells the frames apart, and there are fewer fragments than frames.
    """
    data = header.PixelData
    first = 8 + _length(data, 0)
    starts = _fragment_starts(data, first)
    check_count(sum(1 for start in starts if _FRAME.match(data, first + start + 8)), frames)
    table = _numbers(data[8:first], 4)
    if frames == 1 and not any(table):
        return
    extended = _numbers(header.get(_EXTENDED[0]) or b"", 8)
    if extended and not _agree(extended, starts, frames):
        extended = []
        for keyword in _EXTENDED:
            header.pop(keyword, None)
    if table and not _agree(table, starts, frames):
        table = []
        header.PixelData = _ITEM + bytes(4) + data[first:]
    if not (table or extended) and len(starts) < frames:
        raise TruncatedError(f"its compressed pixels end after {len(starts)} of {frames} frames")


def _length(data: bytes, item: int) -> int:
    return int.from_bytes(data[item + 4 : item + 8], "little")


def _numbers(packed: bytes, size: int) -> list[int]:
    count = len(packed) // size
    return list(struct.unpack_from(f"<{count}{'L' if size == 4 else 'Q'}", packed))


def _fragment_starts(data: bytes, first: int) -> list[int]:
    """Offset of each fragment from the first one."""
    starts, place = [], first
    while data[place : place + 4] == _ITEM and place + 8 < len(data):
        starts.append(place - first)
        place += 8 + _length(data, place)
    return starts


def _agree(offsets: list[int], starts: list[int], frames: int) -> bool:
    """Whether there is an offset for each frame, ascending from 0, and each starts a fragment.

    In a file that was cut off, offsets beyond its end contradict nothing.
    """
    ascending = all(one < following for one, following in pairwise(offsets))
    cut = len(starts) < frames
    found = {offset for offset in offsets if not cut or offset <= max(starts, default=0)}
    return len(offsets) >= frames and offsets[0] == 0 and ascending and found <= set(starts)
