"""How well scores and maps tell abnormal from normal, with intervals by patient.

Image level: arrays of labels and scores, by scikit-learn. Pixel level: `PixelCurves`, which is fed
map by map and whose memory does not grow with the number of pixels. A figure that needs both
classes is NaN when there is one only. Intervals are percentiles of a bootstrap over patients:
slices of one patient are not independent, so patients are drawn, with all that is theirs.
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

AUPRO_LIMIT = 0.3  # false-positive rate up to which it counts (Bergmann et al., IJCV 2021)
GROUP_BINS = 2**12  # 48 KiB for each patient
DRAWS_AT_ONCE = 50  # resampled sets of histograms in memory, 96 KiB each
LOGIT_RANGE = 16.0  # the end bins begin 1e-7 of the range away from its ends


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; NaN where it cannot be known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ImageFigures:
    """What the scores of images (slices or studies) are worth.

    `threshold` is the calibrated one, which `sensitivity` and `specificity` are for; `f1_threshold`
    is where `f1_max` is reached on these very images: optimistic, and not for use.
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
        NaN when there is one class only.

    Raises
    ------
    ValueError
        Shapes differ, a label is neither 0 nor 1, or a score is not finite.
    """
    truth, found = _checked(labels, scores)
    if np.unique(truth).size < 2:
        return math.nan
    return float(auc(*roc_curve(truth, found)[:2]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over recall, without interpolation; else as `auroc`."""
    truth, found = _checked(labels, scores)
    if np.unique(truth).size < 2:
        return math.nan
    return float(average_precision_score(truth, found))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Highest F1 of any threshold, and the lowest such threshold; else as `auroc`."""
    truth, found = _checked(labels, scores)
    if np.unique(truth).size < 2:
        return math.nan, math.nan
    precision, recall, thresholds = precision_recall_curve(truth, found)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(np.argmax(f1[:-1]))  # the last point flags nothing and has no threshold
    return float(f1[best]), float(thresholds[best])


def sensitivity_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of abnormals that score at `threshold` or above; NaN without any, or if it is NaN."""
    truth, found = _checked(labels, scores)
    flagged = found[truth == 1] >= threshold
    return float(flagged.mean()) if flagged.size and not math.isnan(threshold) else math.nan


