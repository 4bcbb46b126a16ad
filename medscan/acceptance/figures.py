"""What a detector does to labelled studies: figures with intervals by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medscan.acceptance.observe import Seen
from medscan.metrics import (
    Estimate,
    auroc,
    bootstrap,
    exact,
    group_counts,
    percentiles,
    weighted_auroc,
    worth,
)

UNKNOWN = Estimate(math.nan, math.nan, math.nan)
_BOTH = 0.975
"""Level of each of two intervals that hold together at 95 % (Bonferroni)."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of studies.

    Parameters
    ----------
    found, studies : int
    patients : float
        Independent studies that these are worth, see `medscan.metrics.bounds`.
    """

    found: int
    studies: int
    patients: float

    @classmethod
    def of(cls, which: Sequence[bool], patients: Sequence[str]) -> Share:
        """Share of studies (n,) for which something is true, and whose they are."""
        return cls(sum(map(bool, which)), len(which), worth(patients))

    @property
    def value(self) -> float:
        """The share; NaN of none."""
        return self.found / self.studies if self.studies else math.nan

    def interval(self, level: float = 0.95) -> Estimate:
        """The share with its exact interval."""
        return exact(self.value, self.patients, level)


def percent(value: float) -> str:
    """A share in percent, cut rather than rounded: what is at least 79.96 % is not 80 %."""
    return "unknown" if math.isnan(value) else f"{math.floor(value * 1000 + 1e-9) / 10:.1f} %"


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of labelled studies; NaN where undefined.

    Parameters
    ----------
    normals, abnormals, patients : int
        Studies that count, and their patients.
    outside : int
        Labelled studies without an image for the detector, which do not count.
    failed : int
        Of those that count, the ones without a score: abnormal ones count as missed.
    sensitivity, specificity, flag_rate, uncertain_rate, unlike_rate : Share
        An uncertain study is shown to a person: it is neither missed nor flagged. One that is
        unlike what the detector was fitted on counts as any other.
    auroc : Estimate
    prevalence : float or None
        Share of abnormal studies at the site, as stated.
    ppv, npv, expected_flags : Estimate
        At that prevalence: of flagged studies the abnormal ones, of others the normal ones, and of
        all the flagged ones.
    seconds_median, seconds_95 : Estimate
        Time from the start of a study to its result: the median, and what 95 % do not exceed.
    """

    normals: int
    abnormals: int
    patients: int
    outside: int
    failed: int
    sensitivity: Share
    specificity: Share
    flag_rate: Share
    uncertain_rate: Share
    unlike_rate: Share
    auroc: Estimate
    prevalence: float | None
    ppv: Estimate
    npv: Estimate
    expected_flags: Estimate
    seconds_median: Estimate
    seconds_95: Estimate


def measure(seen: Sequence[Seen], prevalence: float | None = None, seed: int = 0) -> Figures:
    """Measure; `seed` is that of the bootstrap over patients.

    An abnormal study without a score is missed: nobody is told of it. A normal one without a score
    says nothing about specificity.
    """
    counted = [one for one in seen if one.asked]
    scored = [one for one in counted if not math.isnan(one.score)]
    sensitivity, caught = share_of(counted, 1), share_of(counted, 1, certain=True)
    specificity, cleared = share_of(scored, 0), share_of(scored, 0, certain=True)
    patients = [one.patient for one in counted]
    median, slow = _times(counted, seed)
    return Figures(
        normals=sum(one.label == 0 for one in counted),
        abnormals=sum(one.label == 1 for one in counted),
        patients=len({one.patient for one in counted}),
        outside=len(seen) - len(counted),
        failed=len(counted) - len(scored),
        sensitivity=sensitivity,
        specificity=specificity,
        flag_rate=Share.of([one.flagged for one in counted], patients),
        uncertain_rate=Share.of([one.uncertain for one in counted], patients),
        unlike_rate=Share.of([one.unlike for one in counted], patients),
        auroc=_auroc(scored, seed),
        prevalence=prevalence,
        ppv=_predicted(ppv, caught, specificity, prevalence),
        npv=_predicted(npv, sensitivity, cleared, prevalence),
        expected_flags=_expected(caught, specificity, prevalence),
        seconds_median=median,
        seconds_95=slow,
    )


def share_of(seen: Sequence[Seen], label: int, *, certain: bool = False) -> Share:
    """Sensitivity (label 1) or specificity (label 0) of the studies of that label.

    Uncertain studies count as right, or if `certain`, as wrong.
    """
    mine = [one for one in seen if one.label == label]
    right = [one.right and not (certain and one.uncertain) for one in mine]
    return Share.of(right, [one.patient for one in mine])


def ppv(sensitivity: float, specificity: float, prevalence: float) -> float:
    """Share of abnormal studies among flagged ones, by Bayes' rule; NaN if none is flagged."""
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return true / (true + false) if true + false > 0 else math.nan


def npv(sensitivity: float, specificity: float, prevalence: float) -> float:
    """Share of normal studies among those that are not flagged; NaN if all are flagged."""
    return ppv(specificity, sensitivity, 1 - prevalence)


def _predicted(
    rule: Callable[[float, float, float], float],
    sensitivity: Share,
    specificity: Share,
    prevalence: float | None,
) -> Estimate:
    """A predictive value; it rises with both shares, so that their ends give its own."""
    if prevalence is None:
        return UNKNOWN
    a, b = sensitivity.interval(_BOTH), specificity.interval(_BOTH)
    ends = ((a.value, b.value), (a.low, b.low), (a.high, b.high))
    return Estimate(*(rule(x, y, prevalence) for x, y in ends))


def _expected(sensitivity: Share, specificity: Share, prevalence: float | None) -> Estimate:
    """Share of all studies that are flagged at a prevalence."""
    if prevalence is None:
        return UNKNOWN
    a, b = sensitivity.interval(_BOTH), specificity.interval(_BOTH)
    ends = ((a.value, b.value), (a.low, b.high), (a.high, b.low))
    return Estimate(*(x * prevalence + (1 - y) * (1 - prevalence) for x, y in ends))


def _auroc(scored: Sequence[Seen], seed: int) -> Estimate:
    """AUROC with an interval of a bootstrap over patients.

    Where all studies are told apart, a bootstrap has no width: then that of a share of as many
    patients as the smaller label has, which is never narrower (Bamber, Journal of Mathematical
    Psychology 12:387-415, 1975).
    """
    labels = np.array([one.label for one in scored])
    scores = np.array([one.score for one in scored])
    patients = np.array([one.patient for one in scored])
    value = auroc(labels, scores) if len(scored) else math.nan
    if math.isnan(value):
        return UNKNOWN
    if value in (0.0, 1.0):
        return exact(value, min(worth(patients[labels == label]) for label in (0, 1)))
    _, place = np.unique(patients, return_inverse=True)
    weights = group_counts(int(place.max()) + 1, seed=seed)[:, place]
    return Estimate(value, *percentiles(weighted_auroc(labels, scores, weights)))


def _times(counted: Sequence[Seen], seed: int) -> tuple[Estimate, Estimate]:
    timed = [one for one in counted if not math.isnan(one.seconds)]
    seconds = np.array([one.seconds for one in timed], np.float64)
    patients = [one.patient for one in timed]

    def quantile(q: float) -> Estimate:
        def figure(chosen: NDArray[np.intp]) -> float:
            return float(np.quantile(seconds[chosen], q))

        return Estimate(float(np.quantile(seconds, q)), *bootstrap(patients, figure, seed=seed))

    return (quantile(0.5), quantile(0.95)) if timed else (UNKNOWN, UNKNOWN)
