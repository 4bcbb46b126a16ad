"""Four scores of an image from its tokens, each learnt in closed form, by models that are averaged.

- patches: a Fisher discriminant at each level, from masks, or else by multiple instances: the mean
  of four that start from all patches of the abnormal shots or from those farthest from the normals,
  and keep a small or a large share of them. The score is the largest of the two middle levels'
  sum, the map the sum of all levels'.
- image: a ridge regression on mean, deviation and maximum of the middle levels' patches.
- memory: the distance of the patch that is farthest from those of normal shots.
- lesions, where there are masks: as patches, by multiple instances.

Tried on unseen training patients with 4 shots of each label, and left out: copies of the shots
turned by pi/16 both ways and enlarged by 1.15, mirrored too (fused AUROC: breast ultrasound +.023,
lung CT +.010, chest films -.007, brain FLAIR -.010, 3 to 5 draws, from -.100 to +.036; with 16
shots breast -.001; at four times the cost). On breast ultrasound alone: for the largest patch the
mean of the five largest (-.012), or the largest of the map averaged over 3 x 3 patches (-.026);
three partitions into folds for one (+.004, at three times the cost).

Tokens averaged over 3 x 3 patches, where there are masks, cost image AUROC: brain FLAIR -.019 and
breast ultrasound -.023 with 16 shots, -.058 and -.045 with 4 (5 draws); 5 x 5 cost more, and both
kinds side by side gave as much on brain FLAIR and less on breast ultrasound. Without masks single
tokens cost lung CT -.018 and children's chest films nothing with 16 shots (+.007 and -.003 with 4).

How much nearer patches lie to those of abnormal shots than to those of normal ones, as a mean over
the image (Boiman et al., CVPR 2008), would be a second memory. Beside the others it gave the three
sets without masks +.009 with 16 shots and +.011 with 4 on test patients (4 draws), but -.001 and
.000 when shots came from test patients and the others were measured (6 draws): left out.

Tried, in image AUROC on brain FLAIR, lung CT and chest radiographs, and left out: CLS and the outer
levels in the regression (its own up to -.07 at 4 shots); the mean of the patches beside their
maximum (chest +.01, children -.01); the whole image beside its crop (brain -.02, at twice the
cost); a stronger ridge with masks (0.1: brain -.02); weights from a discriminant of the scores
(brain -.04); bounded scores (within .005). In an earlier study these had not helped: a logistic
regression, tokens centred on the image's mean, principal components, mirroring when scoring, one
discriminant on joined levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medscan.parts import discriminant, regression
from medscan.parts.discriminant import Moments, PatchShots, Planes
from medscan.parts.fusion import Expectation
from medscan.parts.memory import PartedMemory

MASK_RIDGE, WEAK_RIDGE, IMAGE_RIDGE = 0.01, 0.1, 1.0
"""Of the discriminants with and without masks, and of the regression."""
SHARES, ROUNDS = (0.05, 0.15), 3
"""Parts of an abnormal image's patches that multiple instances keep, and how often they choose."""
WITH_MASKS = {
    "patches": Expectation(0.88, 4),
    "image": Expectation(0.78, 1),
    "memory": Expectation(0.75, 1),
    "lesions": Expectation(0.78, 1),
}
WITHOUT_MASKS = {
    "patches": Expectation(0.88, 2),
    "image": Expectation(0.78, 2),
    "memory": Expectation(0.75, 1),
}
"""Scores in their order, and what is expected of them."""


