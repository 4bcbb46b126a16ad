"""What every anomaly detection method offers to fitting and scanning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medscan.clip import Backbone


@dataclass(frozen=True, slots=True)
class Batch:
    """Labelled images to learn from.

    Parameters
    ----------
    prepared : Tensor
        What `Method.prepare` made of the images.
    labels : Tensor (B,)
        float32, 1 abnormal.
    masks : Tensor (B, S, S) or None
        float32 in {0, 1}; None when the data set has no masks.
    masked : Tensor (B,)
        bool; False for an abnormal image whose mask is missing. Normal images have an empty one.
    """

    prepared: Tensor
    labels: Tensor
    masks: Tensor | None
    masked: Tensor


@dataclass(frozen=True, slots=True)
class Levels:
    """Aligned features at each tap, (B, T, D), CLS first; `seg` is empty for data without masks."""

    seg: tuple[Tensor, ...]
    det: tuple[Tensor, ...]


class Method(nn.Module, ABC):
    """One published system on a frozen backbone.

    Its parameters are what is trained, its buffers what is kept with them in a detector; the
    backbone belongs to neither. The score of one image never depends on others in the batch.
    """

    name: ClassVar[str]
    settings: Any

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # In a tuple, so that the frozen model is not registered as a part of this module.
        self._frozen = (backbone,)

    @property
    def backbone(self) -> Backbone:
        """The frozen model that the method stands on."""
        return self._frozen[0]

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] -> what no training changes; computed once per image."""

    @abstractmethod
    def forward(self, prepared: Tensor) -> Levels:
        """Aligned features of prepared images."""

    @abstractmethod
    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, scalars; their sum is trained on."""

    @abstractmethod
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Fresh optimisers over the trained parameters."""

    @abstractmethod
    def remember(self, normals: Sequence[Tensor], patients: Tensor) -> None:
        """Take what is needed of the normal shots once training has ended.

        Parameters
        ----------
        normals : sequence of Tensor
            Prepared normal images, in batches; all variants of the first image come first.
        patients : Tensor (I,)
            int64, the patient of each.
        """

    @abstractmethod
    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Image scores (B,) and patch-grid maps (B, G, G); larger is more abnormal."""

    @torch.inference_mode()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) in [0, 1] -> float32 scores (B,) and maps (B, G, G)."""
        score, grid = self.score(self(self.prepare(images)))
        return score.float(), grid.float()
