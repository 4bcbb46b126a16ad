"""Scores and key images as DICOM Structured Reports of TID 1500 (PS3.16)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import MRImageStorage

from medscan.errors import ExportError, FileError
from medscan.export import dicom
from medscan.export.dicom import Origin
from medscan.export.job import ExportJob, Left, key_slices, scored
from medscan.files import make_folder
from medscan.results import StackResult, StudyResult

FLAGGED = sr.CodedConcept("flagged", "99MEDSCAN", "Score reaches the threshold")
Group = sr.MeasurementsAndQualitativeEvaluations


def export(job: ExportJob) -> Iterator[Path | Left]:
    """Write a report a study: the score of each stack, and those of its key slices.

    A stack is a group of measurements with its score, percentile and threshold and its key images;
    each key image follows as a group with its own score.
    """
    make_folder(job.out)
    for study in job.studies():
        groups: list[Any] = []
        origins: list[Origin] = []
        for stack in (s for s in study.stacks if scored(s)):
            try:
                found, theirs = _groups(job, study, stack)
            except (ExportError, FileError) as error:
                yield Left(f"study {study.key}, stack {stack.key}", str(error))
                continue
            groups += found
            origins += theirs
        if groups:
            try:
                yield _write(job, study, groups, origins)
            except ExportError as error:
                yield Left(f"study {study.key}", str(error))


def _write(job: ExportJob, study: StudyResult, groups: list[Any], origins: list[Origin]) -> Path:
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=dicom.derived_uid("device"), name="medscan", manufacturer_name="medscan"
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    header = origins[0].header
    made_of = sorted({str(s.info["detector_hash"]) for s in study.stacks})
    with dicom.building():
        made = sr.ComprehensiveSR(
            _evidence(origins),
            content,
            instance_number=1,
            is_complete=True,
            **dicom.common(
                header, [header.StudyInstanceUID, *made_of], "anomaly scores and key images", 4
            ),
        )
        real = {str(o.header.SOPInstanceUID): o.header.SOPClassUID for o in origins}
        for item in dicom.items_of(made):
            if str(item.get("ReferencedSOPInstanceUID", "")) in real:
                item.ReferencedSOPClassUID = real[str(item.ReferencedSOPInstanceUID)]
        return dicom.save(job, made, header)


def _groups(
    job: ExportJob, study: StudyResult, stack: StackResult
) -> tuple[list[Any], list[Origin]]:
    places = key_slices(stack)
    origins = dicom.origins_of(job, study, stack, places)
    info, detector = stack.info, job.detector(stack)
    measured = [_measurement(codes.SCT.Score, stack.score)]
    for name, value in (
        (codes.DCM.PercentileRankingOfMeasurement, stack.percentile),
        (codes.DCM.ThresholdValue, float(info["threshold"])),
    ):
        if math.isfinite(value):
            measured.append(_measurement(name, value))
    verdict = codes.SCT.Yes if stack.flagged else codes.SCT.No
    groups = [
        Group(
            tracking_identifier=_tracking("stack", stack.key, origins[0]),
            finding_type=codes.NCIt.Abnormality,
            algorithm_id=_algorithm(detector),
            measurements=measured,
            qualitative_evaluations=[sr.QualitativeEvaluation(FLAGGED, verdict)],
            source_images=[_image(origin) for origin in origins],
        )
    ]
    for at, origin in zip(places, origins, strict=True):
        groups.append(
            Group(
                tracking_identifier=_tracking(f"slice {at + 1}", stack.key, origin),
                finding_type=codes.NCIt.Abnormality,
                algorithm_id=_algorithm(detector),
                measurements=[_measurement(codes.SCT.Score, float(stack.slice_score[at]))],
                source_images=[_image(origin)],
            )
        )
    return groups, origins


def _measurement(name: Code, value: float) -> sr.Measurement:
    percent = name == codes.DCM.PercentileRankingOfMeasurement
    unit = codes.UCUM.Percent if percent else codes.UCUM.NoUnits
    return sr.Measurement(name=name, value=round(value, 6), unit=unit)


def _algorithm(detector: dict[str, object]) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=dicom.name_of(detector), version=str(detector["hash"])[:16]
    )


def _tracking(what: str, key: str, origin: Origin) -> sr.TrackingIdentifier:
    uid = dicom.derived_uid("tracking", what, key, origin.header.SeriesInstanceUID)
    return sr.TrackingIdentifier(uid=uid, identifier=f"{what} of {key}"[:64])


def _image(origin: Origin) -> sr.SourceImageForMeasurementGroup:
    return sr.SourceImageForMeasurementGroup(
        origin.header.SOPClassUID,
        origin.header.SOPInstanceUID,
        None if origin.frame is None else [origin.frame],
    )


def _evidence(origins: list[Origin]) -> list[Dataset]:
    """Each instance once, with nothing of it but what refers to it, as of a known class."""
    found: dict[str, Dataset] = {}
    for origin in origins:
        instance = Dataset()
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
            setattr(instance, keyword, "")
        instance.AccessionNumber = instance.StudyDate = instance.StudyTime = ""
        instance.SOPClassUID = MRImageStorage
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(instance, keyword, str(origin.header[keyword].value))
        found[instance.SOPInstanceUID] = instance
    return list(found.values())
