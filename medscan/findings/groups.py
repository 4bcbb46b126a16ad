"""Measurement groups of TID 1501 in a report of TID 1500 (PS3.16): what a detector found.

What DICOM has no term for is a term of medscan's own, 99MEDSCAN; units are of UCUM.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medscan.inherited import derived_uid
from medscan.report import Region, normals_of, stack_standing
from medscan.results import StackResult, State

Group = sr.MeasurementsAndQualitativeEvaluations
Algorithm = sr.AlgorithmIdentification
_Name = Code | sr.CodedConcept


def _own(value: str, meaning: str) -> sr.CodedConcept:
    return sr.CodedConcept(value, "99MEDSCAN", meaning)


UNCERTAIN = _own("uncertain", "Neither flagged nor to be cleared")
UNLIKE = _own("unlike", "Unlike what its detector was fitted on")
FLAGGED = _own("flagged", "Score reaches the threshold")
EXPECTED = _own("expected", "Normal series expected to score as high")
ASSUMED = _own("assumed", "Header does not say all that algorithm is for")
EVIDENCE = _own("evidence", "Map shows evidence, not a border")
SLICES = _own("slices", "Number of slices")
PASSED_OVER = _own("passed-over", "Number of slices passed over")
EXTENT = (
    _own("extent-rl", "Extent from right to left"),
    _own("extent-ap", "Extent from front to back"),
    _own("extent-fh", "Extent from foot to head"),
)
CENTRE = (
    _own("centre-l", "Centre to the left of the origin"),
    _own("centre-p", "Centre to the back of the origin"),
    _own("centre-h", "Centre to the head of the origin"),
)
"""Mean of the points of a region in the patient's LPS frame."""


class Image(NamedTuple):
    """A frame that a finding is seen in.

    Parameters
    ----------
    sop_class, sop_instance, series : str
        UIDs.
    frame : int or None
        Number in its file, from 1; None in a file of one frame.
    """

    sop_class: str
    sop_instance: str
    series: str
    frame: int | None


def stack_group(
    stack: StackResult, images: Sequence[Image], detector: dict[str, Any], algorithm: Algorithm
) -> Group:
    """Score of a stack, percentile, threshold, and share of normal stacks that score as high.

    Also how many slices were passed over, if any: what it says is not said of them.

    Parameters
    ----------
    stack : StackResult
    images : sequence of Image
        Its key slices.
    detector : dict
        Its entry of `RunInfo.detectors`.
    algorithm : Algorithm
    """
    expected = 100 * stack_standing(stack, normals_of(detector)).expected
    found = {
        FLAGGED: codes.SCT.Yes if stack.flagged else codes.SCT.No,
        UNCERTAIN: codes.SCT.Yes if stack.uncertain else None,
        UNLIKE: codes.SCT.Yes if stack.unlike else None,
        ASSUMED: codes.SCT.Yes if stack.assumed else None,
    }
    measurements = [
        _measured(codes.SCT.Score, stack.score),
        _measured(codes.DCM.PercentileRankingOfMeasurement, stack.percentile, codes.UCUM.Percent),
        _measured(EXPECTED, expected, codes.UCUM.Percent),
        _measured(codes.DCM.ThresholdValue, float(stack.info["threshold"])),
        _measured(PASSED_OVER, stack.count(State.PASSED_OVER) or math.nan),
    ]
    return _group("stack", stack, images, algorithm, measurements, found)


def slice_group(stack: StackResult, index: int, image: Image, algorithm: Algorithm) -> Group:
    """Score of one slice."""
    score = _measured(codes.SCT.Score, float(stack.slice_score[index]))
    return _group(f"slice {index + 1}", stack, [image], algorithm, [score])


def region_group(
    stack: StackResult,
    number: int,
    region: Region,
    threshold: float,
    image: Image,
    detector: dict[str, Any],
    algorithm: Algorithm,
) -> Group:
    """Size and place of a region of a stack's maps: a row of the table of regions.

    Parameters
    ----------
    stack : StackResult
    number : int
        From 1, highest score first.
    region : Region
    threshold : float
        For patches: the region is above it.
    image : Image
        The slice with its highest score.
    detector : dict
        Its entry of `RunInfo.detectors`.
    algorithm : Algorithm
    """
    mm, largest = codes.UCUM.Millimeter, codes.SCT.Maximum
    measurements = [
        _measured(codes.SCT.Score, region.peak),
        _measured(codes.DCM.ThresholdValue, threshold),
        _measured(SLICES, region.slices),
        _measured(codes.SCT.Volume, region.volume_mm3, codes.UCUM.CubicMillimeter),
        _measured(codes.SCT.Area, region.area_mm2, codes.UCUM.SquareMillimeter, largest),
        _measured(codes.SCT.Diameter, region.diameter_mm, mm, largest),
        *(_measured(name, value, mm) for name, value in zip(EXTENT, region.extent_mm, strict=True)),
        *(_measured(name, value, mm) for name, value in zip(CENTRE, region.centre, strict=True)),
    ]
    found = {EVIDENCE: codes.SCT.Yes if detector.get("masked") is False else None}
    return _group(f"region {number}", stack, [image], algorithm, measurements, found)


def _group(
    what: str,
    stack: StackResult,
    images: Sequence[Image],
    algorithm: Algorithm,
    measurements: Iterable[sr.Measurement | None],
    found: dict[sr.CodedConcept, Code | None] | None = None,
) -> Group:
    uid = derived_uid("tracking", what, stack.key, images[0].series)
    tracked = sr.TrackingIdentifier(uid=uid, identifier=f"{what} of {stack.key}"[:64])
    evaluations = {name: value for name, value in (found or {}).items() if value}
    return Group(
        tracking_identifier=tracked,
        finding_type=codes.NCIt.Abnormality,
        algorithm_id=algorithm,
        measurements=[measurement for measurement in measurements if measurement],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name, value) for name, value in evaluations.items()
        ]
        or None,
        source_images=[_source(image) for image in images],
    )


def _measured(
    name: _Name, value: float, unit: Code = codes.UCUM.NoUnits, derivation: Code | None = None
) -> sr.Measurement | None:
    """A measurement; None where the value is not known."""
    if not math.isfinite(value):
        return None
    return sr.Measurement(name=name, value=round(value, 6), unit=unit, derivation=derivation)


def _source(image: Image) -> sr.SourceImageForMeasurementGroup:
    frames = None if image.frame is None else [image.frame]
    return sr.SourceImageForMeasurementGroup(image.sop_class, image.sop_instance, frames)
