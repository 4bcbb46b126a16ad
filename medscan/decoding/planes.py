"""A decoded frame, and what its file says about showing it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Voi:
    """A frame's own mapping from values after rescale to grey (DICOM PS3.3 C.11.2).

    Parameters
    ----------
    center, width : float
        Window, used without a `table`; `width` is positive.
    function : str
        "LINEAR", "LINEAR_EXACT" or "SIGMOID".
    table : float32 (n,) or None
        VOI LUT, its entries as grey in [0, 1].
    first : float
        Value that the table's first entry stands for.
    """

    center: float = 0.5
    width: float = 1.0
    function: str = "LINEAR"
    table: NDArray[np.float32] | None = None
    first: float = 0.0


@dataclass(frozen=True, slots=True)
class PixelPlane:
    """One stored frame after rescale, and what its file says about showing it.

    Parameters
    ----------
    pixels : float32 (rows, columns) or (rows, columns, 3)
        Finite. Colour is RGB in [0, 255].
    inverted : bool
        Low values are white (MONOCHROME1).
    voi : Voi or None
    white : float or None
        Value shown as white where the encoding defines one (up to 8 bits, colour); black is 0.
    header_unused : bool
        A table, slope or padding of its header would have left no contrast, and was not used.
    step : float
        Distance of neighbouring values where whole numbers were stored, else 0.
    units : str
        Of the values, such as HU; empty if the header does not say.
    """

    pixels: NDArray[np.float32]
    inverted: bool = False
    voi: Voi | None = None
    white: float | None = None
    header_unused: bool = False
    step: float = 0.0
    units: str = ""

    @property
    def colour(self) -> bool:
        """Whether the pixels are RGB."""
        return self.pixels.ndim == 3


def finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of a slice, with the smallest of them, or 0 without any, for NaN and infinities."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return values
    return np.where(bad, values[~bad].min() if not bad.all() else np.float32(0), values)
