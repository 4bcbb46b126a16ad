"""Orientation of a displayed slice: letters at its edges, and a scale bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medscan.results import StackResult

_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
"""Towards the low and the high end of each axis of the patient's LPS frame."""
_SLANT = 0.25
"""Smallest component along a second axis for which its letter is added."""
_LENGTHS = (100, 50, 20, 10, 5, 2, 1)
"""Lengths of the scale bar to choose from, millimetres."""


@dataclass(frozen=True, slots=True)
class PaneMarks:
    """Letters and scale bar drawn on a pane of the viewer.

    Parameters
    ----------
    left, right, top, bottom : str
        Letters of the patient's directions, such as R, or AR for an oblique slice; empty if
        unknown.
    length_mm : int
        Length of the bar; 0 if the spacing is unknown.
    share : float
        The same as a share of the square's side.
    """

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""
    length_mm: int = 0
    share: float = 0.0


def pane_marks(stack: StackResult) -> PaneMarks:
    """The marks of a stack's slices, turned as its pictures are."""
    info = stack.info
    if not len(stack.grid_to_pixel) or not info["pixel_spacing"]:
        return PaneMarks()
    # Steps from patch to patch, to the right and down on the display: stored pixels, here in mm.
    height, width = info["pixel_spacing"]
    steps = stack.grid_to_pixel[0][:, :2].T * (width, height)
    side = float(np.linalg.norm(steps[0])) * stack.heatmap.shape[-1]
    length = next((mm for mm in _LENGTHS if mm < side / 3), 0)
    share = length / side if length else 0.0
    if not info["orientation"]:
        return PaneMarks(length_mm=length, share=share)
    axes = np.reshape(np.asarray(info["orientation"], dtype=np.float64), (2, 3))
    right, down = steps @ axes
    return PaneMarks(letters(-right), letters(right), letters(-down), letters(down), length, share)


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
