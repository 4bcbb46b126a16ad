"""Plan a scan: which detector scores each stack, and which studies need a scan at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from medscan.archive import (
    TRANSIENT_REASONS,
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
from medscan.options import ScanOptions
from medscan.planning.ledger import DecoderTrouble, Ledger
from medscan.planning.routing import route
from medscan.results import Work

PREPROCESSING = 5
"""Increase it whenever a change to reading, windowing, drawing or aggregating changes a score."""

FindWork = Callable[[str], Work | None]
"""Returns how the result of a study, given by its key, came about, as `Ledger.work` does."""
Fingerprint = Callable[[ArchiveFile], object]
"""Returns a JSON value that changes when the file's content does."""


def by_time(file: ArchiveFile) -> object:
    """Fingerprint a file by size and time of modification."""
    return [file.size, file.mtime_ns]


def by_content(file: ArchiveFile) -> object:
    """Fingerprint a file by SHA-256; by size and time if it cannot be read."""
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
    """What a scan has to do for one study.

    Two hashes decide later whether the study must be scanned again. `content` covers what is asked
    for, files and options: when it differs, the result no longer answers that, and the study is
    scanned. `maker` covers the versions that made the result: when only that differs, the result
    stays valid but is stale, and is replaced with `--rescan stale` only.

    Parameters
    ----------
    study : Study
    stacks : tuple of (Series, Stack, Detector)
        Stacks to score, each with its detector.
    out_of_scope : tuple of (Series, Stack)
        Stacks that no detector was fitted for.
    content : str
        SHA-256 of the study's files, the options that change a result, its stacks, and the names
        and target rates of their detectors.
    maker : str
        SHA-256 of the hashes of detectors and backbones, and the version of preprocessing.
    companions : tuple of ArchiveFile
        Files with the voxels, where the study's own files are only headers.
    """

    study: Study
    stacks: tuple[tuple[Series, Stack, Detector], ...]
    out_of_scope: tuple[tuple[Series, Stack], ...]
    content: str
    maker: str
    companions: tuple[ArchiveFile, ...] = ()

    def out_of_scope_outcomes(self) -> list[Outcome]:
        """Return the outcomes of the files that no scored stack uses."""
        used = {f.file for _, stack, _ in self.stacks for f in stack.frames}
        unused = {f.file: series for series, stack in self.out_of_scope for f in stack.frames}
        return [
            Outcome(file, Reason.OUT_OF_SCOPE, _description(series))
            for file, series in sorted(unused.items(), key=lambda pair: pair[0])
            if file not in used
        ]

    def expected_outcomes(self) -> list[Outcome]:
        """Return the outcomes of its files if nothing goes wrong."""
        used = {f.file for _, stack, _ in self.stacks for f in stack.frames}
        scanned = (Outcome(file, Reason.SCANNED) for file in sorted(used))
        return [*self.out_of_scope_outcomes(), *scanned]

    def left_over_outcomes(self) -> list[Outcome]:
        """Return the outcomes of its files if the scan stops before this study."""
        return [Outcome(file, Reason.LEFT_OVER) for file in self.study.files()]

    def skipped_stacks(self) -> list[list[str]]:
        """Return [description, reason] of each stack that is not scored."""
        return [
            [
                f"{stack.key} {_description(series)} {stack.plane or ''}".strip(),
                Reason.OUT_OF_SCOPE.value,
            ]
            for series, stack in self.out_of_scope
        ]


def _description(series: Series) -> str:
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
    """Make a task for every study, sorted by study key.

    Parameters
    ----------
    catalogue : Catalogue
    detectors : sequence of Detector
    find_work : callable
    named : bool
        See `medscan.planning.routing.route`.
    identity : str
        The options that change results; see `ScanOptions.identity`.
    pseudonyms : Pseudonyms
        Pseudonyms that the ledger was written with.
    fingerprint : callable
    """
    studies = [_with_own_key(study, find_work, pseudonyms) for study in catalogue.studies]
    # A result holds pseudonyms: with another secret key it must be made again.
    identity = f"{identity} {pseudonyms.digest('identity')}"
    companions: dict[ArchiveFile, list[ArchiveFile]] = {}
    for companion, header in catalogue.companions.items():
        companions.setdefault(header, []).append(companion)
    return [
        _make_task(study, companions, detectors, identity, fingerprint, named=named)
        for study in sorted(studies, key=lambda study: study.key)
    ]


