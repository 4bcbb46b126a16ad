"""What became of results since: stale, absent, or to be dropped."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path

from medscan.archive import Outcome, Pseudonyms, Reason
from medscan.planning.ledger import Ledger
from medscan.planning.plan import Task
from medscan.planning.survey import Walked, file_of
from medscan.results import Mark, Work

MarkChanges = dict[str, Mark | None]
"""New marks by study; None: the result is dropped."""


def mark_changes(
    walked: Sequence[Walked],
    plan: Sequence[Task],
    ledger: Ledger,
    pseudonyms: Pseudonyms,
    prune_s: float | None,
) -> MarkChanges:
    """What is to change about results that were not made just now.

    A result is stale where a scan would now say something else, and absent where none of its
    files is there. An archive that is not mounted looks like an emptied one: only what lies below
    a root that holds at least one file is called absent, and nothing in a folder that could not be
    listed. Only what was absent for long enough is dropped, if that was asked for.

    Parameters
    ----------
    walked : sequence of ArchiveFile or Outcome
        All that is there, of whatever shard.
    plan : sequence of Task
    ledger : Ledger
    pseudonyms : Pseudonyms
        That the ledger was written with.
    prune_s : float or None
        Seconds of absence after which a result is dropped; None: never.
    """
    marks = {task.study.key: _mark(task, ledger.work(task.study.key)) for task in plan}
    changes: MarkChanges = {key: m for key, m in marks.items() if m and m != ledger.mark(key)}
    now = datetime.datetime.now(datetime.UTC)
    for found in _by_root(walked):
        known = ledger.below(pseudonyms.root(file_of(found[0])))
        missing = [key for key in known if key not in marks]
        if missing:
            there = _There(found, pseudonyms)
            changes |= _absences(missing, there, ledger, now, prune_s)
    return changes


def _mark(task: Task, work: Work | None) -> Mark | None:
    if work is None:
        return None
    return Mark(stale=(work.content, work.maker) != (task.content, task.maker))


def _by_root(walked: Iterable[Walked]) -> Iterable[list[Walked]]:
    """What was found, that of a root together."""
    found: dict[Path, list[Walked]] = {}
    for item in walked:
        found.setdefault(file_of(item).root, []).append(item)
    return found.values()


class _There:
    """What is there below a root, by names as the ledger has them."""

    def __init__(self, found: Sequence[Walked], pseudonyms: Pseudonyms) -> None:
        self.paths = {pseudonyms.path(file_of(item).path) for item in found}
        given_up = (item for item in found if isinstance(item, Outcome))
        unread = (outcome for outcome in given_up if outcome.reason is Reason.UNREADABLE)
        # A folder that could not be listed is named like a file; "." is the root itself.
        self.unlisted = tuple(f"{pseudonyms.path(o.file.path)}/" for o in unread)

    def lacks(self, work: Work) -> bool:
        """Whether none of a study's files is there, for sure."""
        paths = [path for path, _, _ in work.outcomes]
        if "./" in self.unlisted or not self.paths:
            return False
        return not any(path in self.paths or path.startswith(self.unlisted) for path in paths)


def _absences(
    studies: Iterable[str],
    there: _There,
    ledger: Ledger,
    now: datetime.datetime,
    prune_s: float | None,
) -> MarkChanges:
    """Marks of studies that are not in the plan; they may be set aside, or be gone."""
    found: MarkChanges = {}
    for key in studies:
        work, mark = ledger.work(key), ledger.mark(key)
        if work is None or not there.lacks(work):
            new: Mark | None = Mark(mark.stale)
        elif _is_over(mark, now, prune_s):
            new = None
        else:
            new = Mark(mark.stale, mark.absent or now.isoformat(timespec="seconds"))
        if new != mark:
            found[key] = new
    return found


def _is_over(mark: Mark, now: datetime.datetime, prune_s: float | None) -> bool:
    """Whether a result was absent in an earlier scan, and for long enough since."""
    if prune_s is None or not mark.absent:
        return False
    return (now - datetime.datetime.fromisoformat(mark.absent)).total_seconds() >= prune_s
