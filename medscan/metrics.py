"""Figures of how well scores and maps separate abnormal from normal, with intervals by patient.

Image level: arrays of labels and scores, by scikit-learn. Pixel level: `PixelCurves`, which takes
one map at a time and whose memory does not grow with the number of pixels. A figure that needs both
classes is NaN if there is only one. Intervals are percentiles of a bootstrap over patients: slices
of one patient are not independent, so patients are resampled with all their slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Group = int | str
PixelStatistic = Literal["auroc", "average_precision", "aupro"]

AUPRO_LIMIT = 0.3  # largest false-positive rate that is integrated (Bergmann et al., IJCV 2021)
GROUP_BINS = 2**12  # 48 KiB for each patient
DRAWS_AT_ONCE = 50  # resampled sets of histograms in memory, 96 KiB each
LOGIT_RANGE = 16.0  # the outermost bins start 1e-7 of the range away from its ends


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; NaN where undefined."""

    value: float
    low: float
    high: float


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
    y_true, y_score = _check_labels_and_scores(labels, scores)
    if np.unique(y_true).size < 2:
        return math.nan
    return float(auc(*roc_curve(y_true, y_score)[:2]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over recall, without interpolation; otherwise as `auroc`."""
    y_true, y_score = _check_labels_and_scores(labels, scores)
    if np.unique(y_true).size < 2:
        return math.nan
    return float(average_precision_score(y_true, y_score))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Highest F1 of any threshold, and the lowest threshold that gives it; otherwise as `auroc`."""
    y_true, y_score = _check_labels_and_scores(labels, scores)
    if np.unique(y_true).size < 2:
        return math.nan, math.nan
    precision, recall, thresholds = precision_recall_curve(y_true, y_score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(np.argmax(f1[:-1]))  # the last point flags nothing and has no threshold
    return float(f1[best]), float(thresholds[best])


def sensitivity_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of abnormals that score at least `threshold`; NaN without abnormals or threshold."""
    y_true, y_score = _check_labels_and_scores(labels, scores)
    flagged = y_score[y_true == 1] >= threshold
    return float(flagged.mean()) if flagged.size and not math.isnan(threshold) else math.nan


def specificity_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of normals that score below `threshold`; NaN without normals or threshold."""
    y_true, y_score = _check_labels_and_scores(labels, scores)
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
    test, reference = _check_finite(test_normals), _check_finite(calibration_normals)
    if not test.size or not reference.size:
        return math.nan
    at_least_as_high = reference.size - np.searchsorted(np.sort(reference), test, side="left")
    p_values = np.sort((1 + at_least_as_high) / (reference.size + 1))
    return float(np.abs(p_values - (np.arange(test.size) + 0.5) / test.size).mean())


def bootstrap(
    groups: ArrayLike,
    statistic: Callable[[Ints], float],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic when whole groups are drawn with replacement.

    Draws for which the statistic is NaN are dropped; both ends are NaN if no draw remains, or if
    there are fewer than two groups.

    Parameters
    ----------
    groups : array (n,), int or str
        Patient of each item.
    statistic : callable
        Takes the drawn items' indices (k,), each as often as its group was drawn.
    draws, seed : int
    level : float
        Share of the draws between the ends.
    """
    names, group_index = np.unique(np.asarray(groups), return_inverse=True)
    repeats = (counts[group_index] for counts in _resamples(names.size, draws, seed))
    values = [statistic(np.repeat(np.arange(group_index.size), repeat)) for repeat in repeats]
    return _percentiles(np.array(values, np.float64), level)


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
    y_true, y_score = _check_labels_and_scores(labels, scores)
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


class PixelCurves:
    """Pixel AUROC, pixel AP and AUPRO over maps that are added one at a time.

    Every distinct score is a threshold, up to `exact_to` pixels. Beyond that, a histogram replaces
    the pixels; its bins are equally wide in the logit of (score - low) / (high - low), so that it
    also resolves scores near either end. Intervals use a coarser histogram of each patient.

    Parameters
    ----------
    low, high : float
        Range of the scores; the outermost bins take scores outside it.
    bins, exact_to : int
        Number of bins; and number of pixels that are stored first, at 8 bytes each.
    """

    def __init__(self, low: float, high: float, bins: int = 2**18, exact_to: int = 2**22) -> None:
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"low must be below high, and both finite: {low}, {high}")
        self.low, self.high, self.bins, self.exact_to = low, high, bins, exact_to
        self.pixels = self.regions = 0
        self._stored: list[tuple[NDArray[np.float32], NDArray[np.int32]]] = []
        self._histogram = np.zeros((3, 1))  # (3, bins) beyond `exact_to` pixels
        self._groups: dict[Group, NDArray[np.float32]] = {}  # (3, GROUP_BINS) each

    def add(
        self, scores: ArrayLike, mask: ArrayLike, inside: ArrayLike | None = None, group: Group = 0
    ) -> None:
        """Add one map.

        Parameters
        ----------
        scores : array (H, W), float32
            Higher is more abnormal.
        mask : array (H, W), bool
            Abnormal pixels.
        inside : array (H, W), bool, optional
            Pixels that count, without a letterbox's padding; default: all.
        group : int or str
            Patient of the map.

        Raises
        ------
        ValueError
            If shapes differ, or a score that counts is not finite.
        """
        y_score, abnormal = np.asarray(scores, np.float32), np.asarray(mask, bool)
        counted = np.ones_like(abnormal) if inside is None else np.asarray(inside, bool)
        if y_score.ndim != 2 or not y_score.shape == abnormal.shape == counted.shape:
            raise ValueError(f"shapes differ: {y_score.shape}, {abnormal.shape}, {counted.shape}")
        values = y_score[counted]
        sizes, regions = _region_sizes(abnormal & counted)
        coarse = self._tally(_check_finite(values), sizes[counted], GROUP_BINS).astype(np.float32)
        self._groups[group] = self._groups.get(group, np.zeros_like(coarse)) + coarse
        self._stored.append((values, sizes[counted]))
        self.pixels, self.regions = self.pixels + values.size, self.regions + regions
        if self.pixels > self.exact_to:
            for stored in self._stored:
                self._histogram = self._histogram + self._tally(*stored, self.bins)
            self._stored.clear()

    def auroc(self) -> float:
        """Area under the ROC curve of all pixels pooled; NaN without both classes."""
        return float(_figure("auroc", self._curve()))

    def average_precision(self) -> float:
        """Average precision of all pixels pooled; NaN without both classes."""
        return float(_figure("average_precision", self._curve()))

    def aupro(self, limit: float = AUPRO_LIMIT) -> float:
        """Area under the per-region overlap up to a false-positive rate, divided by that rate.

        Every 8-connected region has the same weight. The curve starts at (0, 0), is linear between
        thresholds and is cut at exactly `limit`. NaN without both classes.
        """
        return float(_figure("aupro", self._curve(), limit))

    def interval(
        self, statistic: PixelStatistic, draws: int = 1000, seed: int = 0, level: float = 0.95
    ) -> tuple[float, float]:
        """Percentile interval of a figure when whole groups are drawn, as in `bootstrap`."""
        names = sorted(self._groups, key=repr)  # independent of the order of adding
        resamples = list(_resamples(len(names), draws, seed))
        groups = np.array([self._groups[name].ravel() for name in names])
        values = [np.empty(0)]
        for start in range(0, len(resamples), DRAWS_AT_ONCE):
            block = np.array(resamples[start : start + DRAWS_AT_ONCE], np.float32)
            drawn = (block @ groups).astype(np.float64).reshape(len(block), 3, GROUP_BINS)
            values.append(_figure(statistic, np.moveaxis(drawn, 1, 0)))
        return _percentiles(np.concatenate(values), level)

    def _tally(self, values: NDArray[np.floating], sizes: NDArray[np.int32], bins: int) -> Floats:
        fraction = np.clip((values.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)
        logit = np.clip(special.logit(fraction), -LOGIT_RANGE, LOGIT_RANGE)
        index = ((LOGIT_RANGE - logit) / (2 * LOGIT_RANGE) * bins).astype(np.intp)
        return _weights(np.minimum(index, bins - 1), sizes, bins)

    def _curve(self) -> Floats:
        """Weights (3, T) of all thresholds, from the pixels or from the histogram."""
        if not self._stored:
            return self._histogram
        values, sizes = (np.concatenate(parts) for parts in zip(*self._stored, strict=True))
        distinct, index = np.unique(-values, return_inverse=True)
        return _weights(index, sizes, max(distinct.size, 1))


def _weights(index: Ints, sizes: NDArray[np.int32], bins: int) -> Floats:
    """Weights (3, T) of the thresholds, the highest first.

    The rows count normal pixels, abnormal pixels, and abnormal pixels by 1 / size of their region.
    """
    abnormal = sizes > 0
    abnormal_index, region_weights = index[abnormal], 1 / sizes[abnormal]
    rows = [(index[~abnormal], None), (abnormal_index, None), (abnormal_index, region_weights)]
    return np.array([np.bincount(i, w, bins) for i, w in rows], np.float64)


def _region_sizes(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Size of the 8-connected region of each pixel (H, W), 0 outside; and number of regions."""
    regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=1).astype(np.int32)
    sizes[0] = 0
    return sizes[regions], int(count)


def _figure(statistic: PixelStatistic, curve: Floats, limit: float = AUPRO_LIMIT) -> Floats:
    """A figure (...) of the weights (3, ..., T)."""
    normal, abnormal, region = curve
    if statistic == "auroc":
        return _area(normal, abnormal, 1.0)
    return _area(normal, region, limit) if statistic == "aupro" else _precision(normal, abnormal)


def _area(normal: Floats, abnormal: Floats, limit: float) -> Floats:
    """Area under true-positive against false-positive rate up to `limit`, divided by `limit`."""
    with np.errstate(invalid="ignore"):
        fpr_step = normal / normal.sum(-1, keepdims=True)
        tpr_step = abnormal / abnormal.sum(-1, keepdims=True)
    # Width of each step below the limit, absolute and as a fraction of the step.
    width = np.clip(limit - (np.cumsum(fpr_step, -1) - fpr_step), 0, fpr_step)
    fraction = np.divide(width, fpr_step, out=np.zeros_like(width), where=fpr_step > 0)
    height = np.cumsum(tpr_step, -1) - tpr_step + tpr_step * fraction / 2
    area: Floats = np.sum(width * height, -1) / limit
    return area


def _precision(normal: Floats, abnormal: Floats) -> Floats:
    hits, flagged = np.cumsum(abnormal, -1), np.cumsum(abnormal + normal, -1)
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    with np.errstate(invalid="ignore"):
        value = np.sum(abnormal * precision, -1) / abnormal.sum(-1)
    return np.where(normal.sum(-1) > 0, value, np.nan)


def _resamples(groups: int, draws: int, seed: int) -> Iterator[Ints]:
    """Yield `draws` times how often each group is drawn; nothing for a single group."""
    generator = np.random.default_rng(seed)
    for _ in range(draws if groups > 1 else 0):
        yield np.bincount(generator.integers(groups, size=groups), minlength=groups)


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_labels_and_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[Ints, Floats]:
    """Return both as arrays (n,); ValueError as in `auroc`."""
    y_true, y_score = np.asarray(labels), _check_finite(scores)
    if y_true.ndim != 1 or y_true.shape != y_score.shape:
        raise ValueError(f"shapes {y_true.shape} and {y_score.shape} must both be (n,)")
    if not np.isin(y_true, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return y_true.astype(np.intp), y_score


def _check_finite(scores: ArrayLike) -> Floats:
    y_score = np.asarray(scores, np.float64)
    if not np.isfinite(y_score).all():
        raise ValueError("scores must be finite")
    return y_score
