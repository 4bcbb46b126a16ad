"""What there is to do: studies, the detector for each stack, and what is done already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
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
    key_of,
    open_regular,
)
from medscan.choices import Order, Rescan
from medscan.detector import Detector
from medscan.errors import FileError
from medscan.planning.ledger import Trouble
from medscan.planning.routing import route
from medscan.results import Work

PREPROCESSING = 3
"""Raised whenever reading, windowing, drawing or aggregating changes a score."""

FindWork = Callable[[str], Work | None]
"""`Ledger.work` or a stand-in: how the result of a study, by its key, came about."""
Fingerprint = Callable[[ArchiveFile], object]
"""What a file's content is known by."""


def by_time(file: ArchiveFile) -> object:
    """Size and time of modification."""
    return [file.size, file.mtime_ns]


def by_content(file: ArchiveFile) -> object:
    """SHA-256; size and time of a file that cannot be read."""
    try:
        digest = hashlib.sha256()
        with open_regular(file.full) as stream:
            while data := stream.read(1 << 20):
                digest.update(data)
        return digest.hexdigest()
    except (OSError, FileError):
        return by_time(file)


@dataclass(frozen=True, slots=True)
class Task:
    """A study with the stacks to scan and those that no detector was fitted for.

    Parameters
    ----------
    content : str
        Key of what is scanned: its files, the options that change a result, and which detectors
        by name. When it changes the study is scanned again.
    maker : str
        Key of what it is scanned with: versions of detectors, backbones and preprocessing. When
        only this changes, the result is stale.
    companions : tuple of ArchiveFile
        Where the voxels of its files are, if not in these.
    """

    study: Study
    stacks: tuple[tuple[Series, Stack, Detector], ...]
    beyond: tuple[tuple[Series, Stack], ...]
    content: str
    maker: str
    companions: tuple[ArchiveFile, ...] = ()

    def out_of_scope(self) -> list[Outcome]:
        """Outcomes of the files that no scanned stack uses."""
        used = {f.file for _, stack, _ in self.stacks for f in stack.frames}
        left = {f.file: series for series, stack in self.beyond for f in stack.frames}
        return [
            Outcome(file, Reason.OUT_OF_SCOPE, _what(series))
            for file, series in sorted(left.items(), key=lambda pair: pair[0])
            if file not in used
        ]

    def foreseen(self) -> list[Outcome]:
        """Outcomes of its files if nothing goes wrong."""
        used = {f.file for _, stack, _ in self.stacks for f in stack.frames}
        return [*self.out_of_scope(), *(Outcome(file, Reason.SCANNED) for file in sorted(used))]

    def left_over(self) -> list[Outcome]:
        """Outcomes of its files when the scan was stopped before it."""
        return [Outcome(file, Reason.LEFT_OVER) for file in self.study.files()]

    def skipped(self) -> list[list[str]]:
        """[what, reason] of each stack that is not scanned."""
        return [
            [f"{stack.key} {_what(series)} {stack.plane or ''}".strip(), Reason.OUT_OF_SCOPE.value]
            for series, stack in self.beyond
        ]


def _what(series: Series) -> str:
    return " ".join(filter(None, (series.modality or "unknown modality", series.body_part)))


def make_plan(
    catalogue: Catalogue,
    detectors: Sequence[Detector],
    find_work: FindWork,
    *,
    named: bool,
    identity: str,
    pseudonyms: Pseudonyms,
    fingerprint: Fingerprint = by_time,
) -> list[Task]:
    """A task for every study, by study key.

    Parameters
    ----------
    catalogue : Catalogue
    detectors : sequence of Detector
    find_work : callable
    named : bool
        See `medscan.planning.routing.route`.
    identity : str
        Of the options that change results; see `ScanOptions.identity`.
    pseudonyms : Pseudonyms
        That the ledger was written with.
    fingerprint : callable
    """
    studies = [_own_key(study, find_work, pseudonyms) for study in catalogue.studies]
    identity = f"{identity} {pseudonyms.digest('identity')}"  # another key: other pseudonyms
    beside: dict[ArchiveFile, list[ArchiveFile]] = {}
    for companion, header in catalogue.companions.items():
        beside.setdefault(header, []).append(companion)
    return [
        _task(study, beside, detectors, identity, fingerprint, named=named)
        for study in sorted(studies, key=lambda study: study.key)
    ]


