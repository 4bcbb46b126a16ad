"""How far a fit is, in seconds as they were measured at its start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medscan.fitting.features import FeatureCache
from medscan.fitting.train import Prepared, Progress, examples, prepare, step, unprepared, visited
from medscan.methods import Method, Settings
from medscan.shots import Shots

ALONE = 6
"""Images that a model in closed form takes as long as, whatever it learns from."""


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
    """Counts the steps of a fit: features of images, trainings one after another, normal stacks.

    Parameters
    ----------
    tell : Tell or None
    features : int
        Images whose features must be computed.
    trainings : sequence of int
        Steps of each.
    stacks : sequence of int
        Slices of each whole normal stack that is scored.
    seconds : (float, float, float)
        Of the features of an image, of a step, and of a slice of a stack.
    """

    def __init__(
        self,
        tell: Tell | None,
        features: int = 0,
        trainings: Sequence[int] = (),
        stacks: Sequence[int] = (),
        seconds: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.tell, self.features, self.trainings = tell, features, tuple(trainings)
        self.stacks, self._seconds = tuple(stacks), seconds
        self._prepared = self._learnt = self._scored = self._slices = 0
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

    def solved(self) -> None:
        """All models of a method that is fitted at once are there."""
        self._learnt = sum(self.trainings)
        self._say("models", len(self.trainings), len(self.trainings))

    def stack(self, slices: int) -> None:
        """So many slices of one more normal stack have been scored."""
        self._scored, self._slices = self._scored + 1, self._slices + slices
        self._say(f"normal stack {self._scored} of {len(self.stacks)}", slices, slices)

    def _say(self, doing: str, step: int, steps: int, loss: float | None = None) -> None:
        done = self._in_seconds(self._prepared, self._learnt, self._slices)
        planned = self._in_seconds(self.features, sum(self.trainings), sum(self.stacks))
        if self.tell is not None:
            self.tell(Moment(doing, step, steps, loss, done, planned))

    def _in_seconds(self, *counts: int) -> float:
        return sum(n * each for n, each in zip(counts, self._seconds, strict=True))


def plan(
    tell: Tell,
    trial: Method,
    shots: Shots,
    seed: int,
    cache: FeatureCache,
    trainings: Sequence[int],
    stacks: Sequence[int] = (),
) -> Course:
    """The course of a fit, timed by the features of a few images and by learning from them.

    Parameters
    ----------
    tell : Tell
    trial : Method
        A method like the one that is fitted, which learns a little.
    shots, seed, cache
        See `prepare`.
    trainings : sequence of int
        Images of each training.
    stacks : sequence of int
        Slices of each whole normal stack that is scored.
    """
    features = unprepared(trial, shots, seed, cache)
    start = time.perf_counter()
    first = _first_of_each(shots.labels)
    data = prepare(trial, shots.take(first), seed)
    image = (time.perf_counter() - start) / int(first.sum())
    learn, least = (_solve, ALONE) if trial.at_once else (_step, 0)
    steps = [least + images if trial.at_once else _steps(trial, images) for images in trainings]
    start = time.perf_counter()
    done = learn(trial, data, max(trainings)) if sum(steps) else 1
    seconds = image, (time.perf_counter() - start) / done, image / data.tokens.shape[1]
    return Course(tell, features, steps, stacks, seconds)


def _first_of_each(labels: Tensor) -> Tensor:
    """The first shot of each label, (I,), bool."""
    found = torch.zeros_like(labels, dtype=torch.bool)
    found[[int((labels == label).nonzero()[0]) for label in torch.unique(labels)]] = True
    return found


def _step(trial: Method, data: Prepared, images: int) -> int:
    """Take a step as a training on so many images would; returns that it was one."""
    rows = torch.zeros(min(trial.settings.batch, _rows(trial, images)), 2).long()
    step(trial.train(), data, rows, trial.optimisers())
    return 1


def _solve(trial: Method, data: Prepared, _images: int) -> int:
    """Learn from these at once; returns as how many images that counts."""
    trial.solve(examples(data), [])
    return ALONE + len(data.shots)


def _rows(method: Method, images: int) -> int:
    """Variants that an epoch visits of so many images."""
    return images * (visited(method) if method.settings.variants == "all" else 1)


def _steps(method: Method, images: int) -> int:
    """Steps of a training on so many images."""
    settings: Settings = method.settings
    return settings.epochs * math.ceil(_rows(method, images) / settings.batch)
