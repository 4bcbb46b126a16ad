"""Sentences about normal and abnormal organs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medscan.clip import Backbone, Prompts

NORMAL = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
ABNORMAL = ("damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage")

# The list of WinCLIP (CVPR 2023, appendix) as MVFA's published code uses it.
TEMPLATES = (
    "a bad photo of a {}.",
    "a low resolution photo of the {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a bright photo of a {}.",
    "a dark photo of the {}.",
    "a photo of my {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a photo of one {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "a low resolution photo of a {}.",
    "a photo of a large {}.",
    "a blurry photo of a {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a photo of the small {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "a dark photo of a {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)


def ensemble(backbone: Backbone, organ: str) -> Tensor:
    """Encode MVFA's fixed prompt ensemble: every state in every template.

    Parameters
    ----------
    organ : str
        Subject of the sentences, such as "Brain" or "Chest X-ray film".

    Returns
    -------
    Tensor (2, D)
        float32 unit vectors: normal, abnormal.
    """
    features = [
        backbone.sentence_feature(
            [template.format(state.format(organ)) for state in states for template in TEMPLATES]
        )
        for states in (NORMAL, ABNORMAL)
    ]
    return torch.stack(features)


class ContextPrompts(nn.Module):
    """Sentences of learned context vectors and a fixed phrase (CoOp, IJCV 2022, eq. 2).

    Parameters
    ----------
    backbone : Backbone
    phrases : sequence of str
        P phrases; each has its own context vectors, initialised from N(0, 0.02).
    length : int
        M context vectors.
    positions : sequence of {"end", "front", "middle"}
        Where the phrase stands: after, before or in the middle of the context. Each position has
        its own vectors.
    whole : bool
        Keep the padding after the end token, for a tower without causal mask.
    """

    template: Tensor
    end: Tensor

    def __init__(
        self,
        backbone: Backbone,
        phrases: Sequence[str],
        length: int,
        positions: Sequence[str] = ("end",),
        *,
        whole: bool = False,
    ) -> None:
        super().__init__()
        blank = " ".join(["X"] * length)
        sentences = backbone.prompts([f"{blank} {phrase}." for phrase in phrases], whole=whole)
        self.register_buffer("template", sentences.embeddings.clone(), persistent=False)
        self.register_buffer("end", sentences.end, persistent=False)
        self.phrase_tokens = [int(backbone.prompts([phrase]).end) - 1 for phrase in phrases]
        shape = (len(phrases), length, sentences.embeddings.shape[-1])
        self.context = nn.ParameterDict(
            {position: nn.Parameter(0.02 * torch.randn(shape)) for position in positions}
        )

    def forward(self) -> Prompts:
        """All sentences, (positions * P): those of the first position, then of the next."""
        rows = [
            self._sentence(number, position, vectors[number])
            for position, vectors in self.context.items()
            for number in range(len(self.phrase_tokens))
        ]
        return Prompts(torch.stack(rows), self.end.repeat(len(self.context)))

    def _sentence(self, number: int, position: str, context: Tensor) -> Tensor:
        """Replace the blanks of one template by the context: (L, d_t)."""
        blank, length = self.template[number], len(context)
        context = context.to(blank.dtype)
        split = 1 + length + self.phrase_tokens[number]
        phrase, half = blank[1 + length : split], length // 2
        parts = {
            "end": [context, phrase],
            "front": [phrase, context],
            "middle": [context[:half], phrase, context[half:]],
        }[position]
        return torch.cat([blank[:1], *parts, blank[split:]])


class SentencePairs(nn.Module):
    """A normal and an abnormal sentence about each organ, for methods that adapt them to the image.

    Parameters
    ----------
    backbone : Backbone
    organs : sequence of str
        O words.
    templates : sequence of str
        Normal, abnormal; the word replaces `{}`.
    """

    embeddings: Tensor
    end: Tensor

    def __init__(self, backbone: Backbone, organs: Sequence[str], templates: Sequence[str]) -> None:
        super().__init__()
        sentences = backbone.prompts([t.format(organ) for organ in organs for t in templates])
        pairs = (len(organs), len(templates))
        embeddings = sentences.embeddings.reshape(*pairs, *sentences.embeddings.shape[1:])
        self.register_buffer("embeddings", embeddings.clone(), persistent=False)
        self.register_buffer("end", sentences.end.reshape(pairs), persistent=False)
        self.cut = backbone.cuts_prompts
        self.first_length = int(self.end[0].max()) + 1 if self.cut else None

    def forward(self, images: int, organs: Tensor | None = None) -> Prompts:
        """Both sentences for each of B images, (2 B); without `organs` (B,) the first organ's."""
        if organs is None:
            first = self.embeddings[0, :, : self.first_length]
            return Prompts(first.repeat(images, 1, 1), self.end[0].repeat(images))
        # As short as these organs allow, so that other organs' words do not change the rounding.
        length = int(self.end[organs].max()) + 1 if self.cut else None
        return Prompts(
            self.embeddings[organs, :, :length].flatten(0, 1), self.end[organs].flatten()
        )
