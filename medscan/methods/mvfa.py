"""MVFA: multi-level visual feature adaptation (Huang et al., CVPR 2024).

At four depths two bottleneck adapters read the tokens and write back into the tower (section 4,
eq. 1-3); their bottlenecks are compared with a fixed ensemble of sentences (zero-shot branch,
section 5.1) and with those of the normal shots (few-shot branch, section 5.2). Settings whose
comment begins with "#n" or a letter are where paper and code disagree or the code errs; the
numbers are those of tests/methods/test_mvfa.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from medscan.clip import Backbone
from medscan.methods import losses, prompts, scoring
from medscan.methods.adapters import ResidualAdapter
from medscan.methods.base import Batch, Levels, Method, Settings
from medscan.methods.memory import MemoryBank


@dataclass(frozen=True, slots=True, kw_only=True)
class MvfaSettings(Settings):
    """Settings of MVFA beside those of `Settings`; the defaults are the `clean` protocol.

    Adam, betas (0.5, 0.999). The code trains 50 epochs of all eleven variants one by one, feeds
    [0, 1] to a tower with GELU and upsamples with align_corners.

    Parameters
    ----------
    keep, mix : float
        Tokens go on as keep * tokens + mix * seg update + mix * det update (code: 0.8, 0.1).
    scale : float
        Factor on cosines, whatever the checkpoint's own (code: 100).
    legacy_bce, batch_dice : bool
        See `losses.binary` and `losses.dice`.
    memory : bool
        Whether distances to the normal shots count; without it the text scores alone.
    bank_cls, bank_variants : bool
        Whether the bank holds CLS tokens, and augmented variants of the normals.
    bank_rows : int
        Size of the bank's coreset at each level; 0 keeps every row.
    fusion : {"support", "none"}
        How distances to the bank are brought to [0, 1]: by the distances of normal shots to other
        patients' normal shots; or not at all (the caller scales them by the test set, as the code
        does).
    image_score : {"det", "max", "both"}
        Score of an image with masked training data: mean of the det branch, maximum of the map
        (code), or the mean of both.
    idle_branch : bool
        Mix in the seg branch although data without masks never trains it, as the code does.
    """

    keep: float = 0.8
    mix: float = 0.1
    scale: float = 100.0
    legacy_bce: bool = False
    batch_dice: bool = True
    memory: bool = True
    bank_cls: bool = False
    bank_variants: bool = False
    bank_rows: int = 1024
    fusion: Literal["support", "none"] = "support"
    image_score: Literal["det", "max", "both"] = "both"
    idle_branch: bool = False


PAPER: dict[str, Any] = {
    "batch": 1,
    "variants": "all",
    "normalise": False,
    "quick_gelu": False,
    "align_corners": True,
    "legacy_bce": True,
    "batch_dice": False,
    "bank_cls": True,
    "bank_variants": True,
    "bank_rows": 0,
    "fusion": "none",
    "image_score": "max",
    "idle_branch": True,
    "size": 240,
}
"""What reproduces the published procedure."""

ZERO_SHOT: dict[str, Any] = {
    "learning_rate": 1e-4,
    "augmentation": "none",
    "memory": False,
    "image_score": "det",
}
"""Learning from other data sets (section 4.2): no memory, image scores of the det branch."""


class Mvfa(Method):
    """See the module. Without masks only the det branch is trained."""

    name = "mvfa"
    text: Tensor
    texts: Tensor

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: MvfaSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        self.seg = self._adapters() if masked or settings.idle_branch else nn.ModuleList()
        self.det = self._adapters()
        texts = torch.stack([prompts.ensemble(backbone, organ) for organ in organs])
        self.register_buffer("text", texts[0].clone())
        self.register_buffer("texts", texts, persistent=False)
        self.banks = nn.ModuleDict(
            {kind: MemoryBank(len(self.taps), backbone.joint_width) for kind in self._banked()}
        )

    def _adapters(self) -> nn.ModuleList:
        wide, joint = self.backbone.width, self.backbone.joint_width
        return nn.ModuleList(ResidualAdapter(wide, joint) for _ in self.taps)

    def _banked(self) -> tuple[str, ...]:
        """Branches whose distances are used: seg for maps, det where the score asks for it."""
        if not self.settings.memory:
            return ()
        if not self.masked:
            return ("det",)
        return ("seg",) if self.settings.image_score == "max" else ("seg", "det")

    # --- features -----------------------------------------------------------------------------

    def prepare(self, images: Tensor) -> Tensor:
        """Tokens (B, T, d) after the first tapped block, which nothing trained comes before."""
        return self.backbone.features(self.input(images), self.taps[:1]).levels[0]

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """Aligned features (B, T, D) of both branches at every tap, whatever the organ."""
        seg: list[Tensor] = []
        det: list[Tensor] = []

        def adapt(block: int, tokens: Tensor) -> Tensor:
            if block not in self.taps:
                return tokens
            level, mix = self.taps.index(block), self.settings.mix
            # Adapters stay in single precision whatever the tower computes in.
            wide = tokens.float()
            aligned, change = self.det[level](wide)
            det.append(aligned)
            keep = self.settings.keep
            if len(self.seg):
                seg_aligned, seg_change = self.seg[level](wide)
                seg.append(seg_aligned)
                change = change + seg_change
            else:
                keep += mix  # there is no seg branch to give the rest
            mixed: Tensor = keep * wide + mix * change
            return mixed.to(tokens.dtype)

        first = self.taps[0]
        self.backbone.run(adapt(first, prepared), first, self.taps[1:], adapt)
        return Levels(tuple(seg), tuple(det))

    def _logits(self, aligned: Tensor, organs: Tensor | None = None) -> Tensor:
        text = self.text if organs is None else self.texts[organs]
        return scoring.similarity(aligned[:, 1:].float(), text, self.settings.scale)

    # --- training -----------------------------------------------------------------------------

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """BCE of the det branch at each level; Dice and focal of the seg branch where masked."""
        found: dict[str, Tensor] = {}
        for number, aligned in enumerate(levels.det):
            p = scoring.abnormal_probability(self._logits(aligned, batch.organs), -1).mean(1)
            found[f"bce.{number}"] = losses.binary(p, batch.labels, legacy=self.settings.legacy_bce)
        if batch.masks is None or not bool(batch.masked.any()):
            return found
        masks, organs = batch.masks[batch.masked], batch.organs[batch.masked]
        for number, aligned in enumerate(levels.seg):
            p = self.probability_map(aligned[batch.masked], masks.shape[-1], organs)
            found[f"focal.{number}"] = losses.focal(p, masks)
            found[f"dice.{number}"] = losses.dice(p, masks, over_batch=self.settings.batch_dice)
        return found

    def probability_map(self, aligned: Tensor, size: int, organs: Tensor | None = None) -> Tensor:
        """Abnormal probability (B, size, size) of one level: upsampled, then softmax (#9)."""
        grid = scoring.on_grid(self._logits(aligned, organs))
        fine = scoring.upsample(grid, size, align_corners=self.settings.align_corners)
        return scoring.abnormal_probability(fine, 1)

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """One Adam a branch, as the code has."""
        parts = [self.seg, self.det] if self.masked else [self.det]
        return [
            torch.optim.Adam(p.parameters(), self.settings.learning_rate, betas=(0.5, 0.999))
            for p in parts
        ]

    # --- memory -------------------------------------------------------------------------------

    @property
    def remembers_variants(self) -> bool:
        """As the code does (#10)."""
        return bool(self.settings.bank_variants)

    @torch.inference_mode()
    def remember(self, normals: Sequence[Tensor], patients: Tensor) -> None:
        """Keep the normals' aligned features, and how far normals are from other patients'."""
        if not self.banks:
            return
        seen = [self(part) for part in normals]
        for kind in self._banked():
            levels = [torch.cat(p) for p in zip(*(getattr(s, kind) for s in seen), strict=True)]
            self._bank(kind).fill(
                levels, patients, size=self.settings.bank_rows, cls=self.settings.bank_cls
            )

    def _bank(self, kind: str) -> MemoryBank:
        return cast(MemoryBank, self.banks[kind])

    # --- scores -------------------------------------------------------------------------------

    def _branch(self, levels: Levels, kind: str) -> Tensor:
        """Patch scores (B, N): half text, half memory, each averaged over the levels."""
        logits = torch.stack([self._logits(aligned) for aligned in getattr(levels, kind)])
        zero = scoring.abnormal_probability(logits, -1).mean(0)
        if not self.settings.memory:
            return zero
        few: Tensor = self._bank(kind)(
            getattr(levels, kind), scaled=self.settings.fusion == "support"
        )
        return 0.5 * zero + 0.5 * few.mean(0)

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Image scores (B,) and maps (B, G, G)."""
        patches = self._branch(levels, "seg" if self.masked else "det")
        grid = scoring.on_grid(patches.unsqueeze(-1)).squeeze(1)
        if not self.masked:
            return patches.mean(1), grid
        if self.settings.image_score == "max":
            return patches.amax(1), grid
        det = self._branch(levels, "det").mean(1)
        if self.settings.image_score == "det":
            return det, grid
        return 0.5 * (det + patches.amax(1)), grid