def specificity_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of normals that score below `threshold`; NaN without any, or if it is NaN."""
    truth, found = _checked(labels, scores)
    return 1 - sensitivity_at(1 - truth, found, threshold)


def calibration_error(test_normals: ArrayLike, calibration_normals: ArrayLike) -> float:
    """How far the p-values of new normals are from uniform.

    A normal's conformal p-value is (1 + number of calibration scores >= its own) / (n + 1). The
    error is the mean distance of the m sorted p-values to the quantiles (i - 0.5) / m, a
    Wasserstein-1 distance: 0 is perfect, 0.5 the worst, chance alone gives about
    0.31 * sqrt(1/m + 1/n). NaN when either is empty; ValueError when a score is not finite.

    Parameters
    ----------
    test_normals : array (m,), float
    calibration_normals : array (n,), float
    """
    test, known = _finite(test_normals), _finite(calibration_normals)
    if not test.size or not known.size:
        return math.nan
    as_high = known.size - np.searchsorted(np.sort(known), test, side="left")
    p_values = np.sort((1 + as_high) / (known.size + 1))
    return float(np.abs(p_values - (np.arange(test.size) + 0.5) / test.size).mean())


def bootstrap(
    groups: ArrayLike,
    statistic: Callable[[Ints], float],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic when whole groups are drawn with replacement.

    Draws for which the statistic is NaN are dropped; both ends are NaN when none remains, or when
    there are fewer than two groups.

    Parameters
    ----------
    groups : array (n,), int or str
        The patient of each item.
    statistic : callable
        Takes the drawn items' indices (k,), an item as often as its group was drawn.
    draws, seed : int
    level : float
        Share of the draws between the ends.
    """
    names, owner = np.unique(np.asarray(groups), return_inverse=True)
    drawn = (counts[owner] for counts in _resamples(names.size, draws, seed))
    values = [statistic(np.repeat(np.arange(owner.size), often)) for often in drawn]
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
        A score at it or above is flagged; NaN when there is none.
    calibration_normals : array, float
        The detector's own scores of normals it had not seen.
    draws, seed, level
        Of the intervals, as in `bootstrap`.
    """
    truth, found = _checked(labels, scores)
    owners = np.asarray(patients)
    if owners.shape != truth.shape:
        raise ValueError(f"patients have shape {owners.shape}, labels {truth.shape}")

    def estimate(figure: Callable[[Ints, Floats], float]) -> Estimate:
        interval = bootstrap(owners, lambda i: figure(truth[i], found[i]), draws, seed, level)
        return Estimate(figure(truth, found), *interval)

    return ImageFigures(
        normals=int(np.sum(truth == 0)),
        abnormals=int(np.sum(truth == 1)),
        patients=np.unique(owners).size,
        auroc=estimate(auroc),
        average_precision=estimate(average_precision),
        f1_max=estimate(lambda y, s: f1_max(y, s)[0]),
        f1_threshold=f1_max(truth, found)[1],
        threshold=threshold,
        sensitivity=estimate(lambda y, s: sensitivity_at(y, s, threshold)),
        specificity=estimate(lambda y, s: specificity_at(y, s, threshold)),
        calibration_error=estimate(lambda y, s: calibration_error(s[y == 0], calibration_normals)),
    )


class PixelCurves:
    """Pixel AUROC, pixel AP and AUPRO over maps that come one at a time.

    Every distinct score is a threshold, up to `exact_to` pixels. Beyond that a histogram is kept
    whose bins are equal in the logit of (score - low) / (high - low): it resolves scores that crowd
    at either end as well. Intervals always come from coarser ones, one for each patient.

    Parameters
    ----------
    low, high : float
        The range of the scores; the end bins take what lies outside.
    bins, exact_to : int
        Of the histogram; and how many pixels are kept first, at 8 bytes each.
    """

    def __init__(self, low: float, high: float, bins: int = 2**18, exact_to: int = 2**22) -> None:
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"low must be below high, and both finite: {low}, {high}")
        self.low, self.high, self.bins, self.exact_to = low, high, bins, exact_to
        self.pixels = self.regions = 0
        self._kept: list[tuple[NDArray[np.float32], NDArray[np.int32]]] = []
        self._histogram = np.zeros((3, 1))  # (3, bins) once there are too many to keep
        self._groups: dict[Group, NDArray[np.float32]] = {}  # (3, GROUP_BINS) each

    def add(
        self, scores: ArrayLike, mask: ArrayLike, inside: ArrayLike | None = None, group: Group = 0
    ) -> None:
        """Take in one map.

        Parameters
        ----------
        scores : array (H, W), float32
            Higher is more abnormal.
        mask : array (H, W), bool
            The abnormal pixels.
        inside : array (H, W), bool, optional
            The pixels that count; those of a letterbox's padding do not.
        group : int or str
            The patient.

        Raises
        ------
        ValueError
            Shapes differ, or a score that counts is not finite.
        """
        found, abnormal = np.asarray(scores, np.float32), np.asarray(mask, bool)
        counted = np.ones_like(abnormal) if inside is None else np.asarray(inside, bool)
        if found.ndim != 2 or not found.shape == abnormal.shape == counted.shape:
            raise ValueError(f"shapes differ: {found.shape}, {abnormal.shape}, {counted.shape}")
        values = found[counted]
        sizes, regions = _region_sizes(abnormal & counted)
        coarse = self._tally(_finite(values), sizes[counted], GROUP_BINS).astype(np.float32)
        self._groups[group] = self._groups.get(group, np.zeros_like(coarse)) + coarse
        self._kept.append((values, sizes[counted]))
        self.pixels, self.regions = self.pixels + values.size, self.regions + regions
        if self.pixels > self.exact_to:
            for kept in self._kept:
                self._histogram = self._histogram + self._tally(*kept, self.bins)
            self._kept.clear()

    def auroc(self) -> float:
        """Area under the ROC curve of all pixels pooled; NaN without both classes."""
        return float(_figure("auroc", self._curve()))

    def average_precision(self) -> float:
        """Average precision of all pixels pooled; NaN without both classes."""
        return float(_figure("average_precision", self._curve()))

    def aupro(self, limit: float = AUPRO_LIMIT) -> float:
        """Area under the per-region overlap up to a false-positive rate, divided by that rate.

        Every 8-connected region weighs the same. The curve starts at (0, 0), is linear between
        thresholds and is cut at exactly `limit`. NaN without both classes.
        """
        return float(_figure("aupro", self._curve(), limit))

    def interval(
        self, statistic: PixelStatistic, draws: int = 1000, seed: int = 0, level: float = 0.95
    ) -> tuple[float, float]:
        """Percentile interval of a figure when whole groups are drawn, as in `bootstrap`."""
        names = sorted(self._groups, key=repr)  # whatever the order of adding
        resamples = list(_resamples(len(names), draws, seed))
        groups = np.array([self._groups[name].ravel() for name in names])
        values = [np.empty(0)]
        for start in range(0, len(resamples), DRAWS_AT_ONCE):
            block = np.array(resamples[start : start + DRAWS_AT_ONCE], np.float32)
            drawn = (block @ groups).astype(np.float64).reshape(len(block), 3, GROUP_BINS)
            values.append(_figure(statistic, np.moveaxis(drawn, 1, 0)))
        return _percentiles(np.concatenate(values), level)

    def _tally(self, values: NDArray[np.floating], sizes: NDArray[np.int32], bins: int) -> Floats:
        share = np.clip((values.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)
        place = np.clip(special.logit(share), -LOGIT_RANGE, LOGIT_RANGE)
        index = ((LOGIT_RANGE - place) / (2 * LOGIT_RANGE) * bins).astype(np.intp)
        return _weights(np.minimum(index, bins - 1), sizes, bins)

    def _curve(self) -> Floats:
        if not self._kept:
            return self._histogram
        values, sizes = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        distinct, index = np.unique(-values, return_inverse=True)
        return _weights(index, sizes, max(distinct.size, 1))


def _weights(index: Ints, sizes: NDArray[np.int32], bins: int) -> Floats:
    """Weights (3, T) of the thresholds, the highest first.

    Those of normal pixels, of abnormal pixels, and of abnormal pixels by 1 / size of their region.
    """
    abnormal = sizes > 0
    at, parts = index[abnormal], 1 / sizes[abnormal]
    rows = [(index[~abnormal], None), (at, None), (at, parts)]
    return np.array([np.bincount(i, w, bins) for i, w in rows], np.float64)


def _region_sizes(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Size of the 8-connected region of each pixel (H, W), 0 outside; and how many there are."""
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
    """Area under the share of abnormal against that of normal up to `limit`, divided by it."""
    with np.errstate(invalid="ignore"):
        across = normal / normal.sum(-1, keepdims=True)
        up = abnormal / abnormal.sum(-1, keepdims=True)
    kept = np.clip(limit - (np.cumsum(across, -1) - across), 0, across)
    cut = np.divide(kept, across, out=np.zeros_like(kept), where=across > 0)
    area: Floats = np.sum(kept * (np.cumsum(up, -1) - up + up * cut / 2), -1) / limit
    return area


def _precision(normal: Floats, abnormal: Floats) -> Floats:
    hits, flagged = np.cumsum(abnormal, -1), np.cumsum(abnormal + normal, -1)
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    with np.errstate(invalid="ignore"):
        value = np.sum(abnormal * precision, -1) / abnormal.sum(-1)
    return np.where(normal.sum(-1) > 0, value, np.nan)


def _resamples(groups: int, draws: int, seed: int) -> Iterator[Ints]:
    """How often each group is drawn, `draws` times; nothing for a single group."""
    generator = np.random.default_rng(seed)
    for _ in range(draws if groups > 1 else 0):
        yield np.bincount(generator.integers(groups, size=groups), minlength=groups)


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Ints, Floats]:
    truth, found = np.asarray(labels), _finite(scores)
    if truth.ndim != 1 or truth.shape != found.shape:
        raise ValueError(
            f"labels have shape {truth.shape}, scores {found.shape}; both must be (n,)"
        )
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return truth.astype(np.intp), found


def _finite(scores: ArrayLike) -> Floats:
    found = np.asarray(scores, np.float64)
    if not np.isfinite(found).all():
        raise ValueError("scores must be finite")
    return found
