"""Origins of exported DICOM objects: the headers, frames and geometry of their sources.

highdicom builds the objects. It handles a multi-frame source only as a whole, and demands
attributes that real files often lack. It therefore gets stand-ins: a single-frame image for each
slice, with nothing but geometry.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DSfloat

from medscan.archive import ArchiveFile, Header, Kind, Layer, Record, read_header
from medscan.errors import ExportError
from medscan.export.job import ExportJob
from medscan.inherited import derived_uid
from medscan.results import StackResult, StudyResult
from medscan.worker import call

_REFUSALS = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
"""Errors by which highdicom and pydicom refuse a source."""


@contextmanager
def building() -> Iterator[None]:
    """Raise highdicom's refusals as `ExportError`, and silence its warnings.

    Raises
    ------
    ExportError
        If highdicom or pydicom refuses the source.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about values that are common in real archives
        try:
            yield
        except _REFUSALS as error:
            raise ExportError(f"its source does not make a valid object: {error}") from error


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a slice.

    Parameters
    ----------
    header : Dataset
        Header of its file.
    frame : int or None
        Number of its frame in the file, from 1; None in a file of one frame.
    layer : Layer
        Geometry of the frame.
    file_bytes : int
        Size of its file.
    """

    header: Dataset
    frame: int | None
    layer: Layer
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """Slices of a stack that become one object.

    Parameters
    ----------
    stack : StackResult
    slice_indices : list of int
        Indices of the slices in the stack's arrays.
    origins : list of Origin
        Their sources, in the same order.
    number : int
        Number of the object in its series.
    """

    stack: StackResult
    slice_indices: list[int]
    origins: list[Origin]
    number: int = 1

    @property
    def header(self) -> Dataset:
        """Header of the first source."""
        return self.origins[0].header

    def stand_ins(self) -> list[Dataset]:
        """Single-frame images for highdicom in place of the sources."""
        return [self._stand_in(origin, n) for n, origin in enumerate(self.origins, 1)]

    def _stand_in(self, origin: Origin, number: int) -> Dataset:
        image, layer, header = Dataset(), origin.layer, origin.header
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
            setattr(image, keyword, "")
        image.AccessionNumber = image.StudyDate = image.StudyTime = ""
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, stand_in_uid(number)
        image.StudyInstanceUID = header.StudyInstanceUID
        image.SeriesInstanceUID = header.SeriesInstanceUID
        image.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or derived_uid(
            "frame of reference", header.SeriesInstanceUID
        )
        image.Rows, image.Columns = layer.rows, layer.columns
        image.SliceThickness = thickness(self.stack, header, layer)
        if layer.spacing and image.SliceThickness:
            image.PixelSpacing = decimals(layer.spacing)
        if has_position(layer):
            # Orientations within a stack differ in their last digits; highdicom demands equal ones.
            image.ImageOrientationPatient = decimals(self.stack.info["orientation"])
            image.ImagePositionPatient = decimals(layer.position or ())
        return image


def stand_in_uid(number: int) -> str:
    """UID of a part's stand-in by its number, from 1."""
    return f"2.25.{number}"


def has_position(layer: Layer) -> bool:
    """Whether the position, orientation and spacing of a frame are known."""
    return None not in (layer.position, layer.orientation, layer.spacing)


def decimals(values: Sequence[float]) -> list[DSfloat]:
    """Convert numbers to DICOM decimal strings of at most 16 characters."""
    return [DSfloat(float(v), auto_format=True) for v in values]


def thickness(stack: StackResult, header: Dataset, layer: Layer) -> DSfloat | None:
    """Slice thickness, millimetres: the source's, else the spacing of slices, else that of rows.

    None if the source states neither its thickness nor its position.
    """
    spacing = layer.spacing[0] if layer.spacing and has_position(layer) else math.nan
    for value in (header.get("SliceThickness"), stack.info["slice_spacing"], spacing):
        with suppress(TypeError, ValueError):
            if 0 < float(value) < 1e6:
                return DSfloat(round(float(value), 6), auto_format=True)
    return None


def origins_of(
    job: ExportJob, study: StudyResult, stack: StackResult, slice_indices: list[int]
) -> list[Origin]:
    """Find the sources of a stack's slices.

    Raises
    ------
    ExportError
        If the stack is not from a DICOM series, or a file is missing or has changed.
    """
    if stack.info["kind"] != Kind.DICOM:
        raise ExportError("its source is not a DICOM series, so no study can hold the object")
    frames = job.source(study, stack).frames
    return [_origin(frames[index].file, frames[index].index) for index in slice_indices]


def _origin(file: ArchiveFile, index: int) -> Origin:
    header, parsed = _headers(file)
    if index >= len(parsed.layers) and len(parsed.layers) != 1:
        raise ExportError("its source has changed since it was scanned: fewer frames")
    layer = parsed.layers[index if len(parsed.layers) > 1 else 0]
    # The tiles of a mosaic count as slices here, but as one frame in DICOM.
    frames = int(header.get("NumberOfFrames") or 1)
    return Origin(header, index + 1 if frames > 1 else None, layer, file.size)


@lru_cache(maxsize=4096)
def _headers(file: ArchiveFile) -> tuple[Dataset, Header]:
    """Read a file's header, and as the archive parses it.

    Of functional groups it keeps the anatomy that all frames share, as an image of one frame holds
    it.

    Raises
    ------
    ExportError
        If it lacks the UIDs that a reference needs.
    """
    with building():
        header, parsed = call(_read_headers, file)
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    if not isinstance(parsed, Header) or not all(header.get(name) for name in needed):
        raise ExportError("one of its files lacks the UIDs that a reference to it needs")
    with building():
        for groups in header.get("SharedFunctionalGroupsSequence") or ():
            for anatomy in groups.get("FrameAnatomySequence") or ():
                header.update(anatomy)
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if keyword in header:
            delattr(header, keyword)
    return header, parsed


def _read_headers(file: ArchiveFile) -> tuple[Dataset, Record]:
    return pydicom.dcmread(file.full, stop_before_pixels=True, force=True), read_header(file)


def parts_of(
    job: ExportJob, study: StudyResult, stack: StackResult, slice_indices: list[int]
) -> Iterator[Part]:
    """Divide slices into objects: one for all if their positions differ, else one for each."""
    origins = origins_of(job, study, stack, slice_indices)
    positions = {o.layer.position for o in origins if has_position(o.layer)}
    if len(positions) == len(origins):
        yield Part(stack, slice_indices, origins)
        return
    for number, (index, origin) in enumerate(zip(slice_indices, origins, strict=True), 1):
        yield Part(stack, [index], [origin], number)
