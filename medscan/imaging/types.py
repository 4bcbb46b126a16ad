"""What the model sees of a frame, and how intensities map to grey.

Two-dimensional coordinates are (x, y) = (column, row), whole numbers at pixel centres, x to the
right and y down as displayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medscan.imaging.packed import Packed

Affine2D = NDArray[np.float64]
"""(2, 3): maps (x, y, 1) to (x', y')."""


@dataclass(frozen=True, slots=True)
class Window:
    """How the frames of a stack are shown, in units after rescale.

    Parameters
    ----------
    low, high : float
        Intensities shown as black and white where the header has no say: measured, given by the
        detector, or those of soft tissue. They also decide what is background.
    voi : bool
        A frame's own VOI LUT or window is applied instead, if it has one.
    header : (float, float) or None
        Black and white of the header's window, applied to all frames instead.
    """

    low: float
    high: float
    voi: bool = False
    header: tuple[float, float] | None = None

    @property
    def measured(self) -> Window:
        """The window without what the header says."""
        return Window(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Slice:
    """One oriented, windowed, letterboxed image.

    Parameters
    ----------
    image : float32 (C, S, S)
        In [0, 1], C = 1 (grey) or 3 (RGB); zero where padded.
    background : bool
        The frame holds no anatomy: such a slice is not scored.
    header_unused : bool
        What its header says would have drawn contrast flat, and was not used.
    packed : Packed or None
        Its own pixels, if they were asked for.
    """

    image: NDArray[np.float32]
    background: bool
    header_unused: bool = False
    packed: Packed | None = None
