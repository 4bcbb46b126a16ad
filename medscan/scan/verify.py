"""Whether a results file is whole, adds up, and comes out the same again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medscan import results
from medscan.archive import REASONS, Bucket, Plane, Reason
from medscan.detector import Detector
from medscan.errors import MedscanError
from medscan.results import Results, RunInfo, StackResult, State, StudyResult
from medscan.scan.assemble import aggregate
from medscan.scan.decode import Decoders
from medscan.scan.guard import Watchdog, stopping
from medscan.scan.load import catalogue_of, loaded_scorers, pseudonyms_of
from medscan.scan.options import ScanOptions
from medscan.scan.pipeline import Pipeline
from medscan.scan.plan import Task, make_plan
from medscan.scan.secret import pseudonym_key

Rescored = dict[str, StudyResult | None]

ARRAYS = (
    "score",
    "state",
    "heatmap",
    "frame",
    "position_mm",
    "grid_to_pixel",
    "path",
    "sop_instance_uid",
    "thumbnail_index",
)
"""Data sets that every stack has."""
TOLERANCE = 1e-3
"""Scores and maps that differ by less are the same: other hardware rounds otherwise."""
ROUNDED = 1e-6
"""Sums of the same numbers differ by less."""
_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MedscanError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What h5py, and results of other shapes and types than they should have, raise."""


@dataclass(slots=True)
class Verdict:
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


def verify(options: ScanOptions, sample: int, tolerance: float = TOLERANCE) -> Verdict:
    """Look a results file through, and score some of its studies again.

    Parameters
    ----------
    options : ScanOptions
        Of a scan that would give the results in `out`, but for what the results say themselves of
        theirs. `roots` may be empty, then nothing is scored again.
    sample : int
        Studies to score again at most: the same ones every time.
    tolerance : float
        Of slice scores and patch scores.

    Raises
    ------
    medscan.errors.UsageError
        There are no results, or a root is missing.
    """
    found = results.open(options.out)
    verdict, whole = Verdict(), []
    try:
        run = found.run()
        verdict.problems += accounting_problems(run)
    except _BROKEN as error:
        verdict.problems.append(f"its root cannot be read ({type(error).__name__})")
        return verdict
    for key in sorted(found.keys()):
        problems = list(study_problems(options.out, key, verdict))
        verdict.problems += [f"study {key}: {problem}" for problem in problems]
        verdict.studies += 1
        if not problems:
            whole.append(key)
    if options.roots and sample:
        _compare_all(options, run, _sampled(found, whole, sample), tolerance, verdict)
    return verdict


# --- what the file says of itself ---------------------------------------------------------------


def accounting_problems(run: RunInfo) -> Iterator[str]:
    """Totals that do not add up, and reasons in the wrong table."""
    counts = {str(bucket): run.counts[str(bucket)] for bucket in Bucket}
    if run.counts["files"] != sum(counts.values()):
        told = ", ".join(f"{n} {bucket}" for bucket, n in counts.items())
        yield f"accounting: {run.counts['files']} files found, but {told}"
    tables = {
        Bucket.FAILED: [row[2] for row in run.failures],
        Bucket.SKIPPED: [row[1] for row in run.skipped],
    }
    for bucket, reasons in tables.items():
        if len(reasons) != counts[bucket]:
            yield f"accounting: {counts[bucket]} files {bucket}, but {len(reasons)} are listed"
        for reason in sorted({r for r in reasons if not _belongs(r, bucket)}):
            yield f"accounting: {reason!r} is no reason for {bucket} files"


def _belongs(reason: str, bucket: Bucket) -> bool:
    return reason in list(Reason) and REASONS[Reason(reason)][0] is bucket


# --- shapes, types and numbers ------------------------------------------------------------------


def study_problems(path: Path, key: str, verdict: Verdict) -> Iterator[str]:
    """What is wrong with a study in the file; counts its stacks and slices if they are there."""
    try:
        shapes = list(_shape_problems(path, key))
        # Numbers are only looked at where they are what they should be.
        yield from shapes or _number_problems(Results(path).study(key), verdict)
    except _BROKEN as error:
        yield f"cannot be read ({type(error).__name__})"


def _shape_problems(path: Path, key: str) -> Iterator[str]:
    with h5py.File(path, "r", locking=False) as file:
        group = file["studies"][key]
        for name in (n for n in group if isinstance(group[n], h5py.Group)):
            yield from (f"stack {name}: {p}" for p in _array_problems(group[name]))


