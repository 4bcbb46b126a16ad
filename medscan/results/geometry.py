"""Where the pixels of a stack's slices lie in the patient: affines to RAS millimetres."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medscan.choices import Grid
from medscan.results.types import StackResult

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TILT = 1e-3
"""Smallest shift across the normal, per millimetre along it, of a tilted stack."""
_UNEVEN = 0.02
"""Largest part of the spacing by which even slices may lie off."""


def spacing_of(stack: StackResult) -> float:
    """Millimetres between slices; NaN if unknown."""
    spacing = float(stack.info["slice_spacing"])
    return spacing if spacing > 0 else math.nan


def is_even(stack: StackResult) -> bool:
    """Whether neighbouring slices lie as far from one another as the stack's spacing says."""
    return bool(np.allclose(np.diff(stack.position_mm), spacing_of(stack), rtol=_UNEVEN))


def affine_of(stack: StackResult, grid: Grid = Grid.SOURCE) -> NDArray[np.float64] | None:
    """Affine from voxel (column, row, layer) to RAS millimetres; None if the geometry is unknown.

    Parameters
    ----------
    stack : StackResult
    grid : Grid
        Grid of the columns and rows.

    Returns
    -------
    ndarray, float64 (4, 4)
        DICOM PS3.3 C.7.6.2.1.1, turned from LPS to RAS. The layers of a tilted stack are sheared,
        as its slices are.
    """
    info = stack.info
    if not (info["orientation"] and info["pixel_spacing"] and info["origin"]):
        return None
    row, column = np.reshape(np.asarray(info["orientation"], dtype=np.float64), (2, 3))
    between_rows, between_columns = info["pixel_spacing"]
    step = spacing_of(stack)
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = _direction(stack, np.cross(row, column)) * (1.0 if math.isnan(step) else step)
    affine[:3, 3] = info["origin"]
    return affine_on(_LPS_TO_RAS @ affine, stack, grid)


def slice_affine(stack: StackResult, index: int) -> NDArray[np.float64] | None:
    """One of `slice_affines`; None if the geometry is unknown, or where in it the slice lies."""
    affines = slice_affines(stack, [index])
    return None if affines is None or np.isnan(affines).any() else affines[0]


def slice_affines(
    stack: StackResult, indices: Sequence[int] | None = None
) -> NDArray[np.float64] | None:
    """As `affine_of`, with each slice as layer 0: exact where slices lie unevenly, too.

    Parameters
    ----------
    stack : StackResult
    indices : sequence of int, optional
        Of the slices; None: all.

    Returns
    -------
    ndarray, float64 (n, 4, 4)
        None if the geometry is unknown; NaN in the last column where the place of a slice is.
    """
    affine, step = affine_of(stack), spacing_of(stack)
    if affine is None:
        return None
    chosen = np.arange(len(stack.state)) if indices is None else np.asarray(indices)
    layers = (stack.position_mm - stack.position_mm[0]) / (1.0 if math.isnan(step) else step)
    layers[0] = 0.0
    affines = np.repeat(affine[None], len(chosen), axis=0)
    affines[:, :3, 3] += layers[chosen, None] * affine[:3, 2]
    return affines


def affine_on(affine: NDArray[np.float64], stack: StackResult, grid: Grid) -> NDArray[np.float64]:
    """Affine of columns and rows of pixels, or taken to those of patches."""
    if grid is Grid.SOURCE:
        return affine
    to_pixel = np.eye(4)
    to_pixel[:2, [0, 1, 3]] = stack.grid_to_pixel[0]
    return affine @ to_pixel


def _direction(stack: StackResult, normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Step through the stack per millimetre along its normal; the normal itself unless tilted."""
    last, depth = stack.info.get("last", []), np.ptp(stack.position_mm[[0, -1]])
    if not last or not depth > 0:
        return normal
    step: NDArray[np.float64] = np.subtract(last, stack.info["origin"]) / depth
    return step if np.linalg.norm(step - normal) > _TILT else normal
