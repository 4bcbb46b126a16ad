"""Where the square of a viewer's pane lies in the stored frame and in the patient.

Coordinates of the square are (u, v): shares of its side, 0 to 1, to the right and down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medscan.results import StackResult, slice_affines

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def placing(stack: StackResult, shown: Sequence[int]) -> dict[str, Any]:
    """Geometry of a stack's slices for the script's viewer.

    Parameters
    ----------
    stack : StackResult
    shown : sequence of int
        Indices of the slices of the viewer, in their order.

    Returns
    -------
    dict
        `box`: left, top, width and height of the frame in the square. `across` and `down`: steps in
        the patient's LPS frame along the whole side of the square, millimetres. `origins`: LPS of
        its top left corner for each slice, None where the position of a slice is unknown. The last
        three are None where the stack has no geometry. `side`: millimetres of the square's side,
        None if the spacing is unknown.
    """
    geometry: dict[str, Any] = {"box": None, "across": None, "down": None, "origins": None}
    geometry["side"] = side_mm(stack)
    if not len(stack.grid_to_pixel):
        return geometry
    to_pixel = _square_to_pixel(stack)
    geometry["box"] = _box(to_pixel, int(stack.info["rows"]), int(stack.info["columns"]))
    if square := square_of(stack):
        geometry["across"], geometry["down"] = (v.round(4).tolist() for v in square[:2])
        origins = square.origins[list(shown)].round(4).tolist()
        geometry["origins"] = [None if math.isnan(at[0]) else at for at in origins]
    return geometry


class Square(NamedTuple):
    """The square of a stack's slices in the patient's LPS frame, millimetres.

    Parameters
    ----------
    across, down : float64 (3,)
        Along its whole sides.
    origins : float64 (n, 3)
        Its top left corner for each slice; NaN where the place of a slice is unknown.
    """

    across: NDArray[np.float64]
    down: NDArray[np.float64]
    origins: NDArray[np.float64]


def square_of(stack: StackResult) -> Square | None:
    """Where the square lies in the patient; None if the stack has no geometry."""
    affines = slice_affines(stack)
    if affines is None or not len(stack.grid_to_pixel):
        return None
    pixel = np.vstack([_square_to_pixel(stack), [0.0, 0.0, 1.0]])
    to_patient = _RAS_TO_LPS @ affines[:, :3][:, :, [0, 1, 3]] @ pixel
    return Square(to_patient[0, :, 0], to_patient[0, :, 1], to_patient[:, :, 2])


def _square_to_pixel(stack: StackResult) -> NDArray[np.float64]:
    """(2, 3): (u, v, 1) to (x, y) of the stored frame's pixel centres, alike in all slices."""
    grid = stack.heatmap.shape[-1]
    to_cell = np.array([[grid, 0.0, -0.5], [0.0, grid, -0.5], [0.0, 0.0, 1.0]])
    to_pixel: NDArray[np.float64] = stack.grid_to_pixel[0] @ to_cell
    return to_pixel


def _box(to_pixel: NDArray[np.float64], rows: int, columns: int) -> list[float]:
    """Left, top, width, height of the frame with the outer halves of its pixels."""
    corners = np.array([[-0.5, -0.5], [columns - 0.5, rows - 0.5]]).T
    u, v = np.linalg.solve(to_pixel[:, :2], corners - to_pixel[:, 2:])
    return [round(float(n), 6) for n in (u.min(), v.min(), np.ptp(u), np.ptp(v))]


def side_mm(stack: StackResult) -> float | None:
    """Millimetres of the square's side; None if the spacing is unknown."""
    spacing = stack.info["pixel_spacing"]
    if not len(stack.grid_to_pixel) or not spacing:
        return None
    step = _square_to_pixel(stack)[:, 0] * (spacing[1], spacing[0])
    return round(float(np.linalg.norm(step)), 3)
