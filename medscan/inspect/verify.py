"""Verify that a results file is complete, adds up, and comes out the same when scored again."""

from __future__ import annotations

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

from medscan import results
from medscan.archive import Pseudonyms
from medscan.choices import Plane, Precision, RuntimeName
from medscan.detector import Detector
from medscan.errors import DamagedError, MedscanError
from medscan.inspect.differences import Differences, differences
from medscan.inspect.integrity import BROKEN, accounting_problems, study_problems
from medscan.options import Compute, Inputs, Outputs, Privacy, ScanOptions
from medscan.planning import Task, pseudonym_key, scan_pseudonyms, survey_archive
from medscan.reading import Decoders
from medscan.results import Results, RunInfo, StackResult, StudyResult
from medscan.runtimes import Computed
from medscan.scanning import Pipeline, Room, Watchdog, stopping
from medscan.scoring import loaded_scorers

Rescored = dict[str, StudyResult | None]

TOLERANCE = 1e-3
"""Scores, maps and distances that differ by less are equal: other hardware rounds differently."""


@dataclass(slots=True)
class Verification:
    """What was verified and which problems were found; `medscan verify --json` prints it.

    Parameters
    ----------
    studies, stacks, slices : int
        Their numbers in the file.
    absent : int
        Studies whose files were missing at the last scan; they are not scored again.
    rescored : int
        Studies that were scored again.
    score_difference, map_difference, distance_difference : float
        Largest difference between slice scores, between maps, and between distances from shots.
    stopped : str
        Signal that ended the verification early; empty if none did.
    problems : list of str
        One line each; empty if all is well.
    """

    studies: int = 0
    stacks: int = 0
    slices: int = 0
    absent: int = 0
    rescored: int = 0
    score_difference: float = 0.0
    map_difference: float = 0.0
    distance_difference: float = 0.0
    stopped: str = ""
    problems: list[str] = field(default_factory=list)

    def count(self, study: StudyResult | None) -> None:
        """Count a study, and its stacks and slices unless it cannot be read (None)."""
        self.studies += 1
        if study is not None:
            self.stacks += len(study.stacks)
            self.slices += sum(len(stack.state) for stack in study.stacks)
            self.absent += bool(study.mark.absent)

    def add(self, found: Differences, where: str) -> None:
        """Add how a stack differs that was scored again."""
        self.score_difference = max(self.score_difference, found.scores)
        self.map_difference = max(self.map_difference, found.maps)
        self.distance_difference = max(self.distance_difference, found.distance)
        self.problems += [f"{where}: {problem}" for problem in found.problems]


def verify_results(
    inputs: Inputs,
    outputs: Outputs,
    sample: int,
    tolerance: float = TOLERANCE,
    *,
    device: str = "auto",
    precision: Precision | None = None,
    runtime: RuntimeName | None = None,
    workers: int = 1,
) -> Verification:
    """Check a whole results file, and score some of its studies again.

    Parameters
    ----------
    inputs : Inputs
        The archive, the detectors that the results may need, and the plane to cut volumes in; None:
        that of the results. Without roots nothing is scored again.
    outputs : Outputs
        The results file, and its key file.
    sample : int
        Largest number of studies to score again; always the same ones are chosen.
    tolerance : float
        Largest difference of slice scores, patch scores and distances treated as equal.
    device : str
    precision : Precision or None
        None: that of each stack.
    runtime : RuntimeName or None
        None: that of each stack, unless all give the same scores.
    workers : int
        Processes that decode.

    Raises
    ------
    medscan.errors.UsageError
        If there are no results, or a root is missing.
    """
    verification, intact = Verification(), list[str]()
    try:
        stored = results.open(outputs.out)
    except DamagedError as error:
        verification.problems.append(str(error))
        return verification
    try:
        run = stored.run()
        verification.problems += accounting_problems(run)
    except BROKEN as error:
        verification.problems.append(f"its root cannot be read ({type(error).__name__})")
        return verification
    damaged = stored.damaged()
    if stored.is_damaged() and not damaged:
        verification.problems.append("bytes outside of the studies are damaged")
    verification.problems += [f"study {key}: is damaged" for key in damaged]
    for key in stored.keys():  # noqa: SIM118 - not a dict
        study, problems = study_problems(outputs.out, key)
        verification.problems += [f"study {key}: {problem}" for problem in problems]
        verification.count(study)
        if not problems:
            intact.append(key)
    if inputs.roots and sample:
        options = _as_scanned(inputs, outputs, Compute(device, workers=workers), run)
        how = partial(_how, run, precision, runtime)
        _compare_all(options, run, how, _choose(stored, intact, sample), tolerance, verification)
    return verification


# --- scoring again ------------------------------------------------------------------------------


