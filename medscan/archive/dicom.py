"""Read the header of a DICOM object: the tags that grouping and routing need, but no pixels."""

from __future__ import annotations

import io
import logging
import zlib
from dataclasses import replace
from typing import Any, BinaryIO, cast

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import Tag
from pydicom.uid import UID_dictionary

from medscan.archive import layers, mosaic
from medscan.archive.elements import PIXEL_TAGS, Guarded, read_elements
from medscan.archive.header import MAX_FRAMES, Header, Record
from medscan.archive.layers import first_of, image_type
from medscan.archive.radiograph import KEYWORDS, view_of
from medscan.archive.sniff import Content
from medscan.archive.types import MADE_BY_MEDSCAN, MAKER, ArchiveFile, Kind, Outcome, Reason
from medscan.archive.values import BROKEN, integer, sequence, text
from medscan.errors import CorruptError, FileError, TooLargeError, TruncatedError

# Broken values are handled here: pydicom shall not report them on standard error.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

BURNED_IN = "burned-in text likely"
"""Note on objects whose pixels may name the patient (PS3.3 C.7.6.1.1.1)."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_KEYWORDS = [
    "BurnedInAnnotation",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "Modality",
    "Manufacturer",
    "SeriesDescription",
    "AnatomicRegionSequence",
    "PatientID",
    "BodyPartExamined",
    "ProtocolName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
]
_TAGS: list[Any] = [
    *(Tag(k) for k in (*_KEYWORDS, *KEYWORDS, *layers.KEYWORDS, *mosaic.KEYWORDS)),
    *(Tag(number) for number in (*layers.TAGS, *mosaic.TAGS)),
]
_WANTED = frozenset((0x00080005, *map(int, _TAGS))) - frozenset(mosaic.TAGS)
_UNDEFINED = 0xFFFFFFFF
_INFLATE_LIMIT = 64 * 2**20
_DERIVED = {
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.481.2": "an RT dose",
}
_DEFLATED, _EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1"
_DICOMDIR = "1.2.840.10008.1.3.10"
_DESCRIBED = ("Rows", "Columns", "BitsAllocated")
"""With all of these, an object without pixel data is an image that lost them."""


class _Pixels:
    """Stop the reader at the pixel data, and remember the tag and length declared there."""

    def __init__(self) -> None:
        self.tag = 0
        self.length = 0

    def __call__(self, tag: int, _vr: str | None, length: int) -> bool:
        if tag not in PIXEL_TAGS:
            return False
        self.tag, self.length = int(tag), length
        return True


def read_dicom(file: ArchiveFile, stream: BinaryIO, content: Content) -> Record:
    """Read the header of a DICOM object, up to its pixel data.

    Parameters
    ----------
    file : ArchiveFile
    stream : binary file
        Open at any position.
    content : Content
        What its first bytes reveal. A file without "DICM" counts as DICOM only if it turns out to
        be an image.

    Raises
    ------
    FileError
        If it cannot be unpacked, or ends within its header.
    OSError
        If the file cannot be read.
    """
    pixels = _Pixels()
    try:
        ds, bytes_left = _parse(content, stream, file.size, pixels)
    except BROKEN as error:
        return _broken(file, content, f"header cannot be parsed: {type(error).__name__}")
    except OSError as error:
        if error.errno is not None:
            raise
        return _broken(file, content, "header cannot be parsed: it contradicts itself")
    if content.bare and not (text(ds, "SOPClassUID") or (integer(ds, "Rows") and pixels.tag)):
        return Outcome(file, Reason.NOT_AN_IMAGE, "starts like DICOM, but holds no image")
    uids = text(ds, "StudyInstanceUID"), text(ds, "SeriesInstanceUID")
    try:
        record = _not_an_image(file, ds, pixels) or _header(file, ds, pixels, bytes_left)
    except FileError as error:
        record = Outcome(file, Reason(error.reason), str(error))
    except BROKEN as error:
        record = _broken(file, content, f"header cannot be understood: {type(error).__name__}")
    if isinstance(record, Outcome):
        return replace(record, study=uids[0], series=uids[1])
    return record


def _broken(file: ArchiveFile, content: Content, detail: str) -> Outcome:
    if content.bare:
        return Outcome(file, Reason.NOT_AN_IMAGE, "starts like DICOM, but cannot be parsed")
    return Outcome(file, Reason.CORRUPT, detail)


def _parse(content: Content, stream: BinaryIO, size: int, pixels: _Pixels) -> tuple[Dataset, int]:
    """Parse a data set's header; also count the bytes of the file from its pixel element on."""
    ds: Any  # `Elements` has the methods of `Dataset` that are used here
    deflated = _deflated_from(content.head)
    if _DEFLATED in content.head and (content.gzipped or not deflated):
        raise CorruptError("it is deflated, but its meta information is not in order")
    if content.gzipped or deflated:
        stream, size = _unpacked(content, stream)
    elif not content.bare and (plain := read_elements(stream, content.head, _WANTED)):
        ds, pixels.tag, pixels.length, offset = plain
        return ds, size - offset
    stream.seek(0)
    ds = read_partial(cast("BinaryIO", Guarded(stream)), pixels, force=True, specific_tags=_TAGS)
    if not pixels.tag and "Rows" in ds and stream.tell() > size:
        raise TruncatedError("it ends within its header")
    return ds, size - stream.tell()


