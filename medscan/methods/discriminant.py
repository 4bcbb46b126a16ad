"""medscan's own method: discriminants of patches and images in closed form, fused by their skill.

Fitting takes no gradient and no text. The tokens of four levels are normalised; mirrored copies of
the shots are shots too. What they teach is in `medscan.parts.experts`, and how its scores become
one in `medscan.parts.fusion`.

Masks say of each patch what it shows: its token stays alone. Without them patches have to be found,
and tokens averaged over 3 x 3 of them are found better.

Small lesions sit in heads that fill half the frame: where the foreground of the shots fills 0.6 to
0.95 of it, the tower is shown that part alone, and maps are put back in their place.

Every fold of the patients gives a model that had not seen it. The detector is the mean of these
models: what is calibrated on unseen shots is what scores. Maps are 0 at the median of the patches
of unseen normals, and 1 at their 99th percentile. What was tried is in `medscan.parts.experts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medscan.clip import Backbone
from medscan.methods.base import Augmentation, Examples, Levels, Settings, Unseen, Untrained
from medscan.parts import Experts, PatchShots, foreground, fusion, scoring

DEPTHS = (0.5, 0.75)
"""Fractions of the tower's depth whose levels score an image; all levels draw its map."""
FRAMED = (0.6, 0.95)
"""Median side of the foreground, in images, from which and up to which they are cropped to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminantSettings(Settings):
    """Settings of the method, in addition to `Settings`.

    Parameters
    ----------
    view : {"auto", "whole", "foreground"}
        What the tower is shown of an image; "auto" becomes one of the others when fitting.
    patches : {"auto", "single", "averaged"}
        Whether a token is that of its patch or the mean over 3 x 3; "auto" becomes, when fitting,
        "single" with masks and else "averaged", as it is in detectors that do not say.
    bank_rows : int
        Patches that the memory keeps of each level; 0 keeps all.
    """

    epochs: int = 0
    augmentation: Augmentation = "flip"
    view: Literal["auto", "whole", "foreground"] = "auto"
    patches: Literal["auto", "single", "averaged"] = "auto"
    bank_rows: int = 1024


class Discriminant(Untrained):
    """The method. Levels hold normalised tokens (B, T, d), CLS first; `det` holds boxes (B, 3)."""

    name = "discriminant"
    at_once = True
    factors: Tensor
    offset: Tensor
    unit: Tensor

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: DiscriminantSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        middle = [self.taps.index(tap) for tap in backbone.taps(DEPTHS)]
        self.experts = Experts(len(self.taps), backbone.width, middle, masked=masked)
        self.register_buffer("factors", torch.zeros(len(self.experts.expected)))
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("unit", torch.tensor([0.0, 1.0]))

    # --- tokens -------------------------------------------------------------------------------

    def look(self, images: Tensor) -> None:
        """Settle what the tower is shown, by the median foreground, and what a token is."""
        if self.settings.patches == "auto":
            patches = "single" if self.masked else "averaged"
            self.settings = replace(self.settings, patches=patches)
        if self.settings.view == "auto":
            side = float(foreground.find_boxes(images)[:, 2].median())
            view = "foreground" if FRAMED[0] <= side <= FRAMED[1] else "whole"
            self.settings = replace(self.settings, view=view)

    def prepare(self, images: Tensor) -> Tensor:
        """Tokens of all levels in one row, and then the box, (B, L T d + 3)."""
        boxes = images.new_tensor([[0.5, 0.5, 1.0]]).expand(images.shape[0], -1)
        if self.settings.view == "foreground":
            boxes = foreground.find_boxes(images)
            images = foreground.crop(images, boxes)
        levels = [t.float() for t in self.backbone.features(self.input(images), self.taps).levels]
        if self.settings.patches != "single":
            levels = [scoring.averaged(level) for level in levels]
        tokens = torch.stack([F.layer_norm(level, level.shape[-1:]) for level in levels], 1)
        return torch.cat([tokens.flatten(1), boxes.to(tokens)], 1)

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """The tokens of each level (B, T, d), and the boxes (B, 3)."""
        shape = (len(self.taps), self.backbone.grid**2 + 1, self.backbone.width)
        return Levels(prepared[:, :-3].view(-1, *shape).unbind(1), (prepared[:, -3:],))

    def outline(self, prepared: Tensor) -> Tensor:
        """As in `Method`, over the tokens of all levels."""
        return super().outline(torch.stack(self(prepared).seg, 1))

    # --- learning -----------------------------------------------------------------------------

    @torch.no_grad()
    def solve(self, shots: Examples, folds: Sequence[Tensor]) -> Unseen:
        """Learn a model for each fold from the shots of the others; see `Method.solve`."""
        numbers = [n for n, fold in enumerate(folds) if self._can_learn(shots, ~fold)]
        folds = [folds[n] for n in numbers]
        rest = ~torch.stack([torch.zeros_like(shots.typical), *folds]).any(0)
        parts = [self._part(shots, part) for part in (*folds, rest) if part.any()]
        models = self.experts.learn(parts, len(folds), self.settings.bank_rows)
        # Without folds one model learns from all shots, and what it says of them is not unseen.
        scored = torch.stack(folds or [rest])
        found = [
            self._judged(model, self(shots.prepared[part, 0]))
            for model, part in zip(models, scored, strict=True)
        ]
        places = scored.nonzero()[:, 1].argsort()
        scores, maps = (torch.cat(each)[places] for each in zip(*found, strict=True))
        which = scored.any(0)
        self._fuse(scores, maps, shots.labels[which], shots.typical[which])
        kept = slice(None) if folds else slice(0)
        judges = {n: partial(self.score, experts=m) for n, m in zip(numbers, models, strict=False)}
        return Unseen(which & bool(folds), *self._fused(scores[kept], maps[kept]), judges)

    def _can_learn(self, shots: Examples, chosen: Tensor) -> bool:
        """Whether these shots have both labels, and an abnormal one a mask if masks are used."""
        labels, masked = shots.labels[chosen], shots.masked[chosen]
        abnormal = (labels == 1) & masked if self.masked else labels == 1
        return bool((labels == 0).any() and abnormal.any())

    def _part(self, shots: Examples, chosen: Tensor) -> PatchShots:
        """What is known of some shots, in all their variants."""
        prepared = shots.prepared[chosen]
        variants = prepared.shape[1]
        levels = self(prepared.flatten(0, 1))
        cover = torch.zeros(len(levels.seg[0]), self.backbone.grid**2)
        if self.masked and shots.masks is not None:
            cover = self._cover(shots.masks[chosen].flatten(0, 1).float(), levels.det[0])
        known = (shots.masked if self.masked else shots.labels == 0)[chosen]
        return PatchShots.of(
            torch.stack(levels.seg, 1),
            shots.labels[chosen].repeat_interleave(variants),
            cover,
            known.repeat_interleave(variants),
        )

    def _cover(self, masks: Tensor, boxes: Tensor) -> Tensor:
        """Part of each patch that masks (J, S, S) cover, (J, N)."""
        masks = masks[:, None]
        if self.settings.view == "foreground":
            masks = foreground.crop(masks, boxes)
        grid = self.backbone.grid
        return F.avg_pool2d(masks, self.backbone.patch)[:, 0, :grid, :grid].flatten(1)

    def _fuse(self, scores: Tensor, maps: Tensor, labels: Tensor, typical: Tensor) -> None:
        """Weigh scores (I, b) and scale maps (I, G, G), by shots that were not seen."""
        expected = tuple(self.experts.expected.values())
        self.factors, self.offset = fusion.fuse(scores, labels, typical, expected)
        normal = (labels == 0) & typical
        patches = maps[normal if normal.any() else labels == 0].flatten().sort().values
        middle, high = patches[len(patches) // 2], patches[int(0.99 * (len(patches) - 1))]
        self.unit = torch.stack([middle, 1 / (high - middle).clamp_min(1e-6)])

    # --- scores -------------------------------------------------------------------------------

    def score(self, levels: Levels, experts: Experts | None = None) -> tuple[Tensor, Tensor]:
        """Fused scores (B,), 0 for the median normal, and maps (B, G, G) in units of normals."""
        return self._fused(*self._judged(experts or self.experts, levels))

    def _judged(self, experts: Experts, levels: Levels) -> tuple[Tensor, Tensor]:
        """Scores (B, b) before they are fused, and maps (B, G, G) before they are scaled."""
        scores, patches = experts(torch.stack(levels.seg, 1))
        grid = scoring.on_grid(patches.unsqueeze(-1)).squeeze(1)
        if self.settings.view == "foreground":
            seen = self.backbone.grid * self.backbone.patch / self.backbone.size
            grid = foreground.put_back(grid, levels.det[0], seen)
        return scores, grid

    def _fused(self, scores: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        fused = (scores * self.factors).sum(1) + self.offset
        return fused, (maps - self.unit[0]) * self.unit[1]
