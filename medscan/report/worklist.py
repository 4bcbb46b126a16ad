"""Studies of one or several results files as one list, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medscan.results import Results, StackResult, State, StudyResult


@dataclass(frozen=True, slots=True)
class Row:
    """A study in the worklist.

    Parameters
    ----------
    rank : int or None
        From 1; None where nothing was scored.
    results : Results
        The file that it is in.
    study : StudyResult
        Without heatmaps and thumbnails.
    """

    rank: int | None
    results: Results
    study: StudyResult

    @property
    def worst(self) -> StackResult | None:
        """The stack with the highest score, None where nothing was scored."""
        scored = [s for s in self.study.stacks if not np.isnan(s.score)]
        return max(scored, key=lambda s: s.score, default=None)

    @property
    def series(self) -> int:
        """Number of series with at least one scored slice."""
        scored = [s for s in self.study.stacks if (s.state == State.SCORED).any()]
        return len({s.info["SeriesInstanceUID"] for s in scored})

    @property
    def slices(self) -> int:
        """Number of scored slices."""
        return sum(int((s.state == State.SCORED).sum()) for s in self.study.stacks)

    @property
    def reason(self) -> str:
        """Why nothing was scored, or what was left out."""
        found = [f"{what}: {why}" for what, why in self.study.info.get("skipped") or []]
        if self.rank is None:
            states = {s for stack in self.study.stacks for s in stack.state.tolist()}
            found += ["slices could not be read"] * (State.FAILED in states)
            found += ["slices are background only"] * (State.BACKGROUND in states)
        return "; ".join(found)


def worst_slice(stack: StackResult) -> int:
    """Place of the slice with the highest score in the stack's arrays.

    Raises
    ------
    ValueError
        None was scored.
    """
    return int(np.nanargmax(stack.slice_score))


def rank(results: Sequence[Results]) -> list[Row]:
    """Studies of all files, worst first; unscored ones last, ties by key, then by file.

    A study that two files hold is listed for each.
    """
    found = [(r, study) for r in results for study in r.ranked()]
    found.sort(key=lambda f: (np.isnan(f[1].score), -np.nan_to_num(f[1].score), f[1].key))
    return [
        Row(None if np.isnan(study.score) else place, file, study)
        for place, (file, study) in enumerate(found, start=1)
    ]
