"""Small trainable layers beside a frozen tower."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.01
"""Negative slope of LeakyReLU in the published code."""


class ResidualAdapter(nn.Module):
    """MVFA's bottleneck adapter (CVPR 2024, section 4, eq. 1; two linears without bias).

    The bottleneck is as wide as CLIP's joint space, for its output is compared with sentences.

    Parameters
    ----------
    width, joint_width : int
        d of the tower, D of the joint space.
    """

    def __init__(self, width: int, joint_width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, joint_width, bias=False)
        self.up = nn.Linear(joint_width, width, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, d) -> aligned features (B, T, D) and the update (B, T, d)."""
        aligned = F.leaky_relu(self.down(tokens), SLOPE)
        return aligned, F.leaky_relu(self.up(aligned), SLOPE)
