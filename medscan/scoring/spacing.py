"""Which slices of a stack are scored when they lie closer together than they need to.

First some, at most so far apart; then those beside the highest; then, as long as the stack may have
another flag for them, those that may be among its highest. A slice that was not scored is taken to
score no more than the higher of its scored neighbours, plus the largest step between two scored
neighbours anywhere in the stack. That is likely and not certain: a lesion that no scored slice
touches, and that is steeper than all else in the stack, is missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def first_slices(positions: Sequence[float | None], every_mm: float | None) -> list[int]:
    """Return the slices to score first, both ends among them.

    Parameters
    ----------
    positions : sequence of (float or None)
        Where the slices lie, mm. Where one is not known, or they turn back, all are scored.
    every_mm : float or None
        Largest distance of two scored slices that have others between them; None: score all.
    """
    every = list(range(len(positions)))
    known = [position for position in positions if position is not None]
    if every_mm is None or not known or len(known) < len(positions):
        return every
    steps = np.diff(known)
    if not ((steps > 0).all() or (steps < 0).all()):
        return every
    chosen = [0]
    for index in every[1:]:
        last = index + 1 == len(known)
        if last or abs(known[index + 1] - known[chosen[-1]]) > every_mm:
            chosen.append(index)
    return chosen


def further_slices(
    scores: NDArray[np.float32], passed_over: NDArray[np.bool_], levels: Sequence[float], top: int
) -> list[int]:
    """Return the slices to score next; none once no other could change the flag.

    Parameters
    ----------
    scores : float32 (n,)
        NaN where there is none.
    passed_over : bool (n,)
        Slices that nobody has asked for yet.
    levels : sequence of float
        Scores of the stack from which it has another flag.
    top : int
        How many of the highest make the score of the stack.
    """
    scored, left = np.flatnonzero(np.isfinite(scores)), np.flatnonzero(passed_over)
    if not len(left) or len(scored) < 2:
        return [int(index) for index in left]
    known = scores[scored].astype(np.float64)
    after = np.clip(np.searchsorted(scored, left), 1, len(scored) - 1)
    bounds = np.maximum(known[after - 1], known[after]) + np.abs(np.diff(known)).max()
    peak = int(known.argmax())
    wanted = (after == peak) | (after - 1 == peak)
    now = np.sort(known)[-top:].mean() if len(known) >= top else -np.inf
    hoped = np.sort(np.concatenate([known, bounds]))[-top:]
    above = [level for level in levels if level > now]
    if above and hoped.mean() >= min(above):
        wanted |= bounds >= hoped[0]
    return [int(index) for index in left[wanted]]


def runs_of(indices: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield first index and number of slices that follow one another, `most` of them at most."""
    first = count = 0
    for index in indices:
        if count and index == first + count and count < most:
            count += 1
        else:
            if count:
                yield first, count
            first, count = index, 1
    if count:
        yield first, count
