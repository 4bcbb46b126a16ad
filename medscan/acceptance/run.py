"""From labelled studies and a detector to an acceptance test."""

from __future__ import annotations

import datetime
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from medscan import __version__, results
from medscan import detector as detectors
from medscan.acceptance.choose import Choice, Wish, choose
from medscan.acceptance.figures import measure
from medscan.acceptance.goals import Goals, judge, verdict_of
from medscan.acceptance.observe import LabelledOnly, Seen, seen_by, unseen_bags
from medscan.acceptance.record import Acceptance
from medscan.acceptance.strata import strata_of
from medscan.bags import Bag, StudyOptions, Watcher
from medscan.detector import Detector
from medscan.errors import MedscanError, UsageError
from medscan.files import make_folder
from medscan.normals import Accepted
from medscan.options import Compute, Inputs, Outputs, ScanOptions
from medscan.planning import pseudonym_key
from medscan.scanning import Watch, scan

RESULTS = "results.h5"
"""The scan of the labelled studies, in the folder of the test."""


@dataclass(frozen=True, slots=True)
class AcceptOptions:
    """Options of `medscan accept`; see medscan-accept(1).

    Parameters
    ----------
    detector : Path
        Its file, or name of a shipped one.
    studies : StudyOptions
    folder : Path
        What is written goes there; a scan that is there already is gone on with.
    goals : Goals
    prevalence : float or None
        Share of abnormal studies at the site; None: not stated.
    wish : Wish or None
        What a threshold is chosen for; None: that of the detector is tested.
    who : str
        Who is responsible, to be recorded.
    compute : Compute
    """

    detector: Path
    studies: StudyOptions
    folder: Path
    goals: Goals = field(default_factory=Goals)
    prevalence: float | None = None
    wish: Wish | None = None
    who: str = ""
    compute: Compute = field(default_factory=Compute)

    def check(self) -> None:
        """Refuse options that make no sense.

        Raises
        ------
        UsageError
        """
        self.goals.check()
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise UsageError(f"--prevalence {self.prevalence:g}: a number between 0 and 1")
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--out {self.folder}: it is not a folder")
        if len(self.who) > 200 or not self.who.isprintable():
            raise UsageError("--who: a name of at most 200 printable characters")


def accept(
    options: AcceptOptions, watch: Watch | None = None, watcher: Watcher | None = None
) -> Acceptance:
    """Scan the labelled studies with a detector, and judge what it says of them.

    Raises
    ------
    UsageError
        If the options, the table or the archive cannot be used, or the detector has seen images of
        a patient.
    MedscanError
        If the scan could not be finished.
    """
    options.check()
    watcher = watcher or Watcher()
    path = detectors.find(options.detector)
    detector = detectors.read(path)
    with _undone_on_usage_error(options.folder):
        make_folder(options.folder)
        outputs = Outputs(options.folder / RESULTS, command="medscan accept")
        bags, notes = unseen_bags(options.studies, detector, watcher, _key(outputs))
        seen = _scanned(options, outputs, (path, detector), bags, watch)
    choice = _chosen(options, seen)
    if choice is not None and not choice.refusal:
        seen = tuple(choice.applied(one) for one in seen)
    figures = measure(seen, options.prevalence)
    judged = judge(figures, options.goals)
    with options.studies.labels.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Acceptance(
        detector=detector,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=__version__,
        labels=options.studies.labels.name,
        labels_digest=digest,
        notes=tuple(notes),
        who=options.who,
        goals=options.goals,
        judged=judged,
        choice=choice,
        verdict=verdict_of(judged),
        figures=figures,
        strata=strata_of(seen),
        seen=seen,
    )


def _chosen(options: AcceptOptions, seen: Sequence[Seen]) -> Choice | None:
    if options.wish is None:
        return None
    return choose(seen, options.wish, options.goals.confidence, options.prevalence)


def write_detector(found: Acceptance, options: AcceptOptions, path: Path) -> Detector:
    """Write the detector that was tested with the threshold that was chosen.

    Raises
    ------
    medscan.errors.DetectorError
        If its file has changed since.
    medscan.errors.DiskError
        If it cannot be written.
    """
    choice = found.choice
    if choice is None or choice.refusal:
        raise UsageError("no threshold was chosen: there is nothing to write")
    accepted = Accepted(
        threshold=choice.threshold,
        uncertain_from=choice.uncertain_from,
        rule=str(choice.wish.rule),
        level=choice.wish.level,
        confidence=choice.confidence,
        abnormals=choice.abnormals,
        normals=choice.normals,
        created=found.created,
        version=found.version,
        who=found.who,
        detector=found.detector.digest,
        labels=found.labels_digest,
    )
    calibration = replace(found.detector.calibration, accepted=accepted)
    detector = replace(found.detector, calibration=calibration)
    return detector.save_with_tensors_of(path, detectors.find(options.detector))


@contextmanager
def _undone_on_usage_error(folder: Path) -> Iterator[None]:
    """Remove the folder again if it is new and nothing can come of it."""
    new = not folder.exists()
    try:
        yield
    except UsageError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _key(outputs: Outputs) -> bytes:
    """The key of the scan's pseudonyms, which is made here if it is the first."""
    old = results.readable(outputs.out)
    return pseudonym_key(outputs, old.key_fingerprint() if old else "")


def _scanned(
    options: AcceptOptions,
    outputs: Outputs,
    fitted: tuple[Path, Detector],
    bags: Sequence[Bag],
    watch: Watch | None,
) -> tuple[Seen, ...]:
    detector, out = fitted[1], outputs.out
    roots = tuple(options.studies.roots)
    asked = ScanOptions(Inputs(roots, (fitted,), named=True), outputs, options.compute)
    summary = scan(asked, watch, engine=LabelledOnly(bags))
    if summary.failure:
        raise MedscanError("; ".join(summary.faults(strict=False)))
    if summary.stopped in ("SIGINT", "SIGTERM"):
        raise KeyboardInterrupt
    seen = tuple(seen_by(detector, bags, results.open(out))) if out.exists() else ()
    if not any(one.asked for one in seen):
        raise UsageError(
            f"none of the {len(bags)} labelled studies has an image for {detector.name} "
            f"({detector.domain}): see medscan scan --explain"
        )
    return seen
