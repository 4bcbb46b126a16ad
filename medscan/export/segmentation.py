"""Anomaly maps as DICOM Segmentations (PS3.3 A.51): regions above threshold, or how far they are.

A fractional one holds where each score lies on the fixed scale of its detector: 0 at the median of
normal patches and below, 0.5 at the threshold, 1 at the top. So a viewer that cuts it at half shows
the binary one. It is called a probability because DICOM's only other type, occupancy, fits even
less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medscan.choices import SegType
from medscan.export import dicom
from medscan.export.dicom import Part
from medscan.export.job import ExportJob, Left, each_stack, scored
from medscan.report import Scale
from medscan.results import StackResult, StudyResult, on_frame


def export(job: ExportJob) -> Iterator[Path | Left]:
    """Write, for each stack with any, where the map reaches the detector's threshold for patches.

    Fractional ones are written for each stack with a score above the low end of the scale. Frames
    where every pixel is 0 are left out, and so are objects without a frame.
    """
    return each_stack(job, _write)


def _write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    detector, scale = job.detector(stack), job.scale(stack)
    for part in dicom.parts_of(job, study, stack, scored(stack)):
        found = np.stack([_values(stack, at, scale, job.seg_type) for at in part.places])
        if found.any():
            make = partial(_object, KINDS[job.seg_type], detector, scale, part, found)
            yield dicom.write(job, part, make)


def _values(
    stack: StackResult, at: int, scale: Scale, kind: SegType
) -> NDArray[np.uint8 | np.float64]:
    """Of the pixels (rows, columns) of a slice's frame: 0 or 1, or from 0 to 1."""
    size = int(stack.info["rows"]), int(stack.info["columns"])
    scores = on_frame(stack.heatmap[at], stack.grid_to_pixel[at], *size)
    if kind is SegType.FRACTIONAL:
        return scale.position(scores)
    return (scores >= scale.middle).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between the kinds: words, and the place of their series after the source's."""

    label: str
    description: str
    series: str
    order: int
    options: dict[str, Any]


KINDS = {
    SegType.BINARY: _Kind(
        "Anomaly score of at least {middle:.4g}",
        "Regions above the anomaly threshold",
        "regions above threshold",
        2,
        {"segmentation_type": "BINARY"},
    ),
    SegType.FRACTIONAL: _Kind(
        "Anomaly: 0.5 is a score of {middle:.4g}",
        "Anomaly scores on the detector's scale",
        "fractional anomaly map",
        5,
        {"segmentation_type": "FRACTIONAL", "fractional_type": "PROBABILITY"},
    ),
}


def _object(
    kind: _Kind,
    detector: dict[str, Any],
    scale: Scale,
    part: Part,
    found: NDArray[np.uint8 | np.float64],
    images: list[Dataset],
) -> Dataset:
    segment = SegmentDescription(
        segment_number=1,
        segment_label=kind.label.format(middle=scale.middle),
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.NCIt.Abnormality,
        algorithm_type="AUTOMATIC",
        algorithm_identification=dicom.algorithm(detector),
    )
    return Segmentation(
        images,
        found,
        segment_descriptions=[segment],
        content_label="ANOMALY",
        content_description=kind.description,
        **kind.options,
        **dicom.of_stack(detector, part, kind.series, kind.order),
    )
