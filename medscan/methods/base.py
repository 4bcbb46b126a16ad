"""What every anomaly detection method offers to fitting and scanning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from medscan.clip import Backbone
from medscan.parts import scoring

Augmentation = Literal["none", "flip", "mvfa", "madclip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every method can be told; a method's own dataclass changes defaults and adds to it.

    Parameters
    ----------
    learning_rate, epochs, batch : float, int, int
        Of training; 0 epochs for a method that learns nothing by gradient.
    augmentation : {"none", "flip", "mvfa", "madclip"}
        See `medscan.fit.augment`.
    variants : {"one", "all"}
        Augmented variants of an image that an epoch visits.
    normalise : bool
        Feed the checkpoint's own mean and deviation; False feeds [0, 1].
    quick_gelu, text_quick_gelu : bool or None
        Activation of the towers; None is the checkpoint's. The second is of the text tower alone.
    align_corners : bool
        How maps are upsampled in the loss.
    size : int or None
        Input side in pixels; None is the checkpoint's own.
    """

    learning_rate: float = 1e-3
    epochs: int = 50
    batch: int = 8
    augmentation: Augmentation = "mvfa"
    variants: Literal["one", "all"] = "one"
    normalise: bool = True
    quick_gelu: bool | None = None
    text_quick_gelu: bool | None = None
    align_corners: bool = False
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Labelled images to learn from.

    Parameters
    ----------
    prepared : Tensor (B, ...)
        What `Method.prepare` made of the images.
    labels : Tensor (B,)
        float32, 1 abnormal.
    masks : Tensor (B, S, S) or None
        float32 in {0, 1}; None when the data set has no masks.
    masked : Tensor (B,)
        bool; False where the mask says nothing: an abnormal image whose mask is missing, and every
        image of a data set without masks. Normal images of other sets have an empty mask.
    organs : Tensor (B,)
        int64, what each image shows: an index into `Method.organs`.
    """

    prepared: Tensor
    labels: Tensor
    masks: Tensor | None
    masked: Tensor
    organs: Tensor


@dataclass(frozen=True, slots=True)
class Levels:
    """What a method sees at each tap, for maps (`seg`) and for image scores (`det`).

    The last axis holds aligned features (B, T, D), CLS first, or similarities to the two sentences
    (B, N, 2); the method says which. `seg` is empty where a method has no maps of its own.
    """

    seg: tuple[Tensor, ...]
    det: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """What the authors' test code makes of a batch, before it scales by the whole test set.

    Parameters
    ----------
    scores : tuple of Tensor (B,)
        Image scores, one of each branch that is scaled and averaged; empty where the score is the
        maximum of the fused map.
    maps : tuple of Tensor (B, size, size)
        Maps at full size, one of each branch.
    """

    scores: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]


class Method(nn.Module, ABC):
    """One published system on a frozen backbone.

    Its parameters are what is trained, its buffers what is kept with them in a detector; the
    backbone belongs to neither. The score of one image never depends on others in the batch.

    Parameters
    ----------
    backbone : Backbone
    organs : sequence of str
        Words of the sentences: of the images that will be scored, then of data sets to learn from
        that show something else (zero-shot fitting).
    settings : Settings
    masked : bool
        Whether the training data has masks.
    """

    name: ClassVar[str]
    learns_from: ClassVar[tuple[int, ...]] = (0, 1)
    """Labels that fitting needs shots of."""
    settings: Any

    def __init__(
        self, backbone: Backbone, organs: Sequence[str], settings: Any, *, masked: bool = True
    ) -> None:
        super().__init__()
        # In a tuple, so that the frozen model is not registered as a part of this module.
        self._frozen = (backbone,)
        self.organs, self.settings, self.masked = tuple(organs), settings, masked
        self.taps = backbone.taps()

    @property
    def backbone(self) -> Backbone:
        """The frozen model that the method stands on."""
        return self._frozen[0]

    @property
    def remembers_variants(self) -> bool:
        """Whether `remember` wants the augmented variants of the normals too."""
        return False

    def input(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] as the tower is fed, on its device."""
        images = images.to(self.backbone.device)
        return self.backbone.normalise(images) if self.settings.normalise else images

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] -> what no training changes; computed once per image."""

    @abstractmethod
    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """What is seen of prepared images (B, ...); `organs` (B,) None is the first for all."""

    @abstractmethod
    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, scalars; their sum is trained on."""

    @abstractmethod
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Fresh optimisers over the trained parameters."""

    def stepping(
        self, optimisers: list[torch.optim.Optimizer], batch: Batch
    ) -> list[torch.optim.Optimizer]:
        """Those of `optimisers()` that a batch may step."""
        return optimisers

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        return float(self.settings.learning_rate)

    def train(self, mode: bool = True) -> Self:
        """nn.Module's; the end of training settles what scoring needs of the parameters."""
        super().train(mode)
        if not mode:
            self.settle()
        return self

    def settle(self) -> None:
        """Work out once what every score needs, such as features of learned sentences."""

    def remember(self, normals: Sequence[Tensor], patients: Tensor) -> None:
        """Take what is needed of the normal shots once training has ended; most need nothing.

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

    def published(self, levels: Levels, size: int) -> Published:
        """Scores and maps of the published test procedure, for comparing methods only."""
        score, grid = self.score(levels)
        corners = self.settings.align_corners
        return Published(
            (score,), (scoring.upsample(grid[:, None], size, align_corners=corners)[:, 0],)
        )

    @torch.inference_mode()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) in [0, 1] -> float32 scores (B,) and maps (B, G, G)."""
        score, grid = self.score(self(self.prepare(images)))
        return score.float(), grid.float()
