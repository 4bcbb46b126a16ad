"""Read the header of a PNG, JPEG or TIFF picture."""

from __future__ import annotations

import struct
from typing import BinaryIO

from PIL import ExifTags, Image

from medscan.archive.header import Header, Layer
from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason
from medscan.archive.volume import stem
from medscan.errors import CorruptError, TooLargeError

OURS = "medscan"
"""Software that the EXIF data of medscan's own pictures name: a report is no archive."""
_MAX_PAGES = 10_000
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
        return Outcome(file, Reason.DERIVED, "made by medscan report")
    return Header(
        file=file,
        kind=Kind.PICTURE,
        frames=len(layers),
        layers=layers if len(set(layers)) > 1 else layers[:1],
        description=stem(file.path),
    )


def _pages(stream: BinaryIO) -> tuple[bool, tuple[Layer, ...]]:
    """Whether medscan made it, and its pages."""
    with Image.open(stream, formats=("PNG", "JPEG", "TIFF")) as image:
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if pages > _MAX_PAGES:
            raise TooLargeError(f"it declares {pages} pages")
        own = image.getexif().get(ExifTags.Base.Software) == OURS
        layers = []
        for page in range(pages):
            if page:
                image.seek(page)
            size = (image.height, image.width)
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= _TURNED
            layers.append(Layer(*(size[::-1] if turned else size)))
    return own, tuple(layers)
