"""A frame's own pixels in few bytes that a browser can unpack without a library.

A canvas may change what it is given (colour management, guards against fingerprinting), and PNG is
read through one. Here values stay numbers: zlib is what browsers themselves offer.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medscan.decoding import PixelPlane

MOST_PIXELS = 32 << 20
"""Larger frames are not packed: no browser shows them at once."""
_STEPS = 65535
_LEVEL = 6
_CLOSE = 2e-7
"""Relative error that rounding to float32 leaves."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Pixels of a frame as displayed: value = `first` + `step` * number.

    Parameters
    ----------
    data : bytes
        zlib stream (RFC 1950). Of each channel the low bytes of all pixels, then, with two bytes,
        the high bytes, row by row. What is stored of a number is its difference from the number
        to its left, or above it in the first column, modulo 2 ** (8 * width), with the sign moved
        to the lowest bit: 0, -1, 1, -2 are 0, 1, 2, 3.
    rows, columns, channels : int
        As displayed; one channel, or three of RGB.
    width : int
        Bytes of a number, 1 or 2.
    first, step : float
        In the units of the values after rescale.
    rounded : float
        Largest difference from the values that were read; 0 where nothing is lost.
    window : (float, float)
        Values that the detector saw as black and white, before `inverted`.
    header : (float, float) or None
        The same of the header's window.
    inverted : bool
        Low values are white (MONOCHROME1).
    units : str
        Of the values; empty if the header does not say.
    """

    data: bytes
    rows: int
    columns: int
    channels: int
    width: int
    first: float
    step: float
    rounded: float
    window: tuple[float, float]
    header: tuple[float, float] | None
    inverted: bool
    units: str


def pack(
    plane: PixelPlane,
    shown: NDArray[np.float32],
    window: tuple[float, float],
    header: tuple[float, float] | None,
) -> Packed | None:
    """Pack a plane; None if it has more than `MOST_PIXELS`.

    Parameters
    ----------
    plane : PixelPlane
    shown : float32 (rows, columns) or (rows, columns, 3)
        Its pixels as displayed.
    window, header : (float, float)
        See `Packed`.
    """
    rows, columns = shown.shape[:2]
    if rows * columns > MOST_PIXELS:
        return None
    values = np.atleast_3d(shown).astype(np.float64)
    first, step = float(values.min()), _step(values, plane.step)
    numbers = np.rint((values - first) / step)
    off = np.abs(first + step * numbers - values)
    off[off <= _CLOSE * np.abs(values)] = 0.0
    width = 1 if numbers.max() <= 255 else 2
    stored = numbers.astype(f"<u{width}")
    streams = b"".join(_stream(stored[..., n]) for n in range(stored.shape[2]))
    return Packed(
        zlib.compress(streams, _LEVEL),
        rows,
        columns,
        stored.shape[2],
        width,
        first,
        step,
        float(off.max()),
        window,
        header,
        plane.inverted,
        plane.units,
    )


def _step(values: NDArray[np.float64], stated: float) -> float:
    """Smallest distance of the values: 1, that of their file, or what leaves `_STEPS` of them."""
    span = float(np.ptp(values))
    for step in (1.0, stated):
        if step > 0 and span <= step * _STEPS:
            numbers = (values - values.min()) / step
            if np.allclose(numbers, np.rint(numbers), rtol=0, atol=1e-2):
                return step
    return span / _STEPS or 1.0


def _stream(numbers: NDArray[np.unsignedinteger]) -> bytes:
    """Differences of one channel, byte by byte; see `Packed`."""
    signed = numbers.view(f"<i{numbers.itemsize}")
    change = signed.copy()
    change[:, 1:] -= signed[:, :-1]
    change[1:, 0] -= signed[:-1, 0]
    folded = (change << 1) ^ (change >> (8 * numbers.itemsize - 1))
    return np.ascontiguousarray(folded).view("u1").reshape(-1, numbers.itemsize).T.tobytes()
