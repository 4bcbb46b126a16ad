"""Where the square of a viewer's pane lies in the stored frame and in the patient.

Coordinates of the square are (u, v): shares of its side, 0 to 1, to the right and down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.results import StackResult, slice_affine

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
    to_pixel = _square_to_pixel(stack, 0)
    geometry["box"] = _box(to_pixel, int(stack.info["rows"]), int(stack.info["columns"]))
    placed = [square_to_patient(stack, index) for index in shown]
    if known := [place for place in placed if place is not None]:
        geometry["across"], geometry["down"] = known[0][:, :2].T.round(4).tolist()
        geometry["origins"] = [p if p is None else p[:, 2].round(4).tolist() for p in placed]
    return geometry


def _square_to_pixel(stack: StackResult, index: int) -> NDArray[np.float64]:
    """(2, 3): (u, v, 1) to (x, y) of the stored frame's pixel centres."""
    grid = stack.heatmap.shape[-1]
    to_cell = np.array([[grid, 0.0, -0.5], [0.0, grid, -0.5], [0.0, 0.0, 1.0]])
    to_pixel: NDArray[np.float64] = stack.grid_to_pixel[index] @ to_cell
    return to_pixel


def square_to_patient(stack: StackResult, index: int) -> NDArray[np.float64] | None:
    """(3, 3): (u, v, 1) to LPS millimetres; None where the geometry of the slice is unknown."""
    affine = slice_affine(stack, index)
    if affine is None:
        return None
    pixel = np.vstack([_square_to_pixel(stack, index), [0.0, 0.0, 1.0]])
    to_patient: NDArray[np.float64] = _RAS_TO_LPS @ affine[:3][:, [0, 1, 3]] @ pixel
    return to_patient


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
    step = _square_to_pixel(stack, 0)[:, 0] * (spacing[1], spacing[0])
    return round(float(np.linalg.norm(step)), 3)
