"""Read the header of a DICOM object: the tags that grouping and routing need, but no pixels."""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import Tag
from pydicom.uid import UID_dictionary
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from medscan.archive import facts, layers, mosaic, patients, slides
from medscan.archive.copies import content_of
from medscan.archive.elements import (
    MAX_VALUE,
    PIXEL_TAGS,
    Guarded,
    check_value,
    read_elements,
)
from medscan.archive.fragments import check_count, check_fragments
from medscan.archive.header import MAX_FRAMES, Header, Record
from medscan.archive.layers import image_type
from medscan.archive.radiograph import KEYWORDS, view_of
from medscan.archive.sniff import Content
from medscan.archive.types import MADE_BY_MEDSCAN, MAKER, ArchiveFile, Kind, Outcome, Reason
from medscan.archive.values import BROKEN, integer, text
from medscan.errors import (
    CorruptError,
    FileError,
    HeaderTooLargeError,
    TooLargeError,
    TruncatedError,
)

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
    "Manufacturer",
    "PatientID",
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
    *(Tag(k) for k in (*_KEYWORDS, *KEYWORDS, *facts.KEYWORDS, *layers.KEYWORDS)),
    *(Tag(k) for k in (*mosaic.KEYWORDS, *slides.KEYWORDS, *patients.KEYWORDS)),
    *(Tag(number) for number in (*layers.TAGS, *mosaic.TAGS)),
]
_WANTED = frozenset((0x00080005, *map(int, _TAGS))) - frozenset(mosaic.TAGS)
_ACCESSION = Tag("AccessionNumber")
_READ = frozenset((*_WANTED, *map(int, (*_TAGS, _ACCESSION))))
"""Elements whose values are read, by any reader."""
"""Read only where identities are kept."""
_UNDEFINED = 0xFFFFFFFF
_UNKNOWN = 2**62
"""Size of an object that was not unpacked to its end."""
_INFLATE_LIMIT = 64 * 2**20
_LEAST = 8
"""Bytes of the shortest element."""
_IMAGE = "Image Storage"
"""Part of the names of SOP classes whose objects are images."""
_CUT = "it ends within its header"
_DERIVED = {
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.66.8": "a height map",
    "1.2.840.10008.5.1.4.1.1.81.1": "an ophthalmic thickness map",
    "1.2.840.10008.5.1.4.1.1.82.1": "a corneal topography map",
    "1.2.840.10008.5.1.4.1.1.481.2": "an RT dose",
}
_DEFLATED, _EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1"
_DICOMDIR = "1.2.840.10008.1.3.10"
_DESCRIBED = ("Rows", "Columns", "BitsAllocated")
"""With all of these, an object without pixel data is an image that lost them."""


@dataclass(slots=True)
class _Source:
    """An object that is read: its bytes, and what its pixel element declares.

    Parameters
    ----------
    stream : binary file
        Unpacked as far as headers reach.
    size : int
        Bytes of the object, at least as many as it can be asked for.
    tag, length : int
        Of the pixel element; tag 0 without one.
    offset : int
        Of the pixel element; without one, of the end of the last element.
    """

    stream: BinaryIO
    size: int
    tag: int = 0
    length: int = 0
    offset: int = 0

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        """Stop pydicom, which asks this of each element before its value, at the pixel data."""
        here = self.stream.tell()
        if tag not in PIXEL_TAGS:
            self.offset = here if length == _UNDEFINED else here + length
            if length > MAX_VALUE and tag in _READ:
                check_value(tag, vr, min(self.offset, self.size) - here)
            return False
        self.tag, self.length = int(tag), length
        self.offset = here - (12 if vr in EXPLICIT_VR_LENGTH_32 else 8)
        return True

    @property
    def bytes_left(self) -> int:
        """Bytes behind the tag and length of the pixel element, at least."""
        return self.size - self.offset - (_LEAST if self.tag else 0)

    def is_cut(self) -> bool:
        """Whether the file ends within an element before its pixel data, or before any."""
        partial = self.offset > self.size or 0 < self.bytes_left < _LEAST
        return not self.tag and (partial or not self.offset)


