"""What all DICOM objects made of results share: their source, their names and their dates.

highdicom makes the objects. It knows a multi-frame source only as a whole, and wants of a source
what real files often lack. So it is shown stand-ins: one single-frame image for each slice, with
nothing but geometry. References to them are then put right, and what names patient and study is
copied as it is.

Nothing in an object depends on when or where it was written: its SOP Instance UID is made of all
else that it holds, its series' UID of what it was made from, and its dates are those of the study.
So the same results always give the same bytes, and other results never the same name.
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

# It would log a name that it finds odd.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

ROOT = uuid.uuid5(uuid.NAMESPACE_DNS, "medscan")
UNKNOWN_DATE, UNKNOWN_TIME = "19700101", "000000"
"""Of studies without a date, where DICOM asks for one."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
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
"""What places an object with its patient and study; copied, not understood."""
_REFUSALS = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)


def derived_uid(*parts: str) -> str:
    """A UID made of texts: UUID 5 below 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(ROOT, chr(0).join(parts)).int}"


@dataclass(frozen=True, slots=True)
class Origin:
    """A slice's source: the header of its file, its frame there (from 1) or None, its geometry."""

    header: Dataset
    frame: int | None
    layer: Layer


@dataclass(frozen=True, slots=True)
class Part:
    """Slices of a stack that become one object.

    Parameters
    ----------
    stack : StackResult
    places : list of int
        Of the slices in the stack's arrays.
    origins : list of Origin
        One for each.
    number : int
        Of the object in its series.
    """

    stack: StackResult
    places: list[int]
    origins: list[Origin]
    number: int = 1

    @property
    def header(self) -> Dataset:
        """Of the first source."""
        return self.origins[0].header

    def stand_ins(self) -> list[Dataset]:
        """Single-frame images in place of the sources, which highdicom is shown."""
        return [self._stand_in(origin, at) for at, origin in enumerate(self.origins)]

    def _stand_in(self, origin: Origin, at: int) -> Dataset:
        found, layer, header = Dataset(), origin.layer, origin.header
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
            setattr(found, keyword, "")
        found.AccessionNumber = found.StudyDate = found.StudyTime = ""
        found.SOPClassUID, found.SOPInstanceUID = MRImageStorage, f"2.25.{at + 1}"
        found.StudyInstanceUID = header.StudyInstanceUID
        found.SeriesInstanceUID = header.SeriesInstanceUID
        found.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or derived_uid(
            "frame of reference", header.SeriesInstanceUID
        )
        found.Rows, found.Columns = layer.rows, layer.columns
        found.SliceThickness = thickness(self.stack, header, layer)
        if layer.spacing and found.SliceThickness:
            found.PixelSpacing = decimals(layer.spacing)
        if located(layer):
            # A stack's orientations differ in their last digits; highdicom wants one.
            found.ImageOrientationPatient = decimals(self.stack.info["orientation"])
            found.ImagePositionPatient = decimals(layer.position or ())
        return found


def located(layer: Layer) -> bool:
    """Whether a frame says where it lies."""
    return None not in (layer.position, layer.orientation, layer.spacing)


def decimals(values: Sequence[float]) -> list[DSfloat]:
    """Numbers as DICOM's decimal strings of at most 16 characters."""
    return [DSfloat(float(v), auto_format=True) for v in values]


def thickness(stack: StackResult, header: Dataset, layer: Layer) -> DSfloat | None:
    """Slice thickness, millimetres: the source's, else the spacing of slices, else of rows.

    None where the source does not say where it lies, nor how thick it is.
    """
    spacing = layer.spacing[0] if layer.spacing and located(layer) else math.nan
    for found in (header.get("SliceThickness"), stack.info["slice_spacing"], spacing):
        with suppress(TypeError, ValueError):
            if 0 < float(found) < 1e6:
                return DSfloat(round(float(found), 6), auto_format=True)
    return None


# --- sources -----------------------------------------------------------------------------------


def origins_of(
    job: ExportJob, study: StudyResult, stack: StackResult, places: list[int]
) -> list[Origin]:
    """Where slices of a stack come from.

    Raises
    ------
    ExportError
        The stack is no DICOM series, or one of its files is missing or not what was scanned.
    """
    if stack.info["kind"] != Kind.DICOM:
        raise ExportError("its source is no DICOM series: there is no study to put an object into")
    frames = job.archive.stack(study, stack, places).frames
    return [_origin(frame.file, frame.index) for frame in frames]


def _origin(file: ArchiveFile, index: int) -> Origin:
    header, told = _headers(file)
    if index >= len(told.layers) and len(told.layers) != 1:
        raise ExportError("its source has changed since it was scanned: fewer frames")
    layer = told.layers[index if len(told.layers) > 1 else 0]
    # The tiles of a mosaic are one frame to DICOM.
    frames = int(header.get("NumberOfFrames") or 1)
    return Origin(header, index + 1 if frames > 1 else None, layer)


@lru_cache(maxsize=4096)
def _headers(file: ArchiveFile) -> tuple[Dataset, Header]:
    """All of a file's header but its frames, and what the archive makes of it."""
    told = read_header(file)
    with building():
        header = pydicom.dcmread(file.full, stop_before_pixels=True, force=True)
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    if not isinstance(told, Header) or not all(header.get(name) for name in needed):
        raise ExportError("one of its files cannot be referred to: it lacks UIDs")
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if keyword in header:
            delattr(header, keyword)
    return header, told


