"""Anomaly maps as DICOM Segmentations (PS3.3 A.51): regions above threshold, or fractions.

A fractional segmentation holds the position of each score on its detector's fixed scale: 0 up to
the median of normal patches, 0.5 at the threshold, 1 at the top. A viewer that cuts it at one half
thus shows the binary segmentation. DICOM knows two kinds of fractions: this one is labelled a
probability, because it is even less an occupancy.
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
from medscan.export.job import ExportJob, LeftOut, each_stack, scored_slices
from medscan.export.origins import Part, parts_of
from medscan.report import Scale
from medscan.results import StackResult, StudyResult, on_frame


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write the regions of each stack where the map reaches the detector's threshold for patches.

    Frames where every pixel is 0 are left out, and so are stacks without any other frame: a binary
    segmentation needs a score at the threshold, a fractional one a score above the low end of the
    scale.
    """
    return each_stack(job, _write)


def _write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    detector, scale = job.detector(stack), job.scale(stack)
    for part in parts_of(job, study, stack, scored_slices(stack)):
        values = np.stack([_values(stack, i, scale, job.seg_type) for i in part.slice_indices])
        if values.any():
            make = partial(_object, KINDS[job.seg_type], detector, scale, part, values)
            yield dicom.write(job, part, make)


def _values(
    stack: StackResult, index: int, scale: Scale, kind: SegType
) -> NDArray[np.uint8 | np.float64]:
    """Values of a slice's frame (rows, columns): 0 or 1 if binary, else from 0 to 1."""
    size = int(stack.info["rows"]), int(stack.info["columns"])
    scores = on_frame(stack.heatmap[index], stack.grid_to_pixel[index], *size)
    if kind is SegType.FRACTIONAL:
        return scale.position(scores)
    return (scores >= scale.middle).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between the kinds: texts, the order of their series, highdicom's options."""

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
    SegType.LABELMAP: _Kind(
        "Anomaly score of at least {middle:.4g}",
        "Regions above the anomaly threshold",
        "label map of regions above threshold",
        6,
        {"segmentation_type": "LABELMAP"},
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
    values: NDArray[np.uint8 | np.float64],
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
        values,
        segment_descriptions=[segment],
        content_label="ANOMALY",
        content_description=kind.description,
        content_creator_name="",
        **kind.options,
        **dicom.stack_arguments(detector, part, kind.series, kind.order),
    )
