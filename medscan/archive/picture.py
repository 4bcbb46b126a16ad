"""Read the header of a PNG, JPEG or TIFF picture."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from operator import methodcaller
from typing import BinaryIO

from PIL import ExifTags, Image

from medscan.archive.header import Header, Layer
from medscan.archive.types import MADE_BY_MEDSCAN, MAKER, ArchiveFile, Kind, Outcome, Reason
from medscan.archive.volume import stem
from medscan.errors import CorruptError, TooLargeError

_MAX_PAGES = 10_000
_LATE = (
    b"eXIf",
    b"iTXtXML:com.adobe.xmp",
    b"iTXtRaw profile type exif",
    b"tEXtRaw profile type exif",
    b"zTXtRaw profile type exif",
)
"""Chunks of a PNG, and their first bytes, that may say how it is turned."""
_TURNED = 5
"""EXIF orientations from here on swap rows and columns (TIFF 6.0, section 8)."""
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def read_picture(file: ArchiveFile, stream: BinaryIO) -> Header | Outcome:
    """Read sizes of a picture, and of each page of a TIFF; no pixels are decoded.

    One that medscan made itself is set aside.

    Raises
    ------
    CorruptError
        It starts like a picture, but cannot be parsed.
    TooLargeError
        It declares more pixels, or pages, than Pillow or medscan will look at.
    """
    stream.seek(0)
    try:
        own, layers = _pages(stream)
    except Image.DecompressionBombError as error:
        raise TooLargeError("it declares more pixels than a picture should have") from error
    except _BROKEN as error:
        raise CorruptError(f"picture cannot be parsed: {type(error).__name__}") from error
    if own:
        return Outcome(file, Reason.DERIVED, MADE_BY_MEDSCAN)
    return Header(
        file=file,
        kind=Kind.PICTURE,
        frames=len(layers),
        layers=layers if len(set(layers)) > 1 else layers[:1],
        description=stem(file.path),
    )


def _pages(stream: BinaryIO) -> tuple[bool, tuple[Layer, ...]]:
    """Whether medscan made it, and its pages."""
    exif = _exif_reader(stream)
    with Image.open(stream, formats=("PNG", "JPEG", "TIFF")) as image:
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if pages > _MAX_PAGES:
            raise TooLargeError(f"it declares {pages} pages")
        own = exif(image).get(ExifTags.Base.Software) == MAKER
        layers = []
        for page in range(pages):
            if page:
                image.seek(page)
            size = (image.height, image.width)
            # Pillow gives the size of a TIFF as it will be when turned.
            stored = image.format != "TIFF"
            turned = stored and exif(image).get(ExifTags.Base.Orientation, 1) >= _TURNED
            layers.append(Layer(*(size[::-1] if turned else size)))
    return own, tuple(layers)


def _exif_reader(stream: BinaryIO) -> Callable[[Image.Image], Image.Exif]:
    """How to ask for EXIF data: of a PNG, Pillow would decode the pixels to see what follows."""
    at = stream.tell()
    is_png = stream.read(8) == b"\x89PNG\r\n\x1a\n"
    late = not is_png or any(data.startswith(_LATE) for data in _after_pixels(stream))
    stream.seek(at)
    return Image.Image.getexif if not late else methodcaller("getexif")


def _after_pixels(stream: BinaryIO) -> Iterator[bytes]:
    """Type and first bytes of the chunks of a PNG from its pixels on."""
    seen = False
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        seen = seen or kind == b"IDAT"
        start = stream.read(min(length, 32))
        if seen:
            yield kind + start
        stream.seek(length - len(start) + 4, os.SEEK_CUR)
