"""Check that a results file is complete and adds up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medscan.archive import REASONS, Bucket, Reason
from medscan.errors import MedscanError
from medscan.results import Results, RunInfo, StackResult, State, StudyResult, opened
from medscan.scoring import aggregate

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
ROUNDED = 1e-6
"""Rounding makes sums of the same numbers differ by less than this."""
BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MedscanError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What h5py, and code that meets unexpected shapes and types, raise."""


def accounting_problems(run: RunInfo) -> Iterator[str]:
    """Describe damaged records, totals that do not add up, and reasons in the wrong table."""
    yield from run.damage
    counts = {str(bucket): run.counts[str(bucket)] for bucket in Bucket}
    if run.counts["files"] != sum(counts.values()):
        by_bucket = ", ".join(f"{n} {bucket}" for bucket, n in counts.items())
        yield f"accounting: {run.counts['files']} files found, but {by_bucket}"
    tables = {
        Bucket.FAILED: [row[2] for row in run.failures],
        Bucket.SKIPPED: [row[1] for row in run.skipped],
    }
    for bucket, reasons in tables.items():
        if len(reasons) != counts[bucket]:
            yield f"accounting: {counts[bucket]} files {bucket}, but {len(reasons)} are listed"
        for reason in sorted({r for r in reasons if not _belongs(r, bucket)}):
            yield f"accounting: {reason!r} is not a reason for {bucket} files"


def _belongs(reason: str, bucket: Bucket) -> bool:
    return reason in list(Reason) and REASONS[Reason(reason)][0] is bucket


def study_problems(path: Path, key: str) -> tuple[StudyResult | None, list[str]]:
    """Read a study, and describe what is wrong with it; None if its arrays cannot be read."""
    study = None
    try:
        problems = list(_shape_problems(path, key))
        if not problems:  # numbers are checked only if all arrays have the right shape and type
            study = Results(path).study(key)
            problems = list(_number_problems(study))
    except BROKEN as error:
        problems = [f"cannot be read ({type(error).__name__})"]
    return study, problems


def _shape_problems(path: Path, key: str) -> Iterator[str]:
    with opened(path) as file:
        group = file["studies"][key]
        for name in (n for n in group if isinstance(group[n], h5py.Group)):
            yield from (f"stack {name}: {p}" for p in _array_problems(group[name]))


def _number_problems(study: StudyResult) -> Iterator[str]:
    for stack in study.stacks:
        yield from (f"stack {stack.key}: {p}" for p in _stack_problems(stack))
    yield from _total_problems(study)


def _array_problems(group: Any) -> Iterator[str]:
    """Describe data sets that are missing or have the wrong shape or type."""
    missing = [name for name in ARRAYS if not isinstance(group.get(name), h5py.Dataset)]
    if missing:
        yield f"{', '.join(missing)}: no such data set"
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
        yield "state holds an unknown value"
    if not np.array_equal(np.isfinite(stack.slice_score), scored):
        yield "score is not finite exactly where a slice was scored"
    if not np.isfinite(stack.heatmap).all() or stack.heatmap[~scored].any():
        yield "heatmap is not finite, or not 0 where a slice was not scored"
    if not np.isfinite(stack.grid_to_pixel).all():
        yield "grid_to_pixel is not finite"
    if (stack.frame < 0).any() or not np.isin(stack.thumbnail_index, np.flatnonzero(scored)).all():
        yield "frame or thumbnail_index points nowhere"
    found = aggregate(stack.slice_score, stack.count(State.PASSED_OVER))
    if not _same(found, stack.score):
        yield f"score is {stack.score:.6f}, but its slices give {found:.6f}"


def _total_problems(study: StudyResult) -> Iterator[str]:
    """Describe numbers of a study that do not follow from its stacks."""
    scored = [stack for stack in study.stacks if not math.isnan(stack.score)]
    worst = max((stack.score for stack in scored), default=math.nan)
    if not _same(worst, study.score):
        yield f"score is {study.score:.6f}, but its stacks give {worst:.6f}"
    if study.flagged != any(stack.flagged for stack in scored):
        yield "flagged does not agree with its stacks"
    slices = sum(stack.count(State.SCORED) for stack in study.stacks)
    if study.info.get("slices") != slices:
        yield f"slices is {study.info.get('slices')}, but {slices} have a score"


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDED, abs_tol=ROUNDED) or (
        math.isnan(one) and math.isnan(other)
    )
