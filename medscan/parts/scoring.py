"""From tokens and two text features to probabilities on the patch grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(tokens: Tensor, text: Tensor, scale: float) -> Tensor:
    """Scaled cosines between tokens and the two text features.

    Parameters
    ----------
    tokens : Tensor (B, N, D)
    text : Tensor (2, D) or (B, 2, D)
        Unit vectors: normal, abnormal.
    scale : float
        Factor on the cosine.

    Returns
    -------
    Tensor (B, N, 2)
    """
    # Divided afterwards, which saves a copy of all tokens.
    lengths = tokens.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    cosines: Tensor = (tokens @ text.mT) / lengths
    return scale * cosines


def project(features: Tensor, direction: Tensor) -> Tensor:
    """Components (...) of unit features along a vector (D,), without a copy of them.

    Parameters
    ----------
    features : Tensor (..., D)
        Of any length.
    direction : Tensor (D,)
    """
    wide = features.float()
    lengths: Tensor = wide.norm(dim=-1)
    return wide @ direction / lengths.clamp_min(1e-12)


def on_grid(patches: Tensor) -> Tensor:
    """(B, N, C) with N = G * G, row by row -> (B, C, G, G)."""
    side = round(patches.shape[1] ** 0.5)
    return patches.transpose(1, 2).reshape(patches.shape[0], -1, side, side)


def averaged(tokens: Tensor) -> Tensor:
    """Mean of each patch of tokens (B, T, d) and its neighbours; CLS, the first, stays alone."""
    mean = F.avg_pool2d(on_grid(tokens[:, 1:]), 3, 1, 1, count_include_pad=False)
    return torch.cat([tokens[:, :1], mean.flatten(2).transpose(1, 2)], 1)


def upsample(maps: Tensor, size: int, *, align_corners: bool) -> Tensor:
    """(B, C, G, G) -> (B, C, size, size), bilinear.

    `align_corners=True` puts the outer patch centres on the image's corners, which moves the map
    by up to half a patch; the published systems do so.
    """
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=align_corners)


def abnormal_probability(logits: Tensor, dim: int) -> Tensor:
    """Abnormal part of the softmax over (normal, abnormal) along `dim`.

    Not a sigmoid, which a CPU rounds differently for the last few values of a tensor, so that a
    score would depend on its position in the batch.
    """
    return logits.softmax(dim).select(dim, 1)


def probability_maps(logits: Tensor, size: int, *, align_corners: bool) -> Tensor:
    """Abnormal probability of pixels: patch logits upsampled to the square, then softmax.

    The softmax of two logits is the sigmoid of their difference, and upsampling is linear, so that
    one channel is enough.

    Parameters
    ----------
    logits : Tensor (B, N, 2)
    size : int
        Side of the square.

    Returns
    -------
    Tensor (B, size, size)
    """
    grid = on_grid((logits[..., 1] - logits[..., 0]).unsqueeze(-1)).squeeze(1)
    # Products of matrices, whose gradient takes a fourth of the time of that of `upsample`.
    weights = F.interpolate(
        torch.eye(grid.shape[-1]).to(grid)[None], size, mode="linear", align_corners=align_corners
    )
    return (weights.mT @ grid @ weights).sigmoid()


def window_means(grid: Tensor, side: int) -> Tensor:
    """Mean of the windows that contain each patch: (B, D, G, G) -> (B, N, D)."""
    side = min(side, grid.shape[-1])
    inner = F.avg_pool2d(F.normalize(grid, dim=1), side, stride=1)
    sums, counts = _window_sums(inner, side), _window_sums(torch.ones_like(inner[:1, :1]), side)
    return (sums / counts).flatten(2).transpose(1, 2)


def _window_sums(windows: Tensor, side: int) -> Tensor:
    """Sum of the windows that contain each patch."""
    padded = F.pad(windows, [side - 1] * 4)
    return F.avg_pool2d(padded, side, stride=1, divisor_override=1)
