"""Elements of plain DICOM headers, without the cost of a general reader.

Most files of an archive are well-formed explicit or implicit VR little endian, and only a few dozen
elements of their headers are needed. One pass over the bytes collects these. Anything that is not
plain (other byte order, lengths that do not add up ...) is left to pydicom, which knows every
dialect; so is every value that is not plain text, a number or a sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, KeysView
from contextlib import suppress
from functools import lru_cache
from struct import Struct, error
from typing import Any, BinaryIO

from pydicom.charset import convert_encodings
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag
from pydicom.uid import PrivateTransferSyntaxes

from medscan.archive.spans import (
    CHARSET,
    HEAD,
    IMPLICIT_HEAD,
    SHORT,
    UNDEFINED,
    VRS,
    NotPlainError,
    Raw,
    element,
    end_of,
    is_sequence,
    items_of,
    long_length,
    vr_of,
)
from medscan.errors import CorruptError, HeaderTooLargeError

PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
AHEAD = 2**14
"""Bytes of a file that are read first: most headers are shorter."""
_FAR = (2**18, 2**24)
"""Bytes that are read next, and then, where the header is longer; beyond these it is not plain."""
MAX_VALUE = 2**21
"""Most bytes of a text or number that is read."""
MAX_HEADER = 2**26
"""Most bytes of a header that are read: values of no interest do not count."""
_BRIEF = 64
"""Bytes of the longest values that are remembered."""
_IMAGE_TYPE, _SYNTAX = 0x00080008, 0x00020010
_FOREIGN = re.compile(rb"1\.2\.840\.10008\.1\.2(\.2|\.1\.99)")
_UID = re.compile(rb"([0-9.]+)[\0 ]*")
_IMPLICIT = b"1.2.840.10008.1.2"
_NUMBERS = {"FD": Struct("<d"), "FL": Struct("<f"), "UL": Struct("<L"), "US": Struct("<H")}
_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"))
_LATIN = frozenset(("iso8859", "latin_1", "utf8"))
_DECIMAL = re.compile(r"[+-]?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_tag_of = lru_cache(maxsize=4096)(tag_for_keyword)


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
        Meta information (group 2) of the data set; None in the meta information itself, and in
        items of sequences.
    encodings : tuple of str
        Of texts, unless an element says otherwise.
    """

    __slots__ = ("_encodings", "_raw", "_values", "file_meta")

    def __init__(
        self,
        raw: Raw,
        file_meta: Elements | None = None,
        encodings: tuple[str, ...] = ("iso8859",),
    ) -> None:
        self._raw = raw
        self._values: dict[str | int, Any] = {}
        self.file_meta = file_meta
        vr, charset = raw.get(CHARSET, (None, b""))
        self._encodings = _encodings(vr, charset) if charset else encodings

    def __contains__(self, key: str | int) -> bool:
        return (key if isinstance(key, int) else _tag_of(key)) in self._raw

    def keys(self) -> KeysView[int]:
        """Tags of the elements."""
        return self._raw.keys()

    def stated(self, keywords: Iterable[str]) -> tuple[Any, ...]:
        """Encodings and some of the elements, equal wherever these elements read the same."""
        tags = map(_tag_of, keywords)
        return self._encodings, tuple((t, self._raw[t]) for t in tags if t in self._raw)

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
        vr = vr_of(tag) if code is None else code.decode()
        if vr == "SQ":
            items = items_of(raw, code is None)
            plain: Any = None if items is None else Items.of(items, self._encodings)
        else:
            convert = _plain_again if len(raw) <= _BRIEF else _plain
            plain = convert(vr, raw) if self._encodings[0] in _LATIN else None
        if plain is not None:
            return plain
        element = RawDataElement(
            BaseTag(tag), None if code is None else vr, len(raw), raw, 0, code is None, True
        )
        return convert_raw_data_element(element, encoding=list(self._encodings)).value


class Items(list[Elements]):
    """Items of a sequence."""

    @classmethod
    def of(cls, items: list[Raw], encodings: tuple[str, ...]) -> Items:
        """Items from their elements, whose texts have the encodings of what is around them."""
        return cls(Elements(raw, encodings=encodings) for raw in items)


class Guarded:
    """A stream for pydicom that refuses to be read to its end, or for longer than any header is.

    pydicom reads to the end only to inflate a deflated data set whole, however large it becomes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read
        self._left = MAX_HEADER

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, fewer at the end of the file."""
        if size < 0:
            raise CorruptError("it is deflated, but its meta information is not in order")
        data = self._read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise HeaderTooLargeError(f"its header is over the limit of {MAX_HEADER} bytes")
        return data


