"""Siemens mosaics: all slices of a volume as tiles of one frame, row by row, the rest black.

What tells them apart is in the private CSA header, which nibabel's documentation describes.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medscan.archive.geometry import normal_of
from medscan.archive.header import Layer
from medscan.archive.values import BROKEN, integer, numbers, text

TAGS = (0x00290010, 0x00290011, 0x00290012, 0x00291010, 0x00291110, 0x00291210)
"""Private creators and the CSA image headers that they may own."""
KEYWORDS = ("SpacingBetweenSlices", "SliceThickness")
_MOST = 4096
"""Slices of a mosaic; scanners make a few hundred."""
_CREATOR = "SIEMENS CSA HEADER"


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How a mosaic is cut.

    Parameters
    ----------
    tiles : int
        Number of slices.
    across : int
        Tiles a row and a column.
    rows, columns : int
        Of a tile.
    normal : tuple of 3 floats
        Direction in which slices follow one another, LPS.
    """

    tiles: int
    across: int
    rows: int
    columns: int
    normal: tuple[float, ...]

    def tile(self, frame: NDArray[Any], index: int) -> NDArray[Any]:
        """Tile `index` of a frame (across * rows, across * columns)."""
        down, right = divmod(index, self.across)
        rows, columns = self.rows, self.columns
        return frame[down * rows : (down + 1) * rows, right * columns : (right + 1) * columns]

    def layers(self, ds: Dataset, whole: Layer) -> tuple[Layer, ...]:
        """A layer for each tile, from that of the whole frame.

        The frame's position is that of a slice as large as the mosaic around the same centre, in
        the first slice's plane.
        """
        thick = next((n for k in KEYWORDS if (n := numbers([ds], k, 1)) and n[0] > 0), None)
        first = replace(whole, rows=self.rows, columns=self.columns, position=None)
        if not (thick and whole.position and whole.orientation and whole.spacing):
            return (first,) * self.tiles
        row, column = np.reshape(whole.orientation, (2, 3))
        margin = (self.across - 1) / 2
        corner = whole.position + margin * (
            self.columns * whole.spacing[1] * row + self.rows * whole.spacing[0] * column
        )
        normal = normal_of(whole.orientation)
        step = normal * math.copysign(thick[0], float(normal @ self.normal))
        places = corner + np.arange(self.tiles)[:, None] * step
        return tuple(replace(first, position=(x, y, z)) for x, y, z in places.tolist())


def is_mosaic(ds: Dataset) -> bool:
    """Whether a frame is one, by its image type."""
    return "MOSAIC" in text(ds, "ImageType").upper().split("\\")


def mosaic_of(ds: Dataset) -> Mosaic | None:
    """How a mosaic is cut; None where its header does not say, or says what cannot be."""
    tiles, normal = _csa(ds)
    rows, columns = integer(ds, "Rows") or 0, integer(ds, "Columns") or 0
    across = math.isqrt(tiles - 1) + 1 if 0 < tiles <= _MOST else 0
    single = (integer(ds, "NumberOfFrames") or 1) == 1
    if not across or rows % across or columns % across or len(normal) != 3 or not single:
        return None
    return Mosaic(tiles, across, rows // across, columns // across, normal)


def _csa(ds: Dataset) -> tuple[int, tuple[float, ...]]:
    """Number of slices and their normal, from the CSA header; (0, ()) where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls this part of it experimental
        from nibabel.nicom import csareader
    try:
        found = csareader.read(_csa_bytes(ds))
        normal = tuple(csareader.get_slice_normal(found))
        return int(csareader.get_n_mosaic(found) or 0), tuple(float(v) for v in normal)
    except (csareader.CSAError, *BROKEN):
        return 0, ()


def _csa_bytes(ds: Dataset) -> bytes:
    """The CSA image header: element 10 of whichever block its creator has reserved."""
    for block in (0x10, 0x11, 0x12):
        creator = ds.get((0x29, block))
        owned = ds.get((0x29, 0x100 * block + 0x10))
        if creator is not None and owned is not None and creator.value == _CREATOR:
            return bytes(owned.value)
    raise LookupError(_CREATOR)
