"""DICOM files -> frames after rescale, one frame at a time.

Decoders, in this order: pydicom's native and RLE ones, its plugins (OpenJPEG, RLE, JPEG-LS,
Pillow), then SimpleITK for the JPEG processes that none of them knows.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medscan.archive.sniff import open_regular
from medscan.archive.types import ArchiveFile
from medscan.errors import CorruptError, TooLargeError, TruncatedError, UnsupportedError
from medscan.imaging.quiet import DECODER_ERRORS, no_stderr
from medscan.imaging.tables import Rescale, rescale_of, voi_of
from medscan.imaging.types import PixelPlane

PLUGINS = ("pylibjpeg", "pyjpegls", "pillow", "pydicom")
"""pydicom's decoding plugins in order of trust; its GDCM one can abort the process."""
_ITK_JPEG = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class DicomFile:
    """An open DICOM file whose frames can be read.

    Parameters
    ----------
    file : ArchiveFile
    max_file_bytes : int
        Limit on the file, on what it unpacks to and on a decoded frame.

    Raises
    ------
    FileError
        It has no pixels, is larger than the limit or ends too early.
    """

    def __init__(self, file: ArchiveFile, max_file_bytes: int) -> None:
        self.file = file
        self.limit = max_file_bytes
        self.header: Dataset = pydicom.dcmread(_content(file, max_file_bytes), force=True)
        self.syntax = _syntax(self.header)
        self._itk: NDArray[Any] | None = None
        self._complete()
        self._check_size()

    def plane(self, index: int) -> PixelPlane:
        """Frame `index` after rescale, padding masked, colour as RGB.

        Raises
        ------
        FileError
            It cannot be decoded.
        """
        if not 0 <= index < self.frames:
            raise CorruptError(f"has no frame {index + 1}")
        stored, rescaled = self._decode(index)
        bits = int(self.header.BitsStored)
        if self.photometric == "PALETTE COLOR" and stored.ndim == 2:
            stored = apply_color_lut(stored, self.header)[..., :3]
            bits = 8 if stored.max(initial=0) < 256 else 16
        if stored.ndim == 3:
            return PixelPlane(_colour(stored, bits), white=255.0)
        return self._grey(stored, index, Rescale() if rescaled else rescale_of(self.header, index))

    def _grey(self, stored: NDArray[Any], index: int, rescale: Rescale) -> PixelPlane:
        inverted = self.photometric == "MONOCHROME1"
        values = rescale(stored)
        hidden = ~np.isfinite(values) | _padding(
            self.header, values, rescale_of(self.header, index)
        )
        if hidden.any():
            rest = values[~hidden]
            black = (rest.max() if inverted else rest.min()) if rest.size else 0.0
            values[hidden] = black
        as_is = rescale == Rescale() and not self.header.PixelRepresentation
        bits = int(self.header.BitsStored)
        white = 2.0**bits - 1 if as_is and bits <= 8 else None
        return PixelPlane(values, inverted, voi_of(self.header, index), white)

    def _complete(self) -> None:
        """Fill in what sloppy writers leave out, as other readers do."""
        header = self.header
        keyword = next((k for k in _PIXELS if header.get(k)), None)
        if keyword is None:
            raise CorruptError("has no pixel data")
        self.keyword = keyword
        itemsize = {"PixelData": 16, "FloatPixelData": 32, "DoubleFloatPixelData": 64}[keyword]
        self.samples = self._whole("SamplesPerPixel", 1)
        header.SamplesPerPixel = self.samples
        bits = self._whole("BitsAllocated", itemsize)
        header.BitsAllocated = bits
        header.BitsStored = min(self._whole("BitsStored", bits), bits)
        header.PixelRepresentation = self._whole("PixelRepresentation", 0) & 1
        self.frames = max(1, self._whole("NumberOfFrames", 1))
        header.NumberOfFrames = self.frames
        self.rows, self.columns = self._whole("Rows", 0), self._whole("Columns", 0)
        default = "RGB" if self.samples == 3 else "MONOCHROME2"
        self.photometric = str(header.get("PhotometricInterpretation") or default).strip()
        header.PhotometricInterpretation = self.photometric
        if self.samples > 1:
            header.PlanarConfiguration = self._whole("PlanarConfiguration", 0) & 1

    def _whole(self, keyword: str, default: int) -> int:
        """An integer of the header."""
        value = self.header.get(keyword)
        try:
            return default if value is None or value == "" else int(value)
        except (TypeError, ValueError):
            raise CorruptError(f"{keyword} is not a number") from None

    def _check_size(self) -> None:
        """Refuse declared sizes beyond the limit, and native pixel data that ends too early."""
        pixels = self.rows * self.columns * self.samples
        if pixels <= 0:
            raise CorruptError("image without rows or columns")
        if self.header.BitsAllocated not in (1, 8, 16, 32, 64):
            raise UnsupportedError(f"{self.header.BitsAllocated} bits allocated")
        if pixels * max(4, self.header.BitsAllocated // 8) > self.limit:
            raise TooLargeError(f"{self.rows} x {self.columns} is over the limit")
        if self.syntax.is_encapsulated:
            return
        need = (pixels * self.frames * int(self.header.BitsAllocated) + 7) // 8
        if self.photometric == "YBR_FULL_422":
            need = need // 3 * 2
        have = len(self.header[self.keyword].value)
        if have < need:
            raise TruncatedError(f"pixel data ends at byte {have} of {need}")

    def _decode(self, index: int) -> tuple[NDArray[Any], bool]:
        """Stored values of a frame, and whether its decoder has rescaled them already."""
        try:
            decoder = get_decoder(self.syntax)
        except NotImplementedError:
            raise UnsupportedError(f"transfer syntax {self.syntax.name}") from None
        known = [p for p in PLUGINS if p in decoder.available_plugins]
        for plugin in known if self.syntax.is_encapsulated else [""]:
            try:
                return decoder.as_array(self.header, index=index, decoding_plugin=plugin)[0], False
            except DECODER_ERRORS:
                continue
        if self.syntax in _ITK_JPEG:
            return self._decode_itk(index), True
        raise CorruptError(f"pixel data is not valid {self.syntax.name}")

    def _decode_itk(self, index: int) -> NDArray[Any]:
        """Frame as SimpleITK reads it: rescaled, colour as RGB."""
        import SimpleITK

        size = self.rows * self.columns * self.samples * self.frames
        if size * max(4, self.header.BitsAllocated // 8) > self.limit:
            raise TooLargeError(f"{self.frames} frames are over the limit")
        if self._itk is None:
            try:
                with no_stderr():
                    image = SimpleITK.ReadImage(str(self.file.full), imageIO="GDCMImageIO")
            except RuntimeError:
                raise UnsupportedError(
                    f"no decoder reads it: transfer syntax {self.syntax.name}"
                ) from None
            self._itk = SimpleITK.GetArrayFromImage(image)
        shape = (self.frames, self.rows, self.columns, self.samples)
        found: NDArray[Any] = self._itk.reshape(shape)[index]
        return found[..., 0] if self.samples == 1 else found


def _content(file: ArchiveFile, limit: int) -> BinaryIO:
    """The file's bytes, unpacked when gzipped; refuses what comes, or inflates, to over `limit`."""
    with open_regular(file.full) as stream:
        data = stream.read(limit + 1)
    if data[:2] == b"\x1f\x8b" and len(data) <= limit:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            data = packed.read(limit + 1)
    size = len(data)
    if data[128:132] == b"DICM" and DeflatedExplicitVRLittleEndian.encode() in data[:1024]:
        start = 144 + int.from_bytes(data[140:144], "little")
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], limit + 1)
        size = len(inflated)
    if max(size, len(data)) > limit:
        raise TooLargeError(f"is over the limit of {limit} bytes")
    return io.BytesIO(data)


