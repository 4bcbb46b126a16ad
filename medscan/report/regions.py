"""Connected regions of a stack's maps above the detector's threshold for patches, and their size.

A map is interpolated between patch centres, as the viewer does for its contours. Neighbouring
slices belong to one region where they overlap and lie evenly; else each slice is on its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medscan.report.placing import side_mm, square_to_patient
from medscan.results import StackResult, State, is_even, on_square, spacing_of

FINE = 4
"""Points along a patch at which a map is compared with the threshold."""
MOST_REGIONS = 20
"""Most regions of a stack that are listed: those with the highest scores."""
_DIRECTIONS = 256
"""Directions in which the outermost points of a region are looked for."""
_NOWHERE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Region:
    """A connected region above the threshold; lengths in millimetres, NaN where unknown.

    Parameters
    ----------
    peak : float
        Its highest patch score.
    worst, first, last : int
        Indices of the slice with that score, and of its first and last slice.
    slices : int
        Number of its slices.
    area_mm2 : float
        In the slice where it is largest.
    volume_mm3 : float
        NaN also where slices do not lie evenly.
    extent_mm : (float, float, float)
        From right to left, front to back, foot to head.
    diameter_mm : float
        Largest distance between two of its points.
    centre : (float, float, float)
        Mean of its points in the patient's LPS frame.
    """

    peak: float
    worst: int
    first: int
    last: int
    slices: int
    area_mm2: float
    volume_mm3: float
    extent_mm: tuple[float, float, float]
    diameter_mm: float
    centre: tuple[float, float, float]


def regions_of(stack: StackResult, threshold: float) -> list[Region]:
    """Regions of a stack, highest score first, at most `MOST_REGIONS`.

    Parameters
    ----------
    stack : StackResult
        With its heatmaps.
    threshold : float
        The detector's for patches; a region is at or above it.
    """
    reach = (stack.state == State.SCORED) & (stack.heatmap.max(axis=(1, 2)) >= threshold)
    found = [r for run in _runs(stack, reach) for r in _regions(stack, run, threshold)]
    return sorted(found, key=lambda r: (-r.peak, r.first, r.centre))[:MOST_REGIONS]


def _runs(stack: StackResult, reach: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Runs of slices that may share a region: consecutive ones of an even stack, else single."""
    linked, run = is_even(stack), list[int]()
    for index in np.flatnonzero(reach).tolist():
        if run and (not linked or index != run[-1] + 1):
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _regions(stack: StackResult, run: list[int], threshold: float) -> Iterator[Region]:
    side = FINE * stack.heatmap.shape[-1]
    scores = np.stack([on_square(stack.heatmap[index], side) for index in run])
    labels, _ = ndimage.label(scores >= threshold)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == number
        layers, rows, columns = (
            at + part.start for at, part in zip(np.nonzero(inside), box, strict=True)
        )
        slices = layers + run[0]
        values = scores[layers, rows, columns]
        yield _measured(stack, slices, (columns + 0.5) / side, (rows + 0.5) / side, values)


def _measured(
    stack: StackResult,
    slices: NDArray[np.intp],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    values: NDArray[np.float32],
) -> Region:
    """Measure a region from its points: slice, place in the square (u, v), and score of each."""
    cell, counts = 1 / (FINE * stack.heatmap.shape[-1]), np.bincount(slices)
    steps, points = _in_space(stack, slices, u, v)
    area = math.nan if steps is None else float(np.linalg.norm(np.cross(*steps[:2]))) * cell**2
    between = spacing_of(stack) if is_even(stack) else math.nan
    extent, centre, diameter = _NOWHERE, _NOWHERE, math.nan
    if steps is not None and points is not None:
        diameter = _diameter(points, steps[:2] * cell)
        if square_to_patient(stack, int(slices[0])) is not None:
            thick = np.abs(steps * [[cell], [cell], [1.0]]).sum(axis=0)
            extent = _triple(np.ptp(points, axis=0) + thick)
            centre = _triple(points.mean(axis=0))
    return Region(
        peak=float(values.max()),
        worst=int(slices[values.argmax()]),
        first=int(slices.min()),
        last=int(slices.max()),
        slices=int(np.count_nonzero(counts)),
        area_mm2=float(counts.max()) * area,
        volume_mm3=len(slices) * area * between,
        extent_mm=extent,
        diameter_mm=diameter,
        centre=centre,
    )


def _in_space(
    stack: StackResult, slices: NDArray[np.intp], u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None]:
    """Steps along the square's sides and to the next slice (3, 3), and points (n, 3): millimetres.

    In the patient's LPS frame where it is known, else on the slice; None without a spacing.
    """
    side, depth = side_mm(stack), spacing_of(stack)
    depth = 0.0 if math.isnan(depth) else depth
    if side is None:
        return None, None
    place = {index: square_to_patient(stack, index) for index in np.unique(slices).tolist()}
    if any(p is None for p in place.values()):
        place = {
            index: np.array([[side, 0, 0], [0, side, 0], [0, 0, index * depth]]) for index in place
        }
    frames = np.stack([p for p in place.values() if p is not None])
    which = np.searchsorted(np.array(list(place)), slices)
    points = np.einsum("nij,nj->ni", frames[which], np.stack([u, v, np.ones_like(u)], axis=1))
    across, down = frames[0][:, 0], frames[0][:, 1]
    normal = np.cross(across, down)
    steps = np.stack([across, down, normal / np.linalg.norm(normal) * depth])
    return steps, points


def _diameter(points: NDArray[np.float64], steps: NDArray[np.float64]) -> float:
    """Largest distance between points (n, 3) of cells with sides along steps (2, 3), corners too.

    The two lie outermost in some direction; only points that do are compared.
    """
    at = np.arange(_DIRECTIONS) + 0.5
    height, turn = 1 - at / _DIRECTIONS, at * math.pi * (1 + math.sqrt(5))
    level = np.sqrt(1 - height**2)
    directions = np.stack([level * np.cos(turn), level * np.sin(turn), height])
    along = points @ directions
    outer = points[np.unique(np.concatenate([along.argmax(axis=0), along.argmin(axis=0)]))]
    corners = np.array([[i, j] for i in (-0.5, 0.5) for j in (-0.5, 0.5)]) @ steps
    outer = (outer[:, None] + corners).reshape(-1, 3)
    return max(float(np.linalg.norm(outer - point, axis=1).max()) for point in outer)


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = values.tolist()
    return a, b, c
