"""DICOM files -> frames after rescale, one frame at a time."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medscan.archive import ArchiveFile, is_mosaic, mosaic_of, open_regular
from medscan.decoding.codestream import Declared, declared
from medscan.decoding.offsets import check_offsets
from medscan.decoding.planes import PixelPlane
from medscan.decoding.quiet import DECODER_ERRORS
from medscan.decoding.stored import LOSSY, decode_compressed, decode_native, decoder_of, significant
from medscan.decoding.tables import Rescale, rescale_of, units_of, voi_of
from medscan.errors import CorruptError, TooLargeError, TruncatedError, UnsupportedError

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PADDING = {
    "PixelData": ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    "FloatPixelData": ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    "DoubleFloatPixelData": ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
}
_LEFT_BEHIND = {"YBR_FULL_422": "YBR_FULL", "YBR_ICT": "RGB", "YBR_RCT": "RGB"}
"""What native pixels with all samples are: 4:2:2 has two thirds of them, and JPEG 2000's transforms
are undone with its compression (PS3.3 C.7.6.3.1.2)."""
_NOT_CONVERTED = ("ARGB", "CMYK", "HSV", "YBR_PARTIAL_420", "YBR_PARTIAL_422")
"""Retired colour spaces that nothing here turns into RGB (PS3.3 C.7.6.3.1.2)."""

_NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
"""Transfer syntaxes of PS3.6 table A-1 that pydicom does not list."""


class DicomFile:
    """A DICOM file in memory, whose frames can be decoded.

    Parameters
    ----------
    file : ArchiveFile
    max_file_bytes : int
        Limit on the file as stored, on the file unpacked, and on a decoded frame.

    Raises
    ------
    FileError
        If the file has no pixels, is over the limit or ends too early.
    """

    def __init__(self, file: ArchiveFile, max_file_bytes: int) -> None:
        self.file = file
        self.max_file_bytes = max_file_bytes
        self.header: Dataset = pydicom.dcmread(_content(file, max_file_bytes), force=True)
        self.syntax = _syntax(self.header)
        self._whole_mosaic: NDArray[Any] | None = None
        self._palette_bits: int | None = None
        self._complete()
        self._check_size()
        self.mosaic = mosaic_of(self.header) if is_mosaic(self.header) else None

    @property
    def planes(self) -> int:
        """Number of frames, or of tiles of a mosaic."""
        return self.mosaic.tiles if self.mosaic else self.frames

    def plane(self, index: int) -> PixelPlane:
        """Decode frame (or tile of a mosaic) `index`: after rescale, padding black, colour as RGB.

        Raises
        ------
        FileError
            If the frame does not exist or cannot be decoded.
        """
        if not 0 <= index < self.planes:
            raise CorruptError(f"has no frame {index + 1}")
        container = self._tile(index) if self.mosaic else self._container(index)
        stored, bits = self._significant(container), self.bits
        if self.photometric == "PALETTE COLOR" and stored.ndim == 2:
            numbers = stored
            stored, bits = self._palette_colours(numbers)
            if _is_flat(stored) and not _is_flat(numbers):
                return PixelPlane(numbers.astype(np.float32), header_unused=True)
        if stored.ndim == 3:
            return PixelPlane(_colour(stored, bits), white=255.0)
        return self._grey(stored, self._padding(container, stored), index)

    def _grey(
        self, stored: NDArray[Any], padding: NDArray[np.bool_] | None, index: int
    ) -> PixelPlane:
        inverted = self.photometric == "MONOCHROME1"
        rescale = rescale_of(self.header, index)
        values = rescale(stored)
        hidden = ~np.isfinite(values)
        visible = values[~hidden] if hidden.any() else values
        if _is_flat(visible) and stored.dtype.kind in "iu" and not _is_flat(stored):
            # Its table or slope leaves nothing to see: the stored values are shown.
            values = (stored.astype(np.float64) - stored.min()).astype(np.float32)
            return PixelPlane(values, inverted, header_unused=True)
        all_padding = padding is not None and bool(padding.all()) and not _is_flat(values)
        if padding is not None and not all_padding:
            hidden |= padding
        if hidden.any():
            visible = values[~hidden]
            black = (visible.max() if inverted else visible.min()) if visible.size else 0.0
            values[hidden] = black
        unscaled = rescale == Rescale() and not self.header.PixelRepresentation
        white = 2.0**self.bits - 1 if unscaled and self.bits <= 8 else None
        voi = voi_of(self.header, index, rescale)
        step, units = abs(rescale.slope), units_of(self.header, index, rescale)
        return PixelPlane(values, inverted, voi, white, all_padding, step, units)

    def _palette_colours(self, stored: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """RGB of palette numbers, and its bits: the whole palette tells whether it has 8 or 16."""
        if self._palette_bits is None:
            count, first = (int(n) for n in self.header.RedPaletteColorLookupTableDescriptor[:2])
            numbers = np.arange(first, first + (count or 65536)).reshape(1, -1)
            whole = apply_color_lut(numbers, self.header)
            self._palette_bits = 8 if whole.max() < 256 else 16
        return apply_color_lut(stored, self.header)[..., :3], self._palette_bits

    def _complete(self) -> None:
        """Fill in elements that are often missing, with the values that other readers assume."""
        header = self.header
        keyword = next((k for k in _PIXELS if header.get(k)), None)
        if keyword is None:
            raise CorruptError("has no pixel data")
        self.keyword = keyword
        itemsize = {"PixelData": 16, "FloatPixelData": 32, "DoubleFloatPixelData": 64}[keyword]
        self.samples = self._integer("SamplesPerPixel", 1)
        header.SamplesPerPixel = self.samples
        bits = self._integer("BitsAllocated", itemsize)
        header.BitsAllocated = bits
        self.bits = min(self._integer("BitsStored", bits), bits)
        high_bit = self._integer("HighBit", self.bits - 1)
        self.high_bit = high_bit if self.bits <= high_bit < bits else self.bits - 1
        self.shift = self.high_bit + 1 - self.bits
        header.BitsStored = self.high_bit + 1  # decoders drop bits above these, if they drop any
        header.PixelRepresentation = self._integer("PixelRepresentation", 0) & 1
        self.frames = max(1, self._integer("NumberOfFrames", 1))
        header.NumberOfFrames = self.frames
        self.rows, self.columns = self._integer("Rows", 0), self._integer("Columns", 0)
        default = "RGB" if self.samples == 3 else "MONOCHROME2"
        self.photometric = str(header.get("PhotometricInterpretation") or default).strip()
        header.PhotometricInterpretation = self.photometric
        if self.samples > 1:
            header.PlanarConfiguration = self._integer("PlanarConfiguration", 0) & 1

    def _integer(self, keyword: str, default: int) -> int:
        """Integer value of an element; `default` where it is missing or empty."""
        value = self.header.get(keyword)
        try:
            return default if value is None or value == "" else int(value)
        except (TypeError, ValueError):
            raise CorruptError(f"{keyword} is not a number") from None

    def _check_size(self) -> None:
        """Refuse frames over the limit, and native pixel data that ends too early."""
        pixels = self.rows * self.columns * self.samples
        if pixels <= 0:
            raise CorruptError("image without rows or columns")
        packed = self.header.BitsAllocated == 12 and not self.syntax.is_encapsulated
        if self.header.BitsAllocated not in (1, 8, 16, 32, 64) and not packed:
            raise UnsupportedError(f"{self.header.BitsAllocated} bits allocated")
        if pixels * max(4, self.header.BitsAllocated // 8) > self.max_file_bytes:
            raise TooLargeError(f"{self.rows} x {self.columns} is over the limit")
        decoder_of(self.syntax)
        if self.syntax.is_encapsulated:
            check_offsets(self.header, self.frames)
            return
        need = (pixels * self.frames * int(self.header.BitsAllocated) + 7) // 8
        have = len(self.header[self.keyword].value)
        self._correct_colour_space(whole=have >= need)
        if self.photometric == "YBR_FULL_422":
            need = need // 3 * 2
        if have < need:
            raise TruncatedError(f"pixel data ends at byte {have} of {need}")
        if packed:
            self._unpack_12_bits(pixels * self.frames)

    def _correct_colour_space(self, whole: bool) -> None:
        """Correct the name that a decoder left in the header of native colour that is `whole`."""
        if self.photometric in _NOT_CONVERTED:
            raise UnsupportedError(f"photometric interpretation {self.photometric}")
        if whole and self.photometric in _LEFT_BEHIND:
            self.photometric = _LEFT_BEHIND[self.photometric]
            self.header.PhotometricInterpretation = self.photometric

    def _unpack_12_bits(self, count: int) -> None:
        """Widen values of 12 bits, two in three bytes, to 16 bits each (PS3.5 8.1.1, annex D)."""
        data = np.frombuffer(self.header.PixelData + b"\0\0", "u1")[: (count + 1) // 2 * 3]
        first, middle, last = data.reshape(-1, 3).T.astype(np.uint16)
        words = np.stack([first | middle << 8, middle >> 4 | last << 4], axis=1).ravel()[:count]
        # The shift up drops the bits of the neighbour; the shift down extends the sign.
        signed = np.int16 if self.header.PixelRepresentation else np.uint16
        self.header.PixelData = ((words << 4).astype(signed) >> 4).astype("<u2").tobytes()
        self.header.BitsAllocated = 16

    def _tile(self, index: int) -> NDArray[Any]:
        """Values of a tile; the mosaic is decoded once for all of them."""
        if self._whole_mosaic is None:
            self._whole_mosaic = self._container(0)
        whole = self._whole_mosaic
        return self.mosaic.tile(whole, index) if self.mosaic else whole

    def _container(self, index: int) -> NDArray[Any]:
        """Values of a frame, with all bits of a cell that is at least as wide as the pixel."""
        if not self.syntax.is_encapsulated:
            return decode_native(self.header, self.syntax, index)
        codestream = self._codestream(index)
        found = self._checked(declared(codestream))
        # A codec that keeps no bits above the pixel keeps none below it either.
        self.shift = 0 if found and found.bits <= self.high_bit else self.high_bit + 1 - self.bits
        bits = found.bits if found else int(self.header.BitsAllocated)
        return decode_compressed(self.header, self.syntax, index, codestream, bits)

    def _significant(self, container: NDArray[Any]) -> NDArray[Any]:
        """Stored values: the bits of the pixel alone."""
        signed, lossy = bool(self.header.PixelRepresentation), self.syntax in LOSSY
        return significant(container, self.bits, self.shift, signed=signed, lossy=lossy)

    def _padding(self, container: NDArray[Any], stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Mask of pixels at Pixel Padding Value or within its range (PS3.3 C.7.5.1.1.2).

        Writers pad before or after they place the pixel in its bits, so that both are looked at.
        """
        pad = self.header.get(_PADDING[self.keyword][0])
        if pad is None or pad == "":
            return None
        far = self.header.get(_PADDING[self.keyword][1])
        low, high = sorted(self._padding_number(p) for p in (pad, pad if far is None else far))
        hidden: NDArray[np.bool_] = (stored >= low) & (stored <= high)
        return hidden if stored is container else hidden | (container >= low) & (container <= high)

    def _padding_number(self, value: Any) -> float:
        """Padding value in the number format of the pixels: writers mix up its sign and VR."""
        if self.keyword != "PixelData":
            return float(value)
        bits = int(self.header.BitsAllocated)
        number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
        number %= 1 << bits
        negative = self.header.PixelRepresentation and number >> (bits - 1)
        return number - (1 << bits) if negative else number

    def _checked(self, found: Declared | None) -> Declared | None:
        """Refuse a frame that declares a larger size than the header: decoders believe it."""
        if found and found.rows * found.columns > self.rows * self.columns:
            raise CorruptError(f"its compressed frame is of {found.rows} x {found.columns} pixels")
        allocated = int(self.header.BitsAllocated)
        if found and found.bits > allocated:
            raise CorruptError(f"its compressed frame has {found.bits} bits, not {allocated}")
        return found

    def _codestream(self, index: int) -> bytes:
        try:
            data: bytes = get_frame(self.header.PixelData, index, number_of_frames=self.frames)
        except DECODER_ERRORS:
            raise CorruptError(f"pixel data is not valid {self.syntax.name}") from None
        return data


