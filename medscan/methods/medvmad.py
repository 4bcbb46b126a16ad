"""MedVMAD: MVFA's dual adapters with two learned, object-agnostic sentences (Bodtman and Guntur).

Section 3.1: at four depths two adapters read and rewrite the tokens (see `medscan.methods.dual`),
and the softmax over their cosines with "normal" and "abnormal" gives maps and image scores. The
sentences are AnomalyCLIP's (ICLR 2024, section 3.2): learned context before fixed words, and
learned tokens that overwrite part of it between the text tower's blocks. Loss: L_global + L_local
with lambda 1; S in L_global is the image's label, not the mask as in the paper's equation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from medscan.clip import Backbone
from medscan.methods.base import Augmentation, Levels, Published
from medscan.methods.dual import DualResidual, DualSettings
from medscan.parts import losses, prompts, scoring

CONTEXT = 12
"""Learned vectors before the words of a sentence."""
DEEP, DEPTH = 4, 9
"""Number of context vectors that are overwritten, and up to which block of the text tower."""
WORDING = {
    "object": ("object", "abnormal object"),
    "paper": ("normal {}", "abnormal {} with lesion"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MedvmadSettings(DualSettings):
    """Settings of MedVMAD, in addition to `DualSettings`; the defaults are the `clean` protocol.

    Three Adams, betas (0.5, 0.999): for the sentences and for each branch.

    Parameters
    ----------
    scale : float
        Factor on cosines (code: 1, which keeps probabilities within [0.12, 0.88]; AnomalyCLIP:
        1 / 0.07).
    wording : {"object", "paper"}
        "object" and "abnormal object" for any organ (code); or "normal [organ]" and "abnormal
        [organ] with lesion" (paper), where all organs share the learned vectors.
    attend : bool
        False skips the attention of every vision block, as the code does: it discards the output
        of attention, so that no patch sees the others.
    two_dice : bool
        Add Dice of the normal probability (code); the paper uses only that of the abnormal one.
    half_deep_prompts : bool
        Round the tokens between text blocks, and their gradients, to float16, as the code does.
    blur_sigma : float
        Sigma of the Gaussian on `published` maps, in pixels (code: 4; paper: no blur); 0 for none.
    """

    epochs: int = 10
    augmentation: Augmentation = "none"
    scale: float = 1.0
    wording: Literal["object", "paper"] = "object"
    attend: bool = True
    two_dice: bool = True
    half_deep_prompts: bool = False
    blur_sigma: float = 4.0


PAPER: dict[str, Any] = {
    "quick_gelu": False,
    "text_quick_gelu": True,
    "align_corners": True,
    "legacy_bce": True,
    "batch_dice": False,
    "scale": 1.0,
    "attend": False,
    "half_deep_prompts": True,
    "size": 336,
}
"""Settings that reproduce the published procedure."""


class Medvmad(DualResidual):
    """MedVMAD."""

    name = "medvmad"
    text: Tensor

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: MedvmadSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked, seg=masked)
        phrases = WORDING[settings.wording]
        named_organs = organs if settings.wording == "paper" else organs[:1]
        self.prompts, *others = [
            prompts.ContextPrompts(backbone, [phrase.format(organ) for phrase in phrases], CONTEXT)
            for organ in named_organs
        ]
        # All organs share the learned vectors of the first, the only ones that are saved.
        for other in others:
            other.context = self.prompts.context
        self._organ_prompts = (self.prompts, *others)
        depth = max(min(DEPTH, backbone.text_depth) - 1, 0)
        self.deep = nn.Parameter(0.02 * torch.randn(depth, DEEP, backbone.text_width))
        self.register_buffer("text", torch.zeros(2, backbone.joint_width), persistent=False)

    @property
    def attend(self) -> bool:
        """Whether the tower's blocks keep their attention."""
        return bool(self.settings.attend)

    # --- sentences ----------------------------------------------------------------------------

    def sentences(self, organs: Tensor | None = None) -> Tensor:
        """Features of the learned sentences, encoded anew while they are being trained."""
        if organs is not None and len(self._organ_prompts) > 1:
            return torch.stack([self._encode(context) for context in self._organ_prompts])[organs]
        return self._encode(self.prompts) if self.training else self.text

    def _encode(self, context: prompts.ContextPrompts) -> Tensor:
        features = self.backbone.encode_text(context(), hook=self._deepen)
        return F.normalize(features.float(), dim=-1)

    def _deepen(self, block: int, tokens: Tensor) -> Tensor:
        """Overwrite the first context tokens (P, L, d_t) before the next text block."""
        if block > len(self.deep):
            return tokens
        deep = self.deep[block - 1]
        deep = (deep.half() if self.settings.half_deep_prompts else deep).to(tokens.dtype)
        repeated = deep.expand(len(tokens), -1, -1)
        return torch.cat([tokens[:, :1], repeated, tokens[:, 1 + DEEP :]], 1)

    @torch.no_grad()
    def precompute(self) -> None:
        """Encode the learned sentences once for all scores."""
        self.text = self._encode(self.prompts)

    # --- training -----------------------------------------------------------------------------

    def map_terms(self, p: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Focal, and Dice of the abnormal and of the normal probability."""
        terms = super().map_terms(p, masks)
        if self.settings.two_dice:
            over_batch = self.settings.batch_dice
            terms["dice_normal"] = losses.dice(1 - p, 1 - masks, over_batch=over_batch)
        return terms

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """One Adam for the sentences, and one per branch."""
        learned = [*self.prompts.parameters(), self.deep]
        of_text = torch.optim.Adam(learned, self.settings.learning_rate, betas=(0.5, 0.999))
        return [of_text, *super().optimisers()]

    # --- scores -------------------------------------------------------------------------------

    def _patches(self, aligned: tuple[Tensor, ...]) -> Tensor:
        """Abnormal probabilities (levels, B, N)."""
        text = self.sentences()
        logits = torch.stack([self.logits(level, text) for level in aligned])
        return scoring.abnormal_probability(logits, -1)

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Image scores (B,) of the det branch and maps (B, G, G), means over levels."""
        det = self._patches(levels.det)
        patches = (self._patches(levels.seg) if levels.seg else det).mean(0)
        return det.mean((0, 2)), scoring.on_grid(patches.unsqueeze(-1)).squeeze(1)

    def published(self, levels: Levels, size: int) -> Published:
        """Sums over levels, and blurred maps."""
        scores = self._patches(levels.det).mean(2).sum(0)
        text, aligned = self.sentences(), levels.seg or levels.det
        maps = torch.stack([self.probability_map(a, size, text) for a in aligned]).sum(0)
        sigma = self.settings.blur_sigma
        smooth = gaussian_filter(maps.detach().cpu().numpy(), (0, sigma, sigma))
        return Published((scores,), (torch.from_numpy(smooth),))
