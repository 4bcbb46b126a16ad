"""Interpolate heatmaps from the patch grid to pixels: bilinear, extended at the edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sample(
    heatmap: ArrayLike, i: NDArray[np.float64], j: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Interpolate a heatmap between patch centres.

    Parameters
    ----------
    heatmap : array-like (G, G)
        Row, then column.
    i, j : float64 (...)
        Column and row in the grid, whole numbers at patch centres. Outside the outermost centres,
        the value of the nearest one is taken.

    Returns
    -------
    ndarray, float32 (...)
    """
    grid = np.asarray(heatmap, dtype=np.float32)
    rows, columns = grid.shape
    x, y = np.clip(i, 0, columns - 1), np.clip(j, 0, rows - 1)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, bottom = np.minimum(left + 1, columns - 1), np.minimum(top + 1, rows - 1)
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    above = grid[top, left] * (1 - across) + grid[top, right] * across
    below = grid[bottom, left] * (1 - across) + grid[bottom, right] * across
    values: NDArray[np.float32] = above * (1 - down) + below * down
    return values


def on_square(heatmap: ArrayLike, size: int) -> NDArray[np.float32]:
    """Interpolate a heatmap over the model's square, which thumbnails show.

    Parameters
    ----------
    heatmap : array-like (G, G)
    size : int
        Side of the square in pixels; the grid covers the square, whether or not G divides it.

    Returns
    -------
    ndarray, float32 (size, size)
    """
    patch = size / np.shape(heatmap)[0]
    centre = (np.arange(size) + 0.5) / patch - 0.5
    i, j = np.meshgrid(centre, centre)
    return sample(heatmap, i, j)


def on_frame(
    heatmap: ArrayLike, grid_to_pixel: ArrayLike, rows: int, columns: int
) -> NDArray[np.float32]:
    """Interpolate a heatmap at the pixels of the stored frame.

    Parameters
    ----------
    heatmap : array-like (G, G)
    grid_to_pixel : array-like (2, 3)
        As in `StackResult`.
    rows, columns : int
        Size of the frame.

    Returns
    -------
    ndarray, float32 (rows, columns)
    """
    affine = np.asarray(grid_to_pixel, dtype=np.float64)
    back = np.linalg.inv(affine[:, :2])
    offset = -back @ affine[:, 2]
    x, y = np.meshgrid(np.arange(columns, dtype=np.float64), np.arange(rows, dtype=np.float64))
    i = back[0, 0] * x + back[0, 1] * y + offset[0]
    j = back[1, 0] * x + back[1, 1] * y + offset[1]
    return sample(heatmap, i, j)
