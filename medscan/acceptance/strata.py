"""Figures by scanner and patient, and whether one of these differs from the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from medscan.acceptance.figures import Share, share_of
from medscan.acceptance.observe import VARIABLES, Seen

MOST = 12
"""Values of a variable that are shown, those of the most studies; all others are one stratum."""
UNKNOWN, OTHERS = "(not stated)", "(other values)"


@dataclass(frozen=True, slots=True)
class Stratum:
    """Studies that have something in common.

    Parameters
    ----------
    variable, value : str
    studies, patients : int
    sensitivity, specificity : Share
    p_sensitivity, p_specificity : float
        Probability of so large a difference from all other studies by chance, by Fisher's exact
        test over patients and Holm's method over all strata; NaN where there is nothing to compare.
    """

    variable: str
    value: str
    studies: int
    patients: int
    sensitivity: Share
    specificity: Share
    p_sensitivity: float = math.nan
    p_specificity: float = math.nan


def strata_of(seen: Sequence[Seen]) -> tuple[Stratum, ...]:
    """Figures of each stratum of the studies that the detector was asked about.

    A variable that no header states is left out. Of several studies of a patient all must be
    right for the patient to count as right in the tests.
    """
    counted = [one for one in seen if one.asked]
    found, p_values = [], []
    for variable in VARIABLES:
        named = _named(variable, counted)
        for value in _in_order(named):
            mine = [one for one, own in zip(counted, named, strict=True) if own == value]
            others = [one for one, own in zip(counted, named, strict=True) if own != value]
            found.append(_stratum(variable, value, mine))
            p_values += [_differs(mine, others, label) for label in (1, 0)]
    adjusted = holm(p_values)
    pairs = zip(adjusted[::2], adjusted[1::2], strict=True)
    return tuple(
        replace(one, p_sensitivity=p, p_specificity=q)
        for one, (p, q) in zip(found, pairs, strict=True)
    )


def compared(strata: Sequence[Stratum]) -> int:
    """How many tests were made, which Holm's method counts."""
    return sum(not math.isnan(p) for s in strata for p in (s.p_sensitivity, s.p_specificity))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm, Scandinavian Journal of Statistics 6, 1979).

    NaN is no test and stays NaN.
    """
    p = np.asarray(p_values, np.float64)
    order = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted = p.copy()
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in adjusted]


def _named(variable: str, seen: Sequence[Seen]) -> list[str]:
    """The stratum of each study by a variable; nothing if no header states it."""
    values = [one.facts.get(variable, "") for one in seen]
    if not any(values):
        return []
    named = [value or UNKNOWN for value in values]
    shown = _in_order(named)
    shown = shown if len(shown) <= MOST else shown[: MOST - 1]
    return [value if value in shown else OTHERS for value in named]


def _in_order(named: Sequence[str]) -> list[str]:
    """Each value once, that of the most studies first; those of the rest last."""
    counts = Counter(named)
    return sorted(counts, key=lambda value: (value == OTHERS, -counts[value], value))


def _stratum(variable: str, value: str, mine: Sequence[Seen]) -> Stratum:
    scored = [one for one in mine if not math.isnan(one.score)]
    patients = len({one.patient for one in mine})
    return Stratum(variable, value, len(mine), patients, share_of(mine, 1), share_of(scored, 0))


def _differs(mine: Sequence[Seen], others: Sequence[Seen], label: int) -> float:
    table = [_patients(group, label) for group in (mine, others)]
    if not all(map(sum, table)):
        return math.nan
    return float(stats.fisher_exact(table).pvalue)


def _patients(seen: Sequence[Seen], label: int) -> tuple[int, int]:
    """Patients of a label of whom all studies are right, and others."""
    mine = [one for one in seen if one.label == label and (label or not math.isnan(one.score))]
    wrong = {one.patient for one in mine if not one.right}
    return len({one.patient for one in mine} - wrong), len(wrong)
