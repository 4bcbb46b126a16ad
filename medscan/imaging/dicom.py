"""DICOM files -> frames after rescale, one frame at a time.

Decoders, in this order: pydicom's native and RLE ones, its plugins (OpenJPEG, RLE, JPEG-LS,
Pillow), then SimpleITK for the JPEG processes that none of them knows.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from medscan.archive import ArchiveFile, is_mosaic, mosaic_of, open_regular
from medscan.errors import CorruptError, TooLargeError, TruncatedError, UnsupportedError
from medscan.imaging.codestream import declared_size
from medscan.imaging.quiet import DECODER_ERRORS, no_stderr
from medscan.imaging.tables import Rescale, rescale_of, voi_of
from medscan.imaging.types import PixelPlane

PLUGINS = ("pylibjpeg", "pyjpegls", "pillow", "pydicom")
"""pydicom's decoding plugins in order of trust; its GDCM one can abort the process."""
_ITK_JPEG = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
_SHAPE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
)
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
        self.max_file_bytes = max_file_bytes
        self.header: Dataset = pydicom.dcmread(_content(file, max_file_bytes), force=True)
        self.syntax = _syntax(self.header)
        self._whole_mosaic: NDArray[Any] | None = None
        self._complete()
        self._check_size()
        self.mosaic = mosaic_of(self.header) if is_mosaic(self.header) else None

    def plane(self, index: int) -> PixelPlane:
        """Frame (or tile of a mosaic) `index` after rescale, padding masked, colour as RGB.

        Raises
        ------
        FileError
            It cannot be decoded.
        """
        if not 0 <= index < (self.mosaic.tiles if self.mosaic else self.frames):
            raise CorruptError(f"has no frame {index + 1}")
        stored = self._tile(index) if self.mosaic else self._decode(index)
        bits = int(self.header.BitsStored)
        if self.photometric == "PALETTE COLOR" and stored.ndim == 2:
            stored = apply_color_lut(stored, self.header)[..., :3]
            bits = 8 if stored.max(initial=0) < 256 else 16
        if stored.ndim == 3:
            return PixelPlane(_colour(stored, bits), white=255.0)
        return self._grey(stored, index)

    def _grey(self, stored: NDArray[Any], index: int) -> PixelPlane:
        inverted = self.photometric == "MONOCHROME1"
        rescale = rescale_of(self.header, index)
        values = rescale(stored)
        hidden = ~np.isfinite(values) | _padding(self.header, values, rescale)
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
        packed = self.header.BitsAllocated == 12 and not self.syntax.is_encapsulated
        if self.header.BitsAllocated not in (1, 8, 16, 32, 64) and not packed:
            raise UnsupportedError(f"{self.header.BitsAllocated} bits allocated")
        if pixels * max(4, self.header.BitsAllocated // 8) > self.max_file_bytes:
            raise TooLargeError(f"{self.rows} x {self.columns} is over the limit")
        if self.syntax.is_encapsulated:
            return
        need = (pixels * self.frames * int(self.header.BitsAllocated) + 7) // 8
        if self.photometric == "YBR_FULL_422":
            need = need // 3 * 2
        have = len(self.header[self.keyword].value)
        if have < need:
            raise TruncatedError(f"pixel data ends at byte {have} of {need}")
        if packed:
            self._spread(pixels * self.frames)

    def _spread(self, count: int) -> None:
        """Give each value of 12 bits, two in three bytes, a word (PS3.5 8.1.1, annex D)."""
        data = np.frombuffer(self.header.PixelData + b"\0\0", "u1")[: (count + 1) // 2 * 3]
        first, middle, last = data.reshape(-1, 3).T.astype(np.uint16)
        words = np.stack([first | middle << 8, middle >> 4 | last << 4], axis=1).ravel()[:count]
        # Up and down again: the first cuts the neighbour's bits off, the second spreads the sign.
        signed = np.int16 if self.header.PixelRepresentation else np.uint16
        self.header.PixelData = ((words << 4).astype(signed) >> 4).astype("<u2").tobytes()
        self.header.BitsAllocated = 16

    def _tile(self, index: int) -> NDArray[Any]:
        """As `_decode`, for a tile of a mosaic, which is decoded once."""
        if self._whole_mosaic is None:
            self._whole_mosaic = self._decode(0)
        whole = self._whole_mosaic
        return self.mosaic.tile(whole, index) if self.mosaic else whole

    def _decode(self, index: int) -> NDArray[Any]:
        """Stored values of a frame."""
        try:
            decoder = get_decoder(self.syntax)
        except NotImplementedError:
            raise UnsupportedError(f"transfer syntax {self.syntax.name}") from None
        if self.syntax.is_encapsulated:
            self._check_codestream(index)
        known = [p for p in PLUGINS if p in decoder.available_plugins]
        for plugin in known if self.syntax.is_encapsulated else [""]:
            try:
                return np.asarray(
                    decoder.as_array(self.header, index=index, decoding_plugin=plugin)[0]
                )
            except DECODER_ERRORS:
                continue
        if self.syntax in _ITK_JPEG:
            return self._decode_itk(index)
        raise CorruptError(f"pixel data is not valid {self.syntax.name}")

    def _check_codestream(self, index: int) -> None:
        """Refuse a frame that says itself that it is larger than the header: decoders obey it."""
        try:
            size = declared_size(self._codestream(index))
        except DECODER_ERRORS:
            return
        if size and size[0] * size[1] > self.rows * self.columns:
            raise CorruptError(f"its compressed frame is of {size[0]} x {size[1]} pixels")

    def _codestream(self, index: int) -> bytes:
        data: bytes = get_frame(self.header.PixelData, index, number_of_frames=self.frames)
        return data

    def _decode_itk(self, index: int) -> NDArray[Any]:
        """Stored values of a frame as SimpleITK reads them, colour as RGB.

        It is given that frame alone, in a file of a few clean tags: on broken files of more its
        parser takes gigabytes and minutes.
        """
        import SimpleITK

        single = _single(self.header, self._codestream(index))
        with tempfile.NamedTemporaryFile(suffix=".dcm") as copy:
            single.save_as(copy.file, enforce_file_format=True)
            copy.flush()
            try:
                with no_stderr():
                    image = SimpleITK.ReadImage(copy.name, imageIO="GDCMImageIO")
            except RuntimeError:
                raise UnsupportedError(
                    f"no decoder reads it: transfer syntax {self.syntax.name}"
                ) from None
        found: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
        shape = (self.rows, self.columns, self.samples)
        return found.reshape(shape[:2] if self.samples == 1 else shape)


def _single(header: Dataset, codestream: bytes) -> Dataset:
    """A data set of one compressed frame, with what decoding it takes."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    found.SOPClassUID, found.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    for keyword in _SHAPE:
        if keyword in header:
            setattr(found, keyword, header[keyword].value)
    found.HighBit = found.BitsStored - 1
    found.PixelData = encapsulate([codestream])
    found["PixelData"].VR = "OB"
    return found


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


def _syntax(header: Dataset) -> UID:
    """Transfer syntax, or the native one that a headerless file was parsed with."""
    found = getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")
    if found:
        if not UID(found).is_transfer_syntax:
            raise UnsupportedError("its transfer syntax is none")
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