def _content(file: ArchiveFile, max_file_bytes: int) -> BinaryIO:
    """Read a file, unpacked when gzipped; refuse one that is, or inflates, over the limit."""
    with open_regular(file.full) as stream:
        data = stream.read(max_file_bytes + 1)
    if data[:2] == b"\x1f\x8b" and len(data) <= max_file_bytes:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            data = packed.read(max_file_bytes + 1)
    size = len(data)
    if data[128:132] == b"DICM" and DeflatedExplicitVRLittleEndian.encode() in data[:1024]:
        start = 144 + int.from_bytes(data[140:144], "little")
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], max_file_bytes + 1)
        size = len(inflated)
    if max(size, len(data)) > max_file_bytes:
        raise TooLargeError(f"is over the limit of {max_file_bytes} bytes")
    return io.BytesIO(data)


def _unknown_syntax(uid: str) -> str:
    """Name of a transfer syntax that pydicom does not know; other text may name a patient."""
    return _NEWER.get(uid) or (uid if UID(uid).is_valid else "of an invalid UID")


def _syntax(header: Dataset) -> UID:
    """Transfer syntax; without one, the native syntax that pydicom parsed the file with."""
    uid = getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")
    if uid:
        if not UID(uid).is_transfer_syntax:
            raise UnsupportedError(f"transfer syntax {_unknown_syntax(uid)}")
        return UID(uid)
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little is not False else ExplicitVRBigEndian


def _is_flat(values: NDArray[Any]) -> bool:
    """Whether all pixels, (rows, columns, 3) if they have colour, are equal."""
    if values.ndim == 3:
        return bool((values == values[:1, :1]).all())
    return not values.size or bool(values.min() == values.max())


def _colour(stored: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Scale RGB of any depth to float32 in [0, 255]."""
    if stored.shape[2] != 3:
        raise UnsupportedError(f"{stored.shape[2]} samples a pixel")
    if bits <= 8:
        return stored.astype(np.float32)
    return (stored.astype(np.float64) * (255.0 / (2.0**bits - 1))).astype(np.float32)
