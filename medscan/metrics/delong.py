"""DeLong's test: whether two detectors separate the same images equally well.

DeLong, DeLong and Clarke-Pearson, Biometrics 44:837-845 (1988), by the midranks of Sun and Xu, IEEE
Signal Processing Letters 21:1389-1393 (2014). Images count as independent: where patients have
several, the test is too sure of itself, and a bootstrap over patients is to be preferred.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from medscan.metrics.image import check_labels_and_scores
from medscan.metrics.intervals import Floats


def delong(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of several detectors on the same images, and their covariance.

    Parameters
    ----------
    labels : array (n,)
        1 for abnormal, 0 for normal.
    scores : array (k, n), float
        A row for each detector; higher is more abnormal.

    Returns
    -------
    areas : array (k,), float64
    covariance : array (k, k), float64
        Both NaN with fewer than two images of a label.

    Raises
    ------
    ValueError
        As in `auroc`.
    """
    rows = np.asarray(scores, np.float64)
    for row in rows:
        y_true, _ = check_labels_and_scores(labels, row)
    abnormal = y_true == 1
    m, n = int(abnormal.sum()), int((~abnormal).sum())
    if min(m, n) < 2:
        return np.full(len(rows), math.nan), np.full((len(rows),) * 2, math.nan)
    ranks = stats.rankdata(rows, axis=1)
    # Share of normals below each abnormal, and of abnormals above each normal; a tie is one half.
    above = (ranks[:, abnormal] - stats.rankdata(rows[:, abnormal], axis=1)) / n
    below = 1 - (ranks[:, ~abnormal] - stats.rankdata(rows[:, ~abnormal], axis=1)) / m
    covariance = np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(below)) / n
    return above.mean(1), covariance


def delong_p_value(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p-value of equal areas under the ROC curves of two detectors on the same images.

    1 if the scores rank the images alike; NaN with fewer than two images of a label, or if the
    difference has no spread.

    Parameters
    ----------
    labels, first, second : array (n,)
        As in `delong`.
    """
    areas, covariance = delong(labels, [np.asarray(first), np.asarray(second)])
    gap = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance > np.finfo(np.float64).eps:
        return float(2 * special.ndtr(-abs(gap) / math.sqrt(variance)))
    return 1.0 if gap == 0 else math.nan
