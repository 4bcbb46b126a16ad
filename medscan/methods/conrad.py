"""ConRAD: text prompts from the image, visual prompts from the text, at every layer.

Krishnan, Shetty and Chandra, "ConRAD: Cross-modal Learning for Robust Medical Anomaly Detection"
(University of Massachusetts), section 3, eq. 3-6, after SpLIP (2024) and MaPLe (CVPR 2023). No code
was published; these choices complete the report.

1. m = 4 text tokens (the words "a photo of a"), n = 2 visual tokens, as in SpLIP; depth 9, or that
   of the shallower tower if less; text layer l feeds visual layer l (eq. 4). SpLIP's third block,
   from words to visual tokens, is left out as in eq. 5.
2. B_t is LayerNorm, m learned queries attending to the patch embeddings E_0 (so that the image size
   may change), Linear. T = words + B_t(E_0), the same for every layer, since the report starts from
   the words; positional embeddings are added in layer 1 only.
3. A learned gate per text layer blends its prompted positions from the previous layer's output (0)
   to T (1). Another per visual layer blends its output from that without (0) to that with (1) the
   tokens V, which follow CLS and are dropped after the layer. At 1 these are eq. 3 and 5; they
   start at 0, where ConRAD equals zero-shot CLIP.
4. B_vt is one block per layer: the m positions of W_l, averaged over the two sentences (V has no
   class), Linear over tokens m -> n, Linear d_t -> d, N(0, 0.02) as in MaPLe.
5. The text tower runs once per image, on sentences cut after the end token. The temperature is the
   checkpoint's.
6. SGD as in MaPLe: momentum 0.9, weight decay 5e-4, cosine decay after one epoch at 1e-5.
7. It learns from labelled images of both kinds: from "only normals", cross-entropy over two classes
   would learn a constant answer. Synthetic anomalies are not offered.
8. In training, images are mirrored left to right; they are fitted into the square, not cropped.
9. Maps, which the report lacks, compare patches of the last block with the image's own sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medscan.clip import Backbone, Need, Prompts
from medscan.methods.base import Augmentation, Batch, Levels, Method, Settings
from medscan.parts import SentencePairs, scoring

WORDS = "a photo of a"
SENTENCES = (f"{WORDS} normal {{}}", f"{WORDS} abnormal {{}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConradSettings(Settings):
    """Settings of ConRAD, in addition to `Settings`; the report gives rate, epochs and batch.

    Parameters
    ----------
    depth : int
        Prompted layers, at least 1; limited by the shallower tower.
    visual_tokens : int
        n tokens in each visual layer; 0 prompts only the text.
    warm_rate : float
        Learning rate of the first of several epochs.
    momentum, weight_decay : float
        Parameters of SGD.
    """

    learning_rate: float = 0.0035
    epochs: int = 5
    augmentation: Augmentation = "flip"
    depth: int = 9
    visual_tokens: int = 2
    warm_rate: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4


PAPER: dict[str, Any] = {"size": 224}
"""Settings that reproduce the published procedure."""


class ToText(nn.Module):
    """B_t: patch embeddings (B, N, d) -> text tokens (B, m, d_t)."""

    def __init__(self, width: int, text_width: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(tokens, width))
        self.out = nn.Linear(width, text_width)

    def forward(self, patches: Tensor) -> Tensor:
        """See the class; float32."""
        normed = self.norm(patches.float())
        # Not by @, which rounds differently once the queries are frozen.
        attention = F.linear(normed, self.queries) / math.sqrt(normed.shape[-1])
        return cast(Tensor, self.out(attention.softmax(1).mT @ normed))


class ToVision(nn.Module):
    """B_vt of one layer: text tokens (B, m, d_t) -> visual tokens (B, n, d)."""

    def __init__(self, text_width: int, width: int, tokens: int, visual_tokens: int) -> None:
        super().__init__()
        self.mix = nn.Linear(tokens, visual_tokens)
        self.out = nn.Linear(text_width, width)
        for part in (self.mix, self.out):
            nn.init.normal_(part.weight, std=0.02)

    def forward(self, words: Tensor) -> Tensor:
        """See the class; float32."""
        return cast(Tensor, self.out(self.mix(words.float().mT).mT))


class Conrad(Method):
    """ConRAD. Levels hold scaled similarities: of the image (B, 1, 2), of its patches."""

    name = "conrad"
    needs = (Need.SENTENCES, Need.TOKENS, Need.ONE_RUN)
    words: Tensor

    def __init__(
        self,
        backbone: Backbone,
        organs: Sequence[str],
        settings: ConradSettings,
        *,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, organs, settings, masked=masked)
        self.pairs = SentencePairs(backbone, organs, SENTENCES)
        words = backbone.prompts([WORDS]).embeddings[0, 1:-1]
        self.register_buffer("words", words.clone(), persistent=False)
        self.depth = min(settings.depth, backbone.text_depth, backbone.depth)
        wide, narrow, visual = backbone.width, backbone.text_width, settings.visual_tokens
        self.to_text = ToText(wide, narrow, len(words))
        self.to_vision = nn.ModuleList(
            ToVision(narrow, wide, len(words), visual) for _ in range(self.depth if visual else 0)
        )
        self.text_gates = nn.Parameter(torch.zeros(self.depth))
        self.visual_gates = nn.Parameter(torch.zeros(len(self.to_vision)))

    # --- features -----------------------------------------------------------------------------

    def prepare(self, images: Tensor) -> Tensor:
        """Tokens (B, T, d) before the first block."""
        return self.backbone.embed(self.input(images))

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """Scaled similarities to the image's own two sentences."""
        text, words = self._encode_sentences(prepared, organs)
        tokens = self._encode_image(prepared, words)
        last, scale = self.backbone.depth, self.backbone.logit_scale
        image = cast(Tensor, self.backbone.run(tokens, last, (), pooled=True).pooled)
        patches = self.backbone.project(tokens[:, 1:])
        return Levels(
            seg=(scoring.similarity(patches.float(), text, scale),),
            det=(scoring.similarity(image[:, None].float(), text, scale),),
        )

    def _encode_sentences(
        self, prepared: Tensor, organs: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Sentence features (B, 2, D), and each layer's prompted positions (B, m, d_t)."""
        target = self.words + self.to_text(prepared[:, 1:])
        target = target.repeat_interleave(2, dim=0)
        stop, words = 1 + len(self.words), []

        def replace(layer: int, tokens: Tensor) -> Tensor:
            own = tokens[:, 1:stop]
            if 0 < layer <= self.depth:
                words.append((own[::2] + own[1::2]) / 2)
            if layer >= self.depth:
                return tokens
            gated = own + self.text_gates[layer] * (target.to(own.dtype) - own)
            return torch.cat([tokens[:, :1], gated, tokens[:, stop:]], dim=1)

        pairs = self.pairs(prepared.shape[0], organs)
        prompts = Prompts(replace(0, pairs.embeddings), pairs.end)
        features = self.backbone.encode_text(prompts, hook=replace).float()
        return F.normalize(features.view(prepared.shape[0], 2, -1), dim=-1), words

    def _encode_image(self, tokens: Tensor, words: list[Tensor]) -> Tensor:
        """Tokens (B, T, d) after the last block."""
        for layer in range(1, self.backbone.depth + 1):
            after = self._block(layer, tokens)
            if layer <= len(self.to_vision):
                visual = self.to_vision[layer - 1](words[layer - 1]).to(tokens.dtype)
                with_visual = torch.cat([tokens[:, :1], visual, tokens[:, 1:]], dim=1)
                prompted = self._block(layer, with_visual)
                prompted = torch.cat([prompted[:, :1], prompted[:, 1 + visual.shape[1] :]], dim=1)
                after = after + self.visual_gates[layer - 1] * (prompted - after)
            tokens = after
        return tokens

    def _block(self, layer: int, tokens: Tensor) -> Tensor:
        return self.backbone.run(tokens, layer - 1, (layer,)).last

    # --- training and scores ------------------------------------------------------------------

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the two sentences (eq. 6)."""
        return {"ce": F.cross_entropy(levels.det[0][:, 0], batch.labels.long())}

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """One SGD."""
        s = self.settings
        return [
            torch.optim.SGD(
                self.parameters(), s.learning_rate, s.momentum, weight_decay=s.weight_decay
            )
        ]

    def rate(self, epoch: int) -> float:
        """`warm_rate` for one epoch, then a cosine from the learning rate towards 0."""
        s = self.settings
        if epoch == 0 and s.epochs > 1:
            return float(s.warm_rate)
        return float(s.learning_rate * 0.5 * (1 + math.cos(math.pi * max(epoch - 1, 0) / s.epochs)))

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Probability of the abnormal sentence, of images (B,) and patches (B, G, G)."""
        image = scoring.abnormal_probability(levels.det[0], -1)[:, 0]
        return image, scoring.abnormal_probability(scoring.on_grid(levels.seg[0]), 1)
