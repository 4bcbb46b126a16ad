"""From observations to figures, at slice, study and pixel level."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medscan.evaluate.observe import Observations, Truth, upsample_to_square
from medscan.metrics import (
    RATES,
    Estimate,
    ImageFigures,
    LesionCurve,
    PixelCurves,
    PixelStatistic,
    image_figures,
    percentiles,
)
from medscan.normals import Calibration
from medscan.scoring import aggregate, stack_calibration


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """Figures of the maps, over all pixels of the slices whose mask is known."""

    slices: int
    regions: int
    auroc: Estimate
    average_precision: Estimate
    aupro: Estimate


@dataclass(frozen=True, slots=True)
class LesionFigures:
    """Share of the lesions that are found, by false alarms per image; see `metrics.lesions`.

    Parameters
    ----------
    images, lesions : int
        Slices whose mask is known, with or without lesions; and regions of their masks.
    rates : tuple of float
        False alarms per image.
    sensitivities : tuple of Estimate
        At each of the rates.
    mean : Estimate
        Mean of the sensitivities.
    """

    images: int
    lesions: int
    rates: tuple[float, ...]
    sensitivities: tuple[Estimate, ...]
    mean: Estimate


class Row(NamedTuple):
    """What a detector said of a slice or study; `flagged` is None without a threshold."""

    name: str
    patient: str
    label: int
    score: float
    flagged: bool | None = None


@dataclass(frozen=True, slots=True)
class Stratum:
    """Figures of the slices with one value of a variable; NaN where there are too few patients."""

    variable: str
    value: str
    normals: int
    abnormals: int
    patients: int
    auroc: Estimate
    sensitivity: Estimate
    specificity: Estimate

    @property
    def is_too_small(self) -> bool:
        """Whether there are too few patients of a label for figures."""
        return math.isnan(self.auroc.value)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of a detector on a data set.

    Parameters
    ----------
    slices : ImageFigures
    studies : ImageFigures or None
        None if all studies have the same label, or each is a single slice. The threshold of a study
        depends on its number of slices, so that `threshold` is NaN.
    pixels : PixelFigures or None
        None without masks.
    rows, study_rows : tuple of Row
        Slices, and studies where there are figures of them.
    lesions : LesionFigures or None
        None without masks.
    strata : tuple of Stratum
        Of slices, where they were asked for.
    distances : tuple of float
        Of the slices in `rows` from the shots, as the gate sees it; NaN where it is not known.
    curves, lesion_curve : PixelCurves, LesionCurve or None
        What `pixels` and `lesions` are computed from.
    """

    slices: ImageFigures
    studies: ImageFigures | None
    pixels: PixelFigures | None
    rows: tuple[Row, ...]
    study_rows: tuple[Row, ...] = ()
    lesions: LesionFigures | None = None
    strata: tuple[Stratum, ...] = ()
    distances: tuple[float, ...] = field(default=(), repr=False)
    curves: PixelCurves | None = field(default=None, repr=False)
    lesion_curve: LesionCurve | None = field(default=None, repr=False)


def figures(
    observed: Observations,
    calibration: Calibration,
    *,
    patch: int,
    published: bool = False,
    draws: int = 1000,
    seed: int = 0,
    only: Collection[str] | None = None,
) -> Evaluation:
    """Compute all figures from observed scores and maps.

    Parameters
    ----------
    observed : Observations
    calibration : Calibration
        Calibration of the detector.
    patch : int
        Side of a patch in pixels.
    published : bool
        Scale each branch by its minimum and maximum over these images and average the branches, as
        the published test code does. Such a score depends on the other images.
    draws, seed : int
        Bootstrap over patients.
    only : collection of str or None
        Names of the slices to measure; default: all.
    """
    if published:
        fused = Fused(observed)
        scores, maps = fused.scores(), fused.maps()
    else:
        scores, maps = np.array(observed.scores)[:, 0], (m[0] for m in observed.maps())
    kept = [only is None or truth.name in only for truth in observed.truths]
    truths, scores = list(compress(observed.truths, kept)), scores[kept]
    # The detector's threshold does not apply to scores that are scaled by this test set.
    used = replace(calibration, normals=(), threshold=math.nan) if published else calibration
    slices = image_figures(
        [t.label for t in truths],
        scores,
        [t.patient for t in truths],
        threshold=used.threshold,
        calibration_normals=used.normals,
        draws=draws,
        seed=seed,
    )
    rows = tuple(
        Row(t.name, t.patient, t.label, float(s), _flag(float(s), used.threshold))
        for t, s in zip(truths, scores, strict=True)
    )
    study_rows = _study_rows(truths, scores, used)
    value_range = (0.0, 1.0) if published else _range(observed)
    pairs = zip(observed.truths, maps, strict=True)
    curves, lesion_curve = _curves(observed, compress(pairs, kept), value_range, patch)
    return Evaluation(
        slices,
        _studies(study_rows, draws, seed),
        _pixels(curves, draws, seed),
        rows,
        study_rows,
        _lesions(lesion_curve, draws, seed),
        distances=tuple(compress(observed.distances, kept)),
        curves=curves,
        lesion_curve=lesion_curve,
    )


