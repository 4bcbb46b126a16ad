"""One fixed colour scale per detector: the same colour means the same score in every study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medscan.results import on_square

_OKLAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
_LIGHTNESS = (0.45, 0.95)
COLOUR_MAPS = {
    "violet to yellow": (0.17, (300.0, 465.0)),
    "blue to yellow": (0.11, (265.0, 105.0)),
    "grey": (0.0, (0.0, 0.0)),
}
"""Chroma and ends of hue in OKLCh: over red and orange; over green; none. Lightness grows evenly in
each, so that a reader who sees no red, no green or no blue tells more from less."""
_CLEAR, _FULL, OPACITY = 0.2, 0.5, 0.6
"""Transparent up to `_CLEAR` of the scale; `OPACITY` from `_FULL`, the threshold, upwards."""

STOPS = (0.0, 0.5, 1.0)
"""Positions of `Scale.low`, `middle` and `high` on the scale."""
UNBOUNDED = ("discriminant", "patchcore")
"""Methods whose patch scores have no maximum; those of all others end at 1."""


@cache
def colour_table(name: str = "violet to yellow") -> NDArray[np.float64]:
    """The 256 colours of one of `COLOUR_MAPS`: sRGB in [0, 1], (256, 3).

    Lightness grows in even steps in OKLab, which is perceptually uniform, so that order and
    distance stay visible to a colour-blind reader and in a grey print.
    """
    position = np.linspace(0, 1, 256)
    lightness = _LIGHTNESS[0] + position * (_LIGHTNESS[1] - _LIGHTNESS[0])
    chroma, (first, last) = COLOUR_MAPS[name]
    hue = np.deg2rad(first + position * (last - first))
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    linear = np.clip((lab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1)
    gamma = 1.055 * linear ** (1 / 2.4) - 0.055
    table: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, gamma)
    return table


@cache
def opacity_table() -> NDArray[np.float64]:
    """Opacity of each of the scale's 256 colours as a part of `OPACITY`: in [0, 1], (256,)."""
    ramp: NDArray[np.float64] = np.clip((np.linspace(0, 1, 256) - _CLEAR) / (_FULL - _CLEAR), 0, 1)
    return ramp


@dataclass(frozen=True, slots=True)
class Scale:
    """Map from patch scores to colours.

    Parameters
    ----------
    low : float
        Patch score at the low end: the median of the detector's normals.
    middle : float
        Patch score at mid-scale: the detector's threshold for patches.
    top : float
        The highest score that its method can give.
    """

    low: float
    middle: float
    top: float = math.inf

    @classmethod
    def of(cls, detector: Mapping[str, Any]) -> Scale | None:
        """The scale of an entry of `RunInfo.detectors`; None if it is not calibrated."""
        low, middle = (float(detector.get(n, np.nan)) for n in ("map_low", "map_high"))
        top = math.inf if detector.get("method") in UNBOUNDED else 1.0
        return cls(low, middle, top) if middle > low else None

    @property
    def high(self) -> float:
        """Patch score at the top end; higher ones look the same.

        The upper half is as wide as the lower one, but ends where scores do: the brightest colours
        of a longer scale would never be seen.
        """
        mirrored = 2 * self.middle - self.low
        return min(mirrored, self.top) if self.top > self.middle else mirrored

    def position(self, values: ArrayLike) -> NDArray[np.float64]:
        """Position of patch scores on the scale, 0 to 1: linear below and above the middle."""
        scores = self.low, self.middle, self.high
        return np.asarray(np.interp(np.nan_to_num(values, nan=self.low), scores, STOPS))

    def paint(self, image: ArrayLike, values: ArrayLike) -> NDArray[np.uint8]:
        """Lay the colours of patch scores over an image.

        Parameters
        ----------
        image : uint8 (H, W, 1) or (H, W, 3)
        values : array-like (H, W)

        Returns
        -------
        ndarray, uint8 (H, W, 3)
        """
        entry = np.rint(self.position(values) * 255).astype(np.intp)
        colour, opacity = colour_table()[entry] * 255, OPACITY * opacity_table()[entry][..., None]
        blended = np.asarray(image, dtype=np.float64) * (1 - opacity) + colour * opacity
        painted: NDArray[np.uint8] = np.rint(blended).astype(np.uint8)
        return painted

    def overlay(self, thumbnail: NDArray[np.uint8], heatmap: ArrayLike) -> NDArray[np.uint8]:
        """Lay a heatmap (G, G) over its thumbnail (S, S, C): uint8 (S, S, 3)."""
        return self.paint(thumbnail, on_square(heatmap, thumbnail.shape[0]))

    def legend(self, width: int = 320, height: int = 16) -> NDArray[np.uint8]:
        """The scale from left to right as it looks on mid-grey tissue: uint8 (height, width, 3)."""
        scores = self.low, self.middle, self.high
        values = np.interp(np.linspace(0, 1, width), STOPS, scores)
        grey = np.full((height, width, 1), 110, np.uint8)
        return self.paint(grey, np.broadcast_to(values, (height, width)))
