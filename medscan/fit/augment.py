"""MVFA's eleven variants of an image, masks alike."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ANGLES = (-math.pi / 8, -math.pi / 16, math.pi / 16, math.pi / 8)
SHIFTS = ((0.1, 0.1), (-0.1, 0.1), (-0.1, -0.1), (0.1, -0.1))
VARIANTS = 1 + len(ANGLES) + len(SHIFTS) + 2


def _matrices() -> Tensor:
    """(8, 2, 3): rotations, then translations, in grid_sample's coordinates from -1 to 1."""
    turned = [[[math.cos(a), math.sin(-a), 0.0], [math.sin(a), math.cos(a), 0.0]] for a in ANGLES]
    moved = [[[1.0, 0.0, x], [0.0, 1.0, y]] for x, y in SHIFTS]
    return torch.tensor(turned + moved)


def variants(images: Tensor) -> Tensor:
    """Every variant of every image (METHODS of MVFA's published code).

    Parameters
    ----------
    images : Tensor (B, C, S, S)
        Pictures or masks, float.

    Returns
    -------
    Tensor (B, 11, C, S, S)
        Original, four rotations, four translations (reflected at the border), mirrored left to
        right, mirrored top to bottom. Masks come out soft; binarise them at 0.5.
    """
    moved = []
    for matrix in _matrices():
        grid = F.affine_grid(
            matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        moved.append(F.grid_sample(images, grid, padding_mode="reflection", align_corners=False))
    return torch.stack([images, *moved, images.flip(3), images.flip(2)], dim=1)
