"""How rare a score is among the normals of its detector, whatever the unit of its scores.

The share of normals that score as high is told in two ways:

- `Normals.counted` counts: of n normals and a new one, which are exchangeable, the new one is among
  the highest j with probability j / (n + 1) (the conformal p-value: Vovk, Gammerman and Shafer,
  Algorithmic Learning in a Random World, 2005; Bates et al., Annals of Statistics 51, 2023). It
  assumes nothing else, but is the same for all scores above the highest normal. Pages show it as
  far as it goes.
- `Normals.log_share` falls with every step of the score, also beyond the highest normal. Lists
  follow it. Up to the median it is the count, interpolated between neighbouring normals. Above it,
  excesses over the median are taken as exponential (peaks over a threshold: Davison and Smith,
  Journal of the Royal Statistical Society B 52, 1990). The ratio of a new excess to the mean of k
  others then follows an F distribution with 2 and 2k degrees of freedom, so that few normals give a
  heavy tail instead of a certain one.

An excess is thus measured by those of the detector's own normals: multiplying all its scores by a
number changes nothing. Scores that are probabilities are compared as log odds, which have no end
either: else they could never go as far beyond their normals as distances can.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medscan.report.colours import UNBOUNDED
from medscan.scoring import stack_scores, top_count

MOST_PEAKS = 50
"""Normals that the tail is taken from: those above the median, at most this many."""
DRAWS = 2000
"""Stacks that are simulated."""
LONGEST = 2000
"""Slices of a stack that is simulated: the mean of the top 5 % of more is hardly another."""
_CERTAIN = 1e-9
"""Distance from 0 and 1 of the outermost probabilities that are told apart."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Normals:
    """Scores of normals, of slices or of stacks.

    Parameters
    ----------
    scores : tuple of float
        Sorted; log odds if they are probabilities.
    bounded : bool
        Whether they are.
    start : float
        Where the tail starts: their median, or a higher score.
    peaks : int
        Number of normals above it.
    excess : float
        Sum of what these exceed it by.
    stacks : tuple of tuple of float
        Scores of whole normal stacks, slice by slice, where there were any.
    """

    scores: tuple[float, ...]
    bounded: bool
    start: float
    peaks: int
    excess: float
    stacks: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, scores: ArrayLike, *, bounded: bool) -> Normals | None:
        """None without two different scores, which have no scale to measure others by."""
        values = np.asarray(scores, np.float64).tolist()
        ordered = sorted(_on_scale(value, bounded=bounded) for value in values)
        if not ordered or ordered[0] == ordered[-1]:
            return None
        start = ordered[len(ordered) - min(len(ordered) // 2, MOST_PEAKS) - 1]
        if start == ordered[-1]:
            start = ordered[bisect_left(ordered, start) - 1]
        excesses = [score - start for score in ordered if score > start]
        return cls(tuple(ordered), bounded, start, len(excesses), math.fsum(excesses))

    def below(self, score: float) -> int:
        """Number of normals with a lower score."""
        return bisect_left(self.scores, _on_scale(score, bounded=self.bounded))

    def counted(self, score: float) -> float:
        """Share of normals that score as high, by counting; never 0."""
        return (1 + len(self.scores) - self.below(score)) / (1 + len(self.scores))

    def log_share(self, score: float) -> float:
        """Natural logarithm of the share of normals that score as high; see the module."""
        value, n = _on_scale(score, bounded=self.bounded), len(self.scores)
        if value > self.start:
            tail = math.log((self.peaks + 1) / (n + 1))
            return tail - self.peaks * math.log1p((value - self.start) / self.excess)
        below = bisect_left(self.scores, value)
        upper = self.scores[below]
        if below:
            lower = self.scores[below - 1]
            part = (value - lower) / (upper - lower)
        else:
            part = math.exp((value - upper) * self.peaks / self.excess)
        return math.log((n + 1 - below - part) / (n + 1))

    def told(self, score: float) -> float:
        """Share by counting; above the highest normal by `log_share`, if that is less."""
        counted = self.counted(score)
        above_all = self.below(score) == len(self.scores)
        return min(counted, math.exp(self.log_share(score))) if above_all else counted

    def score_at(self, shares: Floats) -> Floats:
        """Scores that these shares of normals reach, on their own scale."""
        n = len(self.scores)
        scores = np.interp(shares, np.arange(1, n + 1) / (n + 1), self.scores[::-1])
        tail = (self.peaks + 1) / (n + 1)
        further = (tail / np.minimum(shares, tail)) ** (1 / self.peaks) - 1
        scores = np.where(shares < tail, self.start + self.excess * further, scores)
        return 1 / (1 + np.exp(-scores)) if self.bounded else scores


def _on_scale(score: float, *, bounded: bool) -> float:
    if not bounded:
        return score
    probability = min(max(score, _CERTAIN), 1 - _CERTAIN)
    return math.log(probability) - math.log1p(-probability)


def normals_of(detector: Mapping[str, Any]) -> Normals | None:
    """The normals of an entry of `RunInfo.detectors`; None if they are no scale."""
    scores = np.asarray(detector.get("normals") or [], np.float64)
    bounded = detector.get("method") not in UNBOUNDED
    # An older file may not name the method: what is beyond 0 and 1 is no probability.
    normals = Normals.of(scores, bounded=bounded and bool(np.all((scores >= 0) & (scores <= 1))))
    stacks = tuple(map(tuple, detector.get("normal_stacks") or []))
    return None if normals is None else replace(normals, stacks=stacks)


@lru_cache(maxsize=1024)
def like(slices: Normals, count: int) -> Normals:
    """Normals to count a stack of `count` slices among: whole stacks, or else slices."""
    if count < 2 or not slices.stacks:
        return slices
    return Normals.of(stack_scores(slices.stacks, count), bounded=slices.bounded) or slices


def stack_shares(slices: Normals, score: float, count: int) -> tuple[float, float]:
    """Shares of normal stacks of `count` slices that score as high.

    As for its threshold, whole normal stacks are counted where there are any. Else slices are taken
    as independent; those of a real stack resemble one another, so that the shares err to the large
    side. Up to 20 slices the score of a stack is its
    highest slice's and the share of stacks follows from that of slices; the score of longer ones is
    simulated.

    Returns
    -------
    (float, float)
        Natural logarithm of the share by `Normals.log_share`; and the share by counting, or by the
        former above the highest normal, but at least 1 / (n + 1): n normals tell of none smaller.
    """
    among = like(slices, count)
    least = 1 / (1 + len(among.scores))
    if among is not slices:
        return among.log_share(score), max(among.told(score), least)
    if top_count(count) > 1:
        stacks = _simulated(slices, min(count, LONGEST))
        return stacks.log_share(score), max(stacks.counted(score), least)
    told = any_of(slices.told(score), count)
    return log_any(slices.log_share(score), count), max(told, least)


@lru_cache(maxsize=1024)
def _simulated(slices: Normals, count: int) -> Normals:
    """Scores of normal stacks: each the mean of the `top_count` highest of `count` normal slices.

    The smallest of `count` uniform shares are drawn as sums of exponential spacings (Rényi, Acta
    Mathematica Hungarica 4, 1953).
    """
    top = top_count(count)
    spacings = np.random.default_rng(0).exponential(size=(DRAWS, top)) / (count - np.arange(top))
    shares = -np.expm1(-np.cumsum(spacings, axis=1))
    stacks = Normals.of(slices.score_at(shares).mean(axis=1), bounded=slices.bounded)
    return slices if stacks is None else stacks


def any_of(share: float, count: int) -> float:
    """Probability that one of `count` independent normals is within this share of normals.

    Šidák, Journal of the American Statistical Association 62, 1967.
    """
    return 1.0 if share >= 1 else -math.expm1(count * math.log1p(-share))


def log_any(log_share: float, count: int) -> float:
    """Natural logarithm of `any_of` for that of a share, also where the share is 0 in float64."""
    if log_share < -700:
        return log_share + math.log(count)
    return math.log(any_of(math.exp(log_share), count))
