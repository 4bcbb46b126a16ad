"""The scores of normals that a detector had not seen, and the threshold that they give."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from medscan.schema import CLOSED, OPEN, Count, Digest, Fraction, Line

MOST_SCORES = 100_000
"""Most scores of a label: every results file holds those of the normals."""

MOST_STACKS = 1000
"""Most stacks, likewise."""


def _check_order(scores: tuple[float, ...]) -> tuple[float, ...]:
    if all(low <= high for low, high in pairwise(scores)):
        return scores
    raise PydanticCustomError("order", "Input should be sorted")


Score = Annotated[float, Field(ge=-1e30, le=1e30)]
"""A score, or a patch score, within what float32 holds."""
Stacks = Annotated[
    tuple[Annotated[tuple[Score, ...], Field(min_length=1, max_length=MOST_SCORES)], ...],
    Field(max_length=MOST_STACKS),
]
Scores = Annotated[tuple[Score, ...], Field(max_length=MOST_SCORES), AfterValidator(_check_order)]


def _check_threshold(threshold: float, calibration: ValidationInfo) -> float:
    """Allow NaN only without normals, which a threshold is computed from."""
    if math.isfinite(threshold) or (math.isnan(threshold) and not calibration.data.get("normals")):
        return threshold
    raise PydanticKnownError("finite_number")


Threshold = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_check_threshold)]
"""A threshold; the field `normals` comes before it."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a threshold says of normals to come.

    Parameters
    ----------
    level : str
        What is counted: "slices" or "stacks".
    rate : float
        Share of them that is expected to be flagged.
    low, high : float
        95 % interval of that share, as far as the normals tell.
    normals, needed : int
        Normals that it stands on, and that a threshold for the target rate needs.
    """

    level: str
    rate: float
    low: float
    high: float
    normals: int
    needed: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an acceptance test at a site chose: scores that hold for stacks of any length.

    Parameters
    ----------
    threshold : float
        Stacks that score from here up are flagged.
    uncertain_from : float or None
        Those that score from here up, but below the threshold, are uncertain; None: none are.
    rule : str
        What was asked for: "sensitivity", "rate" or "answers".
    level, confidence : float
        The share that was asked for, and how sure it is.
    abnormals, normals : int
        Patients that it was chosen on.
    created, version : str
        When, ISO 8601, UTC, and by which medscan.
    who : str
        Who was named as responsible; empty: nobody.
    detector, labels : str
        SHA-256 of the detector that was tested, and of the table of labels.
    """

    __pydantic_config__ = OPEN  # a newer version may say more

    threshold: Score
    uncertain_from: Score | None
    rule: Line
    level: Fraction
    confidence: Fraction
    abnormals: Count
    normals: Count
    created: Line
    version: Line
    who: Line
    detector: Digest
    labels: Digest


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
    patients : int
        Patients whom the normals are of; 0 where nobody counted, as in older files.
    stacks : tuple of tuple of float
        Out-of-sample scores of whole normal stacks, slice by slice; empty if there were none.
    accepted : Accepted or None
        What an acceptance test chose, which counts instead of `threshold` for stacks.
    """

    __pydantic_config__ = CLOSED

    normals: Scores
    threshold: Threshold
    target_fpr: Fraction
    provisional: bool
    map_low: Score
    map_high: Score
    abnormals: Scores = ()
    patients: Count = 0
    stacks: Stacks = ()
    accepted: Accepted | None = None

    def percentile(self, score: float) -> float:
        """Share of normals that score below, in percent; NaN for NaN."""
        if math.isnan(score) or not self.normals:
            return math.nan
        return 100.0 * bisect_left(self.normals, score) / len(self.normals)

    @property
    def promise(self) -> Promise | None:
        """What the threshold promises, of stacks if whole ones were scored; None without normals.

        With n exchangeable normals, the share of new ones above the r-th smallest has a Beta
        distribution with n + 1 - r and r (Vovk, Asian Conference on Machine Learning, 2012). Images
        of one patient resemble one another: the interval is that of as many normals as patients.
        """
        count = len(self.stacks) or len(self.normals)
        if not count:
            return None
        from scipy.special import betaincinv

        rank = min(_rank(count, self.target_fpr), count)
        rate = 1 - rank / (count + 1)
        worth = 1 + min(self.patients or count, count)
        low, high = (float(betaincinv(worth * rate, worth * (1 - rate), q)) for q in (0.025, 0.975))
        level = "stacks" if self.stacks else "slices"
        return Promise(level, rate, low, high, count, needed(self.target_fpr))

    def at_rate(self, target_fpr: float) -> Calibration:
        """The same normals with the threshold for another rate, whatever was accepted."""
        threshold, provisional = conformal_threshold(self.normals, target_fpr)
        return replace(
            self,
            threshold=threshold,
            target_fpr=target_fpr,
            provisional=provisional,
            accepted=None,
        )


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
    rank = _rank(len(normals), target_fpr)
    provisional = rank > len(normals)
    chosen = sorted(normals)[min(rank, len(normals)) - 1]
    return math.nextafter(chosen, math.inf), provisional


def _rank(normals: int, target_fpr: float) -> int:
    """Rank of the score that a new one exceeds at that rate; beyond the last if there is none."""
    return math.ceil(round((normals + 1) * (1 - target_fpr), 9))


def needed(target_fpr: float) -> int:
    """Fewest normals that have a threshold for this rate."""
    return math.ceil(round(1 / target_fpr, 9)) - 1
