"""A memory of normal features at each tap, searched by cosine distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medscan.clip import apply_linear

CELLS = 1 << 24
"""Distances that are computed at a time: 64 MiB."""


def distances(queries: Tensor, bank: Tensor) -> Tensor:
    """1 - the largest cosine between each query (..., D) and any row of the bank (M, D).

    Neither needs to hold unit vectors.
    """
    rows = F.normalize(bank.float(), dim=-1)
    flat = F.normalize(queries.float(), dim=-1).flatten(0, -2)
    # A graph exported for any number of images cannot split by that number.
    exporting = torch.compiler.is_compiling()
    parts = [flat] if exporting else torch.split(flat, max(1, CELLS // len(rows)))
    return torch.cat([1 - apply_linear(part, rows).amax(-1) for part in parts]).view(
        queries.shape[:-1]
    )


def coreset(features: Tensor, rows: int) -> Tensor:
    """Indices (rows,) of features (M, D) that cover the rest, by greedy farthest-point sampling.

    After PatchCore (CVPR 2022, algorithm 1). It starts from the row farthest from the mean, so that
    the result depends only on the features.
    """
    if len(features) <= rows:
        return torch.arange(len(features))
    unit = F.normalize(features.float(), dim=-1)
    gap = 1 - unit @ F.normalize(unit.mean(0), dim=0)
    chosen = []
    for _ in range(rows):
        index = int(gap.argmax())
        chosen.append(index)
        gap = torch.minimum(gap, 1 - unit @ unit[index])
    return torch.tensor(sorted(chosen))


def leave_one_out(features: Tensor, groups: Tensor) -> Tensor:
    """Distance of each image's features to the features of all other groups.

    Parameters
    ----------
    features : Tensor (I, N, D)
        N features of each of I images.
    groups : Tensor (I,)
        int64, the patient of each image; images of one patient are not compared with each other.

    Returns
    -------
    Tensor (I, N)
        All NaN if there is only one patient.
    """
    gaps = torch.full(features.shape[:2], float("nan"))
    for group in torch.unique(groups):
        in_group = groups == group
        if not bool(in_group.all()):
            gaps[in_group] = distances(features[in_group], features[~in_group].flatten(0, 1))
    return gaps


class MemoryBank(nn.Module):
    """Features of normal shots at each level, and how far normals lie from one another.

    Parameters
    ----------
    levels, width : int
        Number of taps, and D of the features.
    """

    rows: Tensor
    middle: Tensor
    spread: Tensor
    grows: ClassVar[dict[str, tuple[int, ...]]] = {"rows": (1,)}
    """Axes of buffers that are as long as there are shots, or rows of them."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(levels, 0, width))
        self.register_buffer("middle", torch.zeros(levels))
        self.register_buffer("spread", torch.ones(levels))

    def fill(self, levels: list[Tensor], patients: Tensor, *, size: int, cls: bool) -> None:
        """Store the features of normal images.

        Parameters
        ----------
        levels : list of Tensor (I, T, D)
            Features of I normal images at each level, CLS first.
        patients : Tensor (I,)
            int64. The scale of a level comes from distances between patients: their median, and
            the difference from it to their 99th percentile; (0, 1) if there is only one patient.
        size : int
            Rows that `coreset` keeps of each level; 0 keeps all.
        cls : bool
            Whether CLS tokens are stored too.
        """
        rows, scales = [], []
        for features in (level.float() for level in levels):
            flat = features[:, 0 if cls else 1 :].flatten(0, 1).cpu()
            rows.append(flat[coreset(flat, size or len(flat))])
            gaps = leave_one_out(features[:, 1:].cpu(), patients)
            scales.append(_middle_and_spread(gaps[~gaps.isnan()]))
        device = self.rows.device
        self.rows = torch.stack(rows).clone().to(device)
        self.middle, self.spread = torch.tensor(scales, device=device).unbind(1)

    def forward(self, levels: tuple[Tensor, ...], *, scaled: bool, cut: bool = True) -> Tensor:
        """Distances (levels, B, N) of patches to the nearest stored feature.

        Parameters
        ----------
        levels : tuple of Tensor (B, T, D)
            CLS first, which is left out.
        scaled : bool
            Whether to scale by the distances of normals: 0 is their median, 1 their 99th
            percentile.
        cut : bool
            Whether to clamp scaled distances to [0, 1].
        """
        patches = [aligned[:, 1:] for aligned in levels]
        if not self.rows.shape[1]:
            return torch.zeros(len(patches), *patches[0].shape[:2], device=patches[0].device)
        pairs = zip(patches, self.rows, strict=True)
        gaps = torch.stack([distances(queries, rows) for queries, rows in pairs])
        if not scaled:
            return gaps
        linear = (gaps - self.middle.view(-1, 1, 1)) / self.spread.view(-1, 1, 1)
        # Beside probabilities, an unclamped level of very similar normals would outweigh the rest.
        return linear.clamp(0, 1) if cut else linear


