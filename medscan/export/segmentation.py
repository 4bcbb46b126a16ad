"""Regions above threshold as DICOM Segmentations (PS3.3 A.51).

They are binary: the fractional kind holds probabilities or shares of a pixel, and an anomaly score
is neither. Scores are in the Parametric Map.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medscan.export import dicom
from medscan.export.dicom import Part
from medscan.export.job import Job, Left, each_stack, scored
from medscan.results import StackResult, StudyResult
from medscan.results.maps import on_frame


def export(job: Job) -> Iterator[Path | Left]:
    """Write, for each stack with any, where the map reaches the detector's threshold for patches.

    Frames without such a pixel are left out, and so are objects without a frame.
    """
    return each_stack(job, _write)


def _write(job: Job, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    detector, threshold = job.detector(stack), job.scale(stack).middle
    for part in dicom.parts_of(job, study.key, stack, scored(stack)):
        found = np.stack([regions(stack, at, threshold) for at in part.places])
        if found.any():
            yield dicom.write(job, part, partial(_object, detector, part, found, threshold))


def _object(
    detector: dict[str, Any],
    part: Part,
    found: NDArray[np.bool_],
    threshold: float,
    images: list[Dataset],
) -> Dataset:
    segment = SegmentDescription(
        segment_number=1,
        segment_label=f"Anomaly score of at least {threshold:.4g}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.NCIt.Abnormality,
        algorithm_type="AUTOMATIC",
        algorithm_identification=dicom.algorithm(detector),
    )
    return Segmentation(
        images,
        found.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        content_label="ANOMALY",
        content_description="Regions above the anomaly threshold",
        **dicom.of_stack(detector, part, "regions above threshold", 2),
    )


def regions(stack: StackResult, at: int, threshold: float) -> NDArray[np.bool_]:
    """Pixels (rows, columns) of a slice's frame whose score reaches the threshold."""
    size = int(stack.info["rows"]), int(stack.info["columns"])
    found: NDArray[np.bool_] = (
        on_frame(stack.heatmap[at], stack.grid_to_pixel[at], *size) >= threshold
    )
    return found
