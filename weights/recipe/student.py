"""The student: its shape, and how both models see an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SEED = 20261122
SIZE, PATCH, TEACHER_PATCH = 224, 16, 14
GRID = SIZE // PATCH
TEACHER_SIZE = GRID * TEACHER_PATCH
TAPS = (3, 6, 9, 12)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONFIG: dict[str, Any] = {
    "embed_dim": 192,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": 12,
        "width": 320,
        "head_width": 64,
        "patch_size": PATCH,
        "no_ln_pre": True,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 3,
    },
}


def normalised(views: np.ndarray, size: int) -> Tensor:
    images = torch.from_numpy(np.array(views)).permute(0, 3, 1, 2).float() / 255
    if size != images.shape[-1]:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images - mean) / std


def student_tokens(tower: nn.Module, images: Tensor) -> list[Tensor]:
    """Tokens (B, 1 + GRID**2, width) after each tapped block."""
    x = tower._embeds(images)
    found = []
    for number, block in enumerate(tower.transformer.resblocks, 1):
        x = block(x)
        if number in TAPS:
            found.append(x)
    return found
