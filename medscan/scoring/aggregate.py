"""Slice scores -> the score of their stack, and what normal stacks of as many slices would have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medscan.normals import Calibration, conformal_threshold

AGGREGATION = "stack: mean of the top 5 % of its slices, at least one; study: maximum of its stacks"
TOP_FRACTION = 0.05


def top_count(count: int) -> int:
    """Return how many of `count` scored slices, the highest, make the score of their stack."""
    return max(1, math.ceil(TOP_FRACTION * count))


def aggregate(scores: NDArray[np.float32], passed_over: int = 0) -> float:
    """Return the mean of the top 5 %, at least one, of slice scores (n,); NaN does not count.

    Slices that were passed over count as lower ones.
    """
    scored = np.sort(scores[~np.isnan(scores)].astype(np.float64))
    if not len(scored):
        return math.nan
    return float(scored[-top_count(len(scored) + passed_over) :].mean())


def stack_scores(stacks: Sequence[Sequence[float]], count: int) -> tuple[float, ...]:
    """Return, sorted, what stacks would score if each had been cut into `count` slices.

    Slice scores (n,) of a stack are read at evenly spaced places. What neighbours have in common
    they keep: a stack cut twice as thin has hardly another highest slice.
    """
    places = (np.arange(count) + 0.5) / count
    cut = (np.asarray(s, np.float32)[(places * len(s)).astype(np.int64)] for s in stacks)
    return tuple(sorted(aggregate(scores) for scores in cut))


@lru_cache(maxsize=256)
def stack_calibration(slices: Calibration, count: int) -> Calibration:
    """Derive the calibration for the aggregate of `count` slices.

    The highest score among many normal slices is rare among normal slices, so that a threshold for
    slices would flag most normal stacks. Where whole normal stacks were scored, they are counted,
    see `stack_scores`. Else normal stacks are simulated by drawing `count` out-of-sample normal
    slices with replacement, 2,000 times; where the highest slice decides, the highest normal stands
    for what lies beyond it as well, as in `conformal_threshold`. Slices of a real stack resemble
    one another more than that, which makes the simulated aggregate larger: of stacks like the
    shots, fewer are flagged than the target rate says. With fewer than `count` / target rate
    normals, the tail is unknown and the calibration provisional.

    A threshold that an acceptance test chose holds for every count.
    """
    found, chosen = _of_count(slices, count), slices.accepted
    if chosen is None:
        return found
    return replace(found, threshold=chosen.threshold, provisional=False, accepted=chosen)


def _of_count(slices: Calibration, count: int) -> Calibration:
    if not slices.normals or count < 2:
        return slices
    if slices.stacks:
        whole = replace(slices, normals=stack_scores(slices.stacks, count))
        return whole.at_rate(slices.target_fpr)
    top = top_count(count)
    beyond = slices.normals[-1:] if top == 1 else ()
    drawn = np.random.default_rng(0).choice(np.array([*slices.normals, *beyond]), (2000, count))
    simulated = np.partition(drawn, count - top, axis=1)[:, count - top :].mean(axis=1)
    threshold, _ = conformal_threshold(tuple(simulated.tolist()), slices.target_fpr)
    return replace(
        slices,
        normals=tuple(sorted(simulated.tolist())),
        threshold=threshold,
        provisional=slices.provisional or len(slices.normals) < count / slices.target_fpr,
    )
