"""A square larger than a tower's input, seen in overlapping tiles, and their tokens as one grid.

A tower sees the whole square, made small, and then each tile as it is. What it says of the image is
what it says of the whole. A patch has the mean of two tokens: of the whole, interpolated, which
knows where in the body it is, and of the tiles, which see it well. Where two tiles overlap, the
share of each falls in a line towards its border, so that no border is seen in a map. To methods the
square is an image of one tower with a larger grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OVERLAP = 4
"""A tile shares one in so many of its patches with the next one, at least one patch."""


class Tiling:
    """Where tiles lie, and how their tokens are joined.

    Parameters
    ----------
    side, patch, grid : int
        Of the tower: side of its input and of a patch in pixels, and patches along a side.
    count : int
        Tiles along a side of the square, at least 2.
    """

    def __init__(self, side: int, patch: int, grid: int, count: int) -> None:
        self.side, self.count, self._inner = side, count, grid
        self.step = max(1, grid - max(1, grid // OVERLAP))
        """Patches from the start of a tile to that of the next."""
        self._starts = [number * self.step * patch for number in range(count)]
        self.size = self._starts[-1] + side
        """Side of the square in pixels."""
        self.grid = grid + (count - 1) * self.step
        """Patches along its side."""
        self._shrink = _shrinking(self.size, side)
        self._place()

    def _place(self) -> None:
        """Where each patch of the square lies in a row of all tiles, and where once more."""
        places, shared = torch.arange(self.grid), self._inner - self.step
        tile = (places // self.step).clamp(max=self.count - 1)
        within = places - tile * self.step
        self._share = ((within + 1) / (shared + 1)).clamp(max=1.0).where(tile > 0, 1.0)
        """(grid,) of the later tile; the rest is of the one before."""
        self._later = tile * self._inner + within
        before = self._later - self._inner + self.step
        self._before = before.where(self._share < 1, self._later)

    def cut(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, size, size) -> views (B, 3, side, side): the whole, then tiles by row."""
        shrink = self._shrink.to(images)
        whole = shrink @ images @ shrink.mT
        ends = [slice(start, start + self.side) for start in self._starts]
        return whole, *(images[..., down, across] for down in ends for across in ends)

    def join(self, views: Tensor) -> Tensor:
        """Tokens of views (V, B, 1 + N, d), one for the image first -> of squares (B, 1 + M, d)."""
        tiles, count, inner = views[1:, :, 1:].transpose(0, 1), self.count, self._inner
        apart = tiles.reshape(-1, count, count, inner, inner, tiles.shape[-1])
        rows = apart.transpose(2, 3).flatten(1, 2).flatten(2, 3)
        seen = self._blended(self._blended(rows, 1), 2)
        patches = (seen + self._stretched(views[0, :, 1:])) / 2
        return torch.cat([views[0, :, :1], patches.flatten(1, 2)], 1)

    def _stretched(self, tokens: Tensor) -> Tensor:
        """Patches (B, N, d) of the whole -> at those of the square (B, grid, grid, d)."""
        count, _, width = tokens.shape
        small = tokens.transpose(1, 2).reshape(count, width, self._inner, self._inner)
        return F.interpolate(small, (self.grid, self.grid), mode="bilinear").permute(0, 2, 3, 1)

    def _blended(self, tokens: Tensor, axis: int) -> Tensor:
        """(B, ..., d) with all patches of all tiles along an axis -> with those of the square."""
        share = self._share.to(tokens).view(-1, *[1] * (3 - axis))
        later, before = (
            tokens.index_select(axis, places.to(tokens.device))
            for places in (self._later, self._before)
        )
        return share * later + (1 - share) * before


def _shrinking(size: int, side: int) -> Tensor:
    """(side, size): the share of each pixel of a line in those of a shorter one, by area."""
    ends = torch.arange(side + 1, dtype=torch.float64) * size / side
    pixel = torch.arange(size, dtype=torch.float64)
    reach = torch.minimum(ends[1:, None], pixel + 1) - torch.maximum(ends[:-1, None], pixel)
    return (reach.clamp(min=0) * side / size).float()
