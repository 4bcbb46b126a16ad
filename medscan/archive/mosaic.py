"""Siemens mosaics: all slices of a volume as tiles of one frame, row by row, the rest black.

How to divide the frame is in the private CSA header, which nibabel's documentation describes.
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
"""Private creators, and the CSA image headers in the blocks they may reserve."""
KEYWORDS = ("SpacingBetweenSlices", "SliceThickness")
_MAX_TILES = 4096
"""Most slices of a mosaic; scanners make a few hundred."""
_CREATOR = "SIEMENS CSA HEADER"


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Division of a mosaic into tiles.

    Parameters
    ----------
    tiles : int
        Number of slices.
    across : int
        Tiles per row, and per column.
    rows, columns : int
        Size of a tile.
    normal : tuple of 3 floats
        Direction in which slices follow one another, LPS.
    """

    tiles: int
    across: int
    rows: int
    columns: int
    normal: tuple[float, ...]

    def tile(self, frame: NDArray[Any], index: int) -> NDArray[Any]:
        """Cut tile `index` from a frame (across * rows, across * columns)."""
        down, right = divmod(index, self.across)
        rows, columns = self.rows, self.columns
        return frame[down * rows : (down + 1) * rows, right * columns : (right + 1) * columns]

    def layers(self, ds: Dataset, whole: Layer) -> tuple[Layer, ...]:
        """Derive a layer for each tile from that of the whole frame.

        The header's position is that of a frame as large as the mosaic, around the centre of the
        first slice and in its plane.
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
        positions = corner + np.arange(self.tiles)[:, None] * step
        return tuple(replace(first, position=(x, y, z)) for x, y, z in positions.tolist())


def is_mosaic(ds: Dataset) -> bool:
    """Whether the image type of an object says that it is a mosaic."""
    return "MOSAIC" in text(ds, "ImageType").upper().split("\\")


def mosaic_of(ds: Dataset) -> Mosaic | None:
    """Division of a mosaic; None where its header does not say, or contradicts itself."""
    tiles, normal = _csa(ds)
    rows, columns = integer(ds, "Rows") or 0, integer(ds, "Columns") or 0
    across = math.isqrt(tiles - 1) + 1 if 0 < tiles <= _MAX_TILES else 0
    single = (integer(ds, "NumberOfFrames") or 1) == 1
    if not across or rows % across or columns % across or len(normal) != 3 or not single:
        return None
    return Mosaic(tiles, across, rows // across, columns // across, normal)


def _csa(ds: Dataset) -> tuple[int, tuple[float, ...]]:
    """Number of slices and their normal, from the CSA header; (0, ()) without one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel warns that this module is experimental
        from nibabel.nicom import csareader
    try:
        csa = csareader.read(_csa_bytes(ds))
        normal = tuple(csareader.get_slice_normal(csa))
        return int(csareader.get_n_mosaic(csa) or 0), tuple(float(v) for v in normal)
    except (csareader.CSAError, *BROKEN):
        return 0, ()


def _csa_bytes(ds: Dataset) -> bytes:
    """The CSA image header: element 10 of the private block that its creator has reserved."""
    for block in (0x10, 0x11, 0x12):
        creator = ds.get((0x29, block))
        data = ds.get((0x29, 0x100 * block + 0x10))
        if creator is not None and data is not None and creator.value == _CREATOR:
            return bytes(data.value)
    raise LookupError(_CREATOR)
