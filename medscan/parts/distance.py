"""Distance of an image from the shots, by features of the whole of it.

The distance is that of Mahalanobis, with a covariance that is shrunk towards a multiple of the
identity, as much as Ledoit and Wolf (Journal of Multivariate Analysis 88, 2004) find best: a few
shots vary in few of the directions that features have, and what lies outside of these counts too.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from medscan.clip import apply_linear
from medscan.errors import DetectorError

LEAST = 1e-9
"""Added to variances, so that shots which are all alike give finite distances."""


def shrunk(rows: Tensor) -> Tensor:
    """Covariance (F, F) of centred rows (I, F), float64, shrunk after Ledoit and Wolf."""
    count, width = rows.shape
    sample = rows.T @ rows / count
    mean = sample.diagonal().mean()
    target = mean * torch.eye(width, dtype=rows.dtype)
    apart = (sample - target).square().sum()
    noise = (rows.square().sum(1).square().sum() / count - sample.square().sum()) / count
    share = float((noise / apart).clamp(0, 1)) if apart > 0 else 1.0
    return (1 - share) * sample + share * target


class Distance(nn.Module):
    """Distances (B,) of outlines (B, F), see `Method.outline`, from those that it was made of.

    The root of the mean square over directions in which those all have a deviation of 1. Its
    tensor has a plane (F + 1,) for each: weights and offset.
    """

    planes: Tensor
    grows: ClassVar[dict[str, tuple[int, ...]]] = {"planes": (0, 1)}
    """Axes whose length is known only from a file."""

    def __init__(self, planes: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("planes", torch.zeros(1, 2) if planes is None else planes)

    @classmethod
    def of(cls, outlines: Tensor) -> Self:
        """Distance from outlines (I, F)."""
        rows = outlines.double()
        centre = rows.mean(0)
        values, axes = torch.linalg.eigh(shrunk(rows - centre))
        weights = axes * (values.clamp_min(0) + LEAST).rsqrt() @ axes.T
        return cls(torch.cat([weights, -(weights @ centre)[:, None]], 1).float())

    def forward(self, outlines: Tensor) -> Tensor:
        """Outlines (B, F) -> distances (B,), float32."""
        if self.planes.shape != (outlines.shape[1], outlines.shape[1] + 1):
            raise DetectorError("the detector is damaged: its gate does not fit its method")
        weights, offset = self.planes[:, :-1].contiguous(), self.planes[:, -1].contiguous()
        return apply_linear(outlines.float(), weights, offset).square().mean(1).sqrt()