def _choose(stored: Results, keys: Sequence[str], count: int) -> list[StudyResult]:
    """Choose studies that were scored and are not absent: always the same, but in no order."""
    shuffled = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    scored = (s for s in map(stored.study, shuffled) if not (math.isnan(s.score) or s.mark.absent))
    return list(islice(scored, count))


def _as_scanned(inputs: Inputs, outputs: Outputs, compute: Compute, run: RunInfo) -> ScanOptions:
    """Return the options of the scan, as far as its results record them."""
    plane = inputs.plane or (Plane(run.plane) if run.plane else None)
    privacy = Privacy(run.identify, run.hash_paths, thumbnails=False)
    return ScanOptions(replace(inputs, plane=plane, named=True), outputs, compute, privacy)


def _rescore(
    options: ScanOptions, run: RunInfo, sample: Sequence[StudyResult], verification: Verification
) -> Rescored:
    """Score the sample again; return results by key, and None for studies not in the archive.

    Studies that were not reached before a signal are left out.

    Raises
    ------
    MedscanError
        If the device is lost, or a disk is full.
    """
    rescored: Rescored = {}

    def keep(study: StudyResult, _decoder_failure: str) -> None:
        rescored[study.key] = study

    inputs, compute = options.inputs, options.compute
    key = pseudonym_key(options.outputs, run.key_fingerprint) if run.key_fingerprint else b""
    pseudonyms = scan_pseudonyms(inputs, options.privacy, key)
    plan = _as_named(_plan(options, run, pseudonyms), sample, pseudonyms)
    tasks = list(_tasks(plan, sample, inputs.detectors))
    with (
        stopping() as stop,
        Watchdog() as watchdog,
        Decoders(compute.workers, inputs.file_timeout_s, waiting=stop.check_overdue) as decoders,
        loaded_scorers(inputs.detectors, compute, waiting=stop.check_overdue) as scorers,
    ):
        pipeline = Pipeline(
            inputs,
            options.privacy,
            pseudonyms,
            scorers,
            Room(options.outputs, scorers),
            stop,
            watchdog,
            decoders.draw,
            keep,
        )
        pipeline.run(tasks)
    if stop.failure:
        raise MedscanError(f"stopped before the end: {stop.failure}")
    verification.stopped = stop.reason
    in_archive = {task.study.key for task in tasks}
    return rescored | {study.key: None for study in sample if study.key not in in_archive}


def _plan(options: ScanOptions, run: RunInfo, pseudonyms: Pseudonyms) -> list[Task]:
    """Plan the archive's studies without detectors, so that all stacks are out of scope.

    Results that record the precision record the plane too: it is not derived from the detectors.
    """
    inputs = options.inputs
    plane = inputs.plane if run.precision else inputs.cut_plane
    unrouted = replace(
        inputs,
        detectors=(),
        named=False,
        plane=plane,
        # What a scan with wider bounds has scored is scored again too.
        max_file_planes=sys.maxsize,
        max_study_planes=sys.maxsize,
        min_side=1,
    )
    workers = options.compute.workers
    return survey_archive(unrouted, pseudonyms, options.identity, workers=workers).plan


def _as_named(
    plan: Sequence[Task], sample: Sequence[StudyResult], pseudonyms: Pseudonyms
) -> Iterator[Task]:
    """Give studies without UIDs the keys of their results, where the archive has moved.

    Then their full paths are other ones, and the paths below it tell which they are.
    """
    here = {task.study.key for task in plan}
    gone = [s for s in sample if not s.info["StudyInstanceUID"] and s.key not in here]
    paths = Counter(study.info["path"] for study in gone)
    moved = {s.info["path"]: s.key for s in gone if paths[s.info["path"]] == 1}
    for task in plan:
        key = "" if task.study.uid else moved.pop(pseudonyms.path(task.study.place), "")
        yield replace(task, study=replace(task.study, key=key)) if key else task


def _tasks(
    plan: Iterable[Task], sample: Sequence[StudyResult], detectors: Sequence[tuple[Path, Detector]]
) -> Iterator[Task]:
    """Make tasks of the sample that score each stack with the same detector as the results."""
    by_hash = {detector.digest: detector for _, detector in detectors}
    used = {
        t.key: {s.source_key: by_hash[s.info["detector_hash"]] for s in t.stacks} for t in sample
    }
    for task in plan:
        if (detector_of := used.get(task.study.key)) is not None:
            stacks = (
                (series, stack, detector_of[stack.key])
                for series, stack, _ in task.out_of_scope
                if stack.key in detector_of
            )
            yield replace(task, stacks=tuple(stacks))


