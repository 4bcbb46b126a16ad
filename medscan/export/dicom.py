"""What all exported DICOM objects share: references, UIDs and dates.

highdicom builds the objects from stand-ins; see `medscan.export.origins`. Afterwards references to
stand-ins are replaced by references to the sources, and patient and study are copied from them.

Nothing in an object depends on when or where it was written: its SOP Instance UID is derived from
everything else in it, its series' UID from what it was made of, and its dates are those of the
study. The same results thus always give the same bytes, and other results never the same UID.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import highdicom
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medscan import __version__
from medscan.export.job import ExportJob
from medscan.export.origins import Origin, Part, building, has_position, stand_in_uid
from medscan.files import replacing
from medscan.inherited import copy_identity, derived_uid, patient_orientation, set_lossy

# It logs patient names that it finds odd.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

UNKNOWN_DATE, UNKNOWN_TIME = "19700101", "000000"
"""Date and time of objects of undated studies; DICOM requires them."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Tags of pixel data: float, double float, integer."""


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
            instance.PatientOrientation = patient_orientation(part.header)
        set_lossy(instance, part.header, part.origins[0].file_bytes)
        _refer(instance, part.origins)
        return save(job, instance, part.header)


def save(job: ExportJob, instance: Dataset, header: Dataset) -> Path:
    """Set an object's patient, dates and UID, and write it."""
    copy_identity(instance, header)
    _set_dates(instance)
    _set_uid(instance)
    path = job.out / f"{instance.SOPInstanceUID}.dcm"
    with replacing(path) as aside:
        instance.save_as(aside, enforce_file_format=True)
    return path


def _set_dates(instance: Dataset) -> None:
    """Replace times of writing by the date and time of the study."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        instance.pop(keyword, None)
    for item in instance.get("ContributingEquipmentSequence", []):
        item.pop("ContributionDateTime", None)
    date = instance.StudyDate or UNKNOWN_DATE
    time = instance.StudyTime if instance.StudyDate and instance.StudyTime else UNKNOWN_TIME
    instance.ContentDate, instance.ContentTime = date, time
    if "DateOfSecondaryCapture" in instance:
        instance.DateOfSecondaryCapture, instance.TimeOfSecondaryCapture = date, time


def _refer(instance: Dataset, origins: list[Origin]) -> None:
    """Replace references to stand-ins by references to the sources."""
    by_stand_in = {stand_in_uid(n): origin for n, origin in enumerate(origins, 1)}
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