def _own_key(study: Study, find_work: FindWork, pseudonyms: Pseudonyms) -> Study:
    """A study without a UID is named by its path; below another root that is another study."""
    owner = None if study.uid else find_work(study.key)
    if owner is None or owner.root == pseudonyms.root(study.files()[0]):
        return study
    full = pseudonyms.digest(str(study.files()[0].full))
    return replace(study, key=key_of(f"path:{full}"))


def _task(
    study: Study,
    beside: Mapping[ArchiveFile, Sequence[ArchiveFile]],
    detectors: Sequence[Detector],
    identity: str,
    fingerprint: Fingerprint,
    *,
    named: bool,
) -> Task:
    stacks: list[tuple[Series, Stack, Detector]] = []
    beyond: list[tuple[Series, Stack]] = []
    for series in study.series:
        for stack in series.stacks:
            detector = route(series, stack, detectors, named=named)
            if detector is None:
                beyond.append((series, stack))
            else:
                stacks.append((series, stack, detector))
    files = study.files()
    companions = tuple(sorted(c for file in files for c in beside.get(file, ())))
    content = {
        "identity": identity,
        "files": [[file.path, fingerprint(file)] for file in (*files, *companions)],
        "stacks": [
            [stack.key, stack.plane, detector.name, detector.calibration.target_fpr]
            for _, stack, detector in stacks
        ],
        "beyond": [stack.key for _, stack in beyond],
    }
    maker = {
        "preprocessing": PREPROCESSING,
        "detectors": [[d.digest, d.backbone_digest] for _, _, d in stacks],
    }
    return Task(study, tuple(stacks), tuple(beyond), _digest(content), _digest(maker), companions)


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


# What may go better the next time, although nothing about the files has changed.
PASSING = (Reason.UNREADABLE, Reason.DECODER_DIED)


def is_due(
    task: Task, work: Work | None, trouble: Trouble | None, tools: str, rescan: Rescan
) -> bool:
    """Whether a study is to be scanned.

    Parameters
    ----------
    work : Work or None
        How its result came about; None when there is none.
    trouble : Trouble or None
        With its decoder.
    tools : str
        See `Work`.
    rescan : Rescan
        What is done again although it is done.
    """
    if work is None or is_new(task, work):
        return True
    if rescan is Rescan.ALL or (rescan is Rescan.STALE and work.maker != task.maker):
        return True
    failed = failures(work)
    if not failed or is_quarantined(task, trouble):
        return False
    retried = work.tools != tools or bool(failed.intersection(PASSING))
    return retried or rescan is Rescan.FAILED


def is_new(task: Task, work: Work | None) -> bool:
    """Whether there is no result of the study as it is now."""
    return work is None or work.content != task.content


def is_quarantined(task: Task, trouble: Trouble | None) -> bool:
    """Whether the study, as it is now, killed its decoder too often."""
    return bool(trouble and trouble.quarantined and trouble.content == task.content)


def failures(work: Work) -> set[Reason]:
    """Why files of a study failed."""
    reasons = {Reason(reason) for _, reason, _ in work.outcomes}
    return {reason for reason in reasons if reason.bucket is Bucket.FAILED}


def ordered(tasks: Sequence[Task], order: Order, find_work: FindWork) -> list[Task]:
    """What is new or has changed, then what is done once more: a budget reaches what is new.

    Each by the date of the studies, unknown dates last, then by path; or by path alone.
    """
    found = sorted(tasks, key=lambda task: task.study.files()[0])
    if order is not Order.PATH:
        found.sort(key=lambda task: task.study.date, reverse=order is Order.NEWEST)
        found.sort(key=lambda task: not task.study.date)
    return sorted(found, key=lambda task: not is_new(task, find_work(task.study.key)))
