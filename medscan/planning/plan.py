"""Plan a scan: which detector scores each stack, and which studies need a scan at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from medscan.archive import (
    DEVICE_KEYWORDS,
    TRANSIENT_REASONS,
    ArchiveFile,
    Bucket,
    Catalogue,
    Kind,
    Outcome,
    Pseudonyms,
    Reason,
    Series,
    Stack,
    Study,
    open_regular,
)
from medscan.choices import Order, Precision, Rescan
from medscan.detector import Detector
from medscan.errors import FileError
from medscan.options import ScanOptions
from medscan.planning.ledger import DecoderTrouble, Ledger
from medscan.planning.task import Task
from medscan.results import Score, Work, earlier_scores
from medscan.routing import Route, route

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


def make_plan(
    catalogue: Catalogue,
    detectors: Sequence[Detector],
    find_work: FindWork,
    *,
    named: bool,
    identity: str,
    pseudonyms: Pseudonyms,
    fingerprint: Fingerprint = by_time,
    drop: Collection[str] = (),
    left_out: Sequence[tuple[str, str]] = (),
) -> list[Task]:
    """Make a task for every study, sorted by study key.

    Parameters
    ----------
    catalogue : Catalogue
    detectors : sequence of Detector
    find_work : callable
    named : bool
        See `medscan.routing.route`.
    identity : str
        The options that change results; see `ScanOptions.identity`.
    pseudonyms : Pseudonyms
        Pseudonyms that the ledger was written with.
    fingerprint : callable
    drop : collection of str
        Names of detectors whose earlier scores are to be dropped.
    left_out : sequence of (str, str)
        See `medscan.routing.route`.
    """
    dropped = frozenset(drop)
    routing = _Routing(detectors, named, identity, pseudonyms, fingerprint, dropped, left_out)
    companions: dict[ArchiveFile, list[ArchiveFile]] = {}
    for companion, header in catalogue.companions.items():
        companions.setdefault(header, []).append(companion)
    return [
        _make_task(study, companions, routing, find_work(study.key))
        for study in sorted(catalogue.studies, key=lambda study: study.key)
    ]


@dataclass(frozen=True, slots=True)
class _Routing:
    """What all tasks of a plan are made with; see `make_plan`."""

    detectors: Sequence[Detector]
    named: bool
    identity: str
    pseudonyms: Pseudonyms
    fingerprint: Fingerprint
    drop: frozenset[str]
    left_out: Sequence[tuple[str, str]]

    @property
    def disclosure(self) -> str:
        """What a result discloses, and its secret key: with another it must be made again."""
        names = self.pseudonyms
        return f"{names.identify} {names.hash_paths} {names.digest('identity')}"


def _make_task(
    study: Study,
    companions_of: Mapping[ArchiveFile, Sequence[ArchiveFile]],
    routing: _Routing,
    work: Work | None,
) -> Task:
    detectors, named = routing.detectors, routing.named
    stacks: list[tuple[Series, Stack, Detector]] = []
    out_of_scope: list[tuple[Series, Stack, Route]] = []
    assumed: dict[str, tuple[str, ...]] = {}
    for series in study.series:
        for stack in series.stacks:
            found = route(stack, detectors, named=named, left_out=routing.left_out)
            if found.detector is None:
                out_of_scope.append((series, stack, found))
                continue
            stacks.append((series, stack, found.detector))
            if found.assumed:
                assumed[stack.key] = found.assumed
    files = study.files()
    companions = tuple(sorted(c for file in files for c in companions_of.get(file, ())))
    prints = {file: [file.path, routing.fingerprint(file)] for file in (*files, *companions)}
    sources = {
        stack.key: _digest(
            [routing.disclosure, *_prints(stack, prints, companions_of), *_facts_beside(stack)]
        )
        for series in study.series
        for stack in series.stacks
    }
    # These names are hashed: renaming one would have every archive scanned again.
    content = {
        "identity": f"{routing.identity} {routing.disclosure}",
        "files": list(prints.values()),
        "stacks": list(sources),
    }
    if facts := [f for series in study.series if (f := _facts_beside(series.stacks[0]))]:
        content["facts"] = facts
    asked = tuple(
        _asked(sources[stack.key], stack, detector, assumed.get(stack.key, ()))
        for _, stack, detector in stacks
    )
    earlier = earlier_scores(work, asked, sources, routing.drop)
    task = Task(
        study,
        tuple(stacks),
        tuple(out_of_scope),
        _digest(content),
        _digest([PREPROCESSING]),
        companions,
        asked,
        earlier,
        assumed,
    )
    return replace(task, kept_outcomes=_kept_outcomes(task, work, routing.pseudonyms))


def _prints(
    stack: Stack,
    prints: Mapping[ArchiveFile, object],
    companions_of: Mapping[ArchiveFile, Sequence[ArchiveFile]],
) -> Iterator[object]:
    """Yield the fingerprints of a stack's files."""
    for file in sorted({frame.file for frame in stack.frames}):
        yield prints[file]
        yield from (prints[companion] for companion in sorted(companions_of.get(file, ())))


