"""Intervals: percentiles of a bootstrap over patients.

Slices of one patient are not independent, so patients are drawn with all their slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; NaN where undefined."""

    value: float
    low: float
    high: float


def bootstrap(
    groups: ArrayLike,
    statistic: Callable[[Ints], float],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic when whole groups are drawn, as in `resampled`.

    Draws for which the statistic is NaN are dropped; both ends are NaN if no draw remains, or if
    there are fewer than two groups. `level` is the share of the draws between the ends.
    """
    return percentiles(resampled(groups, statistic, draws, seed), level)


def resampled(
    groups: ArrayLike, statistic: Callable[[Ints], float], draws: int = 1000, seed: int = 0
) -> Floats:
    """Values (draws,) of a statistic when whole groups are drawn with replacement.

    Equal groups and seeds give equal draws, so that the values of two statistics are paired.

    Parameters
    ----------
    groups : array (n,), int or str
        Patient of each item.
    statistic : callable
        Takes the drawn items' indices (k,), each as often as its group was drawn.
    draws, seed : int

    Returns
    -------
    array (draws,), float64
        Empty if there are fewer than two groups.
    """
    names, group_index = np.unique(np.asarray(groups), return_inverse=True)
    repeats = (counts[group_index] for counts in resamples(names.size, draws, seed))
    values = [statistic(np.repeat(np.arange(group_index.size), repeat)) for repeat in repeats]
    return np.array(values, np.float64)


def difference(first: tuple[float, Floats], second: tuple[float, Floats]) -> Estimate:
    """Difference of two paired figures, with its interval.

    Parameters
    ----------
    first, second : (float, array (draws,))
        A figure, and its values in the same draws, such as `resampled` returns.
    """
    return Estimate(first[0] - second[0], *percentiles(first[1] - second[1]))


def resamples(groups: int, draws: int, seed: int) -> Iterator[Ints]:
    """Yield `draws` times how often each group is drawn; nothing for a single group."""
    generator = np.random.default_rng(seed)
    for _ in range(draws if groups > 1 else 0):
        yield np.bincount(generator.integers(groups, size=groups), minlength=groups)


def group_counts(groups: int, draws: int = 1000, seed: int = 0) -> Ints:
    """How often (draws, groups) each group is drawn in each draw; empty for a single group."""
    return np.array(list(resamples(groups, draws, seed)), np.intp).reshape(-1, groups)


def percentiles(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """Ends between which that share of the values lies; NaN values are dropped."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_finite(scores: ArrayLike) -> Floats:
    """Return the scores as float64; ValueError if one is not finite."""
    y_score = np.asarray(scores, np.float64)
    if not np.isfinite(y_score).all():
        raise ValueError("scores must be finite")
    return y_score


def check_map(
    scores: ArrayLike, mask: ArrayLike, inside: ArrayLike | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a map, its mask and what counts of it; ValueError if their shapes differ."""
    y_score, abnormal = np.asarray(scores, np.float32), np.asarray(mask, bool)
    counted = np.ones_like(abnormal) if inside is None else np.asarray(inside, bool)
    if y_score.ndim != 2 or not y_score.shape == abnormal.shape == counted.shape:
        raise ValueError(f"shapes differ: {y_score.shape}, {abnormal.shape}, {counted.shape}")
    return y_score, abnormal, counted