def _how(
    run: RunInfo, precision: Precision | None, runtime: RuntimeName | None, stack: StackResult
) -> Computed:
    """Return how to compute a stack again: as it was, unless the user asks for something else.

    Raises
    ------
    DamagedError
        If its result records what this version does not know.
    """
    asked = "" if run.precision == Precision.AUTO else run.precision
    told = stack.info.get("precision") or asked or Precision.FP32
    try:
        number = precision or Precision(told)
        library = RuntimeName(stack.info.get("runtime") or RuntimeName.AUTO)
    except ValueError as error:
        raise DamagedError(f"stack {stack.key}: how it was computed is not known") from error
    # In single precision all give the same scores, and a GPU may be here today.
    library = RuntimeName.AUTO if number is Precision.FP32 else library
    return Computed(number, runtime or library)


def _apart(
    studies: Sequence[StudyResult], how: Callable[[StackResult], Computed]
) -> dict[Computed, list[StudyResult]]:
    """Divide studies by how their stacks are to be computed."""
    parts: dict[Computed, list[StudyResult]] = {}
    for study in studies:
        ways = {stack.key: how(stack) for stack in study.stacks}
        for way in sorted(set(ways.values())):
            stacks = tuple(stack for stack in study.stacks if ways[stack.key] == way)
            parts.setdefault(way, []).append(replace(study, stacks=stacks))
    return parts


def _compare_all(
    options: ScanOptions,
    run: RunInfo,
    how: Callable[[StackResult], Computed],
    sample: Sequence[StudyResult],
    tolerance: float,
    verification: Verification,
) -> None:
    needed = {s.info["detector_hash"]: s.info["detector"] for t in sample for s in t.stacks}
    here = tuple((path, d) for path, d in options.inputs.detectors if d.digest in needed)
    missing = needed.keys() - {detector.digest for _, detector in here}
    # A detector that the last scan did not ask for may be gone; what it scored stays unchecked.
    sample = [_without_kept(study, missing) for study in sample]
    missing &= {s.info["detector_hash"] for t in sample for s in t.stacks}
    verification.problems += [
        f"detector {needed[digest]} with hash {digest[:12]} is not here: what it scored cannot be "
        "scored again"
        for digest in sorted(missing)
    ]
    chosen = [t for t in sample if not missing & {s.info["detector_hash"] for s in t.stacks}]
    if not any(study.stacks for study in chosen):
        return
    options = replace(options, inputs=replace(options.inputs, detectors=here))
    verified = set[str]()
    parts = (part for round_ in _rounds(chosen) for part in _apart(round_, how).items())
    for (precision, runtime), part in parts:
        compute = replace(options.compute, precision=precision, runtime=runtime)
        rescored = _rescore(replace(options, compute=compute), run, part, verification)
        for study in (study for study in part if study.key in rescored):
            new = rescored[study.key]
            if new is None:
                verification.problems.append(f"study {study.key}: is not in the archive")
                continue
            verified.add(study.key)
            _compare(study, new, tolerance, verification)
    verification.rescored = len(verified)


def _without_kept(study: StudyResult, detectors: Collection[str]) -> StudyResult:
    """Leave out stacks that the last scan did not ask for and whose detector is one of these."""
    stacks = (s for s in study.stacks if s.key in study.mark.kept)
    gone = {s.key for s in stacks if s.info["detector_hash"] in detectors}
    return replace(study, stacks=tuple(s for s in study.stacks if s.key not in gone))


def _rounds(sample: Sequence[StudyResult]) -> list[list[StudyResult]]:
    """Divide studies so that each round scores a stack once, with one of its detectors."""
    rounds: list[list[StudyResult]] = []
    for study in sample:
        left = list(study.stacks)
        for number in range(len(left)):
            first = {stack.source_key: stack for stack in reversed(left)}
            now = [stack for stack in left if first[stack.source_key] is stack]
            left = [stack for stack in left if first[stack.source_key] is not stack]
            if now:
                rounds += [[] for _ in range(number + 1 - len(rounds))]
                rounds[number].append(replace(study, stacks=tuple(now)))
    return rounds


def _compare(
    old: StudyResult, new: StudyResult, tolerance: float, verification: Verification
) -> None:
    new_stacks = {stack.key: stack for stack in new.stacks}
    for stack in old.stacks:
        new_stack = new_stacks.get(stack.source_key)
        where = f"study {old.key}: stack {stack.key}"
        if new_stack is None or new_stack.info["detector_hash"] != stack.info["detector_hash"]:
            verification.problems.append(f"{where}: is not scored by the same detector")
        elif (
            new_stack.sop_instance_uid != stack.sop_instance_uid
            or (new_stack.frame != stack.frame).any()
        ):
            verification.problems.append(f"{where}: consists of other slices")
        else:
            verification.add(differences(stack, new_stack, tolerance), where)
