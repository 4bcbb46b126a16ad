"""A ridge regression from a description of the whole image to its label, solved in the dual."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-6
"""Added to deviations, so that numbers which never change are left alone."""


def describe(patches: Tensor) -> Tensor:
    """Mean, deviation and maximum of the patches of each level.

    Parameters
    ----------
    patches : Tensor (B, L, N, d)

    Returns
    -------
    Tensor (B, 3 L d)
    """
    mean = patches.mean(2)
    # By hand: torch's own deviation is not the same to the bit in another place of the batch.
    deviation = ((patches - mean[:, :, None]) ** 2).mean(2).sqrt()
    return torch.cat([mean, deviation, patches.amax(2)], -1).flatten(1)


def ridge(descriptions: Tensor, labels: Tensor, strength: float) -> Tensor:
    """Plane (D + 1,), float32: weights and then the offset.

    Parameters
    ----------
    descriptions : Tensor (I, D)
        Standardised here by their own mean and deviation.
    labels : Tensor (I,)
        1 abnormal, 0 normal; both weigh alike however many there are of each.
    strength : float
        Of the ridge, in units of the mean squared length of a description's numbers.
    """
    rows, abnormal = descriptions.double(), labels == 1
    mean, deviation = rows.mean(0), rows.std(0, correction=0) + LEAST
    unit = (rows - mean) / deviation
    targets = torch.where(abnormal, 1 / abnormal.sum(), -1 / (~abnormal).sum()) * len(rows) / 2
    kernel = unit @ unit.T / rows.shape[1]
    kernel.diagonal().add_(strength)
    dual = torch.linalg.solve(kernel, targets.double())
    weights = unit.T @ dual / rows.shape[1] / deviation
    return torch.cat([weights, -(weights @ mean)[None]]).float()


def project(descriptions: Tensor, plane: Tensor) -> Tensor:
    """Project descriptions (B, D) on a plane (D + 1,) -> (B,)."""
    return (descriptions * plane[:-1]).sum(1) + plane[-1]
