"""Connected regions of a stack's maps above the detector's threshold for patches, and their size.

A map is interpolated between patch centres, as the viewer does for its contours. Neighbouring
slices belong to one region where they overlap and lie evenly; else each slice is on its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medscan.report.placing import Square, side_mm, square_of
from medscan.results import StackResult, State, is_even, on_square, spacing_of

FINE = 4
"""Points along a patch at which a map is compared with the threshold."""
MOST_REGIONS = 20
"""Most regions of a stack that are listed: those with the highest scores."""
_DIRECTIONS = 256
"""Directions in which the width of a region is measured first."""
_TURNS = 4
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
        NaN also where slices do not lie evenly, or one beside it was passed over.
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


Regions = dict[str, list[Region]]
"""Regions by key of the stack."""


def measured(found: Regions, stack: StackResult, threshold: float) -> list[Region]:
    """Regions of a stack as `regions_of` gives them, measured once and kept in `found`."""
    if stack.key not in found:
        found[stack.key] = regions_of(stack, threshold)
    return found[stack.key]


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
    if not reach.any():
        return []
    space = _Space.of(stack)
    found = [
        _measured(space, *points)
        for run in _runs(stack, reach)
        for points in _regions(stack, run, threshold)
    ]
    found = [replace(r, volume_mm3=math.nan) if _goes_on(stack, r) else r for r in found]
    return sorted(found, key=lambda r: (-r.peak, r.first, r.centre))[:MOST_REGIONS]


def _goes_on(stack: StackResult, region: Region) -> bool:
    """Whether a region may reach into slices that were passed over."""
    reached = stack.state[max(region.first - 1, 0) : region.last + 2]
    return bool((reached == State.PASSED_OVER).any())


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


def _regions(stack: StackResult, run: list[int], threshold: float) -> Iterator[_Points]:
    side = FINE * stack.heatmap.shape[-1]
    scores = np.stack([on_square(stack.heatmap[index], side) for index in run])
    labels, _ = ndimage.label(scores >= threshold)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        found = np.nonzero(labels[box] == number)
        layers, rows, columns = (at + b.start for at, b in zip(found, box, strict=True))
        values = scores[layers, rows, columns]
        yield layers + run[0], (columns + 0.5) / side, (rows + 0.5) / side, values


_Points = tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]
"""Of each point of a region, row by row: its slice, its place in the square (u, v), its score."""


@dataclass(frozen=True, slots=True)
class _Space:
    """Where the points of a stack's maps lie, millimetres.

    Parameters
    ----------
    square : Square or None
        In the patient's frame if that is `known`, else in one of its own; None without a spacing.
    known : bool
    cell : float
        Side of a point as a share of the square's.
    depth : float
        From slice to slice; NaN where they do not lie evenly.
    """

    square: Square | None
    known: bool
    cell: float
    depth: float

    @classmethod
    def of(cls, stack: StackResult) -> _Space:
        cell = 1 / (FINE * stack.heatmap.shape[-1])
        depth, side = spacing_of(stack) if is_even(stack) else math.nan, side_mm(stack)
        square = square_of(stack)
        known = square is not None and not np.isnan(square.origins).any()
        if not known:
            steps = np.arange(len(stack.state)) * (0.0 if math.isnan(depth) else depth)
            origins = np.multiply.outer(steps, (0.0, 0.0, 1.0))
            across, down, _ = (side or 0.0) * np.eye(3)
            square = Square(across, down, origins) if side else None
        return cls(square, known, cell, depth)


def _measured(
    space: _Space,
    slices: NDArray[np.intp],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    values: NDArray[np.float32],
) -> Region:
    """Measure a region from its points; see `_Points`."""
    counts = np.bincount(slices)
    area, extent, centre, diameter = math.nan, _NOWHERE, _NOWHERE, math.nan
    if space.square:
        across, down, origins = space.square
        normal = np.cross(across, down)
        area = float(np.linalg.norm(normal)) * space.cell**2
        outer = _row_ends(slices, v)
        points = origins[slices[outer]] + np.outer(u[outer], across) + np.outer(v[outer], down)
        steps = np.stack([across, down]) * space.cell
        diameter = _diameter(points, steps)
        if space.known:
            thick = np.nan_to_num(space.depth) * normal / np.linalg.norm(normal)
            extent = _triple(np.ptp(points, axis=0) + np.abs([*steps, thick]).sum(axis=0))
            middle = np.average(origins[: len(counts)], axis=0, weights=counts)
            centre = _triple(middle + u.mean() * across + v.mean() * down)
    return Region(
        peak=float(values.max()),
        worst=int(slices[values.argmax()]),
        first=int(slices.min()),
        last=int(slices.max()),
        slices=int(np.count_nonzero(counts)),
        area_mm2=float(counts.max()) * area,
        volume_mm3=len(slices) * area * space.depth,
        extent_mm=extent,
        diameter_mm=diameter,
        centre=centre,
    )


def _row_ends(slices: NDArray[np.intp], v: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the first and the last point of each row: no other lies outermost."""
    new = np.flatnonzero((np.diff(slices) != 0) | (np.diff(v) != 0))
    return np.concatenate([[0], new + 1, new, [len(v) - 1]])


def _diameter(points: NDArray[np.float64], steps: NDArray[np.float64]) -> float:
    """Largest distance within cells with sides along steps (2, 3) around points (n, 3).

    It is the largest width in any direction. The one found among `_DIRECTIONS` is turned towards
    its outermost points until it gets no wider.
    """
    at = np.arange(_DIRECTIONS) + 0.5
    height, turn = 1 - at / _DIRECTIONS, at * math.pi * (1 + math.sqrt(5))
    level = np.sqrt(1 - height**2)
    directions = np.stack([level * np.cos(turn), level * np.sin(turn), height], axis=1)

    def widths(several: NDArray[np.float64]) -> NDArray[np.float64]:
        corners = np.abs(steps @ several.T).sum(axis=0)
        found: NDArray[np.float64] = np.ptp(points @ several.T, axis=0) + corners
        return found

    blocks = np.array_split(directions, _DIRECTIONS // 32)  # of a large region, not all at once
    best = directions[np.concatenate([widths(block) for block in blocks]).argmax()]
    for _ in range(_TURNS):
        along = points @ best
        apart = points[along.argmax()] - points[along.argmin()] + np.sign(steps @ best) @ steps
        turned = np.stack([best, apart / max(float(np.linalg.norm(apart)), 1e-12)])
        best = turned[widths(turned).argmax()]
    return float(widths(best[None])[0])


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = values.tolist()
    return a, b, c
