"""What is simple enough that a method should exceed it; scores of images, without maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medscan.clip import Backbone
from medscan.methods import Batch, Levels, Method, Settings
from medscan.parts import describe
from medscan.shots import Shots
from medscan.suites.declare import BASELINES

SIDE, BINS = 32, 64
"""Side that pixels are reduced to, and bins of the histogram."""
NEIGHBOURS = 5
"""Shots that vote, by cosine."""
BATCH = 16

Rule = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Descriptions (B, D) -> scores (B,)."""


class Baseline(Method):
    """A baseline as a suite measures methods.

    `raw-pixels` and `histogram` are logistic regressions on a small grey copy, and on the shares of
    its grey levels; `linear-probe` is one on the mean, deviation and maximum of the tokens of four
    levels of the backbone, and `knn` the labels of the nearest shots in these.

    Parameters
    ----------
    name : str
        One of `BASELINES`.
    backbone : Backbone
    """

    def __init__(self, name: str, backbone: Backbone) -> None:
        super().__init__(backbone, ("",), Settings(epochs=0))
        self.name = name  # type: ignore[misc]  # a class has one name, a baseline is one of four
        self.rule: Rule | None = None

    @torch.inference_mode()
    def learn(self, shots: Shots) -> None:
        """Learn from labelled slices of both labels."""
        parts = [self.prepare(part) for part in torch.split(shots.images, BATCH)]
        described, labels = torch.cat(parts).cpu().numpy(), shots.labels.numpy()
        self.rule = (
            _neighbours(described, labels) if self.name == "knn" else _regression(described, labels)
        )

    def prepare(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] -> descriptions (B, D)."""
        if self.name == "raw-pixels":
            return F.adaptive_avg_pool2d(images.mean(1), SIDE).flatten(1)
        if self.name == "histogram":
            grey = images.mean(1).flatten(1)
            return torch.stack([torch.histc(one, BINS, 0, 1) for one in grey]) / grey.shape[1]
        levels = self.backbone.features(self.input(images), self.taps).levels
        return describe(torch.stack([level.float() for level in levels], 1)[:, :, 1:])

    def forward(self, prepared: Tensor, organs: Tensor | None = None) -> Levels:
        """The descriptions, as they are."""
        return Levels((), (prepared,))

    def terms(self, levels: Levels, batch: Batch) -> dict[str, Tensor]:
        """None: nothing is learnt by gradient."""
        return {}

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """None: nothing is learnt by gradient."""
        return []

    def score(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Scores (B,), and maps (B, 1, 1) that say nothing."""
        if self.rule is None:
            raise RuntimeError(f"{self.name} has not learnt yet")
        scores = torch.from_numpy(self.rule(levels.det[0].cpu().numpy())).float()
        return scores, torch.zeros(len(scores), 1, 1)


def _regression(described: NDArray[np.float32], labels: NDArray[np.float32]) -> Rule:
    """Logistic regression on standardised numbers, both labels alike in weight."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(max_iter=1000, class_weight="balanced")
    fitted = make_pipeline(StandardScaler(), regression).fit(described, labels)
    rule: Rule = fitted.decision_function
    return rule


def _neighbours(described: NDArray[np.float32], labels: NDArray[np.float32]) -> Rule:
    """Mean label of the nearest shots, each by how near it is."""
    known = described / np.linalg.norm(described, axis=1, keepdims=True)
    signs = np.where(labels == 1, 1.0, -1.0)

    def rule(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        nearness = rows / np.linalg.norm(rows, axis=1, keepdims=True) @ known.T
        nearest = np.argsort(-nearness, axis=1, kind="stable")[:, :NEIGHBOURS]
        weights = np.take_along_axis(nearness, nearest, 1).astype(np.float64)
        votes: NDArray[np.float64] = (weights * signs[nearest]).sum(1) / weights.sum(1)
        return votes

    return rule


__all__ = ["BASELINES", "Baseline"]
