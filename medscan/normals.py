"""The scores of normals that a detector had not seen, and the threshold that they give."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from medscan.schema import CLOSED, Fraction

MOST_SCORES = 100_000
"""Most scores of a label: every results file holds those of the normals."""


def _check_order(scores: tuple[float, ...]) -> tuple[float, ...]:
    if all(low <= high for low, high in pairwise(scores)):
        return scores
    raise PydanticCustomError("order", "Input should be sorted")


Score = Annotated[float, Field(ge=-1e30, le=1e30)]
"""A score, or a patch score, within what float32 holds."""
Scores = Annotated[tuple[Score, ...], Field(max_length=MOST_SCORES), AfterValidator(_check_order)]


def _check_threshold(threshold: float, calibration: ValidationInfo) -> float:
    """Allow NaN only without normals, which a threshold is computed from."""
    if math.isfinite(threshold) or (math.isnan(threshold) and not calibration.data.get("normals")):
        return threshold
    raise PydanticKnownError("finite_number")


Threshold = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_check_threshold)]
"""A threshold; the field `normals` comes before it."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Distribution of the scores of normals that the scoring method had not seen.

    Parameters
    ----------
    normals : tuple of float
        Sorted out-of-sample scores of normal slices.
    threshold : float
        Scores from this value up are flagged.
    target_fpr : float
        Share of normal slices that may be flagged.
    provisional : bool
        Whether there were too few normals for a threshold at that rate.
    map_low, map_high : float
        Patch scores at the low end and the middle of the colour scale: the median of normal
        patches, and the level that the worst patch of a normal slice exceeds at `target_fpr`.
    abnormals : tuple of float
        Sorted out-of-sample scores of the abnormal shots, for information.
    """

    __pydantic_config__ = CLOSED

    normals: Scores
    threshold: Threshold
    target_fpr: Fraction
    provisional: bool
    map_low: Score
    map_high: Score
    abnormals: Scores = ()

    def percentile(self, score: float) -> float:
        """Share of normals that score below, in percent; NaN for NaN."""
        if math.isnan(score) or not self.normals:
            return math.nan
        return 100.0 * bisect_left(self.normals, score) / len(self.normals)

    def at_rate(self, target_fpr: float) -> Calibration:
        """The same normals with the threshold for another rate."""
        threshold, provisional = conformal_threshold(self.normals, target_fpr)
        return replace(self, threshold=threshold, target_fpr=target_fpr, provisional=provisional)


def conformal_threshold(normals: tuple[float, ...], target_fpr: float) -> tuple[float, bool]:
    """Smallest threshold that new normals reach at a rate of at most `target_fpr`.

    Split conformal prediction: with n exchangeable normals, the (n + 1)(1 - rate)-th smallest score
    is exceeded at most at that rate. With fewer than 1 / rate - 1 normals that rank does not exist;
    then the largest score is used and the threshold is provisional.

    Returns
    -------
    (float, bool)
        The threshold, just above the score of that rank; and whether it is provisional.
    """
    if not normals:
        return math.nan, True
    rank = math.ceil((len(normals) + 1) * (1 - target_fpr))
    provisional = rank > len(normals)
    chosen = sorted(normals)[min(rank, len(normals)) - 1]
    return math.nextafter(chosen, math.inf), provisional
