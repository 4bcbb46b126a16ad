"""Tilted stacks, whose slices lie askew above one another, on a grid with perpendicular axes.

ITK refuses the affine of such a stack. Its slices are parallel, so that each only has to be moved
within its own plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from medscan.errors import ExportError
from medscan.results import sample

_LARGEST = 8
"""Times the size of its slices that an upright grid may have."""


@dataclass(frozen=True, slots=True)
class UprightGrid:
    """A grid with perpendicular axes over all slices of a tilted stack, in the same planes.

    Parameters
    ----------
    affine : float64 (4, 4)
        (column, row, layer) of the grid to RAS millimetres.
    columns, rows : int
    to_slice : float64 (2, 4)
        (column, row, layer, 1) of the grid to (column, row) of the slice on that layer.
    """

    affine: NDArray[np.float64]
    columns: int
    rows: int
    to_slice: NDArray[np.float64]

    @classmethod
    def over(cls, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> UprightGrid:
        """Lay a grid over slices.

        Its columns run along theirs, with the same spacing.

        Parameters
        ----------
        affine : float64 (4, 4)
            (column, row, layer) of the slices to RAS millimetres.
        shape : (int, int, int)
            Columns, rows, layers.

        Raises
        ------
        ExportError
            If the slices are so far from one another that the grid would be mostly empty.
        """
        steps = affine[:3, :3]
        across = steps[:, 0] / np.linalg.norm(steps[:, 0])
        normal = np.cross(steps[:, 0], steps[:, 1])
        normal /= np.linalg.norm(normal)
        axes = np.column_stack([across, np.cross(normal, across), normal])
        spacing = np.diag(axes.T @ steps)
        upright = np.eye(4)
        upright[:3, :3], upright[:3, 3] = axes * spacing, affine[:3, 3]
        corners = np.array([(*at, 1) for at in product(*((0, n - 1) for n in shape))])
        places = np.linalg.solve(upright, affine @ corners.T)[:2]
        low, high = np.floor(places.min(axis=1) + 1e-3), np.ceil(places.max(axis=1) - 1e-3)
        columns, rows = (high - low + 1).tolist()
        if columns * rows > _LARGEST * shape[0] * shape[1]:
            raise ExportError("its slices lie too far apart for a volume with perpendicular axes")
        upright[:3, 3] += upright[:3, :2] @ low
        to_slice = np.linalg.solve(affine, upright)[:2].astype(np.float64)
        return cls(upright, int(columns), int(rows), to_slice)

    def place(self, values: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
        """Interpolate a slice at the grid's points on its layer; 0 beyond the slice."""
        x, y = np.meshgrid(np.arange(float(self.columns)), np.arange(float(self.rows)))
        at = (x, y, layer, 1)
        i, j = (sum(c * v for c, v in zip(row, at, strict=True)) for row in self.to_slice)
        rows, columns = values.shape
        within = (abs(i - (columns - 1) / 2) <= columns / 2) & (abs(j - (rows - 1) / 2) <= rows / 2)
        placed: NDArray[np.float32] = np.where(within, sample(values, i, j), np.float32(0))
        return placed
