"""What became of every file: each file found has one entry, and each entry one bucket."""

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
from medscan.planning.plan import FindWork, Task
from medscan.results import Work


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file, its fate and its place.

    Parameters
    ----------
    outcome : Outcome
    stack : str
        Key of the stack that holds its first frame; empty when it is in none.
    index : int or None
        Place of that frame in the stack, from 0.
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


Foresee = Callable[[Task], Iterable[Outcome]]
"""What becomes of the files of a study that is not finished."""


def account(
    catalogue: Catalogue,
    plan: Sequence[Task],
    find_work: FindWork,
    foresee: Foresee,
    pseudonyms: Pseudonyms,
) -> list[FileEntry]:
    """An entry for every file found as it is written, by path.

    Parameters
    ----------
    catalogue : Catalogue
        Whose studies are those of the plan.
    plan : sequence of Task
    find_work : callable
    foresee : callable
        Asked about each study that the ledger does not know as it is now.
    pseudonyms : Pseudonyms
        For paths.
    """
    entries = {outcome.file: FileEntry(outcome) for outcome in catalogue.set_aside}
    for task in plan:
        places = _places(task.study)
        for outcome in _outcomes(task, find_work(task.study.key), foresee):
            series, stack, place = places[outcome.file]
            told = replace(outcome, study=task.study.uid, series=series.uid)
            entries[outcome.file] = FileEntry(told, stack.key, place)
    for companion, header in catalogue.companions.items():
        shared = entries[header]
        outcome = replace(shared.outcome, file=companion, detail="belongs to", other=header.path)
        entries[companion] = replace(shared, outcome=outcome)
    written = [replace(e, outcome=pseudonyms.entry(e.outcome)) for e in entries.values()]
    return sorted(written, key=lambda entry: entry.file)


def _outcomes(task: Task, work: Work | None, foresee: Foresee) -> Iterable[Outcome]:
    """One for each file of a study."""
    if work is None or work.content != task.content:
        return foresee(task)
    rows = zip(task.study.files(), work.outcomes, strict=True)
    return [Outcome(file, Reason(reason), detail) for file, (_, reason, detail) in rows]


def _places(study: Study) -> dict[ArchiveFile, tuple[Series, Stack, int]]:
    """Where the first frame of each file lies: its series, its stack and its place there."""
    found: dict[ArchiveFile, tuple[Series, Stack, int]] = {}
    first: dict[ArchiveFile, int] = {}
    for series in study.series:
        for stack in series.stacks:
            for place, frame in enumerate(stack.frames):
                if frame.index < first.get(frame.file, frame.index + 1):
                    first[frame.file] = frame.index
                    found[frame.file] = series, stack, place
    return found
