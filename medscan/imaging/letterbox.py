"""A stored frame drawn in the model's square, and the way back.

Coordinates are (x, y) = (column, row), whole numbers at pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medscan.archive import Stack, display_transform
from medscan.imaging.types import Affine2D


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Geometry of a frame turned for display, scaled uncropped and centred on a black square.

    Parameters
    ----------
    rows, columns : int
        Of the stored frame.
    size : int
        Side of the square, pixels.
    transpose, flip_x, flip_y : bool
        Stored -> displayed: transpose first, then mirror columns (x), rows (y).
    aspect : float
        Height over width of a displayed pixel.
    """

    rows: int
    columns: int
    size: int
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    aspect: float = 1.0

    @classmethod
    def of(cls, stack: Stack, size: int) -> Self:
        """Letterbox of a stack's frames in a square of `size` pixels.

        The scale is isotropic in millimetres where spacing is known, else in pixels.
        """
        cut = stack.kind.is_volume
        turn = display_transform(None if cut else stack.orientation)
        height, width = stack.pixel_spacing or (1.0, 1.0)
        if turn.transpose:
            height, width = width, height
        # Rounded, so that spacings that differ in their last digits give the same slice.
        aspect = round(height / width, 3) if height > 0 and width > 0 else 1.0
        aspect = min(max(aspect, 1e-3), 1e3) if np.isfinite(aspect) else 1.0
        return cls(stack.rows, stack.columns, size, *turn, aspect)

    @property
    def displayed(self) -> tuple[int, int]:
        """Rows and columns after turning."""
        size = (self.rows, self.columns)
        return size[::-1] if self.transpose else size

    @property
    def target(self) -> tuple[int, int]:
        """Rows and columns of the frame as drawn within the square."""
        height, width = self.displayed
        longest = max(height * self.aspect, width)
        rows, columns = (int(n * self.size / longest + 0.5) for n in (height * self.aspect, width))
        return max(1, rows), max(1, columns)

    @property
    def offset(self) -> tuple[int, int]:
        """Black pixels of the square above, and left of, the frame."""
        rows, columns = self.target
        return (self.size - rows) // 2, (self.size - columns) // 2

    @property
    def to_square(self) -> Affine2D:
        """(2, 3): stored pixel -> pixel of the square."""
        steps = []
        for axis, flip in ((1, self.flip_x), (0, self.flip_y)):
            count, target, offset = self.displayed[axis], self.target[axis], self.offset[axis]
            scale = target / count
            along = [-scale, offset + target - 0.5 - scale / 2]
            steps.append(along if flip else [scale, offset - 0.5 + scale / 2])
        (sx, ox), (sy, oy) = steps
        if self.transpose:
            return np.array([[0.0, sx, ox], [sy, 0.0, oy]])
        return np.array([[sx, 0.0, ox], [0.0, sy, oy]])

    def grid_to_pixel(self, patch: int) -> Affine2D:
        """(2, 3): centre of patch grid cell (column, row) -> stored pixel.

        Parameters
        ----------
        patch : int
            Side of a patch in pixels of the square.
        """
        square = self.to_square
        back = np.linalg.inv(square[:, :2])
        cell = np.array([[patch, 0.0], [0.0, patch]])
        centre = np.full(2, (patch - 1) / 2)
        return np.column_stack([back @ cell, back @ (centre - square[:, 2])])

    def draw(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Draw a plane on the square.

        Parameters
        ----------
        plane : float32 (rows, columns) or (rows, columns, 3)
            In [0, 1].

        Returns
        -------
        float32 (C, size, size)
            In [0, 1], C = 1 or 3; zero outside of the frame.
        """
        channels = np.atleast_3d(plane).transpose(2, 0, 1)
        square = np.zeros((len(channels), self.size, self.size), dtype=np.float32)
        for drawn, channel in zip(square, channels, strict=True):
            self._place(drawn, channel, Image.Resampling.BICUBIC)
        return np.clip(square, 0.0, 1.0)

    def turned(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn a frame (rows, columns) or (rows, columns, 3) as it is displayed; a view of it."""
        shown = stored.swapaxes(0, 1) if self.transpose else stored
        return shown[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def draw_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Draw a mask (rows, columns) on the square: true where it covers half of a pixel."""
        square = np.zeros((self.size, self.size), dtype=np.float32)
        self._place(square, mask.astype(np.float32), Image.Resampling.BOX)
        drawn: NDArray[np.bool_] = square >= 0.5
        return drawn

    def map_to_pixels(self, grid_map: NDArray[np.floating], patch: int) -> NDArray[np.float32]:
        """Resample a grid map bilinearly onto the stored frame; edge values are extended.

        Parameters
        ----------
        grid_map : float (G, G)
        patch : int
            Side of a patch in pixels of the square.

        Returns
        -------
        float32 (rows, columns)
        """
        along_rows = self._weights(0, len(grid_map), patch)
        along_columns = self._weights(1, grid_map.shape[1], patch)
        shown = along_rows @ grid_map.astype(np.float64) @ along_columns.T
        return np.ascontiguousarray(self._turned_back(shown), dtype=np.float32)

    def _place(
        self, square: NDArray[np.float32], stored: NDArray[np.float32], how: Image.Resampling
    ) -> None:
        """Turn, scale and paste one channel into a square, in place."""
        shown = np.ascontiguousarray(self.turned(stored), dtype=np.float32)
        (rows, columns), (top, left) = self.target, self.offset
        scaled = Image.fromarray(shown).resize((columns, rows), how)
        square[top : top + rows, left : left + columns] = np.asarray(scaled)

    def _turned_back(self, shown: NDArray[np.float64]) -> NDArray[np.float64]:
        stored = shown[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return stored.T if self.transpose else stored

    def _weights(self, axis: int, cells: int, patch: int) -> NDArray[np.float64]:
        """(pixels, cells): weight of each cell of an axis in each displayed pixel."""
        count, target, offset = self.displayed[axis], self.target[axis], self.offset[axis]
        edge = (np.arange(count) + 0.5) * target / count + offset
        cell = np.clip(edge / patch - 0.5, 0.0, cells - 1.0)
        return np.maximum(0.0, 1.0 - np.abs(cell[:, None] - np.arange(cells)[None, :]))
