"""Read the header of a DICOM object: the tags that grouping and routing need, and no pixels."""

from __future__ import annotations

import io
import logging
import math
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, BinaryIO

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID

from medscan.archive.header import MAX_FRAMES, Header, Layer
from medscan.archive.sniff import Content
from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason
from medscan.errors import CorruptError, TooLargeError, TruncatedError

# What a broken value means is decided here, not on standard error.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on bytes that are not what they claim to be."""

BURNED_IN = "burned-in text likely"
"""Note on objects whose pixels may name the patient (PS3.3 C.7.6.1.1.1)."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_KEYWORDS = [
    "ImageType",
    "BurnedInAnnotation",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "Modality",
    "SeriesDescription",
    "AnatomicRegionSequence",
    "PatientID",
    "BodyPartExamined",
    "SequenceName",
    "ProtocolName",
    "EchoTime",
    "EchoNumbers",
    "TriggerTime",
    "ImagerPixelSpacing",
    "DiffusionBValue",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "TemporalPositionIdentifier",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_TAGS: list[Any] = [Tag(keyword) for keyword in _KEYWORDS]
_PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_UNDEFINED = 0xFFFFFFFF
_INFLATE_LIMIT = 64 * 2**20
_TEXT_LIMIT = 256

_DERIVED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.481.2": "an RT dose",
}
_DEFLATED, _EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1"
_DICOMDIR = "1.2.840.10008.1.3.10"
_FRAME_TYPES = (
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XRay3DFrameTypeSequence",
)


class _Pixels:
    """Stops the reader at the pixel data, and remembers what was declared there."""

    def __init__(self) -> None:
        self.tag = 0
        self.length = 0

    def __call__(self, tag: int, _vr: str | None, length: int) -> bool:
        if tag not in _PIXEL_TAGS:
            return False
        self.tag, self.length = int(tag), length
        return True


def read_dicom(file: ArchiveFile, stream: BinaryIO, content: Content) -> Header | Outcome:
    """Read what a DICOM object says of itself up to its pixel data.

    Parameters
    ----------
    file : ArchiveFile
    stream : binary file
        Open at any position.
    content : Content
        What its first bytes look like. Without "DICM", it is taken for DICOM only if it turns out
        to be an image.

    Raises
    ------
    FileError
        It is an image object, but broken.
    OSError
        The file cannot be read.
    """
    pixels = _Pixels()
    try:
        ds, left = _parse(content, stream, file.size, pixels)
    except BROKEN as error:
        return _broken(file, content, f"header cannot be parsed: {type(error).__name__}")
    except OSError as error:
        if error.errno is not None:
            raise
        return _broken(file, content, "header cannot be parsed: it contradicts itself")
    if content.bare and not (_text(ds, "SOPClassUID") or (_int(ds, "Rows") and pixels.tag)):
        return Outcome(file, Reason.NOT_AN_IMAGE, "starts like DICOM, but holds no image")
    return _not_an_image(file, ds, pixels) or _header(file, ds, pixels, left)


def _broken(file: ArchiveFile, content: Content, detail: str) -> Outcome:
    if content.bare:
        return Outcome(file, Reason.NOT_AN_IMAGE, "starts like DICOM, but cannot be parsed")
    return Outcome(file, Reason.CORRUPT, detail)


def _parse(content: Content, stream: BinaryIO, size: int, pixels: _Pixels) -> tuple[Dataset, int]:
    """Header of a data set, and how many bytes there are from its pixel element on."""
    deflated = _deflated_from(content.head)
    if _DEFLATED in content.head and (content.gzipped or not deflated):
        raise CorruptError("it is deflated, but its meta information is not in order")
    if content.gzipped or deflated:
        stream, size = _unpacked(content, stream)
    stream.seek(0)
    ds = read_partial(stream, pixels, force=True, specific_tags=_TAGS)
    if not pixels.tag and "Rows" in ds and stream.tell() > size:
        raise TruncatedError("it ends within its header")
    return ds, size - stream.tell()


def _unpacked(content: Content, stream: BinaryIO) -> tuple[BinaryIO, int]:
    """Unpack a gzip-compressed or deflated object as far as its header can reach.

    pydicom would inflate all of it, whatever that comes to. What lies beyond is as long as
    anybody likes.
    """
    stream.seek(0)
    packed, start = stream.read(_INFLATE_LIMIT), _deflated_from(content.head)
    inflate = zlib.decompressobj(31 if content.gzipped else -zlib.MAX_WBITS)
    start = 0 if content.gzipped else start
    try:
        plain = inflate.decompress(packed[start:], _INFLATE_LIMIT)
    except zlib.error as error:
        raise CorruptError(f"it cannot be unpacked: {error}") from error
    meta = packed[:start].replace(_DEFLATED, _EXPLICIT.ljust(len(_DEFLATED), b"\0"))
    whole = inflate.eof or len(plain) < _INFLATE_LIMIT
    return io.BytesIO(meta + plain), start + len(plain) if whole else 2**62


def _deflated_from(head: bytes) -> int:
    """Where the deflated data set starts; 0 where it is not deflated."""
    end = 144 + int.from_bytes(head[140:144], "little")
    return end if head[132:138] == b"\2\0\0\0UL" and _DEFLATED in head[:end] else 0


def _not_an_image(file: ArchiveFile, ds: Dataset, pixels: _Pixels) -> Outcome | None:
    sop_class = _text(ds, "SOPClassUID") or _text(ds.file_meta, "MediaStorageSOPClassUID")
    if sop_class == _DICOMDIR or _text(ds.file_meta, "MediaStorageSOPClassUID") == _DICOMDIR:
        return Outcome(file, Reason.NOT_AN_IMAGE, "a DICOMDIR")
    if not pixels.tag:
        name = UID(sop_class).name if sop_class else "no SOP class"
        return Outcome(file, Reason.NOT_AN_IMAGE, f"no pixel data: {name[:64]}")
    if sop_class in _DERIVED:
        return Outcome(file, Reason.DERIVED, _DERIVED[sop_class])
    if "LOCALIZER" in _image_type(ds, "ImageType"):
        return Outcome(file, Reason.LOCALIZER, "its image type says so")
    return None


def _header(file: ArchiveFile, ds: Dataset, pixels: _Pixels, left: int) -> Header:
    rows, columns = _int(ds, "Rows"), _int(ds, "Columns")
    frames = _int(ds, "NumberOfFrames") or 1
    if not rows or not columns or rows < 0 or columns < 0 or frames < 0:
        raise CorruptError("it has pixel data, but no Rows and Columns")
    if _int(ds, "BitsAllocated") is None and pixels.tag == 0x7FE00010:
        raise CorruptError("it has pixel data, but no Bits Allocated")
    _check_size(ds, pixels, rows * columns * frames, frames, left)
    layers = _layers(ds, rows, columns, frames)
    names = ("SeriesDescription", "ProtocolName", "SequenceName")
    return Header(
        file=file,
        kind=Kind.DICOM,
        frames=frames,
        layers=layers,
        study_uid=_text(ds, "StudyInstanceUID"),
        series_uid=_text(ds, "SeriesInstanceUID"),
        sop_instance_uid=_text(ds, "SOPInstanceUID"),
        date="".join(c for c in _text(ds, "StudyDate") if c.isdecimal())[:8],
        patient_id=_text(ds, "PatientID"),
        modality=_text(ds, "Modality").upper(),
        body_part=_text(ds, "BodyPartExamined") or _region(ds),
        description=" | ".join(t for t in (_text(ds, name) for name in names) if t),
        series_number=_int(ds, "SeriesNumber"),
        instance_number=_int(ds, "InstanceNumber"),
        notes=_notes(ds),
    )


def _notes(ds: Dataset) -> tuple[str, ...]:
    """What later rooms must know of a frame: voxels that are tiles, text that may name someone."""
    image_type = _image_type(ds, "ImageType")
    found = ["mosaic"] if "MOSAIC" in image_type else []
    declared = _text(ds, "BurnedInAnnotation").upper() == "YES"
    screen = any(word in image_type for word in ("SCREEN", "SCANNED", "CAPTURE"))
    if declared or screen or _text(ds, "SOPClassUID").startswith(_SECONDARY_CAPTURE):
        found.append(BURNED_IN)
    return tuple(found)


def _check_size(ds: Dataset, pixels: _Pixels, samples: int, frames: int, left: int) -> None:
    """Refuse what the bytes that follow cannot hold; `left` counts from the pixel element on."""
    if pixels.length == 0:
        raise CorruptError("its pixel data are empty")
    if frames > MAX_FRAMES:
        raise TooLargeError(f"it declares {frames} frames")
    if pixels.length == _UNDEFINED:
        needed = 8 * frames  # an item for each frame, at the least
    else:
        bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(pixels.tag) or _int(ds, "BitsAllocated") or 1
        samples *= max(1, _int(ds, "SamplesPerPixel") or 1)
        needed = samples * bits // 8
        if _text(ds, "PhotometricInterpretation") in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            needed = needed * 2 // 3
    if needed > left:
        raise TruncatedError(f"{needed} bytes of pixels are declared, {max(left, 0)} are there")


def _layers(ds: Dataset, rows: int, columns: int, frames: int) -> tuple[Layer, ...]:
    """One layer for all frames, or one each where functional groups tell them apart."""
    per_frame = _sequence(ds, "PerFrameFunctionalGroupsSequence")[:frames]
    shared = [ds, *_sequence(ds, "SharedFunctionalGroupsSequence")[:1]]
    if not per_frame:
        layer = _layer(shared, rows, columns)
        # The one position that a plain multi-frame object may have is that of its first frame.
        return (layer if frames == 1 else replace(layer, position=None),)
    per_frame += [Dataset()] * (frames - len(per_frame))
    return tuple(_layer([*shared, item], rows, columns) for item in per_frame)


def _layer(sources: list[Dataset], rows: int, columns: int) -> Layer:
    """Read a layer; later sources (per frame) are asked before earlier ones (shared, object)."""

    def of(group: str) -> list[Dataset]:
        inner = [s for source in reversed(sources[1:]) for s in _sequence(source, group)[:1]]
        return [*inner, sources[0]]

    position = _numbers(of("PlanePositionSequence"), "ImagePositionPatient", 3)
    measures = of("PixelMeasuresSequence")
    spacing = _numbers(measures, "PixelSpacing", 2) or _numbers(measures, "ImagerPixelSpacing", 2)
    content, echo = of("FrameContentSequence"), of("MREchoSequence")
    kinds = [kind for name in _FRAME_TYPES for kind in of(name)[:-1]]
    echo_time = _numbers(echo, "EffectiveEchoTime", 1) or _numbers(echo, "EchoTime", 1)
    return Layer(
        rows=rows,
        columns=columns,
        position=(position[0], position[1], position[2]) if position else None,
        orientation=_orthonormal(_numbers(of("PlaneOrientationSequence"), _ORIENTATION, 6)),
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        label=(
            _text(sources[0], "FrameOfReferenceUID"),
            _first(_image_type(k, "FrameType") for k in kinds)
            or _image_type(sources[0], "ImageType"),
            _text(sources[0], "EchoNumbers"),
            f"{echo_time[0]:.1f}" if echo_time else "",
            _first(_text(c, "StackID") for c in content),
        ),
        phase=(
            _first(_text(c, "TemporalPositionIndex") for c in content)
            or _text(sources[0], "TemporalPositionIdentifier"),
            _first(_text(s, "DiffusionBValue") for s in of("MRDiffusionSequence")),
            _text(sources[0], "AcquisitionNumber"),
            _text(sources[0], "TriggerTime"),
        ),
    )


_ORIENTATION = "ImageOrientationPatient"


def _orthonormal(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Six direction cosines, normalised; None where they span no plane."""
    if values is None:
        return None
    row, column = values[:3], values[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    if not all(0.9 < length < 1.1 for length in lengths):
        return None
    if abs(sum(a * b for a, b in zip(row, column, strict=True))) > 0.05:
        return None
    return (*(v / lengths[0] for v in row), *(v / lengths[1] for v in column))


def _region(ds: Dataset) -> str:
    """Anatomic region of an enhanced object, where it says it in words."""
    shared = _sequence(ds, "SharedFunctionalGroupsSequence")[:1]
    places = [ds, *(s for item in shared for s in _sequence(item, "FrameAnatomySequence")[:1])]
    regions = [r for place in places for r in _sequence(place, "AnatomicRegionSequence")[:1]]
    return _first(_text(region, "CodeMeaning") for region in regions)


def _first(texts: Iterable[str]) -> str:
    return next((t for t in texts if t), "")


def _value(ds: Dataset, keyword: str) -> Any:
    """An element's value, None where it is missing, empty or not what its VR says."""
    try:
        return ds.get(keyword)
    except BROKEN:
        return None


def _text(ds: Dataset, keyword: str) -> str:
    value = _value(ds, keyword)
    if value is None:
        return ""
    parts = value if isinstance(value, MultiValue | list) else [value]
    return "\\".join(str(p).strip(" \0\t\r\n") for p in parts)[:_TEXT_LIMIT]


def _image_type(ds: Dataset, keyword: str) -> str:
    return _text(ds, keyword).upper()


def _int(ds: Dataset, keyword: str) -> int | None:
    value = _value(ds, keyword)
    if isinstance(value, MultiValue | list):
        value = value[0] if value else None
    try:
        return None if value is None else int(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _numbers(sources: list[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    """The first `count` finite numbers that one of `sources` has under this keyword."""
    for ds in sources:
        value = _value(ds, keyword)
        parts = list(value) if isinstance(value, MultiValue | list) else [value]
        if len(parts) < count or parts[0] is None:
            continue
        try:
            numbers = tuple(float(p) for p in parts[:count])
        except (ValueError, TypeError, OverflowError):
            continue
        if all(math.isfinite(n) and abs(n) < 1e9 for n in numbers):
            return numbers
    return None


def _sequence(ds: Dataset, keyword: str) -> list[Dataset]:
    value = _value(ds, keyword)
    return list(value) if isinstance(value, pydicom.Sequence) else []
