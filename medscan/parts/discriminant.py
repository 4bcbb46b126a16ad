"""Fisher's linear discriminant between abnormal and normal patches, solved without iterations.

For every level w = (S + r m I)^-1 (mu_a - mu_n), with S the pooled covariance within the two
classes, m the mean of its diagonal and r a ridge (Fisher 1936; Friedman, "Regularized Discriminant
Analysis", 1989). Projections are centred and scaled by those of the normal patches, so that levels
can be added. Of the normal patches only sums are needed, which are summed up once for all folds.

A plane (d + 1,) holds the weights w and then the offset: the projection of x is w x + offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar

import torch
from torch import Tensor, nn

from medscan.clip import apply_linear

LESION, CLEAN = 0.3, 0.01
"""A patch is abnormal if its mask covers at least the first, normal if less than the second."""
LEAST = 1e-9
"""Added to variances, so that patches which are all alike give a finite plane."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Number, sum (d,) and sum of outer products (d, d) of patches, float64."""

    count: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, patches: Tensor) -> Moments:
        """Of patches (M, d)."""
        rows = patches.double()
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.products + other.products
        )

    def __sub__(self, other: Moments) -> Moments:
        return Moments(
            self.count - other.count, self.total - other.total, self.products - other.products
        )

    def weighing(self, count: int) -> Moments:
        """The same patches, which count as so many; none if there are none."""
        if not self.count:
            return self
        factor = count / self.count
        return Moments(count, factor * self.total, factor * self.products)

    @property
    def mean(self) -> Tensor:
        """Mean patch, (d,)."""
        return self.total / max(self.count, 1)

    @property
    def scatter(self) -> Tensor:
        """Sum of outer products about the mean, (d, d)."""
        return self.products - torch.outer(self.total, self.mean)


def fisher(abnormal: Moments, normal: Moments, ridge: float) -> Tensor:
    """Plane (d + 1,), float32, on which normal patches lie around 0 with deviation 1."""
    within = (abnormal.scatter + normal.scatter) / max(abnormal.count + normal.count - 2, 1)
    diagonal = within.diagonal()
    diagonal += ridge * diagonal.mean() + LEAST
    weights = torch.linalg.solve(within, abnormal.mean - normal.mean)
    variance = weights @ (normal.scatter / max(normal.count, 1)) @ weights
    weights = weights / (variance + LEAST).sqrt()
    return torch.cat([weights, -(weights @ normal.mean)[None]]).float()


def project(tokens: Tensor, planes: Tensor) -> Tensor:
    """Project tokens (..., d) on planes (M, d + 1) -> (..., M)."""
    # oneDNN takes a hundred times as long for weights with gaps between their rows.
    return apply_linear(tokens, planes[:, :-1].contiguous(), planes[:, -1].contiguous())


def with_masks(
    patches: Tensor, abnormal: Tensor, normal: Sequence[Moments], ridge: float
) -> Tensor:
    """Planes (L, d + 1) from patches whose truth is known.

    Parameters
    ----------
    patches : Tensor (I, L, N, d)
        Of images with lesions.
    abnormal : Tensor (I, N)
        bool; patches that show a lesion.
    normal : sequence of Moments
        Of the normal patches, for each of L levels.
    ridge : float
    """
    levels = patches.unbind(1)
    pairs = zip(levels, normal, strict=True)
    return torch.stack([fisher(Moments.of(x[abnormal]), m, ridge) for x, m in pairs])


def without_masks(
    patches: Tensor,
    scores: Tensor,
    normal: Sequence[Moments],
    ridge: float,
    *,
    share: float,
    rounds: int,
) -> Tensor:
    """Planes (L, d + 1) from images of which it is only known that a lesion is somewhere.

    Multiple instances: in each round the patches of an image that score highest count as abnormal,
    all its others are left out, and the planes found score the patches of the next round.

    Parameters
    ----------
    patches : Tensor (I, L, N, d)
        Of abnormal images.
    scores : Tensor (I, N)
        Scores of the first round.
    normal : sequence of Moments
        Of the patches of normal images, for each of L levels.
    ridge : float
    share : float
        Part of an image's patches that count.
    rounds : int
        At least 1.
    """
    most = max(1, round(share * scores.shape[1]))
    for _ in range(rounds):
        planes = with_masks(patches, _top(scores, most), normal, ridge)
        scores = on_planes(patches, planes)
    return planes


def on_planes(patches: Tensor, planes: Tensor) -> Tensor:
    """Sum over the levels (I, N) of patches (I, L, N, d) projected on planes (L, d + 1)."""
    pairs = zip(patches.unbind(1), planes, strict=True)
    return torch.stack([project(x, plane[None])[..., 0] for x, plane in pairs]).sum(0)


def _top(scores: Tensor, most: int) -> Tensor:
    """The `most` highest of each row of scores (I, N), as bool."""
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    return chosen.scatter(1, scores.topk(most, dim=1).indices, value=True)


@dataclass(frozen=True, slots=True)
class PatchShots:
    """Shots in all variants that are left out together, and sums over their patches.

    Parameters
    ----------
    tokens : Tensor (J, L, T, d)
    labels : Tensor (J,)
    lesion : Tensor (J, N)
        bool; patches that are known to be abnormal.
    normal, abnormal, clean : tuple of Moments
        Of each level's patches: of normal and abnormal shots, and of all that are known to be
        normal.
    """

    tokens: Tensor
    labels: Tensor
    lesion: Tensor
    normal: tuple[Moments, ...]
    abnormal: tuple[Moments, ...]
    clean: tuple[Moments, ...]

    @classmethod
    def of(cls, tokens: Tensor, labels: Tensor, cover: Tensor, known: Tensor) -> PatchShots:
        """From the part of each patch that is covered (J, N), where that is `known` (J,)."""
        # A lesion smaller than a patch lies in the one that it covers most of.
        least = torch.minimum(cover.amax(1), torch.tensor(LESION))[:, None]
        lesion = (cover >= least) & ((labels == 1) & known)[:, None]
        levels = tokens[:, :, 1:].unbind(1)
        normal, abnormal = (
            tuple(Moments.of(x[labels == label].flatten(0, 1)) for x in levels) for label in (0, 1)
        )
        spared = (cover < CLEAN) & ((labels == 1) & known)[:, None]
        clean = tuple(m + Moments.of(x[spared]) for m, x in zip(normal, levels, strict=True))
        return cls(tokens, labels, lesion, normal, abnormal, clean)


def added(parts: Iterable[Sequence[Moments]]) -> list[Moments]:
    """Moments of each level, added over parts."""
    return [reduce(add, level) for level in zip(*parts, strict=True)]


class Planes(nn.Module):
    """Planes (M, L, d + 1) of M models at L levels."""

    planes: Tensor
    grows: ClassVar[dict[str, tuple[int, ...]]] = {"planes": (0,)}

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("planes", torch.zeros(1, levels, width + 1))

    def forward(self, patches: Tensor) -> Tensor:
        """Project patches (B, L, N, d) -> (B, L, N, M)."""
        pairs = zip(patches.unbind(1), self.planes.unbind(1), strict=True)
        return torch.stack([project(x, planes) for x, planes in pairs], 1)

    def join(self, models: Iterable[Planes]) -> None:
        """Hold the planes of all these."""
        self.planes = torch.cat([model.planes for model in models])
