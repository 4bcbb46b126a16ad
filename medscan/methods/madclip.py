"""MadCLIP: dual-branch adapters and learned sentences (MICCAI 2025).

The tokens of the tower stay unchanged. At four depths a normal and an abnormal branch of linear
layers read the patch tokens ("Vision Adapters"); sentences of learned context vectors describe
normal and abnormal ("Learnable Prompts"). Each branch measures how much nearer a patch is to the
branch's own sentence, S_n = O_n (t_n - t_a) and S_a = O_a (t_a - t_n); softmax over the two is the
patch's score ("Dual Branch Architecture"). Dice, focal and a SigLIP-like loss train all of it
("Loss Function"). As in the code there is no temperature, so that a probability stays between 0.018
and 0.982.

Where the paper differs from the code, this follows the code: LeakyReLU and a layer norm in the
adapters, 21 sentences per class, every image trains both branches, no SigLIP temperature or bias.
Every patch of an abnormal image counts as abnormal in the SigLIP-like term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medscan.clip import Backbone, Need
from medscan.methods.base import Augmentation, Batch, Levels, Method, Published, Settings
from medscan.parts import DualBranchAdapter, losses, prompts, scoring

CONTEXT = 8
POSITIONS = ("end", "front", "middle")
ABNORMAL = (*prompts.ABNORMAL, "disease {}", "abnormal {}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadclipSettings(Settings):
    """Settings of MadCLIP, in addition to `Settings`; the defaults are the `clean` protocol.

    Adam, betas (0.5, 0.999). The paper augments as MVFA does; its code adds four zooms and a
    jitter, visits all sixteen variants in an epoch, feeds [0, 1] to towers with GELU and upsamples
    with align_corners.

    Parameters
    ----------
    causal : bool
        Encode sentences with CLIP's causal mask; the code omits it, so that the end token sees
        itself and all padding.
    batch_dice : bool
        `over_batch` of `losses.dice`.
    legacy_jitter : bool
        Change contrast about the mean of each column, with factors drawn once per label, as the
        code does; otherwise about the image's mean, with factors drawn for each image.
    image_score : {"det", "max", "both"}
        Image score if the training data has masks: mean of the det heads (paper), maximum of the
        map (code), or the mean of both, because neither is better on all organs.
    """

    epochs: int = 60
    batch: int = 16
    augmentation: Augmentation = "madclip"
    causal: bool = True
    batch_dice: bool = True
    legacy_jitter: bool = False
    image_score: Literal["det", "max", "both"] = "both"


PAPER: dict[str, Any] = {
    "variants": "all",
    "normalise": False,
    "quick_gelu": False,
    "align_corners": True,
    "size": 240,
    "causal": False,
    "batch_dice": False,
    "legacy_jitter": True,
    "image_score": "max",
}
"""Settings that reproduce the published procedure."""


class Madclip(Method):
    """MadCLIP. Without masks it has no seg heads, and maps come from the det heads.

    The sentences are about the first organ, even for images of another one (Table 3).
    """

    name = "madclip"
    needs = (Need.SENTENCES,)
    text: Tensor

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: MadclipSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        wide, joint, heads = backbone.width, backbone.joint_width, 1 + masked
        self.adapters = nn.ModuleList(DualBranchAdapter(wide, joint, heads) for _ in self.taps)
        phrases = [state.format(self.organs[0]) for state in (*prompts.NORMAL, *ABNORMAL)]
        self.prompts = prompts.ContextPrompts(
            backbone, phrases, CONTEXT, POSITIONS, whole=not settings.causal
        )
        self.register_buffer("text", torch.zeros(2, joint), persistent=False)

    # --- features -----------------------------------------------------------------------------

    def prepare(self, images: Tensor) -> Tensor:
        """Patch tokens (B, L, N, d) at the taps; everything trained comes after them."""
        levels = self.backbone.features(self.input(images), self.taps).levels
        return torch.stack([tokens[:, 1:] for tokens in levels], 1)

    def sentences(self) -> Tensor:
        """Unit vectors (2, D), normal and abnormal: mean features of each class's sentences."""
        features = self.backbone.encode_text(self.prompts(), causal=self.settings.causal).float()
        split = features.view(len(POSITIONS), 2, -1, features.shape[-1])
        return F.normalize(split.mean((0, 2)), dim=-1)

    @torch.no_grad()
    def precompute(self) -> None:
        """Encode the learned sentences once for all scores."""
        self.text = self.sentences()

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """[S_n, S_a] of every patch (B, N, 2) at every tap, independent of the organ."""
        text = self.sentences() if self.training else self.text
        gap = text[0] - text[1]
        levels = []
        # Adapters are trained in single precision, even on a tower in half precision.
        prepared = prepared.float() if self.training else prepared
        for adapter, tokens in zip(self.adapters, prepared.unbind(1), strict=True):
            normal, abnormal = adapter(tokens)
            levels.append(
                torch.stack([scoring.project(normal, gap), -scoring.project(abnormal, gap)], -1)
            )
        seg = tuple(level[:, :, 1] for level in levels) if self.masked else ()
        return Levels(seg, tuple(level[:, :, 0] for level in levels))

    # --- training -----------------------------------------------------------------------------

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """SigLIP-like of the det heads at each level; Dice and focal of the seg heads if masked."""
        terms = {
            f"siglip.{number}": losses.sigmoid_alignment(margins, batch.labels)
            for number, margins in enumerate(levels.det)
        }
        if not levels.seg or batch.masks is None or not bool(batch.masked.any()):
            return terms
        masks = batch.masks[batch.masked]
        maps = self.probability_maps([s[batch.masked] for s in levels.seg], masks.shape[-1])
        for number, p in enumerate(maps):
            terms[f"focal.{number}"] = losses.focal(p, masks)
            terms[f"dice.{number}"] = losses.dice(p, masks, over_batch=self.settings.batch_dice)
        return terms

    def probability_maps(self, levels: Sequence[Tensor], size: int) -> list[Tensor]:
        """Abnormal probability (B, size, size) of each level."""
        corners = self.settings.align_corners
        return [scoring.probability_maps(s, size, align_corners=corners) for s in levels]

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """One Adam for the adapters and one for the context vectors."""
        return [
            torch.optim.Adam(p.parameters(), self.settings.learning_rate, betas=(0.5, 0.999))
            for p in (self.adapters, self.prompts)
        ]

    # --- scores -------------------------------------------------------------------------------

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Image scores (B,) and maps (B, G, G), both means over the levels."""
        det = scoring.abnormal_probability(torch.stack(levels.det), -1).mean(0)
        patches = det
        if levels.seg:
            patches = scoring.abnormal_probability(torch.stack(levels.seg), -1).mean(0)
        grid = scoring.on_grid(patches.unsqueeze(-1)).squeeze(1)
        rule = self.settings.image_score if levels.seg else "det"
        image = {"det": det.mean(1), "max": patches.amax(1)}
        return (0.5 * (image["det"] + image["max"]) if rule == "both" else image[rule]), grid

    def published(self, levels: Levels, size: int) -> Published:
        """Sums over the levels; the maximum of the map scores an image with masks (code)."""
        maps = sum(self.probability_maps(levels.seg or levels.det, size), torch.zeros(()))
        if levels.seg and self.settings.image_score == "max":
            return Published((), (maps,))
        return Published((len(levels.det) * self.score(levels)[0],), (maps,))
