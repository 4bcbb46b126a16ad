"""A memory of normal patches without any training, after PatchCore (Roth et al., CVPR 2022).

Tokens from the middle of a frozen tower (section 3.1: mid-level features) are averaged over their
neighbourhood, and a greedy coreset of those of normal shots is stored (section 3.2, algorithm 1).
The score of a patch is its distance to the nearest stored one, that of an image the largest of its
patches (section 3.3). Here the distance is by cosine, each level has its own memory, and distances
are scaled by those between normals of different patients, so that levels can be averaged and scores
compared. PatchCore's re-weighting of the image score is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medscan.clip import Backbone
from medscan.errors import UsageError
from medscan.methods.base import Augmentation, Levels, Settings, Untrained
from medscan.parts import MemoryBank, scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchcoreSettings(Settings):
    """Settings of PatchCore, in addition to `Settings`.

    Parameters
    ----------
    neighbourhood : int
        Side in patches, odd, of the square that a token is averaged over (PatchCore: 3).
    bank_rows : int
        Size of the coreset at each level; 0 keeps every row.
    bank_variants : bool
        Whether augmented variants of the normals are stored too.
    """

    epochs: int = 0
    augmentation: Augmentation = "none"
    neighbourhood: int = 3
    bank_rows: int = 1024
    bank_variants: bool = False


PAPER: dict[str, Any] = {"size": 224}
"""PatchCore's input side."""

DEPTHS = (0.5, 0.75)
"""Fractions of the tower's depth: PatchCore uses the second and third of four stages."""


class Patchcore(Untrained):
    """PatchCore. Levels hold averaged tokens (B, T, d)."""

    name = "patchcore"
    learns_from = (0,)

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: PatchcoreSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        if settings.neighbourhood % 2 == 0:
            raise UsageError(f"neighbourhood={settings.neighbourhood}: must be odd")
        self.taps = backbone.taps(DEPTHS)
        self.bank = MemoryBank(len(self.taps), backbone.width)

    @property
    def remembers_variants(self) -> bool:
        """Whether the memory holds augmented variants too."""
        return bool(self.settings.bank_variants)

    def prepare(self, images: Tensor) -> Tensor:
        """Means of neighbourhoods (B, L, T, d), CLS first."""
        levels = self.backbone.features(self.input(images), self.taps).levels
        return torch.stack([self._average_neighbours(tokens.float()) for tokens in levels], 1)

    def _average_neighbours(self, tokens: Tensor) -> Tensor:
        """Replace each patch token by the mean of its neighbourhood, (B, T, d)."""
        side = self.settings.neighbourhood
        grid = scoring.on_grid(tokens[:, 1:])
        mean = F.avg_pool2d(grid, side, 1, side // 2, count_include_pad=False)
        return torch.cat([tokens[:, :1], mean.flatten(2).transpose(1, 2)], 1)

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """The tokens of each level, (B, T, d)."""
        return Levels(prepared.unbind(1), ())

    @torch.no_grad()
    def remember(self, normals: Sequence[Tensor], patients: Tensor) -> None:
        """Store a coreset of the normals' patches, and the scale of distances between patients."""
        levels = [torch.cat(parts) for parts in zip(*(n.unbind(1) for n in normals), strict=True)]
        self.bank.fill(levels, patients, size=self.settings.bank_rows, cls=False)

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Largest patch score (B,) and maps (B, G, G); 1 is the 99th percentile of normals."""
        patches = self.bank(levels.seg, scaled=True, cut=False).mean(0)
        grid = scoring.on_grid(patches.unsqueeze(-1)).squeeze(1)
        return patches.amax(1), grid