def parts_of(
    job: ExportJob, study: StudyResult, stack: StackResult, places: list[int]
) -> Iterator[Part]:
    """The objects that slices become: one, or one each where they do not lie apart in space."""
    origins = origins_of(job, study, stack, places)
    positions = {o.layer.position for o in origins if located(o.layer)}
    if len(positions) == len(origins):
        yield Part(stack, places, origins)
        return
    for number, (at, origin) in enumerate(zip(places, origins, strict=True), 1):
        yield Part(stack, [at], [origin], number)


# --- objects -----------------------------------------------------------------------------------


def common(header: Dataset, made_of: Sequence[str], kind: str, order: int) -> dict[str, Any]:
    """Arguments that every highdicom object takes.

    Parameters
    ----------
    header : Dataset
        Of a source.
    made_of : sequence of str
        What the series is made of, which its UID is made of.
    kind : str
        What it is, in words, such as "anomaly map".
    order : int
        From 1: it follows the source's series by it.
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


def of_stack(detector: dict[str, Any], part: Part, kind: str, order: int) -> dict[str, Any]:
    """As `common`, for an object made of one stack."""
    digest = str(detector["hash"])
    made_of = digest, part.header.SeriesInstanceUID, part.stack.key
    return common(part.header, made_of, kind, order) | {
        "instance_number": part.number,
        "device_serial_number": digest[:16],
    }


def name_of(detector: dict[str, Any]) -> str:
    """A detector's name in the characters that every DICOM text may hold."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in str(detector["name"]))
    return plain.replace("\\", "?")[:64] or "detector"


def algorithm(detector: dict[str, Any]) -> highdicom.AlgorithmIdentificationSequence:
    """Which detector it was."""
    return highdicom.AlgorithmIdentificationSequence(
        name=name_of(detector),
        family=codes.cid7162.ArtificialIntelligence,
        version=str(detector["hash"])[:16],
        source="medscan",
    )


def write(job: ExportJob, part: Part, make: Callable[[list[Dataset]], Dataset]) -> Path:
    """Have an object made of stand-ins, put its names right and write it.

    Raises
    ------
    ExportError
        highdicom refuses the source.
    DiskError
        It could not be written.
    """
    with building():
        made = make(part.stand_ins())
        if not located(part.origins[0].layer):
            made.PatientOrientation = part.header.get("PatientOrientation", "")
        _refer(made, part.origins)
        return save(job, made, part.header)


@contextmanager
def building() -> Iterator[None]:
    """Have what highdicom refuses told as medscan's own error, and silence warnings of values.

    Raises
    ------
    ExportError
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that real archives hold
        try:
            yield
        except _REFUSALS as error:
            raise ExportError(f"its source does not make a valid object: {error}") from error


def save(job: ExportJob, made: Dataset, header: Dataset) -> Path:
    """Give an object its patient, dates and name, and write it."""
    for keyword in IDENTITY:
        if keyword in header:
            made.add(header[keyword])
    _date(made, header)
    _name(made)
    path = job.out / f"{made.SOPInstanceUID}.dcm"
    with replacing(path) as aside:
        made.save_as(aside, enforce_file_format=True)
    return path


def _date(made: Dataset, header: Dataset) -> None:
    """Replace all that the clock said."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        made.pop(keyword, None)
    for item in made.get("ContributingEquipmentSequence", []):
        item.pop("ContributionDateTime", None)
    date, time = (str(header.get(name) or "") for name in ("StudyDate", "StudyTime"))
    date = date if re.fullmatch(r"[0-9]{8}", date) else UNKNOWN_DATE
    time = time if re.fullmatch(r"[0-9]{6}(\.[0-9]{1,6})?", time) else UNKNOWN_TIME
    made.ContentDate, made.ContentTime = date, time
    if "DateOfSecondaryCapture" in made:
        made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = date, time


def _refer(made: Dataset, origins: list[Origin]) -> None:
    """Put the sources in place of their stand-ins."""
    real = {f"2.25.{at + 1}": origin for at, origin in enumerate(origins)}
    for item in items_of(made):
        origin = real.get(item.get("ReferencedSOPInstanceUID", ""))
        if origin is not None:
            item.ReferencedSOPClassUID = origin.header.SOPClassUID
            item.ReferencedSOPInstanceUID = origin.header.SOPInstanceUID
            if origin.frame is not None and "PurposeOfReferenceCodeSequence" in item:
                item.ReferencedFrameNumber = origin.frame
    _once(made, "SourceImageSequence")
    for series in made.get("ReferencedSeriesSequence", []):
        _once(series, "ReferencedInstanceSequence")


def items_of(made: Dataset) -> Iterator[Dataset]:
    """Every item of every sequence."""
    for element in made:
        for item in element.value if element.VR == "SQ" else []:
            yield item
            yield from items_of(item)


def _once(owner: Dataset, keyword: str) -> None:
    """Refer to each instance once, however many frames of it there are."""
    if keyword in owner:
        items = {str(item.ReferencedSOPInstanceUID): item for item in owner[keyword].value}
        setattr(owner, keyword, list(items.values()))


def _name(made: Dataset) -> None:
    """Make the object's UID of all else in it."""
    organisation = derived_uid("dimensions", made.SeriesInstanceUID, str(made.InstanceNumber))
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in made.get(keyword, []):
            item.DimensionOrganizationUID = organisation
    made.SOPInstanceUID = "2.25.0"
    rest, digest = Dataset(), hashlib.sha256()
    for element in made:
        if element.tag in PIXELS:
            digest.update(element.value)
        else:
            rest.add(element)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, rest, implicit_vr=False, little_endian=True)
    digest.update(stream.getvalue())
    made.SOPInstanceUID = derived_uid("instance", digest.hexdigest())
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