class Experts(nn.Module):
    """The mean of some models, one for each part of the shots that it has not seen.

    Parameters
    ----------
    levels, width : int
        L and d of the tokens.
    middle : sequence of int
        Levels that score an image, from 0.
    masked : bool
        Whether the shots have masks.
    """

    image: Tensor

    def __init__(self, levels: int, width: int, middle: Sequence[int], *, masked: bool) -> None:
        super().__init__()
        self.shape, self.middle, self.masked = (levels, width), list(middle), masked
        self.expected = WITH_MASKS if masked else WITHOUT_MASKS
        self.patches = Planes(levels, width)
        self.lesions = Planes(levels, width) if masked else None
        self.memory = PartedMemory(len(self.middle), width)
        self.register_buffer("image", torch.zeros(3 * len(self.middle) * width + 1))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, L, T, d) -> scores (B, b) in the order of `expected`, patch scores (B, N)."""
        patches = tokens[:, :, 1:]
        middle = patches[:, self.middle]
        shown = self.patches(patches)
        found = [
            self._largest(shown),
            regression.project(regression.describe(middle), self.image),
            self.memory(middle),
        ]
        if self.lesions is not None:
            found.append(self._largest(self.lesions(patches)))
        return torch.stack(found, 1), shown.sum(1).mean(-1)

    def _largest(self, projected: Tensor) -> Tensor:
        """Largest sum of the middle levels' projections (B, L, N, M), mean of the models: (B,)."""
        return projected[:, self.middle].sum(1).amax(1).mean(1)

    def learn(self, parts: Sequence[PatchShots], count: int, rows: int) -> list[Experts]:
        """Become the mean of models that leave out one part each.

        Parameters
        ----------
        parts : sequence of PatchShots
        count : int
            Number of parts, the first ones, that a model leaves out. With 0 there is one model of
            all shots.
        rows : int
            Patches that the memory keeps of each level; 0 keeps all.

        Returns
        -------
        list of Experts
            The models.
        """
        normals = [part.tokens[part.labels == 0][:, self.middle, 1:] for part in parts]
        self.memory.fill([one for one in normals if len(one)], rows)
        models = [
            self._model([p for n, p in enumerate(parts) if n != part], self.memory.without(part))
            for part in range(count)
        ]
        models = models or [self._model(parts, self.memory)]
        self.image = torch.stack([model.image for model in models]).mean(0)
        self.patches.join([model.patches for model in models])
        if self.lesions is not None:
            self.lesions.join([model.lesions for model in models if model.lesions is not None])
        return models

    def _model(self, parts: Sequence[PatchShots], memory: PartedMemory) -> Experts:
        """One model of all these shots."""
        model = Experts(*self.shape, self.middle, masked=self.masked)
        model.memory = memory
        tokens, labels = (torch.cat([getattr(p, n) for p in parts]) for n in ("tokens", "labels"))
        patches = tokens[:, :, 1:]
        normal = discriminant.added(part.normal for part in parts)
        weak = model.patches if model.lesions is None else model.lesions
        abnormal = discriminant.added(part.abnormal for part in parts)
        weak.planes = model._without_masks(patches[labels == 1], abnormal, normal)
        if self.masked:
            lesion = torch.cat([part.lesion for part in parts])
            clean = discriminant.added(part.clean for part in parts)
            planes = discriminant.with_masks(patches, lesion, clean, MASK_RIDGE)
            model.patches.planes = planes[None]
        described = regression.describe(patches[:, self.middle])
        model.image = regression.ridge(described, labels, IMAGE_RIDGE)
        return model

    def _without_masks(
        self, patches: Tensor, abnormal: Sequence[Moments], normal: Sequence[Moments]
    ) -> Tensor:
        """Planes (1, L, d + 1) by multiple instances, from abnormal images (J, L, N, d)."""
        pairs = zip(abnormal, normal, strict=True)
        every = torch.stack([discriminant.fisher(a, n, WEAK_RIDGE) for a, n in pairs])
        starts = (
            discriminant.on_planes(patches, every),
            self.memory.gaps(patches[:, self.middle]).sum(1),
        )
        found = [
            discriminant.without_masks(
                patches, scores, normal, WEAK_RIDGE, share=share, rounds=ROUNDS
            )
            for scores in starts
            for share in SHARES
        ]
        return torch.stack(found).mean(0, keepdim=True)