def read_dicom(
    file: ArchiveFile,
    stream: BinaryIO,
    content: Content,
    *,
    identify: bool = False,
    alive: Callable[[], object] | None = None,
) -> Record:
    """Read the header of a DICOM object, up to its pixel data.

    Parameters
    ----------
    file : ArchiveFile
    stream : binary file
        Open at any position.
    content : Content
        What its first bytes reveal. A file without "DICM" counts as DICOM only if it turns out to
        be an image.
    identify : bool
        Read the accession number too.
    alive : callable or None
        Read its pixels for `Header.content`, and call this between their pieces.

    Raises
    ------
    FileError
        If it cannot be unpacked, or ends within its header.
    OSError
        If the file cannot be read.
    """
    source = _Source(stream, file.size)
    try:
        record = _read(file, content, source, [_ACCESSION] * identify)
        if alive is None or not isinstance(record, Header):
            return record
        start = source.offset if source.stream is stream else 0  # what is packed, is as a whole
        return replace(record, content=content_of(stream, start, alive))
    except RecursionError:
        error = HeaderTooLargeError("its sequences lie too deep within one another")
    except HeaderTooLargeError as too_large:
        error = too_large
    return _refused(file, content, error)


def _read(file: ArchiveFile, content: Content, source: _Source, more: list[Any]) -> Record:
    """As `read_dicom`, reading more elements than usual."""
    try:
        ds = _parse(content, source, more)
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return _unparsed(file, content, source, error)
    if content.bare and not (text(ds, "SOPClassUID") or (integer(ds, "Rows") and source.tag)):
        return Outcome(file, Reason.NOT_AN_IMAGE, "starts like DICOM, but holds no image")
    uids = text(ds, "StudyInstanceUID"), text(ds, "SeriesInstanceUID")
    try:
        record = _not_an_image(file, ds, source) or _header(file, ds, source)
    except FileError as error:
        record = Outcome(file, Reason(error.reason), str(error))
    except BROKEN as error:
        what = CorruptError(f"header cannot be understood: {type(error).__name__}")
        record = _refused(file, content, what)
    if isinstance(record, Outcome):
        return replace(record, study=uids[0], series=uids[1])
    return record


def _refused(file: ArchiveFile, content: Content, error: FileError) -> Outcome:
    """Outcome of a file whose header cannot be read: without "DICM", it may be anything."""
    if content.bare:
        return Outcome(file, Reason.NOT_AN_IMAGE, "starts like DICOM, but cannot be parsed")
    return Outcome(file, Reason(error.reason), str(error))


def _unparsed(file: ArchiveFile, content: Content, source: _Source, error: Exception) -> Outcome:
    """Outcome of a file whose header cannot be parsed: it may only be cut."""
    if not content.bare and source.stream.tell() >= source.size:
        return Outcome(file, Reason.TRUNCATED, _CUT)
    what = "it contradicts itself" if isinstance(error, OSError) else type(error).__name__
    return _refused(file, content, CorruptError(f"header cannot be parsed: {what}"))


def _parse(content: Content, source: _Source, more: list[Any]) -> Any:
    """Parse a header up to its pixel data: a `Dataset`, or `Elements`, which read as such."""
    deflated = _deflated_from(content.head)
    if _DEFLATED in content.head and (content.gzipped or not deflated):
        raise CorruptError("it is deflated, but its meta information is not in order")
    if content.gzipped or deflated:
        source.stream, source.size = _unpacked(content, source.stream)
    elif not content.bare and (
        plain := read_elements(
            source.stream, content.head, _WANTED.union(more) if more else _WANTED
        )
    ):
        elements, source.tag, source.length, source.offset = plain
        return elements
    source.stream.seek(0)
    guarded = cast("BinaryIO", Guarded(source.stream))
    return read_partial(guarded, source, force=True, specific_tags=_TAGS + more)


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
    return io.BytesIO(meta + plain), start + len(plain) if whole else _UNKNOWN


def _deflated_from(head: bytes) -> int:
    """Offset at which the deflated data set starts; 0 where it is not deflated."""
    end = 144 + int.from_bytes(head[140:144], "little")
    return end if head[132:138] == b"\2\0\0\0UL" and _DEFLATED in head[:end] else 0


