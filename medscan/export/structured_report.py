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
from medscan.export.job import ExportJob, LeftOut, key_slices, scored_slices
from medscan.export.origins import Origin, building, derived_uid, origins_of
from medscan.files import make_folder
from medscan.report import normals_of, stack_standing
from medscan.results import StackResult, StudyResult

UNCERTAIN = sr.CodedConcept("uncertain", "99MEDSCAN", "Neither flagged nor to be cleared")
FLAGGED = sr.CodedConcept("flagged", "99MEDSCAN", "Score reaches the threshold")
EXPECTED = sr.CodedConcept("expected", "99MEDSCAN", "Normal series expected to score as high")
ASSUMED = sr.CodedConcept("assumed", "99MEDSCAN", "Header does not say all that algorithm is for")
Group = sr.MeasurementsAndQualitativeEvaluations


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write one report per study: the score of each stack, and those of its key slices.

    A stack is a measurement group with its score, percentile, threshold, the share of normal series
    of as many slices that score as high, and key images; each key image follows as a group with its
    own score.
    """
    make_folder(job.out)
    for study in job.studies():
        groups: list[Any] = []
        origins: list[Origin] = []
        for stack in (s for s in study.stacks if scored_slices(s)):
            try:
                stack_groups, stack_origins = _groups(job, study, stack)
            except (ExportError, FileError) as error:
                yield LeftOut(f"study {study.key}, stack {stack.key}", str(error))
                continue
            groups += stack_groups
            origins += stack_origins
        if groups:
            try:
                yield _write(job, study, groups, origins)
            except ExportError as error:
                yield LeftOut(f"study {study.key}", str(error))


def _write(job: ExportJob, study: StudyResult, groups: list[Any], origins: list[Origin]) -> Path:
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device"), name="medscan", manufacturer_name="medscan"
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
    with building():
        report = sr.ComprehensiveSR(
            _evidence(origins),
            content,
            instance_number=1,
            is_complete=True,
            **dicom.object_arguments(
                header, [header.StudyInstanceUID, *made_of], "anomaly scores and key images", 4
            ),
        )
        # The evidence claims a class that highdicom accepts; put back the real one of each source.
        classes = {str(o.header.SOPInstanceUID): o.header.SOPClassUID for o in origins}
        for item in dicom.items_of(report):
            if str(item.get("ReferencedSOPInstanceUID", "")) in classes:
                item.ReferencedSOPClassUID = classes[str(item.ReferencedSOPInstanceUID)]
        return dicom.save(job, report, header)


def _groups(
    job: ExportJob, study: StudyResult, stack: StackResult
) -> tuple[list[Any], list[Origin]]:
    indices = key_slices(stack)
    origins = origins_of(job, study, stack, indices)
    info, detector = stack.info, job.detector(stack)
    measurements = [_measurement(codes.SCT.Score, stack.score)]
    for name, value in (
        (codes.DCM.PercentileRankingOfMeasurement, stack.percentile),
        (EXPECTED, 100 * stack_standing(stack, normals_of(detector)).expected),
        (codes.DCM.ThresholdValue, float(info["threshold"])),
    ):
        if math.isfinite(value):
            measurements.append(_measurement(name, value))
    flagged = codes.SCT.Yes if stack.flagged else codes.SCT.No
    evaluations = [sr.QualitativeEvaluation(FLAGGED, flagged)]
    if stack.uncertain:
        evaluations.append(sr.QualitativeEvaluation(UNCERTAIN, codes.SCT.Yes))
    if stack.assumed:
        evaluations.append(sr.QualitativeEvaluation(ASSUMED, codes.SCT.Yes))
    groups = [
        Group(
            tracking_identifier=_tracking("stack", stack.key, origins[0]),
            finding_type=codes.NCIt.Abnormality,
            algorithm_id=_algorithm(detector),
            measurements=measurements,
            qualitative_evaluations=evaluations,
            source_images=[_image(origin) for origin in origins],
        )
    ]
    for index, origin in zip(indices, origins, strict=True):
        groups.append(
            Group(
                tracking_identifier=_tracking(f"slice {index + 1}", stack.key, origin),
                finding_type=codes.NCIt.Abnormality,
                algorithm_id=_algorithm(detector),
                measurements=[_measurement(codes.SCT.Score, float(stack.slice_score[index]))],
                source_images=[_image(origin)],
            )
        )
    return groups, origins


def _measurement(name: Code | sr.CodedConcept, value: float) -> sr.Measurement:
    percent = name in (codes.DCM.PercentileRankingOfMeasurement, EXPECTED)
    unit = codes.UCUM.Percent if percent else codes.UCUM.NoUnits
    return sr.Measurement(name=name, value=round(value, 6), unit=unit)


def _algorithm(detector: dict[str, object]) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=dicom.name_of(detector), version=str(detector["hash"])[:16]
    )


def _tracking(what: str, key: str, origin: Origin) -> sr.TrackingIdentifier:
    uid = derived_uid("tracking", what, key, origin.header.SeriesInstanceUID)
    return sr.TrackingIdentifier(uid=uid, identifier=f"{what} of {key}"[:64])


def _image(origin: Origin) -> sr.SourceImageForMeasurementGroup:
    return sr.SourceImageForMeasurementGroup(
        origin.header.SOPClassUID,
        origin.header.SOPInstanceUID,
        None if origin.frame is None else [origin.frame],
    )


def _evidence(origins: list[Origin]) -> list[Dataset]:
    """Stand-ins for the sources, each once: only UIDs, and a class that highdicom accepts."""
    instances: dict[str, Dataset] = {}
    for origin in origins:
        instance = Dataset()
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
            setattr(instance, keyword, "")
        instance.AccessionNumber = instance.StudyDate = instance.StudyTime = ""
        instance.SOPClassUID = MRImageStorage
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(instance, keyword, str(origin.header[keyword].value))
        instances[instance.SOPInstanceUID] = instance
    return list(instances.values())
