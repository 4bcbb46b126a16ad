"""Losses of the published systems, on probabilities.

`p` is the abnormal probability and `mask` the ground truth, both (B, ...) with the same shape.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dice(p: Tensor, mask: Tensor, *, over_batch: bool = False) -> Tensor:
    """1 - Dice with smoothing 1.

    Per image, as published, an empty mask costs about 1 for any map and teaches nothing;
    `over_batch` sums over the batch first, so that maps of empty masks count as false positives.
    """
    axes = 0 if over_batch else 1
    p, mask = p.flatten(axes), mask.flatten(axes)
    overlap = (p * mask).sum(-1)
    return (1 - (2 * overlap + 1) / (p.sum(-1) + mask.sum(-1) + 1)).mean()


def focal(p: Tensor, mask: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Focal loss without class weights; targets are smoothed by 1e-5 as published."""
    smooth = 1e-5
    target = mask.clamp(smooth, 1 - smooth)
    likelihood = target * p + (1 - target) * (1 - p) + smooth
    return (-((1 - likelihood) ** gamma) * likelihood.log()).mean()


def binary(p: Tensor, label: Tensor, *, legacy: bool = False) -> Tensor:
    """Binary cross-entropy of an image's probability p (B,).

    `legacy` squashes the probability a second time, as MVFA's and MedVMAD's code does: the loss
    then never falls below 0.313 and normals pull harder than abnormals.
    """
    if legacy:
        return F.binary_cross_entropy_with_logits(p, label)
    p = p.clamp(1e-6, 1 - 1e-6)
    # Torch's own binary_cross_entropy raises an error when p is NaN.
    return -(label * p.log() + (1 - label) * (-p).log1p()).mean()


def sigmoid_alignment(margins: Tensor, label: Tensor) -> Tensor:
    """MadCLIP's form of the SigLIP loss: a logistic loss on two margins, no temperature or bias.

    Parameters
    ----------
    margins : Tensor (B, N, 2)
        How much nearer each patch is to the normal sentence than to the abnormal one, by the normal
        branch; and to the abnormal one than to the normal one, by the abnormal branch.
    label : Tensor (B,)
        1 abnormal; applies to every patch of the image.
    """
    sign = (2 * label - 1)[:, None]
    normal, abnormal = margins.unbind(-1)
    return (F.softplus(sign * normal) + F.softplus(-sign * abnormal)).mean()


def total(terms: dict[str, Tensor]) -> Tensor:
    """Sum of named loss terms."""
    return torch.stack(list(terms.values())).sum()
