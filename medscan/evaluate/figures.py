"""From observations to figures, at slice, study and pixel level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medscan.detector import Calibration
from medscan.evaluate.observe import Observations, Truth, enlarged
from medscan.metrics import Estimate, ImageFigures, PixelCurves, image_figures
from medscan.scoring import aggregate, stack_calibration


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """What the maps are worth, over all pixels of all slices whose pixels are known."""

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
        None where studies are all of one label, or each is a single slice. Each study has the
        threshold of its own number of slices, so that `threshold` is NaN.
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
    seen: Observations,
    calibration: Calibration,
    *,
    patch: int,
    published: bool = False,
    draws: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Figures of what was observed.

    Parameters
    ----------
    seen : Observations
    calibration : Calibration
        Of the detector.
    patch : int
        Side of a patch in pixels.
    published : bool
        Scale each branch by the minimum and maximum of these very images and average them, as the
        published test code does. Such scores say nothing about an image alone.
    draws, seed : int
        Of the bootstrap over patients.
    """
    truths = seen.truths
    if published:
        fused = Fused(seen)
        scores, maps = fused.scores(), fused.maps()
    else:
        scores, maps = np.array(seen.scores)[:, 0], (m[0] for m in seen.maps())
    labels = np.array([t.label for t in truths])
    patients = np.array([t.patient for t in truths])
    # The detector's threshold says nothing of scores that are scaled by this test set.
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
        _pixels(seen, maps, (0.0, 1.0) if published else _range(seen), patch, draws, seed),
        tuple((t.name, t.patient, t.label, float(s)) for t, s in zip(truths, scores, strict=True)),
    )


def _studies(
    truths: list[Truth],
    scores: NDArray[np.float64],
    calibration: Calibration,
    draws: int,
    seed: int,
) -> ImageFigures | None:
    """Studies by the scan's rule; a study is abnormal if one of its slices is."""
    studies: dict[str, list[int]] = {}
    for place, truth in enumerate(truths):
        studies.setdefault(truth.study, []).append(place)
    labels = np.array([max(truths[i].label for i in places) for places in studies.values()])
    if len(set(labels.tolist())) < 2 or len(studies) == len(truths):
        return None
    found = np.array([aggregate(scores[places].astype(np.float32)) for places in studies.values()])
    patients = np.array([truths[places[0]].patient for places in studies.values()])
    ends = [stack_calibration(calibration, len(p)).threshold for p in studies.values()]
    whole = image_figures(labels, found, patients, draws=draws, seed=seed)
    if any(math.isnan(end) for end in ends):
        return whole
    flagged = (found >= np.array(ends)).astype(np.float64)
    at = image_figures(labels, flagged, patients, threshold=0.5, draws=draws, seed=seed)
    return replace(whole, sensitivity=at.sensitivity, specificity=at.specificity)


def _pixels(
    seen: Observations,
    maps: Iterator[NDArray[np.float32]],
    ends: tuple[float, float],
    patch: int,
    draws: int,
    seed: int,
) -> PixelFigures | None:
    """Pixels of slices with a mask, and of the normal slices of such data."""
    if not any(t.mask is not None for t in seen.truths):
        return None
    curves, slices = PixelCurves(*ends), 0
    for truth, grid in zip(seen.truths, maps, strict=True):
        if truth.label and truth.mask is None:
            continue
        fine = enlarged(grid, seen.size, patch)
        curves.add(fine, seen.mask(truth), seen.inside(truth), truth.patient)
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


def _range(seen: Observations) -> tuple[float, float]:
    """Ends of all maps' values; at least 0 and 1."""
    ends = [(float(m.min()), float(m.max())) for m in seen.maps()]
    return min(0.0, *(e[0] for e in ends)), max(1.0, *(e[1] for e in ends))


class Fused:
    """Branches scaled to [0, 1] over all slices and averaged (MVFA's code; MadCLIP's has one)."""

    def __init__(self, seen: Observations) -> None:
        self.seen = seen
        axes = (1, 2)
        lows = [m.min(axes) for m in seen.maps()]
        highs = [m.max(axes) for m in seen.maps()]
        self.low, self.high = np.min(lows, 0), np.max(highs, 0)

    def maps(self) -> Iterator[NDArray[np.float32]]:
        """One map (S, S) a slice."""
        span = np.maximum(self.high - self.low, 1e-12)[:, None, None]
        for branches in self.seen.maps():
            yield ((branches - self.low[:, None, None]) / span).mean(0).astype(np.float32)

    def scores(self) -> NDArray[np.float64]:
        """One score a slice: of the branches' own, else the maximum of its map."""
        own = np.array(self.seen.scores)
        if not own.shape[1]:
            return np.array([float(fused.max()) for fused in self.maps()])
        span = np.maximum(own.max(0) - own.min(0), 1e-12)
        scaled: NDArray[np.float64] = ((own - own.min(0)) / span).mean(1)
        return scaled
