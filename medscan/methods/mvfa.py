"""MVFA: multi-level visual feature adaptation (Huang et al., CVPR 2024).

At four depths two bottleneck adapters read the tokens and write back into the tower (section 4,
eq. 1-3); their bottlenecks are compared with a fixed ensemble of sentences (zero-shot branch,
section 5.1) and with those of the normal shots (few-shot branch, section 5.2). "#n" marks where
paper and code disagree, numbered as in tests/methods/test_mvfa.py.

Fewer epochs do not do: 16 at a falling rate, in batches of 8, 4 (at twice the rate) or 2, had an
image AUROC of 0.73, 0.75 and 0.71 on brain MR, training patients at 112 pixels, where 50 epochs had
0.85.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from medscan.clip import Backbone
from medscan.methods.base import Levels, Published
from medscan.methods.dual import DualResidual, DualSettings
from medscan.parts import MemoryBank, prompts, scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class MvfaSettings(DualSettings):
    """Settings of MVFA, in addition to `DualSettings`; the defaults are the `clean` protocol.

    Adam, betas (0.5, 0.999). The code trains 50 epochs of all eleven variants one by one, feeds
    [0, 1] to a tower with GELU and upsamples with align_corners.

    Parameters
    ----------
    memory : bool
        Whether distances to the normal shots are part of the score, beside the text.
    bank_cls, bank_variants : bool
        Whether the bank holds CLS tokens, and augmented variants of the normals.
    bank_rows : int
        Size of the bank's coreset at each level; 0 keeps every row.
    fusion : {"support", "none"}
        Scale of distances to the bank: "support" maps them to [0, 1] by the distances between
        normal shots of different patients; "none" leaves the scaling to the caller (by the test
        set, as the code does).
    image_score : {"det", "max", "both"}
        Image score if the training data has masks: mean of the det branch, maximum of the map
        (code), or the mean of both.
    idle_branch : bool
        Mix in the seg branch although data without masks never trains it, as the code does.
    """

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
"""Settings that reproduce the published procedure."""

ZERO_SHOT: dict[str, Any] = {
    "learning_rate": 1e-4,
    "augmentation": "none",
    "memory": False,
    "image_score": "det",
}
"""Settings for learning from other data sets (section 4.2): no memory, scores by the det branch."""


class Mvfa(DualResidual):
    """MVFA. Without masks only the det branch is trained."""

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
        seg = masked or settings.idle_branch
        super().__init__(backbone, organs, settings, masked=masked, seg=seg)
        texts = torch.stack([prompts.ensemble(backbone, organ) for organ in organs])
        self.register_buffer("text", texts[0].clone())
        self.register_buffer("texts", texts, persistent=False)
        self.banks = nn.ModuleDict(
            {
                kind: MemoryBank(len(self.taps), backbone.joint_width)
                for kind in self._branches_with_bank()
            }
        )

    def _branches_with_bank(self) -> tuple[str, ...]:
        """Branches whose distances are used: seg for maps, det where the score needs it."""
        if not self.settings.memory:
            return ()
        if not self.masked:
            return ("det",)
        return ("seg",) if self.settings.image_score == "max" else ("seg", "det")

    def sentences(self, organs: Tensor | None = None) -> Tensor:
        """Features of the prompt ensemble, (2, D) or (B, 2, D)."""
        return self.text if organs is None else self.texts[organs]

    # --- memory -------------------------------------------------------------------------------

    @property
    def remembers_variants(self) -> bool:
        """Whether the bank holds augmented variants too, as in the code (#10)."""
        return bool(self.settings.bank_variants)

    @torch.no_grad()
    def remember(self, normals: Sequence[Tensor], patients: Tensor) -> None:
        """Store the normals' aligned features, and the scale of distances between patients."""
        if not self.banks:
            return
        outputs = [self(part) for part in normals]
        for kind in self._branches_with_bank():
            levels = [torch.cat(p) for p in zip(*(getattr(o, kind) for o in outputs), strict=True)]
            self._bank(kind).fill(
                levels, patients, size=self.settings.bank_rows, cls=self.settings.bank_cls
            )

    def _bank(self, kind: str) -> MemoryBank:
        return cast(MemoryBank, self.banks[kind])

    # --- scores -------------------------------------------------------------------------------

    def _branch(self, levels: Levels, kind: str) -> Tensor:
        """Patch scores (B, N): half text, half memory, each averaged over the levels."""
        text = self.sentences()
        logits = torch.stack([self.logits(aligned, text) for aligned in getattr(levels, kind)])
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

    def published(self, levels: Levels, size: int) -> Published:
        """Text and memory branches, each summed over the levels (#8).

        With masks the image score is the maximum of the fused map (#2); without masks, or
        zero-shot, each branch has its own score.
        """
        kind = "seg" if self.masked else "det"
        aligned = getattr(levels, kind)
        zero = torch.stack([self.probability_map(level, size) for level in aligned]).sum(0)
        text = self.sentences()
        det = [scoring.abnormal_probability(self.logits(d, text), -1).mean(1) for d in levels.det]
        image = torch.stack(det).sum(0)
        if not self.settings.memory:
            return Published((image,), (zero,))
        gaps = self._bank(kind)(aligned, scaled=False).unsqueeze(-1)
        corners = self.settings.align_corners
        fine = [scoring.upsample(scoring.on_grid(g), size, align_corners=corners) for g in gaps]
        few = torch.stack(fine).sum(0).squeeze(1)
        return Published(() if self.masked else (image, few.mean((1, 2))), (zero, few))
