"""The published systems' fixed sets of variants of an image, masks alike.

The geometry is torch's own `affine_grid`, `grid_sample` and `interpolate`, which the published code
is written with.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

ANGLES = (-math.pi / 8, -math.pi / 16, math.pi / 16, math.pi / 8)
SHIFTS = ((0.1, 0.1), (-0.1, 0.1), (-0.1, -0.1), (0.1, -0.1))
ZOOMS = (1.1, 1.15, 1.2, 1.3)
JITTER = 13
"""Index of the variant of "madclip" whose brightness and contrast are changed."""


def _matrices() -> Tensor:
    """(8, 2, 3): rotations, then translations, in grid_sample's coordinates from -1 to 1."""
    turned = [[[math.cos(a), math.sin(-a), 0.0], [math.sin(a), math.cos(a), 0.0]] for a in ANGLES]
    moved = [[[1.0, 0.0, x], [0.0, 1.0, y]] for x, y in SHIFTS]
    return torch.tensor(turned + moved)


def _moved(images: Tensor) -> list[Tensor]:
    found = []
    for matrix in _matrices():
        grid = F.affine_grid(
            matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        found.append(F.grid_sample(images, grid, padding_mode="reflection", align_corners=False))
    return found


def _zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of the images, as large as they were."""
    side = images.shape[-1]
    cut = int(side / factor)
    low, high = (side - cut) // 2, (side + cut) // 2
    return F.interpolate(images[..., low:high, low:high], (side, side), mode="bilinear")


def _none(images: Tensor) -> list[Tensor]:
    return [images]


def _flip(images: Tensor) -> list[Tensor]:
    return [images, images.flip(3)]


def _mvfa(images: Tensor) -> list[Tensor]:
    return [images, *_moved(images), images.flip(3), images.flip(2)]


def _madclip(images: Tensor) -> list[Tensor]:
    zoomed = [_zoomed(images, factor) for factor in ZOOMS]
    return [images, *_moved(images), *zoomed, images, images.flip(3), images.flip(2)]


RECIPES: dict[str, tuple[int, Callable[[Tensor], list[Tensor]]]] = {
    "none": (1, _none),
    "flip": (2, _flip),
    "mvfa": (11, _mvfa),
    "madclip": (16, _madclip),
}
"""Name -> number of variants, and what makes them; the first is the image itself."""


def count(recipe: str) -> int:
    """Variants that a recipe makes of an image."""
    return RECIPES[recipe][0]


def variants(images: Tensor, recipe: str) -> Tensor:
    """Every geometric variant of every image.

    Parameters
    ----------
    images : Tensor (B, C, S, S)
        Pictures or masks, float.
    recipe : {"none", "flip", "mvfa", "madclip"}
        "mvfa": original, rotations by pi/8 and pi/16 both ways, translations by a twentieth of the
        side (reflected at the border), mirrored left to right, mirrored top to bottom. "madclip":
        the same with four zooms and an unchanged copy, for `jitter`, before the mirrored ones.
        "flip": original and mirrored left to right.

    Returns
    -------
    Tensor (B, V, C, S, S)
        Masks come out soft; binarise them at 0.5.
    """
    return torch.stack(RECIPES[recipe][1](images), dim=1)


def jitter_factors(images: int, generator: torch.Generator) -> Tensor:
    """(I, 2): brightness and contrast factors from 0.8 to 1.2."""
    return 0.8 + 0.4 * torch.rand(images, 2, generator=generator)


def jitter(images: Tensor, factors: Tensor, *, by_column: bool = False) -> Tensor:
    """Change brightness, then contrast about the image's mean, and cut to [0, 1].

    Parameters
    ----------
    images : Tensor (B, C, S, S)
    factors : Tensor (B, 2)
        See `jitter_factors`.
    by_column : bool
        Take the mean over channels and rows only, as MadCLIP's published code does.
    """
    brightness, contrast = factors.to(images).view(-1, 2, 1, 1, 1).unbind(1)
    bright = images * brightness
    mean = bright.mean((1, 2) if by_column else (1, 2, 3), keepdim=True)
    return ((bright - mean) * contrast + mean).clamp(0, 1)