def check_value(tag: int, vr: str | bytes | None, length: int) -> None:
    """Refuse a value that is longer than any image needs; sequences may be as long as headers.

    Parameters
    ----------
    tag : int
    vr : str, bytes or None
        None where it is implicit.
    length : int
        Bytes of it that the file has.
    """
    if length > MAX_VALUE and not is_sequence(tag, vr):
        name = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        raise HeaderTooLargeError(f"element {name} of its header has {length} bytes")


@lru_cache(maxsize=256)
def _encodings(vr: bytes | None, charset: bytes) -> tuple[str, ...]:
    code = None if vr is None else vr.decode()
    element = RawDataElement(BaseTag(CHARSET), code, len(charset), charset, 0, code is None, True)
    return tuple(convert_encodings(convert_raw_data_element(element).value))


def _plain(vr: str, raw: bytes) -> Any:
    """Value of a well-formed text or number; None for anything else."""
    if vr in _NUMBERS:
        number = _NUMBERS[vr]
        whole = len(raw) % number.size == 0
        return _one_or_all([n for (n,) in number.iter_unpack(raw)]) if whole else None
    if vr not in _TEXT or not raw.isascii() or b"\x1b" in raw:
        return None
    parts = raw.decode("ascii").rstrip(" \0").split("\\")
    if vr == "DS":
        return _one_or_all([_decimal(part) for part in parts])
    if vr == "IS":
        return _one_or_all([_integer(part) for part in parts])
    return _one_or_all([part.rstrip(" \0") for part in parts])


_plain_again = lru_cache(maxsize=4096)(_plain)
"""As `_plain`: the slices of a series have most values in common."""


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
    data, limit = head, 0
    for more in (AHEAD - len(head), *_FAR):
        data, limit = data + stream.read(more), len(data) + more
        with suppress(IndexError):
            try:
                return _elements(data, wanted, whole=len(data) < limit)
            except (NotPlainError, error):
                return None
        if len(data) < limit:
            return None
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
    if data[start : start + 2] == b"\0\0" or (implicit and data[start + 4 : start + 6] in VRS):
        raise NotPlainError  # a command set, or an explicit VR after all
    raw: Raw = {}
    tag, length, offset = _collect(data, start, wanted, raw, implicit, whole)
    if b"MOSAIC" in raw.get(_IMAGE_TYPE, (b"", b""))[1].upper():
        raise NotPlainError  # its private elements say how to divide it
    return Elements(raw, Elements(meta)), tag, length, offset


def _meta(data: bytes) -> tuple[Raw, int]:
    """Elements of group 2 (always explicit VR little endian), and the offset of their end."""
    meta: Raw = {}
    pos = 132
    while data[pos : pos + 2] == b"\2\0" and pos + 12 <= len(data):
        tag, vr, value, length = element(data, pos, implicit=False)
        if tag in meta or length == UNDEFINED or not (meta or (tag, length) == (0x20000, 4)):
            raise NotPlainError
        pos = value + length
        meta[tag] = (vr, data[value:pos])
    if pos + 12 > len(data):
        raise IndexError
    return meta, pos


def _is_implicit(meta: Raw) -> bool:
    """Whether the transfer syntax is implicit VR, after refusing those that pydicom must read."""
    syntax = _UID.fullmatch(meta.get(_SYNTAX, (b"", b""))[1])
    if not syntax or _FOREIGN.fullmatch(syntax[1]) or syntax[1].decode() in PrivateTransferSyntaxes:
        raise NotPlainError
    return syntax[1] == _IMPLICIT


def _collect(
    data: bytes, pos: int, wanted: frozenset[int], raw: Raw, implicit: bool, whole: bool
) -> tuple[int, int, int]:
    """Put wanted elements into `raw`; return tag, length and offset of the pixel data.

    Without pixel data, return 0, 0 and the offset of the end.
    """
    size, head = len(data), IMPLICIT_HEAD if implicit else HEAD
    while pos + 12 <= size:
        # As `element` does: to call it hundreds of times a header would take twice as long.
        group, number, vr, length = head.unpack_from(data, pos)
        tag, value = group << 16 | number, pos + 8
        if vr not in SHORT:
            value, length = pos + 12, long_length(data, pos, vr)
        if tag in PIXEL_TAGS:
            return tag, length, pos
        pos = value + length
        if length == UNDEFINED:
            pos = end_of(data, tag, vr or None, value, length, implicit)
        if tag in wanted and pos <= size:
            if length > MAX_VALUE:
                check_value(tag, vr or None, pos - value)
            raw[tag] = (vr or None, data[value:pos])
        elif group == 0xFFFE:
            raise NotPlainError
    if pos == size and whole:
        return 0, 0, pos
    raise IndexError
