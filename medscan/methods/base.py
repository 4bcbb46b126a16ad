"""Interface of an anomaly detection method, as fitting and scanning use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from medscan.clip import Backbone, Need
from medscan.parts import Distance, scoring

Augmentation = Literal["none", "flip", "mvfa", "madclip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of every method; a method's own dataclass changes defaults and adds settings.

    Parameters
    ----------
    learning_rate, epochs, batch : float, int, int
        Training; 0 epochs for a method that learns nothing by gradient.
    decay : bool
        Lower the learning rate epoch by epoch, in a line towards 0.
    augmentation : {"none", "flip", "mvfa", "madclip"}
        See `medscan.fitting.augment`.
    variants : {"one", "all"}
        Augmented variants of an image that an epoch visits.
    normalise : bool
        Normalise images by the checkpoint's mean and deviation; False feeds [0, 1].
    quick_gelu, text_quick_gelu : bool or None
        Activation of both towers, and of the text tower alone; None keeps the checkpoint's.
    align_corners : bool
        How maps are upsampled in the loss.
    size, tiles : int or None, int
        Input side in pixels, where None keeps the checkpoint's; and how many inputs lie along a
        side of the square that images are drawn on, see `medscan.tiles`.
    """

    learning_rate: float = 1e-3
    epochs: int = 50
    batch: int = 8
    decay: bool = False
    augmentation: Augmentation = "mvfa"
    variants: Literal["one", "all"] = "one"
    normalise: bool = True
    quick_gelu: bool | None = None
    text_quick_gelu: bool | None = None
    align_corners: bool = False
    size: int | None = None
    tiles: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Labelled images to learn from.

    Parameters
    ----------
    prepared : Tensor (B, ...)
        Output of `Method.prepare` for the images.
    labels : Tensor (B,)
        float32, 1 abnormal.
    masks : Tensor (B, S, S) or None
        float32 in {0, 1}; None when the data set has no masks.
    masked : Tensor (B,)
        bool; False where the mask is unknown: for an abnormal image without a mask, and every image
        of a data set without masks. Normal images of other data sets have an empty mask.
    organs : Tensor (B,)
        int64, organ of each image: an index into `Method.organs`.
    """

    prepared: Tensor
    labels: Tensor
    masks: Tensor | None
    masked: Tensor
    organs: Tensor


@dataclass(frozen=True, slots=True)
class Examples:
    """All shots, for a method that learns from them at once.

    Parameters
    ----------
    prepared : Tensor (I, V, ...)
        Output of `Method.prepare` for V variants of I images; the first is the image itself.
    labels : Tensor (I,)
        float32, 1 abnormal.
    masks : Tensor (I, V, S, S) or None
        bool; None when the data set has no masks.
    masked : Tensor (I,)
        bool; False where the mask is unknown, as in `Batch`.
    typical : Tensor (I,)
        bool; False for a shot that was picked out, and says nothing of where its label scores.
    """

    prepared: Tensor
    labels: Tensor
    masks: Tensor | None
    masked: Tensor
    typical: Tensor


@dataclass(frozen=True, slots=True)
class Unseen:
    """Scores (n,) and maps (n, G, G) of the shots where `which` (I,), bool, is True.

    Each is by a model that had seen no image of its patient. `judges` are these models, by the
    number of the fold that they had not seen: each scores as `Method.score` does.
    """

    which: Tensor
    scores: Tensor
    maps: Tensor
    judges: Mapping[int, Callable[[Levels], tuple[Tensor, Tensor]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Levels:
    """Output of a method at each tap, for maps (`seg`) and for image scores (`det`).

    Either aligned features (B, T, D), CLS first, or similarities to the two sentences (B, N, 2);
    each method states which. `seg` is empty for a method without a branch for maps.
    """

    seg: tuple[Tensor, ...]
    det: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """Output of the authors' test code for a batch, before it scales by the whole test set.

    Parameters
    ----------
    scores : tuple of Tensor (B,)
        Image scores of each branch, which are then scaled and averaged; empty where the score is
        the maximum of the fused map.
    maps : tuple of Tensor (B, size, size)
        Full-size maps of each branch.
    """

    scores: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]


class Method(nn.Module, ABC):
    """One published system on a frozen backbone.

    Its parameters are trained; its buffers are saved with them in a detector. The backbone is
    neither. The score of one image never depends on others in the batch.

    Parameters
    ----------
    backbone : Backbone
    organs : sequence of str
        Words for the sentences: first the organ that will be scored, then those of other data sets
        to learn from (zero-shot fitting).
    settings : Settings
    masked : bool
        Whether the training data has masks.
    """

    name: ClassVar[str]
    learns_from: ClassVar[tuple[int, ...]] = (0, 1)
    """Labels of which fitting needs shots."""
    needs: ClassVar[tuple[Need, ...]] = ()
    """What it needs of a backbone beside the tokens of images."""
    at_once: ClassVar[bool] = False
    """Whether fitting calls `solve` instead of training, remembering and training folds anew."""
    settings: Any

    def __init__(
        self, backbone: Backbone, organs: Sequence[str], settings: Any, *, masked: bool = True
    ) -> None:
        super().__init__()
        # In a tuple, so that the frozen model is not registered as a part of this module.
        self._frozen = (backbone,)
        self.organs, self.settings, self.masked = tuple(organs), settings, masked
        self.taps = backbone.taps()
        self.gate: Distance | None = None

    @property
    def backbone(self) -> Backbone:
        """The frozen model that the method uses."""
        return self._frozen[0]

    @property
    def remembers_variants(self) -> bool:
        """Whether `remember` takes the augmented variants of the normals too."""
        return False

    def input(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] -> input of the tower, on its device."""
        images = images.to(self.backbone.device)
        return self.backbone.normalise(images) if self.settings.normalise else images

    def look(self, images: Tensor) -> None:
        """See all shots (I, 3, S, S) before the first is prepared, to settle settings by them."""

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] -> tokens before anything trained; once per image."""

    def outline(self, prepared: Tensor) -> Tensor:
        """What prepared images look like as a whole, (B, F): the mean of their tokens."""
        return prepared.flatten(1, -2).float().mean(1)

    @abstractmethod
    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """Prepared images (B, ...) -> levels; without `organs` (B,) all show the first organ."""

    @abstractmethod
    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name, scalars; training minimises their sum."""

    @abstractmethod
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Fresh optimisers over the trained parameters."""

    def active_optimisers(
        self, optimisers: list[torch.optim.Optimizer], batch: Batch
    ) -> list[torch.optim.Optimizer]:
        """Those of `optimisers()` that may step after this batch."""
        return optimisers

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        settings = self.settings
        part = 1 - epoch / settings.epochs if settings.decay else 1
        return float(settings.learning_rate * part)

    def train(self, mode: bool = True) -> Self:
        """Switch as nn.Module does; leaving training mode calls `precompute`."""
        super().train(mode)
        if not mode:
            self.precompute()
        return self

    def precompute(self) -> None:
        """Compute once what every score needs, such as features of learned sentences."""

    def remember(self, normals: Sequence[Tensor], patients: Tensor) -> None:
        """Store features of the normal shots after training; most methods store none.

        Parameters
        ----------
        normals : sequence of Tensor
            Prepared normal images, in batches; all variants of the first image come first.
        patients : Tensor (I,)
            int64, the patient of each.
        """

    def solve(self, shots: Examples, folds: Sequence[Tensor]) -> Unseen:
        """Learn from all shots at once; only of a method that is fitted `at_once`.

        Parameters
        ----------
        shots : Examples
            On the CPU.
        folds : sequence of Tensor (I,)
            bool; shots of disjoint patients, to be left out together.

        Returns
        -------
        Unseen
            What the detector is calibrated on; empty without folds.
        """
        raise TypeError(f"{self.name} is not fitted at once")

    @abstractmethod
    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Image scores (B,) and patch-grid maps (B, G, G); larger is more abnormal."""

    def published(self, levels: Levels, size: int) -> Published:
        """Scores and maps by the published test procedure, only for comparing methods."""
        score, grid = self.score(levels)
        fine = scoring.upsample(grid[:, None], size, align_corners=self.settings.align_corners)
        return Published((score,), (fine[:, 0],))

    @torch.inference_mode()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) in [0, 1] -> float32 scores (B,) and maps (B, G, G)."""
        score, grid = self.score(self(self.prepare(images)))
        return score.float(), grid.float()


class Untrained(Method):
    """A method that learns nothing by gradient."""

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """None."""
        return {}

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """None."""
        return []
