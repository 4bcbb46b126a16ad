"""One frame of a DICOM file -> stored values, whichever library decodes it.

A library only decodes. pydicom itself reads native pixels. Its plugins are tried on compressed
frames in the order of `PLUGINS` (OpenJPEG and RLE, JPEG-LS, Pillow, its own RLE), then SimpleITK on
JPEG processes that none of them can decode.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID, SecondaryCaptureImageStorage

from medscan.decoding.quiet import DECODER_ERRORS, no_stderr
from medscan.errors import CorruptError, UnsupportedError

PLUGINS = ("pylibjpeg", "pyjpegls", "pillow", "pydicom")
"""pydicom's decoding plugins in order of trust, without GDCM, which can abort the process."""
ITK_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70))
"""JPEG baseline, extended, spectral selection, full progression and lossless: tried with SimpleITK
where every plugin fails."""
LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81, 91, 203))
"""Transfer syntaxes whose values may overshoot what was encoded."""
_SHAPE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
)


def decoder_of(syntax: UID) -> Decoder | None:
    """Decoder that pydicom has for a transfer syntax; None where only SimpleITK decodes it.

    Raises
    ------
    UnsupportedError
        If neither does.
    """
    try:
        return get_decoder(syntax)
    except NotImplementedError:
        if syntax in ITK_SYNTAXES:
            return None
        raise UnsupportedError(f"transfer syntax {syntax.name}") from None


def decode_native(header: Dataset, syntax: UID, index: int) -> NDArray[Any]:
    """Values of a native frame with all bits allocated; colour as RGB. They may be read-only."""
    if header.BitsAllocated == 1 and header.SamplesPerPixel == 1:
        return _decode_bits(header, index)
    options: Any = {"view_only": True, "correct_unused_bits": False}
    return np.asarray(get_decoder(syntax).as_array(header, index=index, **options)[0])


def _decode_bits(header: Dataset, index: int) -> NDArray[np.uint8]:
    """Values of a frame of single bits, which starts and ends within bytes (PS3.5 8.1.1).

    pydicom reads such frames one by one only where they do not end beyond the byte that a frame at
    the start of a byte would end in.
    """
    rows, columns = int(header.Rows), int(header.Columns)
    first, last = index * rows * columns, (index + 1) * rows * columns
    packed = np.frombuffer(header.PixelData, np.uint8)[first // 8 : (last + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[first % 8 :]
    return bits[: rows * columns].reshape(rows, columns)


def decode_compressed(
    header: Dataset, syntax: UID, index: int, codestream: bytes, bits: int
) -> NDArray[Any]:
    """Values of a compressed frame with all bits that its codestream has; colour as RGB.

    Parameters
    ----------
    header : Dataset
    syntax : UID
    index : int
        Frame, 0-based.
    codestream : bytes
        Of that frame.
    bits : int
        Bits of a sample, as the codestream declares them.

    Raises
    ------
    CorruptError
        If no decoder can read it.
    UnsupportedError
        If SimpleITK alone decodes its transfer syntax, and cannot read it.
    """
    decoder = decoder_of(syntax)
    for plugin in PLUGINS:
        if decoder is None or plugin not in decoder.available_plugins:
            continue
        try:
            options: Any = {"decoding_plugin": plugin, "correct_unused_bits": False}
            return np.asarray(decoder.as_array(header, index=index, **options)[0])
        except DECODER_ERRORS:  # the next plugin may read what this one cannot
            continue
    if syntax in ITK_SYNTAXES:
        return _decode_itk(header, syntax, codestream, bits)
    raise CorruptError(f"pixel data is not valid {syntax.name}")


def significant(
    values: NDArray[Any], bits: int, shift: int, *, signed: bool, lossy: bool
) -> NDArray[Any]:
    """Reduce values to the bits that belong to the pixel (PS3.5 8.1.1).

    All other bits may hold overlays, or nothing that means anything. What a lossy encoding puts
    beyond the range of the pixels is no such bit but an overshoot, and takes the nearest value.

    Parameters
    ----------
    values : int or float array
    bits : int
        Bits Stored.
    shift : int
        Bits below those of the pixel: more than 0 where High Bit says so.
    signed, lossy : bool
    """
    if values.dtype.kind not in "iu":
        return values
    values = values.astype(f"{'i' if signed else 'u'}{values.dtype.itemsize}", copy=False)
    if shift:
        values = values >> shift
    unused = 8 * values.dtype.itemsize - bits
    if unused <= 0:
        return values
    if lossy and (not signed or values.min() < 0):
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        return values.clip(low, high)
    # The shift up drops the bits above; the shift down extends the sign.
    shifted: NDArray[Any] = (values << unused) >> unused
    return shifted


def _decode_itk(header: Dataset, syntax: UID, codestream: bytes, bits: int) -> NDArray[Any]:
    """Values of a frame as SimpleITK decodes them.

    SimpleITK gets a temporary file with this frame and a few clean tags: on broken larger
    files its parser takes gigabytes and minutes.
    """
    import SimpleITK

    single = _single(header, syntax, codestream, bits)
    with tempfile.NamedTemporaryFile(suffix=".dcm") as copy:
        single.save_as(copy.file, enforce_file_format=True)
        copy.flush()
        try:
            with no_stderr():
                image = SimpleITK.ReadImage(copy.name, imageIO="GDCMImageIO")
        except RuntimeError:
            raise UnsupportedError(f"no decoder reads it: transfer syntax {syntax.name}") from None
    values: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    shape = (int(header.Rows), int(header.Columns), int(header.SamplesPerPixel))
    return values.reshape(shape[:2] if shape[2] == 1 else shape)


def _single(header: Dataset, syntax: UID, codestream: bytes, bits: int) -> Dataset:
    """Data set of one compressed frame, with only the elements that decoding needs.

    GDCM would invert MONOCHROME1, look up palettes, and shift and mask bits, which medscan does
    itself afterwards: the data set gives it no cause to.
    """
    single = Dataset()
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = syntax
    single.SOPClassUID, single.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    for keyword in _SHAPE:
        if keyword in header:
            setattr(single, keyword, header[keyword].value)
    if single.SamplesPerPixel == 1:
        single.PhotometricInterpretation = "MONOCHROME2"
    single.BitsAllocated = 8 if bits <= 8 else 16
    single.BitsStored, single.HighBit, single.PixelRepresentation = bits, bits - 1, 0
    single.PixelData = encapsulate([codestream])
    single["PixelData"].VR = "OB"
    return single
