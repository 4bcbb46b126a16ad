"""From observations to figures, at slice, study and pixel level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medscan.evaluate.observe import Observations, Truth, upsample_to_square
from medscan.metrics import Estimate, ImageFigures, PixelCurves, image_figures
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
    rows : tuple of (str, str, int, float)
        Name, patient, label and score of each slice.
    """

    slices: ImageFigures
    studies: ImageFigures | None
    pixels: PixelFigures | None
    rows: tuple[tuple[str, str, int, float], ...]


def figures(
    observed: Observations,
    calibration: Calibration,
    *,
    patch: int,
    published: bool = False,
    draws: int = 1000,
    seed: int = 0,
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
    """
    truths = observed.truths
    if published:
        fused = Fused(observed)
        scores, maps = fused.scores(), fused.maps()
    else:
        scores, maps = np.array(observed.scores)[:, 0], (m[0] for m in observed.maps())
    labels = np.array([t.label for t in truths])
    patients = np.array([t.patient for t in truths])
    # The detector's threshold does not apply to scores that are scaled by this test set.
    used = replace(calibration, normals=(), threshold=math.nan) if published else calibration
    slices = image_figures(
        labels,
        scores,
        patients,
        threshold=used.threshold,
        calibration_normals=used.normals,
        draws=draws,
        seed=seed,
    )
    return Evaluation(
        slices,
        _studies(truths, scores, used, draws, seed),
        _pixels(observed, maps, (0.0, 1.0) if published else _range(observed), patch, draws, seed),
        tuple((t.name, t.patient, t.label, float(s)) for t, s in zip(truths, scores, strict=True)),
    )


def _studies(
    truths: list[Truth],
    scores: NDArray[np.float64],
    calibration: Calibration,
    draws: int,
    seed: int,
) -> ImageFigures | None:
    """Figures of studies, scored as a scan does; a study is abnormal if one of its slices is."""
    studies: dict[str, list[int]] = {}
    for index, truth in enumerate(truths):
        studies.setdefault(truth.study, []).append(index)
    members = list(studies.values())
    labels = np.array([max(truths[i].label for i in indices) for indices in members])
    if len(set(labels.tolist())) < 2 or len(studies) == len(truths):
        return None
    study_scores = np.array([aggregate(scores[i].astype(np.float32)) for i in members])
    patients = np.array([truths[indices[0]].patient for indices in members])
    thresholds = [stack_calibration(calibration, len(indices)).threshold for indices in members]
    ranking = image_figures(labels, study_scores, patients, draws=draws, seed=seed)
    if any(math.isnan(threshold) for threshold in thresholds):
        return ranking
    # Thresholds differ between studies: compare each with its own, then score flags by 0.5.
    flags = (study_scores >= np.array(thresholds)).astype(np.float64)
    flagging = image_figures(labels, flags, patients, threshold=0.5, draws=draws, seed=seed)
    return replace(ranking, sensitivity=flagging.sensitivity, specificity=flagging.specificity)


def _pixels(
    observed: Observations,
    maps: Iterator[NDArray[np.float32]],
    score_range: tuple[float, float],
    patch: int,
    draws: int,
    seed: int,
) -> PixelFigures | None:
    """Figures over the pixels of slices with a mask, and of the normal slices of such data."""
    if not any(t.mask is not None for t in observed.truths):
        return None
    curves, slices = PixelCurves(*score_range), 0
    for truth, grid in zip(observed.truths, maps, strict=True):
        if truth.label and truth.mask is None:
            continue
        fine = upsample_to_square(grid, observed.size, patch)
        curves.add(fine, observed.mask(truth), observed.inside(truth), truth.patient)
        slices += 1

    def estimate(value: float, name: str) -> Estimate:
        return Estimate(value, *curves.interval(name, draws, seed))  # type: ignore[arg-type]

    return PixelFigures(
        slices,
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
