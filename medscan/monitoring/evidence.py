"""Evidence that scores have changed, which may be looked at every night.

While nothing changes, studies are exchangeable. Then the place of each new score among all before
it, with ties broken at random, is a p-value that is uniform and independent of the others (Vovk,
Nouretdinov and Gammerman, International Conference on Machine Learning, 2003), whatever the scores
are distributed like. Bets against that have an expected gain of none, and grow once scores shift
or spread.

A change may begin on any night. Each night a small stake is laid on a change that begins then, and
all stakes of earlier nights ride on (a Shiryaev-Roberts e-detector: Shin, Ramdas and Rinaldo, New
England Journal of Statistics in Data Science 2, 2024). What is won, less what was staked, is a
martingale, so that by Doob's inequality the capital ever reaches 1 with at most the probability
that all stakes add up to. An alarm at 1 thus has a known rate of false ones, however often anybody
looks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtri

Floats = NDArray[np.float64]

SHIFTS = (0.25, 0.5, 1.0, -0.25, -0.5, -1.0)
"""Shifts that are bet on, in standard deviations of a normal score."""
SPREADS = (0.6, 1.7)
"""Spreads that are bet on, as factors."""
BETS = (
    *("higher",) * 3,
    *("lower",) * 3,
    "less spread out",
    "more spread out",
)
"""What scores have become if a bet wins."""
_LEAST = 1e-12
"""Distance from 0 and 1 of the outermost p-values that are told apart."""
_MOST = 1e100
"""Capital beyond which it is not counted."""


def p_values(scores: Sequence[float], ties: Sequence[float]) -> Floats:
    """Place of each score among all before it: small where few have been as high.

    Parameters
    ----------
    scores : sequence of float (n,)
        In the order in which they came, no NaN.
    ties : sequence of float (n,)
        Uniform numbers between 0 and 1, which know nothing of the scores.

    Returns
    -------
    array (n,), float64
        Uniform and independent while scores are exchangeable.
    """
    known: list[float] = []
    found = np.empty(len(scores), np.float64)
    for place, (score, tie) in enumerate(zip(scores, ties, strict=True)):
        right = bisect_right(known, score)
        equal = right - bisect_left(known, score) + 1
        found[place] = (len(known) - right + tie * equal) / (place + 1)
        insort(known, score)
    return found


def bets(p: ArrayLike) -> Floats:
    """Logarithm of what each bet of `BETS` gains at p-values (...,); shape (..., bets).

    For a shift d, the likelihood ratio of a normal distribution shifted by d and one that is not;
    for a spread s, of one s times as wide. Each has mean 1 over a uniform p.
    """
    z = -ndtri(np.clip(np.asarray(p, np.float64), _LEAST, 1 - _LEAST))[..., None]
    shift, spread = np.array(SHIFTS), np.array(SPREADS)
    shifted = shift * z - shift**2 / 2
    spread_out = z**2 / 2 * (1 - 1 / spread**2) - np.log(spread)
    return np.concatenate([shifted, spread_out], axis=-1)


def evidence(gains: Floats, stakes: Floats) -> Floats:
    """Capital after each night; an alarm is due where it reaches 1.

    Parameters
    ----------
    gains : array (..., nights, bets)
        Logarithm of what each bet gained in a night: the sum of `bets` over its studies.
    stakes : array (nights,)
        What is staked each night, over all bets.

    Returns
    -------
    array (..., nights), float64
    """
    capital = np.zeros(gains.shape[:-2] + gains.shape[-1:])
    found = np.empty(gains.shape[:-1])
    factors = np.exp(np.minimum(gains, np.log(_MOST)))
    for night, stake in enumerate(stakes):
        capital = np.minimum((capital + stake / len(BETS)) * factors[..., night, :], _MOST)
        found[..., night] = capital.sum(-1)
    return found


def began(gains: Floats) -> tuple[int, int]:
    """The night from which on bets (nights, bets) gained most in all, and the bet that did."""
    since = np.cumsum(gains[::-1], axis=0)[::-1]
    night = int(np.argmax(logsumexp(since, axis=1)))
    return night, int(np.argmax(since[night]))
