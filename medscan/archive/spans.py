"""Where the elements of a data set lie in its bytes, little endian (DICOM PS3.5 7.1, 7.5)."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error

from pydicom.datadict import dictionary_VR
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

UNDEFINED = 0xFFFFFFFF
"""Length of a value that ends with a delimiter."""
CHARSET = 0x00080005
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_END_BYTES = b"\xfe\xff\x0d\xe0\0\0\0\0"
_DEEP, _OPEN = 16, -1
_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
VRS = frozenset(vr.encode() for vr in VR if len(vr) == 2)
SHORT = VRS - _LONG | {b""}
"""VRs whose lengths have two bytes, or are implicit."""
HEAD, IMPLICIT_HEAD = Struct("<HH2sH"), Struct("<HH0sL")
"""Group and number of an element, VR (empty where it is implicit), length if the VR is `SHORT`."""
_ITEM_HEAD, _LENGTH = Struct("<HHL"), Struct("<L")

Raw = dict[int, tuple[bytes | None, bytes]]
"""VR (None where it is implicit) and bytes by tag."""

vr_of = lru_cache(maxsize=4096)(dictionary_VR)


class NotPlainError(Exception):
    """The header is not plain: pydicom must read it."""


def element(data: bytes, pos: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
    """Tag, VR, offset of the value and its length, of the element that starts at `pos`."""
    head = IMPLICIT_HEAD if implicit else HEAD
    group, number, vr, length = head.unpack_from(data, pos)
    if vr in SHORT:
        return group << 16 | number, vr or None, pos + 8, length
    return group << 16 | number, vr, pos + 12, long_length(data, pos, vr)


def long_length(data: bytes, pos: int, vr: bytes) -> int:
    """Length of an element that starts at `pos` and has a VR of long values."""
    if vr not in _LONG:
        raise NotPlainError
    return int(_LENGTH.unpack_from(data, pos + 8)[0])


def end_of(data: bytes, tag: int, vr: bytes | None, value: int, length: int, implicit: bool) -> int:
    """Offset of the end of an element's value."""
    if length != UNDEFINED:
        return value + length
    if not is_sequence(tag, vr):
        raise NotPlainError
    return _behind(data, value, implicit)


def is_sequence(tag: int, vr: str | bytes | None) -> bool:
    """Whether an element is a sequence; `vr` is None where it is implicit."""
    try:
        return (vr_of(tag) if vr is None else vr) in ("SQ", b"SQ")
    except KeyError:
        return False


def _behind(data: bytes, pos: int, implicit: bool) -> int:
    """Offset of the end of a sequence of undefined length whose first item is at `pos`."""
    # What is open, outermost first: a sequence (_OPEN), an item of undefined length (0), or the
    # end of an item whose length is declared.
    ends = [_OPEN]
    while ends:
        if pos == ends[-1]:
            ends.pop()
            continue
        if 0 < ends[-1] < pos or len(ends) > _DEEP:
            raise NotPlainError
        if pos + 8 > len(data):
            raise IndexError
        group, number, length = _ITEM_HEAD.unpack_from(data, pos)
        tag = group << 16 | number
        if (ends[-1], tag) == (_OPEN, _ITEM):
            pos += 8
            ends.append(0 if length == UNDEFINED else pos + length)
        elif (ends[-1], tag) in ((_OPEN, _SEQUENCE_END), (0, _ITEM_END)) and not length:
            pos += 8
            ends.pop()
        else:
            pos = _over(data, pos, implicit, ends)
    return pos


def _over(data: bytes, pos: int, implicit: bool, ends: list[int]) -> int:
    """Step over one element of an item, but into a sequence of undefined length."""
    if pos + 12 > len(data):
        raise IndexError
    tag, vr, value, length = element(data, pos, implicit)
    if ends[-1] == _OPEN or tag >> 16 == 0xFFFE or tag == CHARSET:
        raise NotPlainError
    if length == UNDEFINED:
        if not is_sequence(tag, vr):
            raise NotPlainError
        ends.append(_OPEN)
        return value
    return value + length


def items_of(data: bytes, implicit: bool) -> list[Raw] | None:
    """Elements of each item of a sequence, from its value; None where it is not plain."""
    items: list[Raw] = []
    pos = 0
    try:
        while pos < len(data):
            group, number, length = _ITEM_HEAD.unpack_from(data, pos)
            if (group << 16 | number, length) == (_SEQUENCE_END, 0):
                return items
            if group << 16 | number != _ITEM:
                return None
            raw, pos = _item(data, pos + 8, length, implicit)
            items.append(raw)
    except (NotPlainError, IndexError, error):
        return None
    return items


def _item(data: bytes, pos: int, length: int, implicit: bool) -> tuple[Raw, int]:
    """Elements of an item whose first element is at `pos`, and the offset of its end."""
    raw: Raw = {}
    end = len(data) if length == UNDEFINED else pos + length
    while pos < end:
        if length == UNDEFINED and data[pos : pos + 8] == _ITEM_END_BYTES:
            return raw, pos + 8
        tag, vr, value, size = element(data, pos, implicit)
        pos = end_of(data, tag, vr, value, size, implicit)
        raw[tag] = (vr, data[value:pos])
    if pos != end or end > len(data) or length == UNDEFINED:
        raise NotPlainError
    return raw, pos
