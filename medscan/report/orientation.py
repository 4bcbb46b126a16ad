"""Which way round a displayed slice is: letters at its edges, and how long a stretch of it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medscan.results import StackResult

_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
"""Towards the low and the high end of each axis of the patient's LPS frame."""
_SLANT = 0.25
"""Part of a direction along a second axis from which on its letter is added."""
_LENGTHS = (100, 50, 20, 10, 5, 2, 1)


@dataclass(frozen=True, slots=True)
class Marks:
    """What is written on a pane.

    Parameters
    ----------
    left, right, top, bottom : str
        Letters of the patient's directions, such as R, or AR for an oblique slice; empty when
        unknown.
    length_mm : int
        Of the bar; 0 when spacing is unknown.
    share : float
        Length of the bar as a share of the square's side.
    """

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""
    length_mm: int = 0
    share: float = 0.0


def marks_of(stack: StackResult) -> Marks:
    """The marks of a stack's slices as its pictures show them."""
    info = stack.info
    if not len(stack.grid_to_pixel) or not info["pixel_spacing"]:
        return Marks()
    # Stored pixels per patch to the right and down on the display; then millimetres.
    height, width = info["pixel_spacing"]
    steps = stack.grid_to_pixel[0][:, :2].T * (width, height)
    side = float(np.linalg.norm(steps[0])) * stack.heatmap.shape[-1]
    length = next((mm for mm in _LENGTHS if mm < side / 3), 0)
    share = length / side if length else 0.0
    if not info["orientation"]:
        return Marks(length_mm=length, share=share)
    axes = np.reshape(np.asarray(info["orientation"], dtype=np.float64), (2, 3))
    right, down = steps @ axes
    return Marks(letters(-right), letters(right), letters(-down), letters(down), length, share)


def letters(direction: NDArray[np.float64]) -> str:
    """Letters of a direction in the patient's LPS frame, the main one first.

    Parameters
    ----------
    direction : float64 (3,)
    """
    parts = direction / np.linalg.norm(direction)
    main = sorted(range(3), key=lambda axis: -abs(parts[axis]))[:2]
    return "".join(
        _LETTERS[axis][int(parts[axis] > 0)] for axis in main if abs(parts[axis]) >= _SLANT
    )
