"""DICOM files -> frames after rescale, one frame at a time.

pydicom itself reads native pixels. Its plugins are tried on compressed frames in the order of
`PLUGINS` (OpenJPEG and RLE, JPEG-LS, Pillow, its own RLE), then SimpleITK on JPEG processes that
none of them can decode.
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
"""pydicom's decoding plugins in order of trust, without GDCM, which can abort the process."""
ITK_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
"""JPEG baseline, extended and lossless: tried with SimpleITK where every plugin fails."""
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
        self._complete()
        self._check_size()
        self.mosaic = mosaic_of(self.header) if is_mosaic(self.header) else None

    def plane(self, index: int) -> PixelPlane:
        """Decode frame (or tile of a mosaic) `index`: after rescale, padding black, colour as RGB.

        Raises
        ------
        FileError
            If the frame does not exist or cannot be decoded.
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
            visible = values[~hidden]
            black = (visible.max() if inverted else visible.min()) if visible.size else 0.0
            values[hidden] = black
        unscaled = rescale == Rescale() and not self.header.PixelRepresentation
        bits = int(self.header.BitsStored)
        white = 2.0**bits - 1 if unscaled and bits <= 8 else None
        return PixelPlane(values, inverted, voi_of(self.header, index), white)

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
        header.BitsStored = min(self._integer("BitsStored", bits), bits)
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
        if self.syntax.is_encapsulated:
            return
        need = (pixels * self.frames * int(self.header.BitsAllocated) + 7) // 8
        if self.photometric == "YBR_FULL_422":
            need = need // 3 * 2
        have = len(self.header[self.keyword].value)
        if have < need:
            raise TruncatedError(f"pixel data ends at byte {have} of {need}")
        if packed:
            self._unpack_12_bits(pixels * self.frames)

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
        """Stored values of a tile; the mosaic is decoded once for all of them."""
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
        plugins = [p for p in PLUGINS if p in decoder.available_plugins]
        for plugin in plugins if self.syntax.is_encapsulated else [""]:
            try:
                return np.asarray(
                    decoder.as_array(self.header, index=index, decoding_plugin=plugin)[0]
                )
            except DECODER_ERRORS:  # the next plugin may read what this one cannot
                continue
        if self.syntax in ITK_SYNTAXES:
            return self._decode_itk(index)
        raise CorruptError(f"pixel data is not valid {self.syntax.name}")

    def _check_codestream(self, index: int) -> None:
        """Refuse a frame that declares a larger size than the header: decoders believe it."""
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
        """Stored values of a frame as SimpleITK decodes them, colour as RGB.

        SimpleITK gets a temporary file with this frame and a few clean tags: on broken larger
        files its parser takes gigabytes and minutes.
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
        stored: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
        shape = (self.rows, self.columns, self.samples)
        return stored.reshape(shape[:2] if self.samples == 1 else shape)


def _single(header: Dataset, codestream: bytes) -> Dataset:
    """Data set of one compressed frame, with only the elements that decoding needs."""
    single = Dataset()
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    single.SOPClassUID, single.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    for keyword in _SHAPE:
        if keyword in header:
            setattr(single, keyword, header[keyword].value)
    if single.SamplesPerPixel == 1:
        # GDCM would invert MONOCHROME1 and look up palettes, which medscan does itself afterwards.
        single.PhotometricInterpretation = "MONOCHROME2"
    single.HighBit = single.BitsStored - 1
    single.PixelData = encapsulate([codestream])
    single["PixelData"].VR = "OB"
    return single


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
    """Transfer syntax; without one, the native syntax that pydicom parsed the file with."""
    uid = getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")
    if uid:
        if not UID(uid).is_transfer_syntax:
            raise UnsupportedError("invalid transfer syntax UID")
        return UID(uid)
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little is not False else ExplicitVRBigEndian


def _colour(stored: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Scale RGB of any depth to float32 in [0, 255]."""
    if stored.shape[2] != 3:
        raise UnsupportedError(f"{stored.shape[2]} samples a pixel")
    if bits <= 8:
        return stored.astype(np.float32)
    return (stored.astype(np.float64) * (255.0 / (2.0**bits - 1))).astype(np.float32)


def _padding(header: Dataset, values: NDArray[np.float32], rescale: Rescale) -> NDArray[np.bool_]:
    """Mask of pixels at PixelPaddingValue or within its range (PS3.3 C.7.5.1.1.2)."""
    pad = header.get("PixelPaddingValue")
    if pad is None or pad == "" or rescale.table is not None:
        return np.zeros(values.shape, dtype=bool)
    far = header.get("PixelPaddingRangeLimit")
    ends = np.array([_stored(header, pad), _stored(header, pad if far is None else far)])
    low, high = np.sort(rescale(ends))
    hidden: NDArray[np.bool_] = (values >= low) & (values <= high)
    return hidden


def _stored(header: Dataset, value: Any) -> int:
    """Padding value in the number format of the pixels: writers mix up its sign and VR."""
    bits = int(header.BitsAllocated)
    stored = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    stored %= 1 << bits
    return stored - (1 << bits) if header.PixelRepresentation and stored >> (bits - 1) else stored
