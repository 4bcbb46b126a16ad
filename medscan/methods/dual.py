"""What MVFA and MedVMAD share: two adapters per tap that read the tower and write back into it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, nn

from medscan.clip import Backbone, Need
from medscan.methods.base import Batch, Levels, Method, Settings
from medscan.parts import ResidualAdapter, losses, scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class DualSettings(Settings):
    """Settings of methods with dual adapters, in addition to `Settings`.

    Parameters
    ----------
    keep, mix : float
        Tokens become keep * tokens + mix * seg update + mix * det update (code: 0.8, 0.1).
    scale : float
        Factor on cosines, in place of the checkpoint's.
    legacy_bce, batch_dice : bool
        `legacy` of `losses.binary` and `over_batch` of `losses.dice`.
    """

    keep: float = 0.8
    mix: float = 0.1
    scale: float = 100.0
    legacy_bce: bool = False
    batch_dice: bool = True


class DualResidual(Method):
    """Adapters "seg" for maps and "det" for image scores at every tap (MVFA, eq. 1-3).

    Parameters
    ----------
    backbone, organs, settings, masked
        See `Method`; without masks only the det branch is trained.
    seg : bool
        Whether to build a seg branch.
    """

    needs = (Need.SENTENCES, Need.ONE_RUN)

    def __init__(
        self, backbone: Backbone, organs: Sequence[str], settings: Any, *, masked: bool, seg: bool
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        self.seg = self._adapters() if seg else nn.ModuleList()
        self.det = self._adapters()

    def _adapters(self) -> nn.ModuleList:
        wide, joint = self.backbone.width, self.backbone.joint_width
        return nn.ModuleList(ResidualAdapter(wide, joint) for _ in self.taps)

    def _adapters_at(self, level: int) -> list[ResidualAdapter]:
        """Adapters of a tap: det, then seg if it was built."""
        return [cast(ResidualAdapter, part[level]) for part in (self.det, self.seg) if len(part)]

    @abstractmethod
    def sentences(self, organs: Tensor | None = None) -> Tensor:
        """Unit features (normal, abnormal): (2, D) of the scored organ, (B, 2, D) of `organs`."""

    @property
    def attend(self) -> bool:
        """Whether the tower's blocks keep their attention."""
        return True

    # --- features -----------------------------------------------------------------------------

    def prepare(self, images: Tensor) -> Tensor:
        """The tower's own tokens (B, T, d) after the first tapped block, before all trained."""
        return self.backbone.features(self.input(images), self.taps[:1], attend=self.attend).last

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """Aligned features (B, T, D) of both branches at every tap, independent of the organ."""
        seg: list[Tensor] = []
        det: list[Tensor] = []
        keep, mix = self.settings.keep, self.settings.mix
        keep += 0 if len(self.seg) else mix  # without a seg branch its share stays with the tokens

        def adapt(block: int, tokens: Tensor) -> Tensor:
            if block not in self.taps:
                return tokens
            level = self.taps.index(block)
            # Adapters are trained in single precision, even on a tower in half precision.
            wide = tokens.float() if self.training else tokens
            adapters = self._adapters_at(level)
            aligned = [adapter(wide) for adapter in adapters]
            for branch, features in zip((det, seg), aligned, strict=False):
                branch.append(self.backbone.arrange(features))
            if block == self.taps[-1]:
                return tokens  # no later block would read the updates of the last adapters
            updates = [a.update(features) for a, features in zip(adapters, aligned, strict=True)]
            mixed: Tensor = keep * wide + mix * reduce(torch.add, updates)
            return mixed.to(tokens.dtype)

        first = self.taps[0]
        start = adapt(first, prepared)
        self.backbone.run(start, first, self.taps[1:], adapt, attend=self.attend)
        return Levels(tuple(seg), tuple(det))

    def logits(self, aligned: Tensor, text: Tensor) -> Tensor:
        """Scaled cosines (B, N, 2) of patches."""
        return scoring.similarity(aligned[:, 1:].float(), text, self.settings.scale)

    def probability_map(self, aligned: Tensor, size: int, text: Tensor | None = None) -> Tensor:
        """Abnormal probability (B, size, size) of one level: upsampled, then softmax."""
        text = self.sentences() if text is None else text
        corners = self.settings.align_corners
        return scoring.probability_maps(self.logits(aligned, text), size, align_corners=corners)

    # --- training -----------------------------------------------------------------------------

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """BCE of the det branch at each level; `map_terms` of the seg branch where masked."""
        terms: dict[str, Tensor] = {}
        text = self.sentences(batch.organs)
        for number, aligned in enumerate(levels.det):
            p = scoring.abnormal_probability(self.logits(aligned, text), -1).mean(1)
            terms[f"bce.{number}"] = losses.binary(p, batch.labels, legacy=self.settings.legacy_bce)
        if batch.masks is None or not bool(batch.masked.any()):
            return terms
        masks = batch.masks[batch.masked]
        text = text[batch.masked] if text.dim() == 3 else text
        for number, aligned in enumerate(levels.seg):
            p = self.probability_map(aligned[batch.masked], masks.shape[-1], text)
            terms |= {f"{k}.{number}": term for k, term in self.map_terms(p, masks).items()}
        return terms

    def map_terms(self, p: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Focal and Dice of one level's abnormal probability (B, S, S)."""
        over_batch = self.settings.batch_dice
        return {
            "focal": losses.focal(p, masks),
            "dice": losses.dice(p, masks, over_batch=over_batch),
        }

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """One Adam per branch, as in the code."""
        parts = [self.seg, self.det] if self.masked else [self.det]
        return [
            torch.optim.Adam(p.parameters(), self.settings.learning_rate, betas=(0.5, 0.999))
            for p in parts
        ]

    def active_optimisers(
        self, optimisers: list[torch.optim.Optimizer], batch: Batch
    ) -> list[torch.optim.Optimizer]:
        """All, but without the seg branch's for a batch without masks, as in the code.

        The seg adapters would get gradients from the image scores, through the tokens they change.
        """
        if not self.masked or (batch.masks is not None and bool(batch.masked.any())):
            return optimisers
        seg = set(self.seg.parameters())
        return [
            o for o in optimisers if not any(seg.intersection(g["params"]) for g in o.param_groups)
        ]
