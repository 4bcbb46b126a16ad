"""Elements of plain DICOM headers, without the cost of a general reader.

Most files of an archive are well-formed explicit or implicit VR little endian, and only a few dozen
elements of their headers are needed. One pass over the bytes collects these. Anything that is not
plain (other byte order, lengths that do not add up, wanted sequences of undefined length ...) is
left to pydicom, which knows every dialect; so is every value that is not plain text or a number.
"""

from __future__ import annotations

import re
from collections.abc import KeysView
from functools import lru_cache
from struct import Struct, error
from typing import Any, BinaryIO

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag
from pydicom.uid import PrivateTransferSyntaxes
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from medscan.errors import CorruptError

PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
AHEAD = 2**14
"""Bytes of a file that are read first: most headers are shorter."""
_FAR = 2**18
"""Bytes that are read next where the header is longer; beyond these it is not plain."""
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CHARSET, _IMAGE_TYPE = 0x00080005, 0x00080008
_DEEP, _OPEN = 16, -1
_SYNTAX = 0x00020010
_FOREIGN = re.compile(rb"1\.2\.840\.10008\.1\.2(\.2|\.1\.99)")
_UID = re.compile(rb"([0-9.]+)[\0 ]*")
_IMPLICIT = b"1.2.840.10008.1.2"
_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_SHORT = frozenset(vr.encode() for vr in VR if len(vr) == 2) - _LONG
_HEAD, _IMPLICIT_HEAD, _LENGTH = Struct("<HH2sH"), Struct("<HHL"), Struct("<L")
_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "IS", "LO", "SH", "UI"))
_LATIN = frozenset(("iso8859", "latin_1", "utf8"))
_DECIMAL = re.compile(r"[+-]?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_tag_of = lru_cache(maxsize=4096)(tag_for_keyword)

Raw = dict[int, tuple[bytes | None, bytes]]
"""VR (None where it is implicit) and bytes by tag."""


class _NotPlainError(Exception):
    """The header is not plain: pydicom must read it."""


class _Decimal(float):
    """A number that prints as it was written, like pydicom's DSfloat."""

    __slots__ = ("text",)
    text: str

    def __str__(self) -> str:
        return self.text


class Elements:
    """Elements of a data set, with `get` and `in` as in `pydicom.Dataset`.

    Parameters
    ----------
    raw : Raw
    file_meta : Elements or None
        Meta information (group 2) of the data set; None in the meta information itself.
    """

    __slots__ = ("_encodings", "_raw", "_values", "file_meta")

    def __init__(self, raw: Raw, file_meta: Elements | None = None) -> None:
        self._raw = raw
        self._values: dict[str | int, Any] = {}
        self.file_meta = file_meta
        vr, charset = raw.get(_CHARSET, (None, b""))
        self._encodings = _encodings(vr, charset) if charset else ("iso8859",)

    def __contains__(self, key: str | int) -> bool:
        return (key if isinstance(key, int) else _tag_of(key)) in self._raw

    def keys(self) -> KeysView[int]:
        """Tags of the elements."""
        return self._raw.keys()

    def get(self, key: str | int, default: Any = None) -> Any:
        """Value of an element by keyword or tag; `default` where it is missing, None if empty.

        Malformed values raise what pydicom raises on them. Private elements of implicit VR are
        bytes.
        """
        if key in self._values:
            return self._values[key]
        tag = key if isinstance(key, int) else _tag_of(key)
        if tag not in self._raw:
            return default
        value = self._values[key] = self._value(tag or 0)
        return value

    def _value(self, tag: int) -> Any:
        code, raw = self._raw[tag]
        if not raw:
            return None
        if code is None and tag >> 16 & 1:
            return raw
        vr = dictionary_VR(tag) if code is None else code.decode()
        plain = _plain(vr, raw) if self._encodings[0] in _LATIN else None
        if plain is not None:
            return plain
        element = RawDataElement(
            BaseTag(tag), None if code is None else vr, len(raw), raw, 0, code is None, True
        )
        return convert_raw_data_element(element, encoding=list(self._encodings)).value


class Guarded:
    """A stream for pydicom that refuses to be read to its end.

    pydicom reads to the end only to inflate a deflated data set whole, however large it becomes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, fewer at the end of the file."""
        if size < 0:
            raise CorruptError("it is deflated, but its meta information is not in order")
        return self._read(size)


@lru_cache(maxsize=256)
def _encodings(vr: bytes | None, charset: bytes) -> tuple[str, ...]:
    code = None if vr is None else vr.decode()
    element = RawDataElement(BaseTag(_CHARSET), code, len(charset), charset, 0, code is None, True)
    return tuple(convert_encodings(convert_raw_data_element(element).value))


def _plain(vr: str, raw: bytes) -> Any:
    """Value of a well-formed text or number; None for anything else."""
    if vr == "US" and len(raw) == 2:
        return raw[0] | raw[1] << 8
    if vr not in _TEXT or not raw.isascii() or b"\x1b" in raw:
        return None
    parts = raw.decode("ascii").rstrip(" \0").split("\\")
    if vr == "DS":
        return _one_or_all([_decimal(part) for part in parts])
    if vr == "IS":
        return _one_or_all([_integer(part) for part in parts])
    return _one_or_all([part.rstrip(" \0") for part in parts])


def _one_or_all(values: list[Any]) -> Any:
    if None in values:
        return None
    return values[0] if len(values) == 1 else values


def _decimal(part: str) -> _Decimal | None:
    text = part.strip(" ")
    if not _DECIMAL.fullmatch(text):
        return None
    value = _Decimal(text)
    value.text = text
    return value


def _integer(part: str) -> int | None:
    text = part.strip(" ")
    if len(text) < 16 and text.removeprefix("-").isdecimal() and str(int(text)) == text:
        return int(text)
    return None


def read_elements(
    stream: BinaryIO, head: bytes, wanted: frozenset[int]
) -> tuple[Elements, int, int, int] | None:
    """Read the wanted elements of a plain header.

    Parameters
    ----------
    stream : binary file
        Positioned behind `head`.
    head : bytes
        Start of the file: a preamble, then "DICM".
    wanted : frozenset of int
        Tags of the elements to read, among them that of the character set.

    Returns
    -------
    (Elements, int, int, int) or None
        Elements; tag of the pixel data (0 without any); their declared length; offset of their
        element, or else of the end of the file. None where the header is not plain.
    """
    data = head + stream.read(AHEAD - len(head))
    try:
        try:
            return _elements(data, wanted, whole=len(data) < AHEAD)
        except IndexError:
            data += stream.read(_FAR)
            return _elements(data, wanted, whole=len(data) < AHEAD + _FAR)
    except (_NotPlainError, IndexError, error):
        return None


def _elements(
    data: bytes, wanted: frozenset[int], *, whole: bool
) -> tuple[Elements, int, int, int]:
    """Elements as in `read_elements`; `whole` where `data` is all of the file.

    Raises
    ------
    IndexError
        If the header goes on beyond `data`.
    """
    meta, start = _meta(data)
    implicit = _is_implicit(meta)
    if data[start : start + 2] == b"\0\0" or (implicit and data[start + 4 : start + 6].isupper()):
        raise _NotPlainError  # a command set, or an explicit VR after all
    raw: Raw = {}
    tag, length, offset = _collect(data, start, wanted, raw, implicit, whole)
    if b"MOSAIC" in raw.get(_IMAGE_TYPE, (b"", b""))[1].upper():
        raise _NotPlainError  # its private elements say how to divide it
    return Elements(raw, Elements(meta)), tag, length, offset


def _meta(data: bytes) -> tuple[Raw, int]:
    """Elements of group 2 (always explicit VR little endian), and the offset of their end."""
    meta: Raw = {}
    pos = 132
    while data[pos : pos + 2] == b"\2\0" and pos + 12 <= len(data):
        tag, vr, value, length = _element(data, pos, implicit=False)
        if tag in meta or length == _UNDEFINED or not (meta or (tag, length) == (0x20000, 4)):
            raise _NotPlainError
        pos = value + length
        meta[tag] = (vr, data[value:pos])
    if pos + 12 > len(data):
        raise IndexError
    return meta, pos


def _is_implicit(meta: Raw) -> bool:
    """Whether the transfer syntax is implicit VR, after refusing those that pydicom must read."""
    syntax = _UID.fullmatch(meta.get(_SYNTAX, (b"", b""))[1])
    if not syntax or _FOREIGN.fullmatch(syntax[1]) or syntax[1].decode() in PrivateTransferSyntaxes:
        raise _NotPlainError
    return syntax[1] == _IMPLICIT


def _element(data: bytes, pos: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
    """Tag, VR, offset of the value and its length, of the element that starts at `pos`."""
    if implicit:
        group, number, length = _IMPLICIT_HEAD.unpack_from(data, pos)
        return group << 16 | number, None, pos + 8, length
    group, number, vr, length = _HEAD.unpack_from(data, pos)
    if vr in _SHORT:
        return group << 16 | number, vr, pos + 8, length
    if vr in _LONG:
        return group << 16 | number, vr, pos + 12, _LENGTH.unpack_from(data, pos + 8)[0]
    raise _NotPlainError


def _collect(
    data: bytes, pos: int, wanted: frozenset[int], raw: Raw, implicit: bool, whole: bool
) -> tuple[int, int, int]:
    """Put wanted elements into `raw`; return tag, length and offset of the pixel data.

    Without pixel data, return 0, 0 and the offset of the end.
    """
    size = len(data)
    while pos + 12 <= size:
        tag, vr, value, length = _element(data, pos, implicit)
        if tag in PIXEL_TAGS:
            return tag, length, pos
        if length == _UNDEFINED:
            if tag in wanted or not _is_sequence(tag, vr):
                raise _NotPlainError
            pos = _behind(data, value, implicit)
            continue
        pos = value + length
        if tag in wanted and pos <= size:
            raw[tag] = (vr, data[value:pos])
        elif tag >> 16 == 0xFFFE:
            raise _NotPlainError
    if pos == size and whole:
        return 0, 0, pos
    raise IndexError


def _is_sequence(tag: int, vr: bytes | None) -> bool:
    try:
        return (dictionary_VR(tag).encode() if vr is None else vr) == b"SQ"
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
            raise _NotPlainError
        if pos + 8 > len(data):
            raise IndexError
        group, number, length = _IMPLICIT_HEAD.unpack_from(data, pos)
        tag = group << 16 | number
        if (ends[-1], tag) == (_OPEN, _ITEM):
            pos += 8
            ends.append(0 if length == _UNDEFINED else pos + length)
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
    tag, vr, value, length = _element(data, pos, implicit)
    if ends[-1] == _OPEN or tag >> 16 == 0xFFFE or tag == _CHARSET:
        raise _NotPlainError
    if length == _UNDEFINED:
        if not _is_sequence(tag, vr):
            raise _NotPlainError
        ends.append(_OPEN)
        return value
    return value + length
