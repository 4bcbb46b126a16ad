"""Frames -> slices: read, windowed and drawn, for scans and fitting alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medscan.archive import Frame, Stack
from medscan.errors import FileError
from medscan.imaging.letterbox import Letterbox
from medscan.imaging.read import KeptPlanes, read_planes
from medscan.imaging.types import Slice, Window
from medscan.imaging.window import apply_window

FLAT = 0.02
"""A slice whose grey values span less than this is background."""
DARK = 0.05
LIT_FRACTION = 0.01
BRIGHT = 0.25
SPOT = 9
"""So is a slice of which less than `LIT_FRACTION` is brighter than `DARK`, unless `SPOT` pixels are
brighter than `BRIGHT`: noise beyond the head or feet stays far below."""


def render(
    stack: Stack,
    frames: Sequence[Frame],
    size: int,
    window: Window,
    max_file_bytes: int,
    kept: KeptPlanes | None = None,
) -> list[Slice | FileError]:
    """Read, window and draw frames of a stack.

    Parameters
    ----------
    stack : Stack
    frames : sequence of Frame
        Some of its frames, in any order.
    size : int
        Side of the model's square, pixels.
    window : Window
        Window of the whole stack, from `measure`.
    max_file_bytes : int
    kept : KeptPlanes, optional
        See `read_planes`.

    Returns
    -------
    list of Slice or FileError
        One for each frame, in their order.
    """
    letterbox = Letterbox.of(stack, size)
    slices: list[Slice | FileError] = []
    for plane in read_planes(stack, frames, max_file_bytes, kept):
        if isinstance(plane, FileError):
            slices.append(plane)
        else:
            slices.append(render_plane(apply_window(plane, window), letterbox))
    return slices


def render_plane(shown: NDArray[np.float32], letterbox: Letterbox) -> Slice:
    """Draw a windowed plane, float32 (rows, columns[, 3]) in [0, 1], on its square."""
    return Slice(letterbox.draw(shown), is_background(shown))


def is_background(shown: NDArray[np.float32]) -> bool:
    """Whether a windowed plane, float32 (rows, columns[, 3]) in [0, 1], shows no anatomy."""
    grey = shown.max(axis=2) if shown.ndim == 3 else shown
    spot = np.count_nonzero(grey > BRIGHT) >= SPOT
    return bool(np.ptp(grey) < FLAT or (np.mean(grey > DARK) < LIT_FRACTION and not spot))
