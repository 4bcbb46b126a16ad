"""Figures of how well scores of images separate abnormal from normal, by scikit-learn.

A figure that needs both classes is NaN if there is only one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from medscan.metrics.intervals import Estimate, Floats, Ints, bootstrap, check_finite


@dataclass(frozen=True)
class ImageFigures:
    """Figures of the scores of images (slices or studies).

    `sensitivity` and `specificity` are at `threshold`, the calibrated one. `f1_threshold` is where
    `f1_max` is reached on these same images: it is optimistic and not meant for use.
    """

    normals: int
    abnormals: int
    patients: int
    auroc: Estimate
    average_precision: Estimate
    f1_max: Estimate
    f1_threshold: float
    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    calibration_error: Estimate


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve; a tie counts one half.

    Parameters
    ----------
    labels : array (n,)
        1 for abnormal, 0 for normal.
    scores : array (n,), float
        Higher is more abnormal.

    Returns
    -------
    float
        NaN if there is only one class.

    Raises
    ------
    ValueError
        If shapes differ, a label is neither 0 nor 1, or a score is not finite.
    """
    y_true, y_score = check_labels_and_scores(labels, scores)
    if np.unique(y_true).size < 2:
        return math.nan
    return float(auc(*roc_curve(y_true, y_score)[:2]))


def weighted_auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Floats:
    """Areas under the ROC curve when items weigh differently; for many resamples at once.

    Parameters
    ----------
    labels, scores : array (n,)
        As in `auroc`.
    weights : array (d, n), float
        Such as how often each item was drawn.

    Returns
    -------
    array (d,), float64
        NaN where all weight is on one class.
    """
    y_true, y_score = check_labels_and_scores(labels, scores)
    order = np.argsort(-y_score, kind="stable")
    starts = np.flatnonzero(np.diff(y_score[order], prepend=np.inf) != 0)
    rows = np.asarray(weights, np.float64)[:, order]
    abnormal = np.add.reduceat(rows * (y_true[order] == 1), starts, axis=1)
    normal = np.add.reduceat(rows * (y_true[order] == 0), starts, axis=1)
    below = np.cumsum(abnormal, 1) - abnormal / 2  # abnormals above each normal, ties one half
    with np.errstate(invalid="ignore"):
        share: Floats = (normal * below).sum(1) / (normal.sum(1) * abnormal.sum(1))
    return share


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over recall, without interpolation; otherwise as `auroc`."""
    y_true, y_score = check_labels_and_scores(labels, scores)
    if np.unique(y_true).size < 2:
        return math.nan
    return float(average_precision_score(y_true, y_score))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Highest F1 of any threshold, and the lowest threshold that gives it; otherwise as `auroc`."""
    y_true, y_score = check_labels_and_scores(labels, scores)
    if np.unique(y_true).size < 2:
        return math.nan, math.nan
    precision, recall, thresholds = precision_recall_curve(y_true, y_score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(np.argmax(f1[:-1]))  # the last point flags nothing and has no threshold
    return float(f1[best]), float(thresholds[best])


def sensitivity_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of abnormals that score at least `threshold`; NaN without abnormals or threshold."""
    y_true, y_score = check_labels_and_scores(labels, scores)
    flagged = y_score[y_true == 1] >= threshold
    return float(flagged.mean()) if flagged.size and not math.isnan(threshold) else math.nan


def specificity_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of normals that score below `threshold`; NaN without normals or threshold."""
    y_true, y_score = check_labels_and_scores(labels, scores)
    return 1 - sensitivity_at(1 - y_true, y_score, threshold)


def calibration_error(test_normals: ArrayLike, calibration_normals: ArrayLike) -> float:
    """Distance of the p-values of new normals from a uniform distribution.

    A normal's conformal p-value is (1 + number of calibration scores >= its own) / (n + 1). The
    error is the mean distance of the m sorted p-values to the quantiles (i - 0.5) / m, a
    Wasserstein-1 distance: 0 is perfect, 0.5 the worst, chance alone gives about
    0.31 * sqrt(1/m + 1/n). NaN if either is empty; ValueError if a score is not finite.

    Parameters
    ----------
    test_normals : array (m,), float
    calibration_normals : array (n,), float
    """
    test, reference = check_finite(test_normals), check_finite(calibration_normals)
    if not test.size or not reference.size:
        return math.nan
    at_least_as_high = reference.size - np.searchsorted(np.sort(reference), test, side="left")
    p_values = np.sort((1 + at_least_as_high) / (reference.size + 1))
    return float(np.abs(p_values - (np.arange(test.size) + 0.5) / test.size).mean())


def image_figures(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    *,
    threshold: float = math.nan,
    calibration_normals: ArrayLike = (),
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> ImageFigures:
    """All figures of one set of images; `labels`, `scores` and errors as in `auroc`.

    Parameters
    ----------
    patients : array (n,), int or str
    threshold : float
        Scores from this value up are flagged; NaN for no threshold.
    calibration_normals : array, float
        The detector's scores of normals that it had not seen, from its calibration.
    draws, seed, level
        Parameters of `bootstrap` for the intervals.
    """
    y_true, y_score = check_labels_and_scores(labels, scores)
    groups = np.asarray(patients)
    if groups.shape != y_true.shape:
        raise ValueError(f"patients have shape {groups.shape}, labels {y_true.shape}")

    def estimate(figure: Callable[[Ints, Floats], float]) -> Estimate:
        interval = bootstrap(groups, lambda i: figure(y_true[i], y_score[i]), draws, seed, level)
        return Estimate(figure(y_true, y_score), *interval)

    return ImageFigures(
        normals=int(np.sum(y_true == 0)),
        abnormals=int(np.sum(y_true == 1)),
        patients=np.unique(groups).size,
        auroc=estimate(auroc),
        average_precision=estimate(average_precision),
        f1_max=estimate(lambda y, s: f1_max(y, s)[0]),
        f1_threshold=f1_max(y_true, y_score)[1],
        threshold=threshold,
        sensitivity=estimate(lambda y, s: sensitivity_at(y, s, threshold)),
        specificity=estimate(lambda y, s: specificity_at(y, s, threshold)),
        calibration_error=estimate(lambda y, s: calibration_error(s[y == 0], calibration_normals)),
    )


def check_labels_and_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[Ints, Floats]:
    """Return both as arrays (n,); ValueError as in `auroc`."""
    y_true, y_score = np.asarray(labels), check_finite(scores)
    if y_true.ndim != 1 or y_true.shape != y_score.shape:
        raise ValueError(f"shapes {y_true.shape} and {y_score.shape} must both be (n,)")
    if not np.isin(y_true, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return y_true.astype(np.intp), y_score
