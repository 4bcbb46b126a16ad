"""Exact bounds of shares, and of what a threshold does: binomial, by patient.

Studies of one patient resemble one another, by how much is not known. A share of n studies is taken
for one of as many independent studies as it is worth if those of a patient were all alike (Kish,
Survey Sampling, 1965): the number of patients, if each has as many. It is never worth more.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from medscan.metrics.intervals import Estimate

MOST = 1_000_000
"""Studies beyond which nobody will label."""


def worth(patients: ArrayLike) -> float:
    """Number of independent studies that those of these patients (n,) are worth at least."""
    counts = np.unique(np.asarray(patients), return_counts=True)[1].astype(np.float64)
    return float(counts.sum() ** 2 / np.square(counts).sum()) if counts.size else 0.0


def exact(share: float, count: float, level: float = 0.95) -> Estimate:
    """A share of `count` independent studies with its interval of Clopper and Pearson.

    Biometrika 26:404-413 (1934), whose counts may be fractions (Korn and Graubard, Survey
    Methodology 24:193-201, 1998). All NaN without studies.
    """
    tail = (1 - level) / 2
    return Estimate(share, lower(share, count, 1 - tail), 1 - lower(1 - share, count, 1 - tail))


def lower(share: float, count: float, confidence: float = 0.95) -> float:
    """What the true share is not below, with this confidence; NaN without studies."""
    if not count or math.isnan(share):
        return math.nan
    found = share * count
    if found <= 0:
        return 0.0
    return float(special.betaincinv(found, count - found + 1, 1 - confidence))


def needed(goal: float, share: float, confidence: float = 0.95) -> int | None:
    """Fewest independent studies that would show a share of at least `goal`, if `share` is seen.

    None if no number of them would.
    """
    if share <= goal or lower(share, MOST, confidence) < goal:
        return None
    few, many = 0, MOST
    while many - few > 1:
        middle = (few + many) // 2
        if lower(share, middle, confidence) < goal:
            few = middle
        else:
            many = middle
    return many


def allowed(count: int, rate: float, confidence: float = 0.95) -> int | None:
    """How many of `count` may lie beyond one of them that at most `rate` of all lies beyond.

    If of independent scores the one that k others lie beyond is made a threshold, then the share
    of all to come beyond it is at most `rate` unless at most k of `count` lie in a tail of that
    size, which has the probability of at most k successes in a binomial distribution (tolerance
    limits: Wilks, Annals of Mathematical Statistics 12:91-96, 1941; as risk control: Bates et al.,
    Journal of the ACM 68:43, 2021).

    Returns
    -------
    int or None
        The largest such k; None if even none is too many: then `count` is less than
        `fewest(rate, confidence)`.
    """
    k = int(stats.binom.ppf(1 - confidence, count, rate)) if count else 0
    while k >= 0 and stats.binom.cdf(k, count, rate) > 1 - confidence:
        k -= 1
    return k if count and k >= 0 else None


def fewest(rate: float, confidence: float = 0.95) -> int:
    """Fewest independent scores that `allowed` can answer for: 59 at a rate of 0.05 and 95 %."""
    return math.ceil(round(math.log(1 - confidence) / math.log1p(-rate), 9))
