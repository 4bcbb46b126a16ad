"""Read the header of a PNG, JPEG or TIFF picture."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from operator import methodcaller
from typing import BinaryIO

from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from medscan.archive.facts import FILE_NAME
from medscan.archive.header import Header, Layer, Record
from medscan.archive.types import MADE_BY_MEDSCAN, MAKER, ArchiveFile, Kind, Outcome, Reason
from medscan.archive.volume import stem
from medscan.errors import CorruptError, TooLargeError, UnsupportedError

_MAX_PAGES = 10_000
_EXIF_CHUNKS = (
    b"eXIf",
    b"iTXtXML:com.adobe.xmp",
    b"iTXtRaw profile type exif",
    b"tEXtRaw profile type exif",
    b"zTXtRaw profile type exif",
)
"""Starts of PNG chunks that may hold its orientation."""
_SWAPPED = 5
"""First of the EXIF orientations that swap rows and columns (TIFF 6.0, section 8)."""
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def read_picture(file: ArchiveFile, stream: BinaryIO) -> Record:
    """Read the size of a picture, or of each page of a TIFF, without decoding pixels.

    Pictures that medscan made itself are set aside.

    Raises
    ------
    CorruptError
        If it starts like a picture, but cannot be parsed.
    TooLargeError
        If it declares more pixels or pages than Pillow or medscan accepts.
    UnsupportedError
        If it is a TIFF whose pixels are of a kind that Pillow does not read.
    """
    stream.seek(0)
    try:
        made_by_medscan, layers = _pages(stream)
    except Image.DecompressionBombError as error:
        raise TooLargeError("it declares more pixels than a picture should have") from error
    except _BROKEN as error:
        if isinstance(error, UnidentifiedImageError) and _is_tiff(stream):
            raise UnsupportedError("a TIFF with pixels that Pillow cannot read") from error
        raise CorruptError(f"picture cannot be parsed: {type(error).__name__}") from error
    if made_by_medscan:
        return Outcome(file, Reason.DERIVED, MADE_BY_MEDSCAN)
    return Header(
        file=file,
        kind=Kind.PICTURE,
        frames=len(layers),
        layers=layers if len(set(layers)) > 1 else layers[:1],
        facts={FILE_NAME: stem(file.path)},
    )


def _is_tiff(stream: BinaryIO) -> bool:
    """Whether it is a TIFF whose first directory can be read, and says how large its image is."""
    stream.seek(0)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
        stream.seek(tags.next)
        tags.load(stream)
    except _BROKEN:
        return False
    return TiffImagePlugin.IMAGEWIDTH in tags and TiffImagePlugin.IMAGELENGTH in tags


def _pages(stream: BinaryIO) -> tuple[bool, tuple[Layer, ...]]:
    """Whether medscan made the picture, and a layer for each page."""
    exif = _exif_reader(stream)
    with Image.open(stream, formats=("PNG", "JPEG", "TIFF")) as image:
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if pages > _MAX_PAGES:
            raise TooLargeError(f"it declares {pages} pages")
        made_by_medscan = exif(image).get(ExifTags.Base.Software) == MAKER
        layers = []
        for page in range(pages):
            if page:
                image.seek(page)
            size = (image.height, image.width)
            # Pillow reports the size of a TIFF after turning, of other pictures as stored.
            as_stored = image.format != "TIFF"
            swapped = as_stored and exif(image).get(ExifTags.Base.Orientation, 1) >= _SWAPPED
            layers.append(Layer(*(size[::-1] if swapped else size)))
    return made_by_medscan, tuple(layers)


def _exif_reader(stream: BinaryIO) -> Callable[[Image.Image], Image.Exif]:
    """Choose how to read EXIF data without decoding pixels.

    Pillow's own way for a PNG decodes the pixels to reach the chunks behind them: it is used only
    where such a chunk may hold EXIF data.
    """
    start = stream.tell()
    is_png = stream.read(8) == b"\x89PNG\r\n\x1a\n"
    after_pixels = not is_png or any(c.startswith(_EXIF_CHUNKS) for c in _after_pixels(stream))
    stream.seek(start)
    return Image.Image.getexif if not after_pixels else methodcaller("getexif")


def _after_pixels(stream: BinaryIO) -> Iterator[bytes]:
    """Type and first bytes of each chunk of a PNG from its pixels on."""
    in_pixels = False
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        in_pixels = in_pixels or kind == b"IDAT"
        start = stream.read(min(length, 32))
        if in_pixels:
            yield kind + start
        stream.seek(length - len(start) + 4, os.SEEK_CUR)
