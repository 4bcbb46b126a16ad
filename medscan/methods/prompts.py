"""Sentences about normal and abnormal organs."""

from __future__ import annotations

import torch
from torch import Tensor

from medscan.clip import Backbone

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
    """MVFA's fixed prompt ensemble: every state in every template.

    Parameters
    ----------
    organ : str
        The word the sentences are about, such as "Brain" or "Chest X-ray film".

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
