"""Small trainable layers beside a frozen tower."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from medscan.clip import Linear

SLOPE = 0.01
"""Negative slope of LeakyReLU in the published code."""


class ResidualAdapter(nn.Module):
    """MVFA's bottleneck adapter (CVPR 2024, section 4, eq. 1; two linears without bias).

    The bottleneck is as wide as CLIP's joint space, because its output is compared with sentences.

    Parameters
    ----------
    width, joint_width : int
        d of the tower, D of the joint space.
    """

    def __init__(self, width: int, joint_width: int) -> None:
        super().__init__()
        self.down = Linear(width, joint_width, bias=False)
        self.up = Linear(joint_width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, d) -> aligned features (B, T, D)."""
        return F.leaky_relu(self.down(tokens), SLOPE)

    def update(self, aligned: Tensor) -> Tensor:
        """Aligned features (B, T, D) -> update of the tokens (B, T, d)."""
        return F.leaky_relu(self.up(aligned), SLOPE)


class DualBranchAdapter(nn.Module):
    """MadCLIP's normal and abnormal branch (MICCAI 2025, section 2; no biases, no residual).

    Each branch has one stage that its heads share: linear, LeakyReLU and, in the code, a layer norm
    without affine parameters; then each head has a linear and LeakyReLU.

    Parameters
    ----------
    width, joint_width : int
        d of the tower, D of the joint space.
    heads : int
        H of each branch: 1 for image scores, 2 for maps too.
    """

    def __init__(self, width: int, joint_width: int, heads: int = 2) -> None:
        super().__init__()
        self.count = heads
        self.shared = Linear(width, 2 * width, bias=False)
        self.heads = nn.ModuleList(
            Linear(width, heads * joint_width, bias=False) for _ in ("normal", "abnormal")
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, d) -> features (B, N, H, D) of the normal and of the abnormal branch."""
        shape = tokens.shape[:-1]
        hidden = F.leaky_relu(self.shared(tokens), SLOPE).view(*shape, 2, -1)
        hidden = F.layer_norm(hidden, hidden.shape[-1:])
        normal, abnormal = (
            F.leaky_relu(head(part), SLOPE).view(*shape, self.count, -1)
            for head, part in zip(self.heads, hidden.unbind(-2), strict=True)
        )
        return normal, abnormal
