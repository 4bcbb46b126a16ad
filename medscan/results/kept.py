"""Decide what becomes of the scores of earlier scans that this scan does not ask for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medscan.archive import Reason
from medscan.results.types import Mark, Score, Work


@dataclass(frozen=True, slots=True)
class Earlier:
    """The scores of a study that this scan does not ask for.

    Parameters
    ----------
    kept : tuple of Score
        Those of the files as they are now: they stay.
    outdated : tuple of Score
        Those of files that have changed since: they go once the study is scanned.
    dropped : tuple of Score
        Those of detectors whose scores are to be dropped.
    """

    kept: tuple[Score, ...] = ()
    outdated: tuple[Score, ...] = ()
    dropped: tuple[Score, ...] = ()


def earlier_scores(
    work: Work | None,
    asked: Sequence[Score],
    sources: Mapping[str, str],
    drop: Collection[str] = (),
) -> Earlier:
    """Sort the scores of a study that this scan does not ask for.

    A score is asked for if this scan gives the same stack to the same detector, by name.

    Parameters
    ----------
    work : Work or None
    asked : sequence of Score
        What this scan asks for.
    sources : mapping
        Hash of the files of each stack of the study, by key.
    drop : collection of str
        Names of detectors whose scores are to be dropped.
    """
    again = {(score.stack, score.detector) for score in asked}
    kept, outdated, dropped = [], [], []
    for score in work.scores if work else ():
        if (score.stack, score.detector) in again:
            continue
        if score.detector in drop:
            dropped.append(score)
        elif not score.source or sources.get(score.stack) != score.source:
            outdated.append(score)
        else:
            kept.append(score)
    return Earlier(tuple(kept), tuple(outdated), tuple(dropped))


Entry = list[Any]
"""An entry of `skipped`: description, reason, and a list of sentences."""


def gone_from(earlier: Earlier, work: Work) -> Earlier:
    """Return the same without outdated scores that a result still has: it waits to be scanned."""
    gone = tuple(score for score in earlier.outdated if score not in work.scores)
    return replace(earlier, outdated=gone)


def outdated_entries(earlier: Earlier, last: Mark, asked: Sequence[Score]) -> Iterator[Entry]:
    """Yield an entry of `skipped` for each score that went because its files have changed.

    It stays until its detector scores the stack again.

    Parameters
    ----------
    earlier : Earlier
    last : Mark
        Of the last scan, with the entries of scores that went before.
    asked : sequence of Score
    """
    told = [entry for entry in json.loads(last.skipped or "[]") if entry[1] == Reason.OUTDATED]
    told += [
        [f"{score.stack} {score.detector}", str(Reason.OUTDATED), [f"scored {score.when}"]]
        for score in earlier.outdated
    ]
    again = {f"{score.stack} {score.detector}" for score in asked}
    yield from {entry[0]: entry for entry in told if entry[0] not in again}.values()
