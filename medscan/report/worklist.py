"""Studies of one or several results files as one list, most abnormal first."""

from __future__ import annotations

import datetime
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from medscan.archive import contradict
from medscan.report.regions import Regions
from medscan.report.standing import Place, normals_by_detector, place
from medscan.results import Results, StackResult, State, StudyResult, distinct

MOST_EARLIER = 24
"""Most earlier studies of a patient that a study is compared with: the last ones."""


class LeftOut(NamedTuple):
    """A series that was not scored, or a score that was dropped.

    Parameters
    ----------
    what : str
        Key and kind of the series.
    why : str
        Name of the reason.
    tried : list of str
        A sentence for each detector that was tried; empty in files of older versions.
    """

    what: str
    why: str
    tried: list[str]

    @classmethod
    def of(cls, entry: Sequence[Any]) -> LeftOut:
        """Read an entry of `StudyResult.info`."""
        what, why, *others = entry
        return cls(str(what), str(why), [str(text) for text in (others[0] if others else ())])

    def __str__(self) -> str:
        tried = f" ({'; '.join(self.tried)})" if self.tried else ""
        return f"{self.what}: {self.why}{tried}"


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
    place : Place
        Where it stands among normals.
    earlier : tuple of Row
        Studies of the same patient on earlier days, the last first, at most `MOST_EARLIER`; these
        rows have none of their own.
    regions : dict
        Regions of its stacks' maps by key, once they are measured: pages and tables share them; see
        `regions.measured`.
    """

    rank: int | None
    results: Results
    study: StudyResult
    place: Place
    earlier: tuple[Row, ...] = field(default=(), repr=False)
    regions: Regions = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Its path below the archive root; its key where it is the root itself."""
        path = str(self.study.info.get("path") or ".")
        return self.study.key if path == "." else path

    @property
    def day(self) -> str:
        """Date of the study, ISO 8601; empty if it is unknown, or none."""
        text = str(self.study.info.get("date") or "")
        with suppress(ValueError):
            return datetime.datetime.strptime(text, "%Y%m%d").date().isoformat()  # noqa: DTZ007
        return ""

    @property
    def worst(self) -> StackResult | None:
        """The most abnormal stack; None where nothing was scored."""
        return self.place.worst

    @property
    def score(self) -> float:
        """Score of the most abnormal stack; NaN where nothing was scored."""
        return self.worst.score if self.worst else math.nan

    @property
    def series(self) -> int:
        """Number of series with at least one scored slice."""
        scored = [s for s in self.study.stacks if s.count(State.SCORED)]
        return len({s.series for s in scored})

    @property
    def slices(self) -> int:
        """Number of scored slices."""
        return sum(s.count(State.SCORED) for s in self.study.stacks)

    @property
    def reason(self) -> str:
        """Why nothing was scored, or what was left out."""
        return "; ".join([*map(str, self.skipped), *self.unscored])

    @property
    def skipped(self) -> list[LeftOut]:
        """What was left out."""
        return [LeftOut.of(entry) for entry in self.study.info.get("skipped") or []]

    @property
    def kept(self) -> dict[str, str]:
        """When each detector scored it that the last scan did not ask for, by name; ISO 8601."""
        times = ((s.info["detector"], self.study.kept_from(s)) for s in self.study.stacks)
        return {str(name): when for name, when in sorted(times) if when}

    @property
    def why_unscored(self) -> str:
        """Why it has no score, in a few words; empty if it has one."""
        if self.rank is not None:
            return ""
        states = {s for stack in self.study.stacks for s in stack.state.tolist()}
        if State.FAILED in states:
            return "not readable"
        if State.BACKGROUND in states:
            return "background only"
        return "out of scope" if self.skipped else "no image"

    @property
    def unscored(self) -> list[str]:
        """Why no slice has a score; empty if one has."""
        if self.rank is not None:
            return []
        states = {s for stack in self.study.stacks for s in stack.state.tolist()}
        reasons = ["slices could not be read"] * (State.FAILED in states)
        return reasons + ["slices are background only"] * (State.BACKGROUND in states)


def worst_slice(stack: StackResult) -> int:
    """Index of the slice with the highest score in the stack's arrays.

    Raises
    ------
    ValueError
        If no slice was scored.
    """
    return int(np.nanargmax(stack.slice_score))


