"""What all exported DICOM objects share: sources, references, UIDs and dates.

highdicom builds the objects. It handles a multi-frame source only as a whole, and demands
attributes that real files often lack. It therefore gets stand-ins: a single-frame image for each
slice, with nothing but geometry. Afterwards references to stand-ins are replaced by references to
the sources, and the attributes of patient and study are copied unchanged.

Nothing in an object depends on when or where it was written: its SOP Instance UID is derived from
everything else in it, its series' UID from what it was made of, and its dates are those of the
study. The same results thus always give the same bytes, and other results never the same UID.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import highdicom
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DSfloat

from medscan import __version__
from medscan.archive import ArchiveFile, Header, Kind, Layer, read_header
from medscan.errors import ExportError
from medscan.export.job import ExportJob
from medscan.files import replacing
from medscan.results import StackResult, StudyResult

# It logs patient names that it finds odd.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

ROOT = uuid.uuid5(uuid.NAMESPACE_DNS, "medscan")
UNKNOWN_DATE, UNKNOWN_TIME = "19700101", "000000"
"""Date and time of objects of undated studies; DICOM requires them."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Tags of pixel data: float, double float, integer."""
IDENTITY = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Attributes that identify patient and study; copied from the source without parsing."""
_REFUSALS = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
"""Errors by which highdicom and pydicom refuse a source."""


def derived_uid(*parts: str) -> str:
    """Derive a UID from texts: UUID 5 below 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(ROOT, chr(0).join(parts)).int}"


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
    """

    header: Dataset
    frame: int | None
    layer: Layer


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
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, _stand_in_uid(number)
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


def _stand_in_uid(number: int) -> str:
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


# --- sources -----------------------------------------------------------------------------------


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
    frames = job.archive.stack(study, stack, slice_indices).frames
    return [_origin(frame.file, frame.index) for frame in frames]


def _origin(file: ArchiveFile, index: int) -> Origin:
    header, parsed = _headers(file)
    if index >= len(parsed.layers) and len(parsed.layers) != 1:
        raise ExportError("its source has changed since it was scanned: fewer frames")
    layer = parsed.layers[index if len(parsed.layers) > 1 else 0]
    # The tiles of a mosaic count as slices here, but as one frame in DICOM.
    frames = int(header.get("NumberOfFrames") or 1)
    return Origin(header, index + 1 if frames > 1 else None, layer)


@lru_cache(maxsize=4096)
def _headers(file: ArchiveFile) -> tuple[Dataset, Header]:
    """Read a file's header, without its per-frame parts, and as the archive parses it.

    Raises
    ------
    ExportError
        If it lacks the UIDs that a reference needs.
    """
    parsed = read_header(file)
    with building():
        header = pydicom.dcmread(file.full, stop_before_pixels=True, force=True)
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    if not isinstance(parsed, Header) or not all(header.get(name) for name in needed):
        raise ExportError("one of its files lacks the UIDs that a reference to it needs")
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if keyword in header:
            delattr(header, keyword)
    return header, parsed


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


# --- objects -----------------------------------------------------------------------------------


def object_arguments(
    header: Dataset, made_of: Sequence[str], kind: str, order: int
) -> dict[str, Any]:
    """Arguments that every highdicom object takes.

    Parameters
    ----------
    header : Dataset
        Header of a source.
    made_of : sequence of str
        Identifiers of what the series is made of; its UID is derived from them.
    kind : str
        Kind of object in words, such as "anomaly map".
    order : int
        Order among the exported series of one source series, from 1.
    """
    source = min(max(int(header.get("SeriesNumber") or 0), 0), 99_999)
    return {
        "series_instance_uid": derived_uid("series", kind, *made_of),
        "series_number": 100 * source + 90 + order,
        "sop_instance_uid": "2.25.0",
        "manufacturer": "medscan",
        "manufacturer_model_name": "medscan",
        "software_versions": __version__,
        "series_description": f"medscan: {kind}",
    }


def stack_arguments(detector: dict[str, Any], part: Part, kind: str, order: int) -> dict[str, Any]:
    """Arguments as of `object_arguments`, for an object made of one stack."""
    digest = str(detector["hash"])
    made_of = digest, part.header.SeriesInstanceUID, part.stack.key
    return object_arguments(part.header, made_of, kind, order) | {
        "instance_number": part.number,
        "device_serial_number": digest[:16],
    }


def name_of(detector: dict[str, Any]) -> str:
    """Name of a detector, in characters that every DICOM text may hold."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in str(detector["name"]))
    return plain.replace("\\", "?")[:64] or "detector"


