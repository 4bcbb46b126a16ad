"""Whether a results file is whole, adds up, and comes out the same again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from medscan import results
from medscan.archive import Pseudonyms
from medscan.choices import Plane, Precision
from medscan.detector import Detector
from medscan.errors import MedscanError
from medscan.inspect.integrity import BROKEN, accounting_problems, study_problems
from medscan.options import Compute, Inputs, Outputs, Privacy, ScanOptions
from medscan.planning import Task, pseudonym_key, scan_pseudonyms, survey_archive
from medscan.reading import Decoders
from medscan.results import Results, RunInfo, StackResult, StudyResult
from medscan.scan import Pipeline, Room, Watchdog, stopping
from medscan.scoring import loaded_scorers

Rescored = dict[str, StudyResult | None]

TOLERANCE = 1e-3
"""Scores and maps that differ by less are the same: other hardware rounds otherwise."""


@dataclass(slots=True)
class Verification:
    """What was looked at and what is wrong; `medscan verify --json` prints it.

    Parameters
    ----------
    studies, stacks, slices : int
        That the file holds.
    absent : int
        Studies whose files were gone at the last scan: they are not scored again.
    rescored : int
        Studies that were scored again.
    score_difference, map_difference : float
        Largest that was found between slice scores, and between maps.
    stopped : str
        Signal that ended it before all were scored again; empty for none.
    problems : list of str
        A line each; none: all is well.
    """

    studies: int = 0
    stacks: int = 0
    slices: int = 0
    absent: int = 0
    rescored: int = 0
    score_difference: float = 0.0
    map_difference: float = 0.0
    stopped: str = ""
    problems: list[str] = field(default_factory=list)

    def count(self, study: StudyResult | None) -> None:
        """Count a study, and what it holds where that can be read."""
        self.studies += 1
        if study is not None:
            self.stacks += len(study.stacks)
            self.slices += sum(len(stack.state) for stack in study.stacks)
            self.absent += bool(study.mark.absent)


def verify_results(
    inputs: Inputs,
    outputs: Outputs,
    sample: int,
    tolerance: float = TOLERANCE,
    *,
    device: str = "auto",
    precision: Precision | None = None,
    workers: int = 1,
) -> Verification:
    """Look a results file through, and score some of its studies again.

    Parameters
    ----------
    inputs : Inputs
        The archive, the detectors that the results may need, and the plane to cut volumes in;
        where it names none, that of the results. Without roots nothing is scored again.
    outputs : Outputs
        The results file, and its key file.
    sample : int
        Studies to score again at most: the same ones every time.
    tolerance : float
        Largest difference of slice scores and patch scores treated as equal.
    device : str
    precision : Precision or None
        None: that of the results.
    workers : int
        Processes that decode.

    Raises
    ------
    medscan.errors.UsageError
        There are no results, or a root is missing.
    """
    found = results.open(outputs.out)
    verification, whole = Verification(), []
    try:
        run = found.run()
        verification.problems += accounting_problems(run)
    except BROKEN as error:
        verification.problems.append(f"its root cannot be read ({type(error).__name__})")
        return verification
    for key in sorted(found.keys()):
        study, problems = study_problems(outputs.out, key)
        verification.problems += [f"study {key}: {problem}" for problem in problems]
        verification.count(study)
        if not problems:
            whole.append(key)
    if inputs.roots and sample:
        compute = Compute(device, precision or Precision(run.precision or "fp32"), None, workers)
        options = _as_scanned(inputs, outputs, compute, run)
        _compare_all(options, run, _sampled(found, whole, sample), tolerance, verification)
    return verification


# --- scoring again ------------------------------------------------------------------------------


def _sampled(found: Results, keys: Sequence[str], count: int) -> list[StudyResult]:
    """Some of the studies that were scored and are not absent, whatever the order of the file."""
    shuffled = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    scored = (s for s in map(found.study, shuffled) if not (math.isnan(s.score) or s.mark.absent))
    return list(islice(scored, count))


def _as_scanned(inputs: Inputs, outputs: Outputs, compute: Compute, run: RunInfo) -> ScanOptions:
    """The options of the scan, as far as its results say them."""
    plane = inputs.plane or (Plane(run.plane) if run.plane else None)
    privacy = Privacy(run.identify, run.hash_paths, thumbnails=False)
    return ScanOptions(replace(inputs, plane=plane, named=True), outputs, compute, privacy)


def _rescore(
    options: ScanOptions, run: RunInfo, sample: Sequence[StudyResult], verification: Verification
) -> Rescored:
    """The sample as it comes out today, by key; None for what is not in the archive.

    What a signal left undone is not in it.

    Raises
    ------
    MedscanError
        The device is lost, or a disk full.
    """
    again: Rescored = {}

    def keep(study: StudyResult, _died: str) -> None:
        again[study.key] = study

    inputs, compute = options.inputs, options.compute
    key = pseudonym_key(options.outputs, run.key_fingerprint) if run.key_fingerprint else b""
    pseudonyms = scan_pseudonyms(inputs, options.privacy, key)
    tasks = list(_tasks(_plan(options, run, pseudonyms), sample, inputs.detectors))
    with (
        stopping() as stop,
        Watchdog() as watchdog,
        Decoders(compute.workers, inputs.file_timeout_s) as decoders,
        loaded_scorers(inputs.detectors, compute) as scorers,
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
    there = {task.study.key for task in tasks}
    return again | {study.key: None for study in sample if study.key not in there}


def _plan(options: ScanOptions, run: RunInfo, pseudonyms: Pseudonyms) -> list[Task]:
    """The archive's studies with all of their stacks unrouted.

    Results that say how they were made say the plane too: it is not taken from the detectors here.
    """
    inputs = options.inputs
    plane = inputs.plane if run.precision else inputs.cut_plane
    unrouted = replace(inputs, detectors=(), named=False, plane=plane)
    workers = options.compute.workers
    return survey_archive(unrouted, pseudonyms, options.identity, workers=workers).plan


def _tasks(
    plan: Sequence[Task], sample: Sequence[StudyResult], detectors: Sequence[tuple[Path, Detector]]
) -> Iterator[Task]:
    """Tasks of the sample: each stack by the detector that scored it, whatever it is fitted for."""
    by_hash = {detector.digest: detector for _, detector in detectors}
    used = {t.key: {s.key: by_hash[s.info["detector_hash"]] for s in t.stacks} for t in sample}
    for task in plan:
        if (of := used.get(task.study.key)) is not None:
            stacks = ((s, k, of[k.key]) for s, k in task.out_of_scope if k.key in of)
            yield replace(task, stacks=tuple(stacks))


def _compare_all(
    options: ScanOptions,
    run: RunInfo,
    sample: Sequence[StudyResult],
    tolerance: float,
    verification: Verification,
) -> None:
    needed = {s.info["detector_hash"]: s.info["detector"] for t in sample for s in t.stacks}
    here = tuple((path, d) for path, d in options.inputs.detectors if d.digest in needed)
    missing = needed.keys() - {detector.digest for _, detector in here}
    verification.problems += [
        f"detector {needed[digest]} with hash {digest[:12]} is not here: what it scored cannot be "
        "scored again"
        for digest in sorted(missing)
    ]
    chosen = [t for t in sample if not missing & {s.info["detector_hash"] for s in t.stacks}]
    if not chosen:
        return
    options = replace(options, inputs=replace(options.inputs, detectors=here))
    again = _rescore(options, run, chosen, verification)
    for study in (study for study in chosen if study.key in again):
        new = again[study.key]
        if new is None:
            verification.problems.append(f"study {study.key}: is not in the archive")
            continue
        verification.rescored += 1
        _compare(study, new, tolerance, verification)


def _compare(
    old: StudyResult, new: StudyResult, tolerance: float, verification: Verification
) -> None:
    others = {stack.key: stack for stack in new.stacks}
    for stack in old.stacks:
        other = others.get(stack.key)
        where = f"study {old.key}: stack {stack.key}"
        if other is None or other.info["detector_hash"] != stack.info["detector_hash"]:
            verification.problems.append(f"{where}: is not scored by the same detector")
        elif other.sop_instance_uid != stack.sop_instance_uid or (stack.frame != other.frame).any():
            verification.problems.append(f"{where}: consists of other slices")
        elif (other.state != stack.state).any():
            count = int((other.state != stack.state).sum())
            verification.problems.append(f"{where}: {count} slices have another state")
        else:
            _measure(stack, other, where, tolerance, verification)


def _measure(
    old: StackResult, new: StackResult, where: str, tolerance: float, verification: Verification
) -> None:
    """The largest differences; maps are kept with 11 bits, which may be rounded either way."""
    scores = float(np.nanmax(np.abs(old.slice_score - new.slice_score), initial=0.0))
    apart = np.abs(old.heatmap.astype(np.float32) - new.heatmap.astype(np.float32))
    maps = float(apart.max(initial=0.0))
    spare = np.spacing(np.maximum(np.abs(old.heatmap), np.abs(new.heatmap)))
    verification.score_difference = max(verification.score_difference, scores)
    verification.map_difference = max(verification.map_difference, maps)
    if scores > tolerance:
        verification.problems.append(f"{where}: scores differ by up to {scores:.6f}")
    if (apart > tolerance + spare).any():
        verification.problems.append(f"{where}: maps differ by up to {maps:.6f}")