def _asked(source: str, stack: Stack, detector: Detector, assumed: Sequence[str]) -> Score:
    """Return what is asked of a stack to score."""
    question = [source, stack.plane, detector.name, detector.calibration.target_fpr, *assumed]
    if detector.precision not in ("", Precision.FP32):  # without a word for the default
        question.append(detector.precision)
    maker = maker_of(detector.digest, detector.backbone_digest)
    digests = source, _digest(question), maker
    return Score(stack.key, stack.key, detector.name, *digests)


def maker_of(detector: str, backbone: str) -> str:
    """Return the digest of what makes scores: this preprocessing, a detector and its backbone."""
    return _digest([PREPROCESSING, detector, backbone])


def _kept_outcomes(task: Task, work: Work | None, pseudonyms: Pseudonyms) -> tuple[Outcome, ...]:
    """Return what an earlier scan found of the files that only kept scores were made from."""
    if work is None or not task.earlier.kept:
        return ()
    kept = {score.stack for score in task.earlier.kept}
    frames = (f for _, stack, _ in task.out_of_scope if stack.key in kept for f in stack.frames)
    files = {frame.file for frame in frames} - task.used_files()
    found = {path: (reason, detail) for path, reason, detail in work.outcomes}
    told = ((file, found.get(pseudonyms.path(file.path))) for file in sorted(files))
    return tuple(Outcome(file, Reason(o[0]), o[1]) for file, o in told if o is not None)


def _facts_beside(stack: Stack) -> list[tuple[str, str]]:
    """Facts that other files state of a stack: these may change while its own file does not."""
    facts = sorted((k, v) for k, v in stack.facts.items() if k not in DEVICE_KEYWORDS)
    return facts if stack.kind is not Kind.DICOM and len(facts) > 1 else []


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
    if rescan is Rescan.ALL or (rescan is Rescan.STALE and is_stale(task, work)):
        return True
    reasons = failure_reasons(task, work)
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
    """Whether the study has no result of its present content, or lacks a score that is asked for.

    A stack whose files all failed has no score, but is not tried again for that.
    """
    if work is None or work.content != task.content:
        return True
    scored = {score.asked for score in work.scores}
    if all(score.asked in scored for score in task.asked):
        return False
    failed = {
        file
        for file, (_, reason, _) in zip(task.study.files(), work.outcomes, strict=True)
        if Reason(reason).bucket is Bucket.FAILED
    }
    pairs = zip(task.stacks, task.asked, strict=True)
    missing = (stack for (_, stack, _), score in pairs if score.asked not in scored)
    return not all(frame.file in failed for stack in missing for frame in stack.frames)


def is_stale(task: Task, work: Work) -> bool:
    """Whether a score that is asked for would now be made in another way, or of other files."""
    makers = {score.asked: score.maker for score in work.scores}
    remade = any(makers.get(s.asked, s.maker) != s.maker for s in task.asked)
    replaced = {(score.stack, score.detector) for score in task.asked if score.asked not in makers}
    waiting = any((score.stack, score.detector) in replaced for score in work.scores)
    return remade or waiting or work.maker != task.maker or work.content != task.content


def is_quarantined(task: Task, trouble: DecoderTrouble | None) -> bool:
    """Whether the study, with its present content, killed its decoder too often."""
    return bool(trouble and trouble.quarantined and trouble.content == task.content)


def failure_reasons(task: Task, work: Work) -> set[Reason]:
    """Return the reasons for which files of a study's stacks to score failed."""
    used = task.used_files()
    rows = zip(task.study.files(), work.outcomes, strict=True)
    reasons = {Reason(reason) for file, (_, reason, _) in rows if file in used}
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