def _number_problems(study: StudyResult, verdict: Verdict) -> Iterator[str]:
    verdict.stacks += len(study.stacks)
    verdict.slices += sum(len(stack.state) for stack in study.stacks)
    verdict.absent += bool(study.mark.absent)
    for stack in study.stacks:
        yield from (f"stack {stack.key}: {p}" for p in _stack_problems(stack))
    yield from _total_problems(study)


def _array_problems(group: Any) -> Iterator[str]:
    """Data sets of another shape or type than they must have."""
    lost = [name for name in ARRAYS if not isinstance(group.get(name), h5py.Dataset)]
    if lost:
        yield f"{', '.join(lost)}: no such data set"
        return
    n, k = len(group["state"]), len(group["thumbnail_index"])
    side = group["heatmap"].shape[-1]
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "score": ("float32", (n,)),
        "state": ("uint8", (n,)),
        "heatmap": ("float16", (n, side, side)),
        "frame": ("int32", (n,)),
        "position_mm": ("float64", (n,)),
        "grid_to_pixel": ("float64", (n, 2, 3)),
        "path": ("object", (n,)),
        "sop_instance_uid": ("object", (n,)),
        "thumbnail_index": ("int32", (k,)),
    }
    if k:
        size, colours = int(group.attrs["size"]), group["thumbnail"].shape[-1]
        wanted["thumbnail"] = ("uint8", (k, size, size, 3 if colours == 3 else 1))
    for name, (kind, shape) in wanted.items():
        data = group[name]
        if (str(data.dtype), data.shape) != (kind, shape):
            yield f"{name} is {data.dtype} {data.shape}, not {kind} {shape}"


def _stack_problems(stack: StackResult) -> Iterator[str]:
    scored = stack.state == State.SCORED
    if not all(isinstance(stack.info.get(name), str) for name in ("detector", "detector_hash")):
        yield "it does not say which detector scored it"
    if not np.isin(stack.state, list(State)).all():
        yield "state holds what is none"
    if not np.array_equal(np.isfinite(stack.slice_score), scored):
        yield "score is not finite exactly where a slice was scored"
    if not np.isfinite(stack.heatmap).all() or stack.heatmap[~scored].any():
        yield "heatmap is not finite, or not 0 where a slice was not scored"
    if not np.isfinite(stack.grid_to_pixel).all():
        yield "grid_to_pixel is not finite"
    if (stack.frame < 0).any() or not np.isin(stack.thumbnail_index, np.flatnonzero(scored)).all():
        yield "frame or thumbnail_index points nowhere"
    if not _same(aggregate(stack.slice_score), stack.score):
        yield f"score is {stack.score:.6f}, but its slices give {aggregate(stack.slice_score):.6f}"


def _total_problems(study: StudyResult) -> Iterator[str]:
    """A study is what its stacks are."""
    known = [stack for stack in study.stacks if not math.isnan(stack.score)]
    worst = max((stack.score for stack in known), default=math.nan)
    if not _same(worst, study.score):
        yield f"score is {study.score:.6f}, but its stacks give {worst:.6f}"
    if study.flagged != any(stack.flagged for stack in known):
        yield "flagged is not what its stacks say"
    slices = sum(int((stack.state == State.SCORED).sum()) for stack in study.stacks)
    if study.info.get("slices") != slices:
        yield f"slices is {study.info.get('slices')}, but {slices} have a score"


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDED, abs_tol=ROUNDED) or (
        math.isnan(one) and math.isnan(other)
    )


# --- scoring again ------------------------------------------------------------------------------


def _sampled(found: Results, keys: Sequence[str], count: int) -> list[StudyResult]:
    """Some of the studies that were scored and are not absent, whatever the order of the file."""
    shuffled = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    scored = (s for s in map(found.study, shuffled) if not (math.isnan(s.score) or s.mark.absent))
    return list(islice(scored, count))


def _as_scanned(options: ScanOptions, run: RunInfo) -> ScanOptions:
    """With the options of the scan, as far as its results say them and no others are given."""
    return replace(
        options,
        identify=run.identify,
        hash_paths=run.hash_paths,
        precision=options.precision or run.precision or "fp32",
        plane=options.plane or (Plane(run.plane) if run.plane else None),
        thumbnails=False,
    )


