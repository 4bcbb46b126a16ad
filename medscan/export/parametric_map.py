"""Anomaly maps as DICOM Parametric Maps (PS3.3 A.75): the scores themselves, as floats."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import (
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    VOILUTTransformation,
)
from highdicom.pm import ParametricMap, RealWorldValueMapping
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medscan.choices import Grid
from medscan.errors import ExportError
from medscan.export import dicom
from medscan.export.job import ExportJob, LeftOut, each_stack, scored_slices
from medscan.export.origins import Part, decimals, has_position, parts_of, thickness
from medscan.inherited import frame_anatomy
from medscan.report import Scale
from medscan.results import StackResult, StudyResult, on_frame

LARGEST = float(np.finfo(np.float32).max)


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write the map of each stack as one object with a frame per scored slice.

    Values are patch scores, interpolated between patch centres, or unchanged with `Grid.MODEL`.
    """
    return each_stack(job, _write)


def _write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    detector, scale = job.detector(stack), job.scale(stack)
    parts = list(parts_of(job, study, stack, scored_slices(stack)))
    # PS3.3 A.75.5 requires pixel measures, and plane positions in a patient's frame of reference.
    if not all(has_position(origin.layer) for part in parts for origin in part.origins):
        raise ExportError(
            "its source has no position in the patient, which a Parametric Map needs; dicom-seg, "
            "dicom-sc and dicom-sr do not"
        )
    for part in parts:
        geometry = _grid_geometry(part) if job.grid is Grid.MODEL else {}
        pixels = _pixels(part, job.grid)
        yield dicom.write(job, part, partial(_object, detector, scale, part, pixels, geometry))


def _object(
    detector: dict[str, Any],
    scale: Scale,
    part: Part,
    pixels: NDArray[np.float32],
    geometry: dict[str, Any],
    images: list[Dataset],
) -> Dataset:
    mapping = RealWorldValueMapping(
        lut_label="score",
        lut_explanation=f"Anomaly score of a patch by {dicom.name_of(detector)[:32]}",
        unit=codes.UCUM.NoUnits,
        value_range=(-LARGEST, LARGEST),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SCT.Score,
    )
    window = VOILUTTransformation(
        (scale.low + scale.high) / 2, scale.high - scale.low, voi_lut_function="LINEAR_EXACT"
    )
    parametric_map = ParametricMap(
        images,
        pixels,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_description="Anomaly map",
        content_creator_name="",
        **geometry,
        **dicom.stack_arguments(detector, part, "anomaly map", 1),
    )
    _order_along_normal(parametric_map)
    (shared,) = parametric_map.SharedFunctionalGroupsSequence
    shared.FrameAnatomySequence = [frame_anatomy(part.header)]
    return parametric_map


def _order_along_normal(parametric_map: Dataset) -> None:
    """Reverse the frames, which highdicom orders against the normal of rows and columns.

    dcmqi takes the frames of a map in the order of the file, as if they lay along the normal.
    """
    frames = list(parametric_map.PerFrameFunctionalGroupsSequence)[::-1]
    for index, frame in enumerate(frames, 1):
        frame.FrameContentSequence[0].DimensionIndexValues = index
    parametric_map.PerFrameFunctionalGroupsSequence = frames
    pixels = np.frombuffer(parametric_map.FloatPixelData, "<f4").reshape(len(frames), -1)
    parametric_map.FloatPixelData = pixels[::-1].tobytes()


def _pixels(part: Part, grid: Grid) -> NDArray[np.float32]:
    """Scores of a part's slices, float32 (n, rows, columns)."""
    stack = part.stack
    if grid is Grid.MODEL:
        return stack.heatmap[part.slice_indices].astype(np.float32)
    size = int(stack.info["rows"]), int(stack.info["columns"])
    return np.stack(
        [on_frame(stack.heatmap[i], stack.grid_to_pixel[i], *size) for i in part.slice_indices]
    )


def _grid_geometry(part: Part) -> dict[str, Any]:
    """Spacing, orientation and positions of the patches, as highdicom's arguments."""
    layers = [origin.layer for origin in part.origins]
    to_pixel = part.stack.grid_to_pixel[part.slice_indices]
    row, column = np.reshape(part.stack.info["orientation"], (2, 3))
    between_rows, between_columns = layers[0].spacing or (1.0, 1.0)
    pixel = np.column_stack([row * between_columns, column * between_rows])
    steps = pixel @ to_pixel[0, :, :2]
    spacing = np.linalg.norm(steps, axis=0)
    corners = [
        np.asarray(layer.position) + pixel @ affine[:, 2]
        for layer, affine in zip(layers, to_pixel, strict=True)
    ]
    return {
        "pixel_measures": PixelMeasuresSequence(
            decimals(spacing[::-1]), thickness(part.stack, part.header, layers[0])
        ),
        "plane_orientation": PlaneOrientationSequence(
            "PATIENT", decimals((steps / spacing).T.ravel())
        ),
        "plane_positions": [PlanePositionSequence("PATIENT", decimals(c)) for c in corners],
    }
