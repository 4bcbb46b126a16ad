"""Lesions found against false alarms per image: the free-response ROC curve (FROC).

Bunch, Hamilton, Sanderson and Simmons, Proc. SPIE 127:124-135 (1977); summarised by the mean of the
sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false alarms per image, as Niemeijer et al., IEEE
Trans. Med. Imaging 30:215-223 (2011), and the challenge LUNA16 do.

A lesion is an 8-connected region of the mask. A candidate is a local maximum of the map: a pixel
that none within `REACH` exceeds; of a plateau, its centre. It hits the lesion that is nearest, if
that is no further away than `REACH`; otherwise it is a false alarm. More candidates that hit the
same lesion count neither way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medscan.metrics.intervals import Floats, Ints, check_finite, check_map, resamples

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms per image at which sensitivity is stated."""
REACH = 0.04
"""Distance that still counts as on a lesion, in sides of the map; half a patch of 240 / 16 is .033.

It is the same for all detectors, so that a coarse grid has no easier hits."""


@dataclass(frozen=True, slots=True)
class _Image:
    """Highest candidate on each lesion, -inf for none; and the false alarms."""

    group: int | str
    lesions: Floats
    alarms: Floats


class LesionCurve:
    """FROC curve over maps that are added one at a time; of a map only its candidates are kept."""

    def __init__(self) -> None:
        self._images: list[_Image] = []

    @property
    def images(self) -> int:
        """Number of maps, with or without lesions."""
        return len(self._images)

    @property
    def lesions(self) -> int:
        """Number of lesions."""
        return sum(image.lesions.size for image in self._images)

    def add(
        self,
        scores: ArrayLike,
        mask: ArrayLike,
        inside: ArrayLike | None = None,
        group: int | str = 0,
    ) -> None:
        """Add one map.

        Parameters
        ----------
        scores : array (S, S), float32
            Higher is more abnormal.
        mask : array (S, S), bool
            Abnormal pixels.
        inside : array (S, S), bool, optional
            Pixels that count, without a letterbox's padding; default: all.
        group : int or str
            Patient of the map.

        Raises
        ------
        ValueError
            If shapes differ, or a score that counts is not finite.
        """
        y_score, abnormal, counted = check_map(scores, mask, inside)
        check_finite(y_score[counted])
        reach = math.ceil(REACH * max(y_score.shape))
        regions, count = ndimage.label(abnormal & counted, structure=np.ones((3, 3)))
        places, values = _candidates(np.where(counted, y_score, -np.inf), reach)
        hit = _hits(regions, places, reach)
        best = np.full(count + 1, -np.inf)
        np.maximum.at(best, hit, values)
        self._images.append(_Image(group, best[1:], values[hit == 0]))

    def sensitivities(self, rates: ArrayLike = RATES) -> Floats:
        """Share of the lesions that are hit at so many false alarms per image, or fewer.

        The threshold is the lowest one with at most that many; NaN without lesions.
        """
        return self._sorted().sensitivities(
            np.ones(self.images, np.intp), np.asarray(rates, np.float64)
        )

    def resampled(self, draws: int = 1000, seed: int = 0) -> Floats:
        """Values (draws, 7) of the sensitivities at `RATES` when whole groups are drawn."""
        names = sorted({image.group for image in self._images}, key=repr)
        place = {name: n for n, name in enumerate(names)}
        index = np.array([place[image.group] for image in self._images], np.intp)
        ordered, rates = self._sorted(), np.asarray(RATES)
        found = [
            ordered.sensitivities(counts[index], rates)
            for counts in resamples(len(names), draws, seed)
        ]
        return np.array(found, np.float64).reshape(-1, len(RATES))

    def _sorted(self) -> _Sorted:
        values, images = [], []
        for part in ("lesions", "alarms"):
            parts = [getattr(image, part) for image in self._images] or [np.empty(0)]
            value = np.concatenate(parts)
            image = np.repeat(np.arange(len(parts)), [p.size for p in parts])
            order = np.argsort(-value, kind="stable")
            values.append(value[order])
            images.append(image[order])
        return _Sorted(*values, *images)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Lesions and alarms of all images, the highest first, and the image of each."""

    lesions: Floats
    alarms: Floats
    lesion_images: Ints
    alarm_images: Ints

    def sensitivities(self, counts: Ints, rates: Floats) -> Floats:
        """Sensitivities (r,) at rates (r,) when each image counts so often (n,)."""
        weights = counts[self.lesion_images].astype(np.float64)
        if not weights.sum():
            return np.full(rates.shape, math.nan)
        alarms = np.cumsum(counts[self.alarm_images])
        # The first alarm too many: only lesions above it are found.
        first = np.searchsorted(alarms, rates * counts.sum(), side="right")
        bound = np.append(self.alarms, -np.inf)[first]
        found = np.append(0.0, np.cumsum(weights))
        above = np.searchsorted(-self.lesions, -bound, side="left")
        share: Floats = found[above] / weights.sum()
        return share


def _candidates(scores: NDArray[np.floating], reach: int) -> tuple[Ints, Floats]:
    """Places (k, 2) and values (k,) of the local maxima of a map (S, S); -inf is no score."""
    highest = ndimage.maximum_filter(scores, 2 * reach + 1, mode="constant", cval=-np.inf)
    plateaus, count = ndimage.label((scores == highest) & np.isfinite(scores), np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    centres = np.array(ndimage.center_of_mass(plateaus > 0, plateaus, numbers)).reshape(-1, 2)
    values = np.array(ndimage.maximum(scores, plateaus, numbers), np.float64).reshape(-1)
    return np.rint(centres).astype(np.intp), values


def _hits(regions: NDArray[np.int32], places: Ints, reach: int) -> Ints:
    """Number (k,) of the region (S, S) that each place (k, 2) hits; 0 for none."""
    if not regions.any():
        return np.zeros(len(places), np.intp)
    distances, nearest = ndimage.distance_transform_edt(regions == 0, return_indices=True)
    rows, columns = places.T
    number = regions[tuple(nearest[:, rows, columns])]
    hit: Ints = np.where(distances[rows, columns] <= reach, number, 0).astype(np.intp)
    return hit