def _rescore(
    options: ScanOptions, run: RunInfo, sample: Sequence[StudyResult], verdict: Verdict
) -> Rescored:
    """The sample as it comes out today, by key; None for what is not in the archive.

    What a signal left undone is not in it.

    Raises
    ------
    MedscanError
        The device is lost, or a disk full.
    """
    found: Rescored = {}

    def keep(study: StudyResult, _died: str) -> None:
        found[study.key] = study

    key = pseudonym_key(options, run.key_fingerprint) if run.key_fingerprint else b""
    pseudonyms = pseudonyms_of(options, key)
    # Results that say how they were made say the plane: it does not depend on the detectors here.
    planes = replace(options, detectors=()) if run.precision else options
    catalogue, _ = catalogue_of(planes, None, pseudonyms)
    plan = make_plan(
        catalogue,
        [],
        lambda _: None,
        named=False,
        identity=options.identity,
        pseudonyms=pseudonyms,
    )
    tasks = list(_tasks(plan, sample, [detector for _, detector in options.detectors]))
    with (
        stopping() as stop,
        Watchdog() as watchdog,
        Decoders(options.workers, options.file_timeout_s) as decoders,
        loaded_scorers(options) as scorers,
    ):
        pipeline = Pipeline(options, pseudonyms, scorers, stop, watchdog, decoders.draw, keep)
        pipeline.run(tasks)
    if stop.failure:
        raise MedscanError(f"stopped before the end: {stop.failure}")
    verdict.stopped = stop.reason
    there = {task.study.key for task in tasks}
    return found | {study.key: None for study in sample if study.key not in there}


def _tasks(
    plan: Sequence[Task], sample: Sequence[StudyResult], detectors: Sequence[Detector]
) -> Iterator[Task]:
    """Tasks of the sample: each stack by the detector that scored it, whatever it is fitted for."""
    by_hash = {detector.digest: detector for detector in detectors}
    used = {t.key: {s.key: by_hash[s.info["detector_hash"]] for s in t.stacks} for t in sample}
    for task in plan:
        if (of := used.get(task.study.key)) is not None:
            stacks = ((s, k, of[k.key]) for s, k in task.beyond if k.key in of)
            yield replace(task, stacks=tuple(stacks))


def _compare_all(
    options: ScanOptions,
    run: RunInfo,
    sample: Sequence[StudyResult],
    tolerance: float,
    verdict: Verdict,
) -> None:
    needed = {s.info["detector_hash"]: s.info["detector"] for t in sample for s in t.stacks}
    here = tuple((path, d) for path, d in options.detectors if d.digest in needed)
    missing = needed.keys() - {detector.digest for _, detector in here}
    verdict.problems += [
        f"detector {needed[digest]} with hash {digest[:12]} is not here: what it scored cannot be "
        "scored again"
        for digest in sorted(missing)
    ]
    chosen = [t for t in sample if not missing & {s.info["detector_hash"] for s in t.stacks}]
    if not chosen:
        return
    options = _as_scanned(replace(options, detectors=here), run)
    again = _rescore(options, run, chosen, verdict)
    for study in (study for study in chosen if study.key in again):
        new = again[study.key]
        if new is None:
            verdict.problems.append(f"study {study.key}: is not in the archive")
            continue
        verdict.rescored += 1
        _compare(study, new, tolerance, verdict)


def _compare(old: StudyResult, new: StudyResult, tolerance: float, verdict: Verdict) -> None:
    others = {stack.key: stack for stack in new.stacks}
    for stack in old.stacks:
        other = others.get(stack.key)
        where = f"study {old.key}: stack {stack.key}"
        if other is None or other.info["detector_hash"] != stack.info["detector_hash"]:
            verdict.problems.append(f"{where}: is not scored by the same detector")
        elif other.sop_instance_uid != stack.sop_instance_uid or (stack.frame != other.frame).any():
            verdict.problems.append(f"{where}: consists of other slices")
        elif (other.state != stack.state).any():
            count = int((other.state != stack.state).sum())
            verdict.problems.append(f"{where}: {count} slices have another state")
        else:
            _measure(stack, other, where, tolerance, verdict)


def _measure(
    old: StackResult, new: StackResult, where: str, tolerance: float, verdict: Verdict
) -> None:
    """The largest differences; maps are kept with 11 bits, which may be rounded either way."""
    scores = float(np.nanmax(np.abs(old.slice_score - new.slice_score), initial=0.0))
    apart = np.abs(old.heatmap.astype(np.float32) - new.heatmap.astype(np.float32))
    maps = float(apart.max(initial=0.0))
    spare = np.spacing(np.maximum(np.abs(old.heatmap), np.abs(new.heatmap)))
    verdict.score_difference = max(verdict.score_difference, scores)
    verdict.map_difference = max(verdict.map_difference, maps)
    if scores > tolerance:
        verdict.problems.append(f"{where}: scores differ by up to {scores:.6f}")
    if (apart > tolerance + spare).any():
        verdict.problems.append(f"{where}: maps differ by up to {maps:.6f}")
