"""Conditional prompt learning for anomaly detection: sentences that depend on the image.

"Conditional Prompt Learning for Anomaly Detection in Medical Image Slices" (Seoul National
University, 2025), section 3.2 and algorithm 1, after CoCoOp (CVPR 2022). No code was published;
these choices complete the report.

1. Sentences are "normal" or "diseased", the organ, M = 4 learned vectors V, N(0, 0.02), and M
   vectors W(x), both the same for the two sentences.
2. W(x) is CoCoOp's meta-net with M outputs: Linear(D, D/16), ReLU, Linear(D/16, M d_t) on the unit
   CLS embedding of the frozen encoder. Its last layer starts at 0, so that all images start with
   the same sentences.
3. Levels are the four usual taps; the tower's own last norm and projection, the only frozen ones,
   bring their tokens to the joint space.
4. Loss: cross-entropy of the mean logit pair of the levels' CLS, and Dice on the softmax of the
   upsampled fused map, weighted by `dice_weight` because the report finds that the two conflict.
   Dice is taken over the batch; the report does not say.
5. Levels are weighted for each image, by a softmax over means that are not differentiated. The
   means differ by hundredths, so that the weights are nearly equal.
6. Image score: the probability of the levels' average, as the equation says. The "same strategy" of
   the text before it is `weighted_score`.
7. The map is the probability of the fused pair, which ranks pixels of all images as the fused map
   does. "Normalize" of algorithm 1, a min-max of each map, would give every normal image a pixel at
   1: only `published` does so, with `minmax`.
8. Adam at 1e-3 for 10 epochs of batches of 8, which the report leaves open; 224 pixels.
9. The text tower runs once per image, on sentences cut after the end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medscan.clip import Backbone, Need, Prompts
from medscan.methods.base import Augmentation, Batch, Levels, Method, Published, Settings
from medscan.parts import SentencePairs, losses, scoring

STATES = ("normal", "diseased")


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoopSettings(Settings):
    """Settings of conditional prompts, in addition to `Settings`.

    Parameters
    ----------
    context : int
        M vectors of each kind, at least 1.
    dice_weight : float
        Weight of Dice beside cross-entropy.
    batch_dice : bool
        `over_batch` of `losses.dice`.
    weighted_score : bool
        Weight levels in the image score as in the map, instead of averaging them.
    minmax : bool
        Scale each published map to [0, 1] by its own minimum and maximum (algorithm 1).
    """

    epochs: int = 10
    augmentation: Augmentation = "none"
    context: int = 4
    dice_weight: float = 1.0
    batch_dice: bool = True
    weighted_score: bool = False
    minmax: bool = False


PAPER: dict[str, Any] = {"size": 224, "minmax": True}
"""Settings that reproduce the published procedure."""


class Cocoop(Method):
    """Levels hold scaled similarities: of CLS (B, 1, 2), of patches (B, N, 2)."""

    name = "cocoop"
    needs = (Need.SENTENCES,)

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: CocoopSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        joint, narrow = backbone.joint_width, backbone.text_width
        self.length = settings.context
        blank = " ".join(["X"] * 2 * self.length)
        self.pairs = SentencePairs(backbone, organs, [f"{s} {{}} {blank}" for s in STATES])
        self.context = nn.Parameter(0.02 * torch.randn(self.length, narrow))
        hidden = max(1, joint // 16)
        self.meta = nn.Sequential(
            nn.Linear(joint, hidden), nn.ReLU(), nn.Linear(hidden, self.length * narrow)
        )
        for parameter in self.meta[2].parameters():
            nn.init.zeros_(parameter)

    # --- features -----------------------------------------------------------------------------

    def prepare(self, images: Tensor) -> Tensor:
        """Unit tokens of each tap in the joint space, (B, L, T, D) float32."""
        levels = self.backbone.features(self.input(images), self.taps).levels
        projected = torch.stack([self.backbone.project(tokens) for tokens in levels], dim=1)
        return F.normalize(projected.float(), dim=-1)

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """Scaled similarities to the image's own two sentences."""
        text, scale = self.sentences(prepared[:, -1, 0], organs), self.backbone.logit_scale
        logits = [scoring.similarity(tokens, text, scale) for tokens in prepared.unbind(1)]
        return Levels(tuple(x[:, 1:] for x in logits), tuple(x[:, :1] for x in logits))

    def sentences(self, images: Tensor, organs: Tensor | None = None) -> Tensor:
        """Unit image embeddings (B, D) -> unit features (B, 2, D) of their sentences."""
        prompts = self.pairs(images.shape[0], organs)
        from_image = self.meta(images).view(images.shape[0], self.length, -1)
        learnt = torch.cat([self.context.expand_as(from_image), from_image], dim=1)
        learnt = learnt.repeat_interleave(2, dim=0).to(prompts.embeddings.dtype)
        # The learned vectors stand right before the end token, whose position depends on the organ.
        positions = prompts.end[:, None] + torch.arange(-2 * self.length, 0, device=images.device)
        index = positions[..., None].expand_as(learnt)
        filled = Prompts(prompts.embeddings.scatter(1, index, learnt), prompts.end)
        features = self.backbone.encode_text(filled).float()
        return F.normalize(features.view(images.shape[0], 2, -1), dim=-1)

    def fuse(self, logits: tuple[Tensor, ...], *, weighted: bool) -> Tensor:
        """Logit pairs (B, N, 2) of all levels as one, weighted by the levels' mean margins."""
        levels = torch.stack(logits)
        if not weighted:
            return levels.mean(0)
        margins = (levels[..., 1] - levels[..., 0]).mean(-1) / self.backbone.logit_scale
        weights = margins.detach().softmax(0)
        return (weights[..., None, None] * levels).sum(0)

    def _image(self, levels: Levels) -> Tensor:
        """Logit pair (B, 2)."""
        return self.fuse(levels.det, weighted=self.settings.weighted_score)[:, 0]

    def _grid(self, levels: Levels) -> Tensor:
        """Logit pairs (B, 2, G, G)."""
        return scoring.on_grid(self.fuse(levels.seg, weighted=True))

    # --- training and scores ------------------------------------------------------------------

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the images; Dice of the maps where masked."""
        terms = {"ce": F.cross_entropy(self._image(levels), batch.labels.long())}
        if batch.masks is None or not bool(batch.masked.any()):
            return terms
        grid, masks = self._grid(levels)[batch.masked], batch.masks[batch.masked]
        corners = self.settings.align_corners
        fine = scoring.upsample(grid, masks.shape[-1], align_corners=corners)
        p = scoring.abnormal_probability(fine, 1)
        dice = losses.dice(p, masks, over_batch=self.settings.batch_dice)
        return terms | {"dice": self.settings.dice_weight * dice}

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """One Adam."""
        return [torch.optim.Adam(self.parameters(), self.settings.learning_rate)]

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Probability of the diseased sentence, of images (B,) and patches (B, G, G)."""
        image = scoring.abnormal_probability(self._image(levels), 1)
        return image, scoring.abnormal_probability(self._grid(levels), 1)

    def published(self, levels: Levels, size: int) -> Published:
        """The fused map, bicubic, with `minmax` scaled to [0, 1] by its own range."""
        pair = self._grid(levels) / self.backbone.logit_scale
        margin = (pair[:, 1] - pair[:, 0])[:, None]
        corners = self.settings.align_corners
        fine = F.interpolate(margin, (size, size), mode="bicubic", align_corners=corners)[:, 0]
        if self.settings.minmax:
            low, high = fine.amin((1, 2), keepdim=True), fine.amax((1, 2), keepdim=True)
            fine = (fine - low) / (high - low).clamp_min(1e-8)
        return Published((self.score(levels)[0],), (fine,))
