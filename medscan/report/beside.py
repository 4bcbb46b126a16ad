"""The last earlier study beside the current one: which of its slices lies where.

Where both stacks state the same frame of reference, a slice lies beside the one whose plane is
nearest to its middle. Else only the place in the stack can be compared, from its first slice to its
last, which is a guess: the stacks may not cover the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medscan.report.placing import Square, square_of
from medscan.report.priors import Prior, in_same_frame, last_prior
from medscan.report.worklist import Row
from medscan.results import StackResult

Slices = dict[tuple[str, str], set[int]]
"""Indices of slices by keys of study and stack."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A stack of the last earlier study, and where its slices lie.

    Parameters
    ----------
    prior : Prior
    nearest : intp (n,)
        Index in the earlier stack for each slice of the current one.
    apart_mm : float64 (n,)
        From the middle of each current slice to the plane of that one; NaN where it is not known.
    """

    prior: Prior
    nearest: NDArray[np.intp]
    apart_mm: NDArray[np.float64]

    @property
    def key(self) -> tuple[str, str]:
        """Keys of its study and stack."""
        return self.prior.row.study.key, self.prior.stack.key

    @property
    def in_same_frame(self) -> bool:
        """Whether places were compared in one frame of reference."""
        return not bool(np.isnan(self.apart_mm).any())


@dataclass(frozen=True, slots=True)
class EarlierSlices:
    """What is drawn of earlier studies, to be shown beside current ones.

    Parameters
    ----------
    rows : list of Row
        Studies that would not be drawn otherwise, with the stacks that are shown.
    slices : dict
        Slices beside those that matter; see `Slices`.
    seen : dict
        Slices beside any: no more than the current studies have.
    """

    rows: Sequence[Row] = ()
    slices: Mapping[tuple[str, str], Set[int]] = field(default_factory=dict)
    seen: Mapping[tuple[str, str], Set[int]] = field(default_factory=dict)


def beside_of(row: Row) -> dict[str, Beside]:
    """The last earlier study beside each stack of a study that it compares with, by key."""
    priors = {stack.key: (stack, last_prior(row, stack)) for stack in row.study.stacks}
    return {
        key: Beside(prior, *nearest_slices(stack, prior.stack))
        for key, (stack, prior) in priors.items()
        if prior
    }


def earlier_slices(rows: Sequence[Row], matter: Callable[[StackResult], Set[int]]) -> EarlierSlices:
    """What to draw of earlier studies.

    Parameters
    ----------
    rows : sequence of Row
        Studies that are drawn.
    matter : callable
        Gives the slices of a stack that need one beside them.
    """
    slices: Slices = defaultdict(set)
    seen: Slices = defaultdict(set)
    others: dict[str, Row] = {}
    for row in rows:
        for key, found in beside_of(row).items():
            stack = next(stack for stack in row.study.stacks if stack.key == key)
            others[found.prior.row.study.key] = found.prior.row
            slices[found.key].update(found.nearest[sorted(matter(stack))].tolist())
            seen[found.key].update(found.nearest.tolist())
    for row in rows:
        others.pop(row.study.key, None)
    return EarlierSlices([_only(row, slices) for row in others.values()], slices, seen)


def _only(row: Row, slices: Slices) -> Row:
    study = row.study
    stacks = tuple(stack for stack in study.stacks if (study.key, stack.key) in slices)
    return replace(row, study=replace(study, stacks=stacks))


def nearest_slices(
    now: StackResult, then: StackResult
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Index of the slice of an earlier stack beside each current one, and how far it lies away.

    Returns
    -------
    nearest : intp (n,)
    apart_mm : float64 (n,)
        NaN without a common frame of reference.
    """
    squares = square_of(now), square_of(then)
    if in_same_frame(now, then) and squares[0] and squares[1]:
        normal = np.cross(squares[1].across, squares[1].down)
        normal = normal / np.linalg.norm(normal)
        places, planes = (_middles(square) @ normal for square in squares if square)
        if not np.isnan([*places, *planes]).any():
            nearest = _nearest(places, planes)
            return nearest, np.abs(places - planes[nearest])
    shares = _shares(now), _shares(then)
    return _nearest(1 - shares[0] if _opposed(now, then) else shares[0], shares[1]), np.full(
        len(now.state), np.nan
    )


def _middles(square: Square) -> NDArray[np.float64]:
    middles: NDArray[np.float64] = square.origins + (square.across + square.down) / 2
    return middles


def _nearest(places: NDArray[np.float64], planes: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the nearest plane for each place; of two as near, the lower one."""
    order = np.argsort(planes, kind="stable")
    ranked = planes[order]
    above = np.clip(np.searchsorted(ranked, places), 1, max(len(ranked) - 1, 1))
    above = np.minimum(above, len(ranked) - 1)
    below = np.maximum(above - 1, 0)
    nearer = np.where(places - ranked[below] <= ranked[above] - places, below, above)
    found: NDArray[np.intp] = order[nearer]
    return found


def _shares(stack: StackResult) -> NDArray[np.float64]:
    """Place of each slice from the first, 0, to the last, 1."""
    at = stack.position_mm
    if len(at) > 1 and np.isfinite(at).all() and at[-1] > at[0]:
        shares: NDArray[np.float64] = (at - at[0]) / (at[-1] - at[0])
        return shares
    return (np.arange(len(at)) + 0.5) / len(at) if len(at) < 2 else np.linspace(0, 1, len(at))


def _opposed(one: StackResult, other: StackResult) -> bool:
    """Whether the slices of two stacks are in opposite orders."""
    turns = [s.info["orientation"] for s in (one, other)]
    if not all(turns):
        return False
    first, second = (np.cross(turn[:3], turn[3:]) for turn in turns)
    return bool(first @ second < 0)
