"""Tell what a file is from its first bytes; its name is no evidence."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import NamedTuple

from medscan.archive.opening import open_regular
from medscan.archive.types import Kind
from medscan.errors import UnreadableError

HEAD = 4096
"""Bytes that are examined: enough for every format told apart here."""

_NOT_IMAGES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (0, b"BZh", "bzip2-compressed"),
    (0, b"\xfd7zXZ", "xz-compressed"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"CDF", "a NetCDF or MINC file"),
    (0, b"TRACK", "a tractography"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"\x00\x05\x16\x07", "AppleDouble: what macOS keeps beside a file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE document, such as Thumbs.db"),
    (0, b"<", "XML or HTML"),
)
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Every byte can be matched in one way only, so that refusing a text takes linear time.
_META_IMAGE = re.compile(rb"\A\s*+(?>\w+ *=[^\n]*\n)*?(?:NDims|DimSize) *= *\d", re.ASCII)
_ANY_SUFFIX = re.compile(r"\.(dcm|dicom|nii(\.gz)?|mh[ad]|nrrd|png|jpe?g|tiff?)\Z", re.IGNORECASE)
_IMAGE_SUFFIX = re.compile(r"\.(dcm|dicom|nii|nii\.gz|mha|nrrd)\Z", re.IGNORECASE)


class Content(NamedTuple):
    """What the first bytes of a file reveal.

    Parameters
    ----------
    kind : Kind or None
        None for anything but images.
    name : str
        The format, for people.
    head : bytes
        First bytes of the file, decompressed where `gzipped`.
    gzipped : bool
    bare : bool
        Perhaps DICOM without preamble or meta information.
    recognised : bool
        The format has a signature; false where `name` is a guess.
    """

    kind: Kind | None
    name: str
    head: bytes
    gzipped: bool = False
    bare: bool = False
    recognised: bool = True


def claims_image(name: str) -> bool:
    """Whether a name promises a medical image; other content is then a failure, not a skip."""
    return _IMAGE_SUFFIX.search(name) is not None


def is_litter(path: Path) -> bool:
    """Whether a file beside images is none and does not claim to be: notes, Thumbs.db ...

    Files that cannot be opened are not litter: they may be images.
    """
    if _ANY_SUFFIX.search(path.name):
        return False
    content = content_of(path)
    return content is not None and content.kind is None


def content_of(path: Path) -> Content | None:
    """Identify a file; None if it cannot be opened or read."""
    try:
        with open_regular(path) as stream:
            return sniff(stream.read(HEAD))
    except (OSError, UnreadableError):
        return None


def sniff(head: bytes) -> Content:
    """Identify a file by its first bytes.

    Parameters
    ----------
    head : bytes
        Its first `HEAD` bytes, or the whole of a shorter file.
    """
    if head.startswith(b"\x1f\x8b") and head[128:132] != b"DICM":
        return _sniff_gzip(head)
    return _sniff_plain(head)


def _sniff_gzip(head: bytes) -> Content:
    try:
        inner = zlib.decompressobj(31).decompress(head, HEAD)
    except zlib.error:
        inner = b""
    content = _sniff_plain(inner)
    if content.kind is Kind.NIFTI or (content.kind is Kind.DICOM and not content.bare):
        return content._replace(gzipped=True)
    return Content(None, f"gzip-compressed: {content.name}", inner, gzipped=True)


def _sniff_plain(head: bytes) -> Content:
    if head[128:132] == b"DICM":
        return Content(Kind.DICOM, "DICOM", head)
    if is_nifti(head):
        return Content(Kind.NIFTI, "NIfTI", head)
    if head.startswith(_PICTURES):
        return Content(Kind.PICTURE, "a picture", head)
    if head.startswith(b"NRRD000"):
        return Content(Kind.ITK, "NRRD", head)
    for offset, magic, name in _NOT_IMAGES:
        if head.startswith(magic, offset):
            return Content(None, name, head)
    if _META_IMAGE.match(head):
        return Content(Kind.ITK, "MetaImage", head)
    if _perhaps_bare_dicom(head):
        return Content(Kind.DICOM, "DICOM without preamble", head, bare=True)
    return Content(None, _name_rest(head), head, recognised=False)


def is_nifti(head: bytes) -> bool:
    """Whether the bytes start with a NIfTI-1 or NIfTI-2 header, of a pair or a single file."""
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c")
    return head[4:7] in (b"n+2", b"ni2") and head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")


def _perhaps_bare_dicom(head: bytes) -> bool:
    """Whether a data set of group 2 or 8 could start here, in either byte order."""
    if len(head) < 16:
        return False
    order = "little" if head[1] == 0 else "big"
    group = int.from_bytes(head[0:2], order)  # type: ignore[arg-type]
    element = int.from_bytes(head[2:4], order)  # type: ignore[arg-type]
    if group not in (2, 8) or element > 0x2000:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") < HEAD


def _name_rest(head: bytes) -> str:
    if not head:
        return "empty"
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and len(head) >= 348:
        return "Analyze 7.5, which does not say which side is left"
    text = head[:1024]
    return "text" if b"\0" not in text and text.isascii() else "in an unknown format"
