"""PNG, JPEG and TIFF pictures -> planes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from medscan.archive import ArchiveFile, open_regular
from medscan.decoding import PixelPlane, finite
from medscan.errors import CorruptError, TooLargeError, UnsupportedError

JPEG_ZERO = 64
"""Grey value up to which a pixel of a mask in JPEG may have been black."""
SIGNED = 2
"""Sample format of a TIFF whose numbers have a sign (TIFF 6.0, tag 339); Pillow overlooks it at 8
bits."""
_NUMBER_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def read_page(file: ArchiveFile, index: int, max_file_bytes: int) -> PixelPlane:
    """Read page `index`: EXIF orientation applied, alpha dropped, RGB that is grey reduced to grey.

    NaN and infinite pixels are as dark as the darkest.

    Parameters
    ----------
    file : ArchiveFile
    index : int
        Page, 0-based.
    max_file_bytes : int
        Limit on the page at four bytes per sample, checked before it is unpacked.

    Raises
    ------
    FileError
        If the page does not exist, is over the limit or cannot be read by Pillow.
    """
    with _opened(file, index, max_file_bytes) as image:
        tags = getattr(image, "tag_v2", {})  # of a TIFF: turning it loses them
        plane = _plane(ImageOps.exif_transpose(image), tags)
    return replace(plane, pixels=finite(plane.pixels))


def read_mask_page(file: ArchiveFile, index: int, max_file_bytes: int) -> NDArray[np.bool_]:
    """Read where page `index` of a mask marks something, (rows, columns).

    Every value above 0 marks, and every colour but black, unless it is transparent. Of a palette
    without black, entry 0 is the one that does not. JPEG blurs its zeros: there, a value above
    `JPEG_ZERO` marks.

    Raises
    ------
    FileError
        As `read_page`; or if nothing in a JPEG is brighter than what it may make of zeros.
    """
    with _opened(file, index, max_file_bytes) as image:
        tags, zero = getattr(image, "tag_v2", {}), JPEG_ZERO if image.format == "JPEG" else 0
        turned = ImageOps.exif_transpose(image)
        values = np.nan_to_num(np.atleast_3d(_plane(turned, tags).pixels)).max(axis=2)
        if turned.mode == "P" and values.all():
            values = np.asarray(turned)
        if values.any() and values.max() <= zero:
            raise UnsupportedError(f"a JPEG without a value above {zero}; save it as PNG")
        marked: NDArray[np.bool_] = values > zero
        if "A" in turned.getbands():
            marked &= np.asarray(turned.getchannel("A")) > 0
        return marked


@contextmanager
def _opened(file: ArchiveFile, index: int, max_file_bytes: int) -> Iterator[Image.Image]:
    """Open a picture at a page."""
    with open_regular(file.full) as stream, _open_picture(stream) as image:
        if not 0 <= index < getattr(image, "n_frames", 1):
            raise CorruptError(f"has no page {index + 1}")
        image.seek(index)
        if image.width * image.height * 4 * len(image.getbands()) > max_file_bytes:
            raise TooLargeError(f"{image.height} x {image.width} is over the limit")
        yield image


def _open_picture(stream: BinaryIO) -> Image.Image:
    try:
        return Image.open(stream, formats=("PNG", "JPEG", "TIFF"))
    except UnidentifiedImageError:
        raise UnsupportedError("no PNG, JPEG or TIFF that can be read") from None


def _plane(image: Image.Image, tags: Mapping[int, Any]) -> PixelPlane:
    """Keep numbers; make everything else grey or RGB of 8 bits."""
    if image.mode in _NUMBER_MODES:
        return PixelPlane(_numbers(np.asarray(image), tags).astype(np.float32))
    if image.mode == "L" and tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == SIGNED:
        return PixelPlane(np.asarray(image).view(np.int8).astype(np.float32))
    if image.mode in ("1", "L", "LA", "La"):
        return PixelPlane(np.asarray(image.convert("L"), dtype=np.float32), white=255.0)
    rgb: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    if (rgb[..., :1] == rgb).all():
        rgb = rgb[..., 0]
    return PixelPlane(rgb.astype(np.float32), white=255.0)


def _numbers(stored: NDArray[Any], tags: Mapping[int, Any]) -> NDArray[Any]:
    """Numbers of a grey picture of more than 8 bits, which Pillow leaves as TIFF stores them.

    Where a TIFF says so, 0 is white (TIFF 6.0, tag 262), and numbers of 32 bits have no sign
    (tag 339), which Pillow's do.
    """
    bits = int(tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])
    unsigned = int(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0]) == 1
    if unsigned and stored.dtype == np.int32 and bits == 32:
        stored = stored.view(np.uint32)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) != 0:
        return stored
    white = (1 << bits) - 1 if unsigned else 0
    return white - stored.astype(np.float64)
