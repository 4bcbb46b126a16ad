"""Scores of a fold's model brought to the scale of the final one.

What is thresholded is the final model's score, but what it says of shots that it has learnt from
tells nothing of new images. The folds' models have not seen theirs, but each is a little more or
less sure of everything than the final one: a threshold from their scores flags too many or too few.
Both have learnt from the other folds' shots. Over these their scores are compared.

Measured with MadCLIP at 112 px on chest films and lung CT, three draws each: of unseen normals, the
share that the final model puts above the median of the folds' models is 16 points from a half (root
mean square), 9 after a line through the medians, 5 after one in log odds; at a nominal 20 % it is
12, 10 and 6 points off. A line by mean and deviation came to 7 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EDGE = 1e-6
"""Distance from 0 and 1 of the outermost probabilities that are told apart."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from scores to scores, or from log odds to log odds.

    Parameters
    ----------
    factor, shift : float
    bounded : bool
        Whether scores are probabilities, which log odds are taken of.
    """

    factor: float = 1.0
    shift: float = 0.0
    bounded: bool = False

    @classmethod
    def between(cls, theirs: Tensor, ours: Tensor, labels: Tensor) -> Scale:
        """The line through the medians of normals and of abnormals.

        Parameters
        ----------
        theirs, ours : Tensor (n,)
            Scores of the same shots by two models that have learnt from them.
        labels : Tensor (n,)
            1 abnormal, 0 normal; of both there are some. If the medians of abnormals are not above
            those of normals in both, the line only moves the normals.
        """
        bounded = all(bool(((s >= 0) & (s <= 1)).all()) for s in (theirs, ours))
        known = torch.stack([_open(s, bounded=bounded) for s in (theirs, ours)])
        normal, abnormal = (known[:, labels == label].median(1).values for label in (0, 1))
        gaps = (abnormal - normal).tolist()
        factor = gaps[1] / gaps[0] if min(gaps) > 0 else 1.0
        return cls(factor, float(normal[1] - factor * normal[0]), bounded)

    def __call__(self, scores: Tensor) -> Tensor:
        """Scores of the first model as the second would give them."""
        line = self.factor * _open(scores, bounded=self.bounded) + self.shift
        return (line.sigmoid() if self.bounded else line).float()


def _open(scores: Tensor, *, bounded: bool) -> Tensor:
    return scores.double().logit(EDGE) if bounded else scores.double()
