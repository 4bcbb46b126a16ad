"""What there is to do: studies, the detector for each stack, and what is done already."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medscan.archive import (
    Bucket,
    Catalogue,
    Outcome,
    Reason,
    Series,
    Stack,
    Study,
    key_of,
)
from medscan.detector import Detector
from medscan.scan.ledger import Finished
from medscan.scan.routing import route

PREPROCESSING = 2
"""Raised whenever reading, windowing, drawing or aggregating changes a score."""


@dataclass(frozen=True, slots=True)
class Task:
    """A study with the stacks to scan and those that no detector was fitted for.

    `work_key` changes whenever anything that its result depends on does.
    """

    study: Study
    stacks: tuple[tuple[Series, Stack, Detector], ...]
    beyond: tuple[tuple[Series, Stack], ...]
    work_key: str

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
    known: Mapping[str, Finished],
    *,
    named: bool,
    identity: str,
) -> list[Task]:
    """A task for every study, by study key.

    Parameters
    ----------
    catalogue : Catalogue
    detectors : sequence of Detector
    known : mapping
        `Ledger.work()`.
    named : bool
        See `medscan.scan.routing.route`.
    identity : str
        Of the options that change results; see `ScanOptions.identity`.
    """
    studies = [_own_key(study, known) for study in catalogue.studies]
    return [
        _task(study, detectors, named=named, identity=identity)
        for study in sorted(studies, key=lambda study: study.key)
    ]


def root_of(study: Study) -> str:
    """Archive root of a study's first file."""
    return str(study.files()[0].root)


def _own_key(study: Study, known: Mapping[str, Finished]) -> Study:
    """A study without a UID is named by its path; below another root that is another study."""
    owner = known.get(study.key)
    if study.uid or owner is None or owner.root == root_of(study):
        return study
    return replace(study, key=key_of(f"path:{study.files()[0].full}"))


def _task(study: Study, detectors: Sequence[Detector], *, named: bool, identity: str) -> Task:
    stacks: list[tuple[Series, Stack, Detector]] = []
    beyond: list[tuple[Series, Stack]] = []
    for series in study.series:
        for stack in series.stacks:
            detector = route(series, stack, detectors, named=named)
            if detector is None:
                beyond.append((series, stack))
            else:
                stacks.append((series, stack, detector))
    return Task(study, tuple(stacks), tuple(beyond), _work_key(study, stacks, beyond, identity))


def _work_key(
    study: Study,
    stacks: Sequence[tuple[Series, Stack, Detector]],
    beyond: Sequence[tuple[Series, Stack]],
    identity: str,
) -> str:
    facts = {
        "preprocessing": PREPROCESSING,
        "identity": identity,
        "files": [[f.path, f.size, f.mtime_ns] for f in study.files()],
        "stacks": [
            [stack.key, stack.plane, detector.digest, detector.calibration.threshold]
            for _, stack, detector in stacks
        ],
        "beyond": [stack.key for _, stack in beyond],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


# What may go better the next time, although nothing about the files has changed.
PASSING = (Reason.UNREADABLE, Reason.DECODER_DIED)


def is_done(task: Task, known: Mapping[str, Finished], kept: set[str], tools: str) -> bool:
    """Whether a study's result is there and would come out the same again.

    Parameters
    ----------
    known : mapping
        `Ledger.work()`.
    kept : set of str
        Keys of studies whose result is in results.h5 or a part file.
    tools : str
        See `Finished`.
    """
    finished = known.get(task.study.key)
    if finished is None or finished.work_key != task.work_key or task.study.key not in kept:
        return False
    failed = {Reason(r) for _, r, _ in finished.outcomes if Reason(r).bucket is Bucket.FAILED}
    return not failed or (finished.tools == tools and not failed.intersection(PASSING))


def pseudonym(patient_id: str, key: bytes) -> str:
    """Keyed hash of a PatientID, the same for all studies of a patient; empty for none."""
    if not patient_id.strip():
        return ""
    return hmac.new(key, patient_id.strip().encode("utf-8", "replace"), "sha256").hexdigest()[:16]