def _flag(score: float, threshold: float) -> bool | None:
    return None if math.isnan(threshold) else score >= threshold


def _study_rows(
    truths: list[Truth], scores: NDArray[np.float64], calibration: Calibration
) -> tuple[Row, ...]:
    """Studies, scored as a scan does; one is abnormal if one of its slices is.

    None if all have the same label, or each is a single slice.
    """
    members: dict[str, list[int]] = {}
    for index, truth in enumerate(truths):
        members.setdefault(truth.study, []).append(index)
    rows = []
    for name, indices in members.items():
        score = aggregate(scores[indices].astype(np.float32))
        flagged = _flag(score, stack_calibration(calibration, len(indices)).threshold)
        label = max(truths[i].label for i in indices)
        rows.append(Row(name, truths[indices[0]].patient, label, score, flagged))
    ranked = len({row.label for row in rows}) == 2 and len(rows) < len(truths)
    return tuple(rows) if ranked else ()


def _studies(rows: tuple[Row, ...], draws: int, seed: int) -> ImageFigures | None:
    if not rows:
        return None
    labels, patients = [r.label for r in rows], [r.patient for r in rows]
    ranking = image_figures(labels, [r.score for r in rows], patients, draws=draws, seed=seed)
    if any(row.flagged is None for row in rows):
        return ranking
    # Thresholds differ between studies: each was compared with its own; score flags by 0.5.
    flags = [float(bool(row.flagged)) for row in rows]
    flagging = image_figures(labels, flags, patients, threshold=0.5, draws=draws, seed=seed)
    return replace(ranking, sensitivity=flagging.sensitivity, specificity=flagging.specificity)


def _curves(
    observed: Observations,
    maps: Iterable[tuple[Truth, NDArray[np.float32]]],
    score_range: tuple[float, float],
    patch: int,
) -> tuple[PixelCurves, LesionCurve] | tuple[None, None]:
    """Curves over the pixels of slices with a mask, and of the normal slices of such data."""
    pixels, lesions, masked = PixelCurves(*score_range), LesionCurve(), False
    for truth, grid in maps:
        masked |= truth.mask is not None
        if truth.mask is not None or not truth.label:
            fine, inside = upsample_to_square(grid, observed.size, patch), observed.inside(truth)
            pixels.add(fine, observed.mask(truth), inside, truth.patient)
            lesions.add(fine, observed.mask(truth), inside, truth.patient)
    return (pixels, lesions) if masked else (None, None)


def _lesions(curve: LesionCurve | None, draws: int, seed: int) -> LesionFigures | None:
    if curve is None:
        return None
    values, drawn = curve.sensitivities(), curve.resampled(draws, seed)
    sensitivities = [
        Estimate(float(value), *percentiles(column))
        for value, column in zip(values, drawn.T, strict=True)
    ]
    mean = Estimate(float(values.mean()), *percentiles(drawn.mean(1)))
    return LesionFigures(curve.images, curve.lesions, RATES, tuple(sensitivities), mean)


def _pixels(curves: PixelCurves | None, draws: int, seed: int) -> PixelFigures | None:
    if curves is None:
        return None

    def estimate(value: float, name: PixelStatistic) -> Estimate:
        return Estimate(value, *curves.interval(name, draws, seed))

    return PixelFigures(
        curves.maps,
        curves.regions,
        estimate(curves.auroc(), "auroc"),
        estimate(curves.average_precision(), "average_precision"),
        estimate(curves.aupro(), "aupro"),
    )


def _range(observed: Observations) -> tuple[float, float]:
    """Range of all maps' values, at least from 0 to 1."""
    ranges = [(float(m.min()), float(m.max())) for m in observed.maps()]
    return min(0.0, *(low for low, _ in ranges)), max(1.0, *(high for _, high in ranges))


class Fused:
    """Average of branches, each scaled to [0, 1] over all slices (MVFA has two, MadCLIP one)."""

    def __init__(self, observed: Observations) -> None:
        self.observed = observed
        axes = (1, 2)
        lows = [m.min(axes) for m in observed.maps()]
        highs = [m.max(axes) for m in observed.maps()]
        self.low, self.high = np.min(lows, 0), np.max(highs, 0)

    def maps(self) -> Iterator[NDArray[np.float32]]:
        """Yield a map (S, S) per slice."""
        span = np.maximum(self.high - self.low, 1e-12)[:, None, None]
        for branches in self.observed.maps():
            yield ((branches - self.low[:, None, None]) / span).mean(0).astype(np.float32)

    def scores(self) -> NDArray[np.float64]:
        """Score of each slice: from the branches' scores, else the maximum of its fused map."""
        branches = np.array(self.observed.scores)
        if not branches.shape[1]:
            return np.array([float(fused.max()) for fused in self.maps()])
        low = branches.min(0)
        span = np.maximum(branches.max(0) - low, 1e-12)
        scaled: NDArray[np.float64] = ((branches - low) / span).mean(1)
        return scaled
