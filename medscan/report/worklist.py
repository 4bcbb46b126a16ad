"""Studies of one or several results files as one list, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from medscan.results import Results, StackResult, State, StudyResult, distinct


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
    def name(self) -> str:
        """What it is called: where it lies, unless that is the archive's root itself."""
        path = str(self.study.info.get("path") or ".")
        return self.study.key if path == "." else path

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
    """Studies of all files, as `distinct` takes them, worst first; unscored last, ties by key."""
    written = tuple(file.path.stat().st_mtime_ns for file in results)
    return list(_ranked(tuple(results), written))


@lru_cache(maxsize=2)
def _ranked(results: tuple[Results, ...], _written: tuple[int, ...]) -> tuple[Row, ...]:
    """Read once for all tables and pages of files that have not been written since."""
    found = sorted(
        ((file, study) for file in distinct(results) for study in file.ranked()),
        key=lambda f: (np.isnan(f[1].score), -np.nan_to_num(f[1].score), f[1].key),
    )
    return tuple(
        Row(None if np.isnan(study.score) else place, file, study)
        for place, (file, study) in enumerate(found, start=1)
    )


def featured(rows: Sequence[Row], most: int | None) -> set[str]:
    """Keys of the `most` studies (None: all) that get most room: flagged first, then by rank."""
    scored = [row for row in rows if row.rank is not None]
    scored.sort(key=lambda row: not row.study.flagged)
    return {row.study.key for row in scored[:most]}


class Change(StrEnum):
    """What became of a study since older results."""

    FLAGGED = "newly flagged"
    CLEARED = "newly cleared"
    UNSCORED = "not scored now"
    MOVED = "moved"
    NEW = "new"
    SAME = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """How a worklist differs from an older one.

    Parameters
    ----------
    since : str
        When the older results were written.
    by_key : dict
        For each study, its change and the words that say it.
    gone : int
        Number of studies that only the older results hold.
    """

    since: str
    by_key: dict[str, tuple[Change, str]]
    gone: int

    def count(self, change: Change) -> int:
        """Number of studies that changed so."""
        return sum(found is change for found, _ in self.by_key.values())


def compare(rows: Sequence[Row], old: Results) -> Changes:
    """What is new in a worklist.

    A study has moved when its score is another one and so is its place among the studies that both
    lists hold; that others came or went moves nobody.
    """
    before = {row.study.key: row for row in rank([old])}
    now = {row.study.key: row for row in rows}
    common = now.keys() & before.keys()
    places = [_places(ranked, common) for ranked in (now, before)]
    by_key = {
        key: (Change.NEW, "new")
        if key not in common
        else _change(before[key], now[key], places[1].get(key), places[0].get(key))
        for key in now
    }
    return Changes(old.run().created, by_key, len(before) - len(common))


def _places(rows: Mapping[str, Row], among: Set[str]) -> dict[str, int]:
    scored = (key for key, row in rows.items() if key in among and row.rank is not None)
    return {key: place for place, key in enumerate(scored, start=1)}


def _change(before: Row, now: Row, was: int | None, place: int | None) -> tuple[Change, str]:
    if was is not None and place is None:
        return Change.UNSCORED, str(Change.UNSCORED)
    if now.study.flagged != before.study.flagged:
        change = Change.FLAGGED if now.study.flagged else Change.CLEARED
        return change, str(change)
    if was == place or now.study.score == before.study.score:
        return Change.SAME, ""
    if was is None or place is None:
        return Change.MOVED, "moved: scored now"
    return Change.MOVED, f"moved {'up' if place < was else 'down'} {abs(place - was)}"
