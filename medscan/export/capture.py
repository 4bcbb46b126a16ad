"""Key slices with their map laid over them as DICOM Secondary Captures, for any viewer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medscan.export import dicom
from medscan.export.dicom import Part
from medscan.export.job import ExportJob, Left, each_stack, key_slices, may_carry_text
from medscan.export.overlay import overlays
from medscan.results import StackResult, StudyResult

LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Ends of the axes x, y and z of the patient."""


def export(job: ExportJob) -> Iterator[Path | Left]:
    """Write each key slice as an RGB image on the pixels of its source, one series a stack."""
    return each_stack(job, _write)


def _write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    places, detector = sorted(key_slices(stack)), job.detector(stack)
    origins = dicom.origins_of(job, study, stack, places)
    for number, (at, picture) in enumerate(overlays(job, study, stack, places), 1):
        part = Part(stack, [at], [origins[number - 1]], number)
        yield dicom.write(job, part, partial(_object, detector, part, picture))


def _object(
    detector: dict[str, Any], part: Part, picture: NDArray[np.uint8], images: list[Dataset]
) -> Dataset:
    image, (origin,) = images[0], part.origins
    turn = origin.layer.orientation
    made = SCImage(
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=image.StudyInstanceUID,
        patient_orientation=(letter(turn[:3]), letter(turn[3:])) if turn else ("L", "P"),
        pixel_spacing=image.get("PixelSpacing"),
        **dicom.of_stack(detector, part, "overlay of the anomaly map", 3),
    )
    if not turn:
        made["PatientOrientation"].value = ""
    made.BurnedInAnnotation = "YES" if may_carry_text(part.stack) else "NO"
    made.DerivationDescription = f"Anomaly score by {dicom.name_of(detector)} laid over the source"
    made.SourceImageSequence = [_source(image)]
    made.Laterality = part.header.get("Laterality", "")
    return made


def _source(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    return item


def letter(direction: tuple[float, ...]) -> str:
    """Side of the patient that a direction (LPS) leads to, nearest of the six."""
    axis = int(np.abs(direction).argmax())
    return LETTERS[axis][int(direction[axis] < 0)]
