"""Unchanged CLIP with a prompt ensemble and no training, after WinCLIP (Jeong et al., CVPR 2023).

Image score: the probability of the abnormal sentences for the image embedding (section 4.1). Map:
the same for windows of patches of several sizes, and their harmonic mean at each patch (section
4.2, eq. 4). WinCLIP runs the tower once for every window; here a window is the mean of its patches'
embeddings, projected by the tower's own head, so that one pass is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from medscan.clip import Backbone, Need
from medscan.methods.base import Augmentation, Levels, Settings, Untrained
from medscan.parts import prompts, scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class WinCLIPSettings(Settings):
    """Settings of WinCLIP, in addition to `Settings`.

    Parameters
    ----------
    windows : int
        Largest side of the windows in patches; all sides from 1 are used.
    """

    epochs: int = 0
    augmentation: Augmentation = "none"
    windows: int = 3


PAPER: dict[str, Any] = {"size": 240}
"""WinCLIP's input side."""


class WinCLIP(Untrained):
    """WinCLIP. Levels hold scaled similarities: of the image (B, 1, 2), of windows (B, N, 2)."""

    name = "clip"
    needs = (Need.SENTENCES,)
    learns_from = ()
    text: Tensor

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: WinCLIPSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        self.register_buffer("text", prompts.ensemble(backbone, self.organs[0]))

    def prepare(self, images: Tensor) -> Tensor:
        """The image embedding, then the last block's patches in the joint space, (B, 1 + N, D)."""
        features = self.backbone.features(self.input(images), self.taps[-1:], pooled=True)
        image = cast(Tensor, features.pooled)
        patches = self.backbone.project(features.levels[0][:, 1:])
        return torch.cat([image[:, None], patches], 1).float()

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """Scaled cosines of the image, (B, 1, 2), and of windows of each size, (B, N, 2)."""
        scale = self.backbone.logit_scale
        grid = scoring.on_grid(prepared[:, 1:])
        windows = [scoring.window_means(grid, side) for side in range(1, self.settings.windows + 1)]
        seg = tuple(scoring.similarity(w, self.text, scale) for w in windows)
        return Levels(seg, (scoring.similarity(prepared[:, :1], self.text, scale),))

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Probability of the abnormal sentences for the image (B,) and its patches (B, G, G)."""
        p = torch.stack([scoring.abnormal_probability(s, -1) for s in levels.seg])
        harmonic = len(p) / p.clamp(min=1e-6).reciprocal().sum(0)
        grid = scoring.on_grid(harmonic.unsqueeze(-1)).squeeze(1)
        return scoring.abnormal_probability(levels.det[0], -1).squeeze(1), grid
