"""Figures of maps, one map at a time: memory does not grow with the number of pixels."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special

from medscan.metrics.intervals import Floats, Ints, check_finite, check_map, percentiles, resamples

Group = int | str
PixelStatistic = Literal["auroc", "average_precision", "aupro"]

AUPRO_LIMIT = 0.3  # largest false-positive rate that is integrated (Bergmann et al., IJCV 2021)
GROUP_BINS = 2**12  # 48 KiB for each patient
DRAWS_AT_ONCE = 50  # resampled sets of histograms in memory, 96 KiB each
LOGIT_RANGE = 16.0  # the outermost bins start 1e-7 of the range away from its ends


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
        self.maps = self.pixels = self.regions = 0
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
        y_score, abnormal, counted = check_map(scores, mask, inside)
        values = y_score[counted]
        sizes, regions = _region_sizes(abnormal & counted)
        coarse = self._tally(check_finite(values), sizes[counted], GROUP_BINS).astype(np.float32)
        self._groups[group] = self._groups.get(group, np.zeros_like(coarse)) + coarse
        self._stored.append((values, sizes[counted]))
        self.maps += 1
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
        return percentiles(self.resampled(statistic, draws, seed), level)

    def resampled(self, statistic: PixelStatistic, draws: int = 1000, seed: int = 0) -> Floats:
        """Values (draws,) of a figure when whole groups are drawn; paired if groups are equal."""
        names = sorted(self._groups, key=repr)  # independent of the order of adding
        repeats = list(resamples(len(names), draws, seed))
        groups = np.array([self._groups[name].ravel() for name in names])
        values = [np.empty(0)]
        for start in range(0, len(repeats), DRAWS_AT_ONCE):
            block = np.array(repeats[start : start + DRAWS_AT_ONCE], np.float32)
            drawn = (block @ groups).astype(np.float64).reshape(len(block), 3, GROUP_BINS)
            values.append(_figure(statistic, np.moveaxis(drawn, 1, 0)))
        return np.concatenate(values)

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