def _unpacked(content: Content, stream: BinaryIO) -> tuple[BinaryIO, int]:
    """Unpack a gzip-compressed or deflated object as far as its header can reach.

    pydicom would inflate all of it, however large that is. Beyond the limit, the object is taken
    to be as long as its header declares.
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
    """Offset at which the deflated data set starts; 0 where it is not deflated."""
    end = 144 + int.from_bytes(head[140:144], "little")
    return end if head[132:138] == b"\2\0\0\0UL" and _DEFLATED in head[:end] else 0


def _not_an_image(file: ArchiveFile, ds: Dataset, pixels: _Pixels) -> Outcome | None:
    sop_class = text(ds, "SOPClassUID") or text(ds.file_meta, "MediaStorageSOPClassUID")
    if sop_class == _DICOMDIR or text(ds.file_meta, "MediaStorageSOPClassUID") == _DICOMDIR:
        return Outcome(file, Reason.NOT_AN_IMAGE, "a DICOMDIR")
    if not pixels.tag and all(integer(ds, keyword) for keyword in _DESCRIBED):
        raise CorruptError("it describes an image, but its pixel data are missing")
    if not pixels.tag:
        # The name of a known UID is harmless; other text in its place might identify a patient.
        name = UID_dictionary[sop_class][0] if sop_class in UID_dictionary else "no known SOP class"
        return Outcome(file, Reason.NOT_AN_IMAGE, f"no pixel data: {name}")
    if sop_class in _DERIVED:
        return Outcome(file, Reason.DERIVED, _DERIVED[sop_class])
    if text(ds, "Manufacturer") == MAKER:
        return Outcome(file, Reason.DERIVED, MADE_BY_MEDSCAN)
    if "LOCALIZER" in image_type(ds, "ImageType"):
        return Outcome(file, Reason.LOCALIZER, "its image type says so")
    if mosaic.is_mosaic(ds) and mosaic.mosaic_of(ds) is None:
        return Outcome(file, Reason.MOSAIC, "its header does not describe its slices")
    return None


def _header(file: ArchiveFile, ds: Dataset, pixels: _Pixels, bytes_left: int) -> Header:
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    frames = integer(ds, "NumberOfFrames") or 1
    if not rows or not columns or rows < 0 or columns < 0 or frames < 0:
        raise CorruptError("it has pixel data, but no Rows and Columns")
    if integer(ds, "BitsAllocated") is None and pixels.tag == 0x7FE00010:
        raise CorruptError("it has pixel data, but no Bits Allocated")
    _check_size(ds, pixels, rows * columns * frames, frames, bytes_left)
    found = layers.layers_of(ds, rows, columns, frames)
    tiles = mosaic.mosaic_of(ds) if mosaic.is_mosaic(ds) else None
    found = tiles.layers(ds, found[0]) if tiles else found
    names = ("SeriesDescription", "ProtocolName", "SequenceName")
    return Header(
        file=file,
        kind=Kind.DICOM,
        frames=len(found) if tiles else frames,
        layers=found,
        study_uid=text(ds, "StudyInstanceUID"),
        series_uid=text(ds, "SeriesInstanceUID"),
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        date="".join(c for c in text(ds, "StudyDate") if c.isdecimal())[:8],
        patient_id=text(ds, "PatientID"),
        modality=text(ds, "Modality").upper(),
        body_part=text(ds, "BodyPartExamined") or _region(ds),
        description=" | ".join(t for t in (text(ds, name) for name in names) if t),
        series_number=integer(ds, "SeriesNumber"),
        instance_number=integer(ds, "InstanceNumber"),
        view=view_of(ds) or "",
        notes=_notes(ds),
    )


def _notes(ds: Dataset) -> tuple[str, ...]:
    """What later rooms must know of the frames: mosaics, and text that may name the patient."""
    kinds = image_type(ds, "ImageType")
    notes = ["mosaic"] if mosaic.is_mosaic(ds) else []
    declared = text(ds, "BurnedInAnnotation").upper() == "YES"
    screen = any(word in kinds for word in ("SCREEN", "SCANNED", "CAPTURE"))
    if declared or screen or text(ds, "SOPClassUID").startswith(_SECONDARY_CAPTURE):
        notes.append(BURNED_IN)
    return tuple(notes)


def _check_size(ds: Dataset, pixels: _Pixels, samples: int, frames: int, bytes_left: int) -> None:
    """Refuse pixels that the bytes from the pixel element on cannot hold."""
    if pixels.length == 0:
        raise CorruptError("its pixel data are empty")
    if frames > MAX_FRAMES:
        raise TooLargeError(f"it declares {frames} frames")
    if pixels.length == _UNDEFINED:
        needed = 8 * frames  # at least an item header for each frame
    else:
        bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(pixels.tag) or integer(ds, "BitsAllocated") or 1
        samples *= max(1, integer(ds, "SamplesPerPixel") or 1)
        needed = samples * bits // 8
        if text(ds, "PhotometricInterpretation") in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            needed = needed * 2 // 3
    if needed > bytes_left:
        present = max(bytes_left, 0)
        raise TruncatedError(f"declares {needed} bytes of pixels, has {present}")


def _region(ds: Dataset) -> str:
    """Anatomic region of an enhanced object, from the meanings of its codes."""
    shared = sequence(ds, "SharedFunctionalGroupsSequence")[:1]
    holders = [ds, *(s for item in shared for s in sequence(item, "FrameAnatomySequence")[:1])]
    regions = [r for holder in holders for r in sequence(holder, "AnatomicRegionSequence")[:1]]
    return first_of(text(region, "CodeMeaning") for region in regions)