def algorithm(detector: dict[str, Any]) -> highdicom.AlgorithmIdentificationSequence:
    """Identification of the detector."""
    return highdicom.AlgorithmIdentificationSequence(
        name=name_of(detector),
        family=codes.cid7162.ArtificialIntelligence,
        version=str(detector["hash"])[:16],
        source="medscan",
    )


def write(job: ExportJob, part: Part, make: Callable[[list[Dataset]], Dataset]) -> Path:
    """Make an object from stand-ins, refer it to the sources, and write it.

    Raises
    ------
    ExportError
        If highdicom refuses the source.
    DiskError
        If the object cannot be written.
    """
    with building():
        instance = make(part.stand_ins())
        if not has_position(part.origins[0].layer):
            instance.PatientOrientation = part.header.get("PatientOrientation", "")
        _refer(instance, part.origins)
        return save(job, instance, part.header)


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


def save(job: ExportJob, instance: Dataset, header: Dataset) -> Path:
    """Set an object's patient, dates and UID, and write it."""
    for keyword in IDENTITY:
        if keyword in header:
            instance.add(header[keyword])
    _set_dates(instance, header)
    _set_uid(instance)
    path = job.out / f"{instance.SOPInstanceUID}.dcm"
    with replacing(path) as aside:
        instance.save_as(aside, enforce_file_format=True)
    return path


def _set_dates(instance: Dataset, header: Dataset) -> None:
    """Replace times of writing by the date and time of the study."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        instance.pop(keyword, None)
    for item in instance.get("ContributingEquipmentSequence", []):
        item.pop("ContributionDateTime", None)
    date, time = (str(header.get(name) or "") for name in ("StudyDate", "StudyTime"))
    date = date if re.fullmatch(r"[0-9]{8}", date) else UNKNOWN_DATE
    time = time if re.fullmatch(r"[0-9]{6}(\.[0-9]{1,6})?", time) else UNKNOWN_TIME
    instance.ContentDate, instance.ContentTime = date, time
    if "DateOfSecondaryCapture" in instance:
        instance.DateOfSecondaryCapture, instance.TimeOfSecondaryCapture = date, time


def _refer(instance: Dataset, origins: list[Origin]) -> None:
    """Replace references to stand-ins by references to the sources."""
    by_stand_in = {_stand_in_uid(n): origin for n, origin in enumerate(origins, 1)}
    for item in items_of(instance):
        origin = by_stand_in.get(item.get("ReferencedSOPInstanceUID", ""))
        if origin is not None:
            item.ReferencedSOPClassUID = origin.header.SOPClassUID
            item.ReferencedSOPInstanceUID = origin.header.SOPInstanceUID
            if origin.frame is not None and "PurposeOfReferenceCodeSequence" in item:
                item.ReferencedFrameNumber = origin.frame
    _deduplicate(instance, "SourceImageSequence")
    for series in instance.get("ReferencedSeriesSequence", []):
        _deduplicate(series, "ReferencedInstanceSequence")


def items_of(instance: Dataset) -> Iterator[Dataset]:
    """Every item of every sequence, nested ones too."""
    for element in instance:
        for item in element.value if element.VR == "SQ" else []:
            yield item
            yield from items_of(item)


def _deduplicate(owner: Dataset, keyword: str) -> None:
    """Keep one reference to each instance, even if several of its frames are referred to."""
    if keyword in owner:
        items = {str(item.ReferencedSOPInstanceUID): item for item in owner[keyword].value}
        setattr(owner, keyword, list(items.values()))


def _set_uid(instance: Dataset) -> None:
    """Derive the object's UID from everything else in it."""
    organisation = derived_uid(
        "dimensions", instance.SeriesInstanceUID, str(instance.InstanceNumber)
    )
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in instance.get(keyword, []):
            item.DimensionOrganizationUID = organisation
    instance.SOPInstanceUID = "2.25.0"
    rest, digest = Dataset(), hashlib.sha256()
    for element in instance:
        if element.tag in PIXELS:
            digest.update(element.value)
        else:
            rest.add(element)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, rest, implicit_vr=False, little_endian=True)
    digest.update(stream.getvalue())
    instance.SOPInstanceUID = derived_uid("instance", digest.hexdigest())
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
