"""Scores, key images and regions as DICOM Structured Reports of TID 1500 (PS3.16)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage

from medscan.errors import ExportError, FileError
from medscan.export import dicom
from medscan.export.job import ExportJob, LeftOut, key_slices, scored_slices
from medscan.export.origins import Origin, building, origins_of
from medscan.files import make_folder
from medscan.findings import Algorithm, Group, Image, region_group, slice_group, stack_group
from medscan.inherited import derived_uid
from medscan.report import Scale, regions_of
from medscan.results import StackResult, StudyResult


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write one report per study: scores of each stack and of its key slices, and its regions.

    A stack is a measurement group; each of its key slices follows as one, then each region of its
    maps above the threshold for patches.
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
) -> tuple[list[Group], list[Origin]]:
    detector, keys = job.detector(stack), key_slices(stack)
    scale = Scale.of(detector)
    threshold = scale.middle if scale else math.inf
    regions = regions_of(stack, threshold)
    indices = sorted({*keys, *(region.worst for region in regions)})
    origins = dict(zip(indices, origins_of(job, study, stack, indices), strict=True))
    images = {index: _image(origin) for index, origin in origins.items()}
    algorithm = Algorithm(dicom.name_of(detector), str(detector["hash"])[:16])
    groups = [stack_group(stack, [images[index] for index in keys], detector, algorithm)]
    groups += [slice_group(stack, index, images[index], algorithm) for index in keys]
    for number, region in enumerate(regions, 1):
        image = images[region.worst]
        groups.append(region_group(stack, number, region, threshold, image, detector, algorithm))
    return groups, list(origins.values())


def _image(origin: Origin) -> Image:
    header = origin.header
    uids = header.SOPClassUID, header.SOPInstanceUID, header.SeriesInstanceUID
    return Image(*uids, origin.frame)


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