class PartedMemory(nn.Module):
    """Normal patches in parts by patient, where an image of a part is compared with all others.

    The distance of an image of no part is the mean over memories that lack one part each, so that
    it lies on the scale of theirs.

    Parameters
    ----------
    levels, width : int
        Number of levels, and d of the patches.
    """

    rows: Tensor
    scale: Tensor
    grows: ClassVar[dict[str, tuple[int, ...]]] = {"rows": (1, 2)}

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(levels, 1, 1, width))
        self.register_buffer("scale", torch.ones(levels))

    def fill(self, parts: Sequence[Tensor], size: int) -> None:
        """Store patches, and the inverse deviation of the distances between parts.

        Parameters
        ----------
        parts : sequence of Tensor (I, L, N, d)
            Normal images of each part, N patches at each of L levels.
        size : int
            Rows that `coreset` keeps of each level, over all parts; 0 keeps all.
        """
        flat = [part.float().transpose(0, 1).flatten(1, 2) for part in parts]
        least = min(part.shape[1] for part in flat)
        least = min(least, max(1, size // len(parts))) if size else least
        kept = [torch.stack([rows[coreset(rows, least)] for rows in part]) for part in flat]
        self.rows = torch.stack(kept, 1)
        self.scale = torch.ones(len(self.rows))
        if len(parts) > 1:
            between = [self.without(number).gaps(part) for number, part in enumerate(parts)]
            self.scale = 1 / torch.cat(between).std((0, 2)).clamp_min(1e-6)

    def without(self, part: int) -> PartedMemory:
        """The memory of all other parts, as one."""
        levels, parts, _, width = self.rows.shape
        others = [number for number in range(parts) if number != part]
        memory = PartedMemory(levels, width)
        memory.rows = self.rows[:, others].flatten(1, 2)[:, None]
        memory.scale = self.scale
        return memory

    def gaps(self, patches: Tensor) -> Tensor:
        """Scaled distances (B, L, N) of patches (B, L, N, d) to the nearest of any part."""
        return self._by_part(patches).amin(0)

    def forward(self, patches: Tensor) -> Tensor:
        """Largest distance (B,) of patches (B, L, N, d), summed over the levels."""
        gaps = self._by_part(patches)
        others = [[n for n in range(len(gaps)) if n != part] or [0] for part in range(len(gaps))]
        return torch.stack([gaps[kept].amin(0).sum(1).amax(1) for kept in others]).mean(0)

    def _by_part(self, patches: Tensor) -> Tensor:
        """Scaled distances (parts, B, L, N) to the nearest of each part."""
        gaps = [
            torch.stack([distances(queries, part) for part in rows]) * scale
            for queries, rows, scale in zip(patches.unbind(1), self.rows, self.scale, strict=True)
        ]
        return torch.stack(gaps, 2)


def _middle_and_spread(gaps: Tensor) -> tuple[float, float]:
    if not len(gaps):
        return 0.0, 1.0
    ordered = gaps.sort().values
    middle = float(ordered[len(ordered) // 2])
    return middle, max(float(ordered[int(0.99 * (len(ordered) - 1))]) - middle, 1e-6)
