"""Mark results that are stale or whose files are absent, and choose those to drop."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medscan.archive import ArchiveFile, Outcome, Pseudonyms, Reason
from medscan.options import Inputs
from medscan.planning.ledger import NOTHING, Ledger
from medscan.planning.plan import is_stale
from medscan.planning.survey import Walked, file_of
from medscan.planning.task import Task
from medscan.results import Dropped, Mark, Work, gone_from
from medscan.text import printable

MarkChanges = dict[str, Mark | None]
"""New marks by study; None: drop the result."""


def mark_changes(
    walked: Sequence[Walked],
    plan: Sequence[Task],
    ledger: Ledger,
    pseudonyms: Pseudonyms,
    prune_s: float | None,
    dropped: Dropped = NOTHING,
) -> MarkChanges:
    """Find the marks of older results that must change.

    A result is stale if a scan would now give another one, and absent if none of its files exists
    any more, or all belong to other studies now. An archive that is not mounted looks like an empty
    one: files count as absent only below a root that holds at least one file, and never in a folder
    that could not be listed. With `prune_s`, results that have been absent for that long are
    dropped.

    Parameters
    ----------
    walked : sequence of ArchiveFile or Outcome
        All files of the archives, of every shard.
    plan : sequence of Task
    ledger : Ledger
    pseudonyms : Pseudonyms
        Pseudonyms that the ledger was written with.
    prune_s : float or None
        Seconds of absence after which a result is dropped; None: never.
    dropped : mapping
        See `dropped_scores`.
    """
    marks = {task.study.key: _mark(task, ledger) for task in plan}
    changes: MarkChanges = {key: m for key, m in marks.items() if m and m != ledger.mark(key)}
    # What is dropped from a study is recorded together with its mark.
    changes |= {key: marks[key] for key in dropped if marks[key]}
    now, planned = datetime.datetime.now(datetime.UTC), set[ArchiveFile]()
    for items in _grouped_by_root(walked):
        with_results = ledger.below(pseudonyms.root(file_of(items[0])))
        unplanned = [key for key in with_results if key not in marks]
        if unplanned:
            planned = planned or {file for task in plan for file in task.study.files()}
            files = _RootFiles(items, planned, pseudonyms)
            changes |= _absences(unplanned, files, ledger, now, prune_s)
    return changes


def _mark(task: Task, ledger: Ledger) -> Mark | None:
    work = ledger.work(task.study.key)
    if work is None:
        return None
    kept = {score.asked for score in task.earlier.kept}
    now = replace(task, earlier=gone_from(task.earlier, work))
    skipped = now.skipped_stacks(ledger.mark(task.study.key))
    return Mark(
        stale=is_stale(task, work),
        kept=tuple(score.group for score in work.scores if score.asked in kept),
        skipped=json.dumps(skipped) if skipped else "",
    )


def _grouped_by_root(walked: Iterable[Walked]) -> Iterable[list[Walked]]:
    by_root: dict[Path, list[Walked]] = {}
    for item in walked:
        by_root.setdefault(file_of(item).root, []).append(item)
    return by_root.values()


class _RootFiles:
    """Existing files of no planned study below a root, under the pseudonyms of the ledger."""

    def __init__(
        self, items: Sequence[Walked], planned: Collection[ArchiveFile], pseudonyms: Pseudonyms
    ) -> None:
        free = (file for file in map(file_of, items) if file not in planned)
        self.paths = {pseudonyms.path(file.path) for file in free}
        outcomes = (item for item in items if isinstance(item, Outcome))
        unreadable = (outcome for outcome in outcomes if outcome.reason is Reason.UNREADABLE)
        # The walk reports a folder that it could not list like a file; "." is the root itself.
        self.unlisted = tuple(f"{pseudonyms.path(o.file.path)}/" for o in unreadable)

    def lack_all(self, work: Work) -> bool:
        """Whether certainly none of these is a study's."""
        paths = [path for path, _, _ in work.outcomes]
        if "./" in self.unlisted:
            return False
        return not any(path in self.paths or path.startswith(self.unlisted) for path in paths)


def _absences(
    studies: Iterable[str],
    files: _RootFiles,
    ledger: Ledger,
    now: datetime.datetime,
    prune_s: float | None,
) -> MarkChanges:
    """Find changed marks of studies that are not in the plan: set aside, or without files."""
    changes: MarkChanges = {}
    for key in studies:
        work, mark = ledger.work(key), ledger.mark(key)
        if work is None or not files.lack_all(work):
            new: Mark | None = replace(mark, absent="")
        elif _is_prunable(mark, now, prune_s):
            new = None
        else:
            new = replace(mark, absent=mark.absent or now.isoformat(timespec="seconds"))
        if new != mark:
            changes[key] = new
    return changes


def _is_prunable(mark: Mark, now: datetime.datetime, prune_s: float | None) -> bool:
    """Whether an earlier scan found a result absent, at least `prune_s` seconds ago."""
    if prune_s is None or not mark.absent:
        return False
    return (now - datetime.datetime.fromisoformat(mark.absent)).total_seconds() >= prune_s


def dropped_scores(plan: Sequence[Task], ledger: Ledger) -> dict[str, frozenset[str]]:
    """Return, by study, the keys of the stacks whose scores are to be dropped from the results."""
    dropped: dict[str, frozenset[str]] = {}
    for task in plan:
        asked = {score.asked for score in task.earlier.dropped}
        work = ledger.work(task.study.key) if asked else None
        groups = frozenset(s.group for s in work.scores if s.asked in asked) if work else ()
        if groups:
            dropped[task.study.key] = frozenset(groups)
    return dropped


def undropped_notes(plan: Sequence[Task], inputs: Inputs) -> list[str]:
    """Say of each detector whose scores were to be dropped, but of which none are, why that is."""
    gone = {score.detector for task in plan for score in task.earlier.dropped}
    asked = {detector.name for _, detector in inputs.detectors}
    return [
        f"{printable(name, 80)} is asked for by this scan: its scores are kept"
        if name in asked
        else f"no scores of a detector {printable(name, 80)} to drop"
        for name in dict.fromkeys(inputs.dropped_detectors)
        if name not in gone
    ]