def rank(results: Sequence[Results]) -> list[Row]:
    """List the studies of all files, each once as by `distinct`: flagged first, then `open` ones.

    Studies without a score come last; ties are in order of their keys. The order of two studies
    depends on their own stacks and detectors only, see `medscan.report.standing`.
    """
    written = tuple(file.path.stat().st_mtime_ns for file in results)
    return list(_ranked(tuple(results), written))


@lru_cache(maxsize=2)
def _ranked(results: tuple[Results, ...], _written: tuple[int, ...]) -> tuple[Row, ...]:
    """Rank once for all tables and pages; modification times tell when a file was rewritten."""
    normals = normals_by_detector(file.run() for file in results)
    studies = ((file, study) for file in distinct(results) for study in file.ranked())
    rows = [Row(None, file, study, place(study, normals)) for file, study in studies]
    rows.sort(key=_order)
    numbered = [replace(r, rank=n) if r.worst else r for n, r in enumerate(rows, start=1)]
    return tuple(_with_earlier(numbered))


def _with_earlier(rows: Sequence[Row]) -> Iterator[Row]:
    """Give each study those of its patient on earlier days.

    Two studies of one day have no order that results know of. Two dates of birth or sexes under
    one pseudonym are of two people; where thousands share one, only the last studies are looked at.
    """
    by_patient: dict[str, list[tuple[str, str, Row]]] = defaultdict(list)
    for row in rows:
        if row.day:
            by_patient[_patient(row)].append((row.day, row.study.key, row))
    by_patient.pop("", None)
    for found in by_patient.values():
        found.sort(key=itemgetter(0, 1))
    for row in rows:
        dated = by_patient.get(_patient(row), []) if row.day else []
        count = bisect_left(dated, row.day, key=itemgetter(0))
        before = dated[max(0, count - 10 * MOST_EARLIER) : count]
        own = (one for *_, one in reversed(before) if not contradict(_person(one), _person(row)))
        yield replace(row, earlier=tuple(islice(own, MOST_EARLIER)))


def _patient(row: Row) -> str:
    return str(row.study.info.get("patient") or "")


def _person(row: Row) -> str:
    return str(row.study.info.get("person") or "")


def _order(row: Row) -> tuple[object, ...]:
    study = row.study
    return row.worst is None, not study.flagged, not study.open, row.place.order, study.key


def featured(rows: Sequence[Row], most: int | None) -> set[str]:
    """Keys of the `most` studies (None: all) shown in full: those that rank first."""
    scored = [row for row in rows if row.rank is not None]
    return {row.study.key for row in scored[:most]}


class Change(StrEnum):
    """How a study differs from its older result."""

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
        Change of each study, and the same in words.
    gone : int
        Number of studies that only the older results hold.
    """

    since: str
    by_key: dict[str, tuple[Change, str]]
    gone: int

    def count(self, change: Change) -> int:
        """Number of studies with this change."""
        return sum(each is change for each, _ in self.by_key.values())


def compare(rows: Sequence[Row], old: Results) -> Changes:
    """Compare a worklist with older results.

    A study has moved when its place among normals differs and so does its rank among the studies
    that both lists hold; studies that came or went move no other.
    """
    before = {row.study.key: row for row in rank([old])}
    now = {row.study.key: row for row in rows}
    common = now.keys() & before.keys()
    new_ranks, old_ranks = (_ranks_among(common, ranked) for ranked in (now, before))
    by_key = {
        key: (Change.NEW, "new")
        if key not in common
        else _change(before[key], now[key], old_ranks.get(key), new_ranks.get(key))
        for key in now
    }
    return Changes(old.run().created, by_key, len(before) - len(common))


def _ranks_among(keys: Set[str], rows: Mapping[str, Row]) -> dict[str, int]:
    scored = (key for key, row in rows.items() if key in keys and row.rank is not None)
    return {key: number for number, key in enumerate(scored, start=1)}


def _change(
    before: Row, now: Row, old_rank: int | None, new_rank: int | None
) -> tuple[Change, str]:
    # First: a flagged study that could not be scored this time must not read as cleared.
    if old_rank is not None and new_rank is None:
        return Change.UNSCORED, str(Change.UNSCORED)
    if now.study.flagged != before.study.flagged:
        change = Change.FLAGGED if now.study.flagged else Change.CLEARED
        return change, str(change)
    if old_rank == new_rank or now.place.order == before.place.order:
        return Change.SAME, ""
    if old_rank is None or new_rank is None:
        return Change.MOVED, "moved: scored now"
    direction = "up" if new_rank < old_rank else "down"
    return Change.MOVED, f"moved {direction} {abs(new_rank - old_rank)}"
