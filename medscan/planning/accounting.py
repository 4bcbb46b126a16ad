"""Account for every file: each file of the archives has one entry, and each entry one bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from medscan.archive import (
    ArchiveFile,
    Bucket,
    Catalogue,
    Outcome,
    Pseudonyms,
    Reason,
    Series,
    Stack,
    Study,
)
from medscan.planning.plan import FindWork, is_new
from medscan.planning.task import Task
from medscan.results import Work


@dataclass(frozen=True, slots=True)
class FileEntry:
    """The outcome of a file, and where its first frame is.

    Parameters
    ----------
    outcome : Outcome
    stack : str
        Key of the stack that holds its first frame; empty if no stack does.
    index : int or None
        Index of that frame in the stack, from 0.
    """

    outcome: Outcome
    stack: str = ""
    index: int | None = None

    @property
    def file(self) -> ArchiveFile:
        """The file."""
        return self.outcome.file

    @property
    def bucket(self) -> Bucket:
        """The bucket that the file is in."""
        return self.outcome.bucket


PredictOutcomes = Callable[[Task], Iterable[Outcome]]
"""Gives the outcomes of the files of a study that is not scanned yet."""


def account(
    catalogue: Catalogue,
    plan: Sequence[Task],
    find_work: FindWork,
    predict: PredictOutcomes,
    pseudonyms: Pseudonyms,
) -> list[FileEntry]:
    """Return an entry for every file, sorted by path, with paths as outputs show them.

    Parameters
    ----------
    catalogue : Catalogue
        Its studies are those of the plan.
    plan : sequence of Task
    find_work : callable
    predict : callable
        Called for each study without a result of its present content.
    pseudonyms : Pseudonyms
        They replace paths.
    """
    entries = {outcome.file: FileEntry(outcome) for outcome in catalogue.set_aside}
    for task in plan:
        first_frames = _first_frames(task.study)
        for outcome in _outcomes(task, find_work(task.study.key), predict):
            series, stack, index = first_frames[outcome.file]
            with_uids = replace(outcome, study=task.study.uid, series=series.uid)
            entries[outcome.file] = FileEntry(with_uids, stack.key, index)
    # A file with only voxels shares the outcome of its header file.
    for companion, header in catalogue.companions.items():
        shared = entries[header]
        outcome = replace(shared.outcome, file=companion, detail="belongs to", other=header.path)
        entries[companion] = replace(shared, outcome=outcome)
    shown = [replace(e, outcome=pseudonyms.outcome(e.outcome)) for e in entries.values()]
    return sorted(shown, key=lambda entry: entry.file)


def _outcomes(task: Task, work: Work | None, predict: PredictOutcomes) -> Iterable[Outcome]:
    """Return an outcome for each file of a study."""
    if is_new(task, work) or work is None:
        return predict(task)
    aside = {outcome.file: outcome for outcome in task.aside_outcomes()}
    rows = zip(task.study.files(), work.outcomes, strict=True)
    return [aside.get(file, Outcome(file, Reason(why), detail)) for file, (_, why, detail) in rows]


def _first_frames(study: Study) -> dict[ArchiveFile, tuple[Series, Stack, int]]:
    """Return the series, the stack and the index in the stack of each file's first frame."""
    positions: dict[ArchiveFile, tuple[Series, Stack, int]] = {}
    lowest: dict[ArchiveFile, int] = {}
    for series in study.series:
        for stack in series.stacks:
            for index, frame in enumerate(stack.frames):
                if frame.index < lowest.get(frame.file, frame.index + 1):
                    lowest[frame.file] = frame.index
                    positions[frame.file] = series, stack, index
    return positions
