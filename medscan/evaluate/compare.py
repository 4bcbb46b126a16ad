"""Several detectors on the same slices -> differences of each pair, with intervals by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medscan.detector import Detector
from medscan.evaluate.figures import Evaluation, Row
from medscan.metrics import (
    Estimate,
    PixelStatistic,
    auroc,
    delong_p_value,
    difference,
    resampled,
)

Paired = dict[tuple[str, str], tuple[float, np.ndarray]]
"""Level and figure -> its value, and its values in the draws of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of a figure between two detectors, the first minus the second.

    Parameters
    ----------
    level, figure : str
        Such as "slices" and "auroc".
    value : Estimate
        Its interval is of a bootstrap over patients in which both have the same draws.
    p_value : float
        Of DeLong's test, which takes images as independent; NaN for other figures than AUROC.
    """

    level: str
    figure: str
    value: Estimate
    p_value: float = math.nan


@dataclass(frozen=True, slots=True)
class Pair:
    """Two detectors, by their places in the call, and how their figures differ."""

    first: int
    second: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Detectors, what was measured of each on the same slices, and the differences of pairs."""

    detectors: tuple[Detector, ...]
    evaluations: tuple[Evaluation, ...]
    pairs: tuple[Pair, ...]

    @property
    def names(self) -> list[str]:
        """Names of the detectors; those of one name are numbered."""
        names = [fitted.name for fitted in self.detectors]
        return [
            name if names.count(name) == 1 else f"{name} ({names[: n + 1].count(name)})"
            for n, name in enumerate(names)
        ]


def compare(
    evaluations: Sequence[Evaluation], draws: int = 1000, seed: int = 0
) -> tuple[Pair, ...]:
    """Differences of each pair of detectors.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Of the same slices, in the same order.
    draws, seed : int
        Bootstrap over patients.

    Raises
    ------
    ValueError
        If the slices differ.
    """
    keys = [_keys(e.rows) for e in evaluations]
    if any(other != keys[0] for other in keys):
        raise ValueError("detectors can only be compared on the same slices")
    if len(evaluations) < 2:
        return ()
    paired = [dict(_figures(e, draws, seed)) for e in evaluations]
    return tuple(
        Pair(i, j, tuple(_differences((evaluations[i], paired[i]), (evaluations[j], paired[j]))))
        for i, j in combinations(range(len(evaluations)), 2)
    )


def _keys(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    return [(row.name, row.patient, row.label) for row in rows]


def _figures(
    evaluation: Evaluation, draws: int, seed: int
) -> Iterator[tuple[tuple[str, str], tuple[float, np.ndarray]]]:
    """Yield the figures that are compared, each with its values in the draws."""
    for level, rows in (("slices", evaluation.rows), ("studies", evaluation.study_rows)):
        if rows:
            for name, statistic in _statistics(rows).items():
                groups = [row.patient for row in rows]
                value = statistic(np.arange(len(rows)))
                yield (level, name), (value, resampled(groups, statistic, draws, seed))
    if (curves := evaluation.curves) is not None:
        names: tuple[PixelStatistic, ...] = ("auroc", "aupro")
        for name in names:
            yield ("pixels", name), (getattr(curves, name)(), curves.resampled(name, draws, seed))
    if (lesions := evaluation.lesion_curve) is not None:
        drawn = lesions.resampled(draws, seed).mean(1)
        yield ("lesions", "found"), (float(lesions.sensitivities().mean()), drawn)


def _statistics(rows: Sequence[Row]) -> dict[str, Callable[[np.ndarray], float]]:
    """Figures of rows that are drawn by their indices."""
    labels = np.array([row.label for row in rows])
    scores = np.array([row.score for row in rows])
    right = np.array([math.nan if r.flagged is None else r.flagged == r.label for r in rows])

    def share(label: int) -> Callable[[np.ndarray], float]:
        def figure(i: np.ndarray) -> float:
            chosen = right[i][labels[i] == label]
            return float(chosen.mean()) if chosen.size else math.nan

        return figure

    ranking = {"auroc": lambda i: auroc(labels[i], scores[i])}
    return ranking | {"sensitivity": share(1), "specificity": share(0)}


def _differences(
    first: tuple[Evaluation, Paired], second: tuple[Evaluation, Paired]
) -> Iterator[Difference]:
    for (level, figure), value in first[1].items():
        if (level, figure) in second[1]:
            p_value = _p_value(level, first[0], second[0]) if figure == "auroc" else math.nan
            yield Difference(level, figure, difference(value, second[1][level, figure]), p_value)


def _p_value(level: str, first: Evaluation, second: Evaluation) -> float:
    if level == "pixels":
        return math.nan
    pair = (first.rows, second.rows) if level == "slices" else (first.study_rows, second.study_rows)
    labels = [row.label for row in pair[0]]
    return delong_p_value(labels, *([row.score for row in rows] for rows in pair))