def _not_an_image(file: ArchiveFile, ds: Dataset, source: _Source) -> Outcome | None:
    sop_class = text(ds, "SOPClassUID") or text(ds.file_meta, "MediaStorageSOPClassUID")
    if sop_class == _DICOMDIR or text(ds.file_meta, "MediaStorageSOPClassUID") == _DICOMDIR:
        return Outcome(file, Reason.NOT_AN_IMAGE, "a DICOMDIR")
    name = UID_dictionary[sop_class][0] if sop_class in UID_dictionary else ""
    if source.is_cut() and (not name or _IMAGE in name or "Rows" in ds):
        raise TruncatedError(_CUT)
    if not source.tag and all(integer(ds, keyword) for keyword in _DESCRIBED):
        raise CorruptError("it describes an image, but its pixel data are missing")
    if not source.tag:
        # The name of a known UID is harmless; other text in its place might identify a patient.
        what = name or "no known SOP class"
        return Outcome(file, Reason.NOT_AN_IMAGE, f"no pixel data: {what}")
    if sop_class in _DERIVED:
        return Outcome(file, Reason.DERIVED, _DERIVED[sop_class])
    if text(ds, "Manufacturer") == MAKER:
        return Outcome(file, Reason.DERIVED, MADE_BY_MEDSCAN)
    if "LOCALIZER" in image_type(ds, "ImageType"):
        return Outcome(file, Reason.LOCALIZER, "its image type says so")
    if refusal := slides.slide_refusal(ds, sop_class, image_type(ds)):
        return Outcome(file, Reason.WHOLE_SLIDE, refusal)
    if mosaic.is_mosaic(ds) and mosaic.mosaic_of(ds) is None:
        return Outcome(file, Reason.MOSAIC, "its header does not describe its slices")
    return None


def _header(file: ArchiveFile, ds: Dataset, source: _Source) -> Header:
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    frames = integer(ds, "NumberOfFrames") or 1
    if not rows or not columns or rows < 0 or columns < 0 or frames < 0:
        raise CorruptError("it has pixel data, but no Rows and Columns")
    if integer(ds, "BitsAllocated") is None and source.tag == 0x7FE00010:
        raise CorruptError("it has pixel data, but no Bits Allocated")
    _check_size(ds, source, rows * columns * frames, frames)
    said = layers.facts_of(ds)
    found = layers.layers_of(ds, rows, columns, frames, said)
    tiles = mosaic.mosaic_of(ds) if mosaic.is_mosaic(ds) else None
    found = tiles.layers(ds, found[0]) if tiles else found
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
        accession_number=text(ds, "AccessionNumber"),
        person=patients.person_of(ds),
        facts=facts.shared(said),
        series_number=integer(ds, "SeriesNumber"),
        instance_number=integer(ds, "InstanceNumber"),
        view=view_of(ds) or "",
        notes=_notes(ds),
    )


def _notes(ds: Dataset) -> tuple[str, ...]:
    """What later rooms must know of the frames: mosaics, and text that may name the patient."""
    kinds = image_type(ds, "ImageType")
    notes = ["mosaic"] if mosaic.is_mosaic(ds) else []
    notes += ["tiles of a slide"] if slides.is_tiled(ds) else []
    declared = text(ds, "BurnedInAnnotation").upper() == "YES"
    screen = any(word in kinds for word in ("SCREEN", "SCANNED", "CAPTURE"))
    captured = f"{text(ds, 'SOPClassUID')}.".startswith(f"{_SECONDARY_CAPTURE}.")
    if declared or screen or captured or slides.shows_label(ds):
        notes.append(BURNED_IN)
    return tuple(notes)


def _check_size(ds: Dataset, source: _Source, samples: int, frames: int) -> None:
    """Refuse pixels that the pixel element does not hold, and an element of more frames."""
    if source.length == 0:
        raise CorruptError("its pixel data are empty")
    if frames > MAX_FRAMES:
        raise TooLargeError(f"it declares {frames} frames")
    if source.length == _UNDEFINED:
        needed = 8 * frames  # at least an item header for each frame
    else:
        bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(source.tag) or integer(ds, "BitsAllocated") or 1
        samples *= max(1, integer(ds, "SamplesPerPixel") or 1)
        needed = samples * bits // 8
        # Before 4:2:2 is allowed for: decoders leave its name where all samples are there.
        check_count((source.length - needed % 2) * frames // max(1, needed), frames)
        if text(ds, "PhotometricInterpretation") in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            needed = needed * 2 // 3
    if needed > source.bytes_left:
        present = max(source.bytes_left, 0)
        raise TruncatedError(f"declares {needed} bytes of pixels, has {present}")
    if source.length == _UNDEFINED and source.size < _UNKNOWN:
        check_fragments(source.stream, source.offset + 12, source.size, frames)