def _with_own_key(study: Study, find_work: FindWork, pseudonyms: Pseudonyms) -> Study:
    """Give a study another key if a study below another root has a result under its key.

    The key of a study without a UID is made from its path below the root, which may be the same
    below two roots.
    """
    earlier = None if study.uid else find_work(study.key)
    if earlier is None or earlier.root == pseudonyms.root(study.files()[0]):
        return study
    full = pseudonyms.digest(str(study.files()[0].full))
    return replace(study, key=key_of(f"path:{full}"))


def _make_task(
    study: Study,
    companions_of: Mapping[ArchiveFile, Sequence[ArchiveFile]],
    detectors: Sequence[Detector],
    identity: str,
    fingerprint: Fingerprint,
    *,
    named: bool,
) -> Task:
    stacks: list[tuple[Series, Stack, Detector]] = []
    out_of_scope: list[tuple[Series, Stack]] = []
    for series in study.series:
        for stack in series.stacks:
            detector = route(series, stack, detectors, named=named)
            if detector is None:
                out_of_scope.append((series, stack))
            else:
                stacks.append((series, stack, detector))
    files = study.files()
    companions = tuple(sorted(c for file in files for c in companions_of.get(file, ())))
    # These names are hashed: renaming one would have every archive scanned again.
    content = {
        "identity": identity,
        "files": [[file.path, fingerprint(file)] for file in (*files, *companions)],
        "stacks": [
            [stack.key, stack.plane, detector.name, detector.calibration.target_fpr]
            for _, stack, detector in stacks
        ],
        "beyond": [stack.key for _, stack in out_of_scope],
    }
    maker = {
        "preprocessing": PREPROCESSING,
        "detectors": [[d.digest, d.backbone_digest] for _, _, d in stacks],
    }
    return Task(
        study, tuple(stacks), tuple(out_of_scope), _digest(content), _digest(maker), companions
    )


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def is_due(
    task: Task, work: Work | None, trouble: DecoderTrouble | None, tools: str, rescan: Rescan
) -> bool:
    """Whether a study needs a scan.

    Parameters
    ----------
    task : Task
    work : Work or None
        How its result came about; None if it has no result.
    trouble : DecoderTrouble or None
    tools : str
        See `Work`.
    rescan : Rescan
        Which studies to scan again although they have a result.
    """
    if work is None or is_new(task, work):
        return True
    if rescan is Rescan.ALL or (rescan is Rescan.STALE and work.maker != task.maker):
        return True
    reasons = failure_reasons(work)
    if not reasons or is_quarantined(task, trouble):
        return False
    # Failures are tried again where the outcome may differ: other tools, or chance.
    may_succeed = work.tools != tools or bool(reasons.intersection(TRANSIENT_REASONS))
    return may_succeed or rescan is Rescan.FAILED


def due_tasks(plan: Sequence[Task], ledger: Ledger, options: ScanOptions) -> list[Task]:
    """Return the tasks that need a scan, in the order in which they are to be scanned."""
    tools, budget = options.inputs.tools, options.budget
    due = [
        task
        for task in plan
        if is_due(
            task,
            ledger.work(task.study.key),
            ledger.trouble(task.study.key),
            tools,
            budget.rescan,
        )
    ]
    return sort_tasks(due, budget.order, ledger.work)


def is_new(task: Task, work: Work | None) -> bool:
    """Whether the study has no result of its present content."""
    return work is None or work.content != task.content


def is_quarantined(task: Task, trouble: DecoderTrouble | None) -> bool:
    """Whether the study, with its present content, killed its decoder too often."""
    return bool(trouble and trouble.quarantined and trouble.content == task.content)


def failure_reasons(work: Work) -> set[Reason]:
    """Return the reasons for which files of a study failed."""
    reasons = {Reason(reason) for _, reason, _ in work.outcomes}
    return {reason for reason in reasons if reason.bucket is Bucket.FAILED}


def sort_tasks(tasks: Sequence[Task], order: Order, find_work: FindWork) -> list[Task]:
    """Sort tasks: new or changed studies first, so that a limited scan reaches them.

    Both parts are sorted by the date of the studies, unknown dates last, then by path; or by path
    alone.
    """
    # Sorting is stable: the last key counts most.
    in_order = sorted(tasks, key=lambda task: task.study.files()[0])
    if order is not Order.PATH:
        in_order.sort(key=lambda task: task.study.date, reverse=order is Order.NEWEST)
        in_order.sort(key=lambda task: not task.study.date)
    return sorted(in_order, key=lambda task: not is_new(task, find_work(task.study.key)))
