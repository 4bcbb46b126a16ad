"""Key slices overlaid with their map as DICOM Secondary Captures, for any viewer."""

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
from medscan.export.job import ExportJob, LeftOut, each_stack, key_slices, may_carry_text
from medscan.export.origins import Part, origins_of
from medscan.export.overlay import overlays
from medscan.inherited import set_body_part
from medscan.results import StackResult, StudyResult

LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters of the positive and negative directions of the patient's axes x, y and z (LPS)."""


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write each key slice as an RGB image on the pixels of its source, one series per stack."""
    return each_stack(job, _write)


def _write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    indices, detector = sorted(key_slices(stack)), job.detector(stack)
    origins = origins_of(job, study, stack, indices)
    for number, (index, picture) in enumerate(overlays(job, study, stack, indices), 1):
        part = Part(stack, [index], [origins[number - 1]], number)
        yield dicom.write(job, part, partial(_object, detector, part, picture))


def _object(
    detector: dict[str, Any], part: Part, picture: NDArray[np.uint8], images: list[Dataset]
) -> Dataset:
    image, (origin,) = images[0], part.origins
    orientation = origin.layer.orientation
    # highdicom wants letters; without an orientation they are placeholders, removed below.
    letters = (letter(orientation[:3]), letter(orientation[3:])) if orientation else ("L", "P")
    capture = SCImage(
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=image.StudyInstanceUID,
        patient_orientation=letters,
        pixel_spacing=image.get("PixelSpacing"),
        **dicom.stack_arguments(detector, part, "overlay of the anomaly map", 3),
    )
    if not orientation:
        capture["PatientOrientation"].value = ""
    capture.BurnedInAnnotation = "YES" if may_carry_text(part.stack) else "NO"
    capture.DerivationDescription = (
        f"Anomaly score by {dicom.name_of(detector)} laid over the source"
    )
    capture.SourceImageSequence = [_source(image)]
    set_body_part(capture, part.header)
    return capture


def _source(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    return item


def letter(direction: tuple[float, ...]) -> str:
    """Letter of the side of the patient, of six, that is nearest to a direction (LPS)."""
    axis = int(np.abs(direction).argmax())
    return LETTERS[axis][int(direction[axis] < 0)]
