"""Stacks that say things of themselves, and detectors for them."""

from medscan.archive import Kind, Stack
from medscan.choices import Plane
from medscan.detector import Detector, Domain
from medscan.normals import Calibration

FLAIR = Domain("MR", "BRAIN", "FLAIR", "axial")
BRAIN = {"Modality": "MR", "BodyPartExamined": "BRAIN"}


def stack(plane: Plane | None = Plane.AXIAL, **facts: str) -> Stack:
    return Stack("k", Kind.DICOM, (), 2, 2, plane=plane, facts=facts)


def brain(description: str = "", plane: Plane | None = Plane.AXIAL, **facts: str) -> Stack:
    described = {"SeriesDescription": description} if description else {}
    return stack(plane, **(BRAIN | described | facts))


def detector(name: str, domain: Domain) -> Detector:
    calibration = Calibration((), 0.0, 0.05, True, 0, 1)
    return Detector(name, "mvfa", "clean", "", True, {}, "b", "d", domain, "auto", calibration)
