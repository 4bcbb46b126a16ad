"""How far a fit is, in seconds as they were measured at its start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from medscan.fitting.features import FeatureCache
from medscan.fitting.train import Progress, prepare, step, unprepared, visited
from medscan.methods import Method, Settings
from medscan.shots import Shots


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a fit.

    Parameters
    ----------
    doing : str
        What is done, such as "fold 2 of 4".
    step, steps : int
        Of that.
    loss : float or None
        Of the step.
    done, planned : float
        Seconds of work, by its first steps: of what is done, and of all.
    """

    doing: str
    step: int
    steps: int
    loss: float | None
    done: float
    planned: float


Tell = Callable[[Moment], None]
"""Told of every step of a fit, and first, with step 0, of how long it will take."""


class Course:
    """Counts the steps of a fit: features of images, then trainings one after another.

    Parameters
    ----------
    tell : Tell or None
    features : int
        Images whose features must be computed.
    trainings : sequence of int
        Steps of each.
    seconds : (float, float)
        Of the features of an image, and of a step.
    """

    def __init__(
        self,
        tell: Tell | None,
        features: int = 0,
        trainings: Sequence[int] = (),
        seconds: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.tell, self.features, self.trainings = tell, features, tuple(trainings)
        self._seconds = seconds
        self._prepared = self._learnt = 0
        self._say("features", 0, features)

    def prepared(self) -> None:
        """The features of an image have been computed."""
        self._prepared += 1
        self._say("features", self._prepared, self.features)

    def training(self, number: int) -> Progress:
        """What is told of the steps of a training, 0 that of the detector, then the folds."""
        folds = len(self.trainings) - 1
        doing = f"fold {number} of {folds}" if number else "training"
        before = sum(self.trainings[:number])

        def progress(step: int, steps: int, loss: float) -> None:
            self._learnt = before + step
            self._say(doing, step, steps, loss)

        return progress

    def _say(self, doing: str, step: int, steps: int, loss: float | None = None) -> None:
        done = self._in_seconds(self._prepared, self._learnt)
        planned = self._in_seconds(self.features, sum(self.trainings))
        if self.tell is not None:
            self.tell(Moment(doing, step, steps, loss, done, planned))

    def _in_seconds(self, features: int, steps: int) -> float:
        return features * self._seconds[0] + steps * self._seconds[1]


def plan(
    tell: Tell,
    trial: Method,
    shots: Shots,
    seed: int,
    cache: FeatureCache,
    trainings: Sequence[int],
) -> Course:
    """The course of a fit, timed by the features of one image and a step on them.

    Parameters
    ----------
    tell : Tell
    trial : Method
        A method like the one that is fitted, which is trained for a step.
    shots, seed, cache
        See `prepare`.
    trainings : sequence of int
        Images of each training.
    """
    features = unprepared(trial, shots, seed, cache)
    start = time.perf_counter()
    first = torch.arange(len(shots)) == 0
    data = prepare(trial, shots.take(first), seed)
    middle = time.perf_counter()
    steps = [_steps(trial, images) for images in trainings]
    if sum(steps):
        rows = torch.zeros(min(trial.settings.batch, _rows(trial, max(trainings))), 2).long()
        step(trial.train(), data, rows, trial.optimisers())
    return Course(tell, features, steps, (middle - start, time.perf_counter() - middle))


def _rows(method: Method, images: int) -> int:
    """Variants that an epoch visits of so many images."""
    return images * (visited(method) if method.settings.variants == "all" else 1)


def _steps(method: Method, images: int) -> int:
    """Steps of a training on so many images."""
    settings: Settings = method.settings
    return settings.epochs * math.ceil(_rows(method, images) / settings.batch)
