"""A memory of normal patches and nothing else, after PatchCore (Roth et al., CVPR 2022).

Tokens of the middle of a frozen tower (section 3.1: mid-level features) are averaged over their
neighbourhood, a greedy coreset of those of normal shots is kept (section 3.2, algorithm 1), and a
patch scores by its distance to the nearest one; an image by its farthest patch (section 3.3). Here
the distance is the cosine's, each level has a memory of its own, and distances are divided by what
normals of different patients show, so that levels can be averaged and scores compared. PatchCore's
re-weighting of the image score is left out.
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
from medscan.methods.base import Augmentation, Batch, Levels, Method, Settings
from medscan.parts import MemoryBank, scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchcoreSettings(Settings):
    """Settings beside those of `Settings`.

    Parameters
    ----------
    neighbourhood : int
        Side in patches, odd, of what a token is averaged over (PatchCore: 3).
    bank_rows : int
        Size of the coreset at each level; 0 keeps every row.
    bank_variants : bool
        Whether augmented variants of the normals are remembered too.
    """

    epochs: int = 0
    augmentation: Augmentation = "none"
    neighbourhood: int = 3
    bank_rows: int = 1024
    bank_variants: bool = False


PAPER: dict[str, Any] = {"size": 224}
"""PatchCore's input side."""

DEPTHS = (0.5, 0.75)
"""Where features are taken: PatchCore uses the second and third of four stages."""


class Patchcore(Method):
    """See the module."""

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
            raise UsageError(f"neighbourhood={settings.neighbourhood}: it must be odd")
        self.taps = backbone.taps(DEPTHS)
        self.bank = MemoryBank(len(self.taps), backbone.width)

    @property
    def remembers_variants(self) -> bool:
        """As the settings say."""
        return bool(self.settings.bank_variants)

    def prepare(self, images: Tensor) -> Tensor:
        """Neighbourhoods' means (B, L, T, d), CLS first."""
        levels = self.backbone.features(self.input(images), self.taps).levels
        return torch.stack([self._averaged(tokens.float()) for tokens in levels], 1)

    def _averaged(self, tokens: Tensor) -> Tensor:
        side = self.settings.neighbourhood
        grid = scoring.on_grid(tokens[:, 1:])
        mean = F.avg_pool2d(grid, side, 1, side // 2, count_include_pad=False)
        return torch.cat([tokens[:, :1], mean.flatten(2).transpose(1, 2)], 1)

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """The tokens of each level, (B, T, d)."""
        return Levels(prepared.unbind(1), ())

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """Nothing is learnt by gradient."""
        return {}

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Nothing is learnt by gradient."""
        return []

    @torch.no_grad()
    def remember(self, normals: Sequence[Tensor], patients: Tensor) -> None:
        """Keep a coreset of the normals' patches, and how far normals lie from one another."""
        levels = [torch.cat(parts) for parts in zip(*(n.unbind(1) for n in normals), strict=True)]
        self.bank.fill(levels, patients, size=self.settings.bank_rows, cls=False)

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Scores of the farthest patch (B,) and maps (B, G, G); 1 is the far end of normals."""
        found = self.bank(levels.seg, scaled=True, cut=False).mean(0)
        grid = scoring.on_grid(found.unsqueeze(-1)).squeeze(1)
        return found.amax(1), grid