def _syntax(header: Dataset) -> UID:
    """Transfer syntax, or the native one that a headerless file was parsed with."""
    found = getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")
    if found:
        if not UID(found).is_transfer_syntax:
            raise UnsupportedError(f"transfer syntax {UID(found).name[:64]!r}")
        return UID(found)
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little is not False else ExplicitVRBigEndian


def _colour(stored: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """RGB of any depth as float32 in [0, 255]."""
    if stored.shape[2] != 3:
        raise UnsupportedError(f"{stored.shape[2]} samples a pixel")
    if bits <= 8:
        return stored.astype(np.float32)
    return (stored.astype(np.float64) * (255.0 / (2.0**bits - 1))).astype(np.float32)


def _padding(header: Dataset, values: NDArray[np.float32], rescale: Rescale) -> NDArray[np.bool_]:
    """Pixels that hold PixelPaddingValue or lie in its range (PS3.3 C.7.5.1.1.2)."""
    pad = header.get("PixelPaddingValue")
    if pad is None or pad == "" or rescale.table is not None:
        return np.zeros(values.shape, dtype=bool)
    limit = header.get("PixelPaddingRangeLimit")
    ends = np.array([_stored(header, pad), _stored(header, pad if limit is None else limit)])
    low, high = np.sort(rescale(ends))
    hidden: NDArray[np.bool_] = (values >= low) & (values <= high)
    return hidden


def _stored(header: Dataset, value: Any) -> int:
    """Padding as the pixels are stored: writers mix up its sign and value representation."""
    bits = int(header.BitsAllocated)
    found = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    found %= 1 << bits
    return found - (1 << bits) if header.PixelRepresentation and found >> (bits - 1) else found
