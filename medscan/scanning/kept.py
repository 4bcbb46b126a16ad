"""Put the scores of earlier scans that stay beside those that a scan gives a study."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medscan import results
from medscan.archive import BURNED_IN, Kind
from medscan.errors import DamagedError, DiskError
from medscan.options import Outputs, Privacy
from medscan.planning import Task
from medscan.results import Score, StackResult
from medscan.scoring import TEXTUAL


def dated(stacks: Sequence[StackResult], asked: Sequence[Score]) -> list[StackResult]:
    """Record in each stack what was asked of it, what answered, and now as the time of its score.

    Parameters
    ----------
    stacks : sequence of StackResult
    asked : sequence of Score
        See `Task.asked`.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    questions = {score.stack: score for score in asked}
    return [_dated(stack, questions.get(stack.key), now) for stack in stacks]


def _dated(stack: StackResult, score: Score | None, now: str) -> StackResult:
    if score is None:
        return stack
    facts = {name: getattr(score, name) for name in ("stack", "source", "asked", "maker")}
    return replace(stack, info=stack.info | facts | {"scanned": now})


def scores_of(stacks: Sequence[StackResult]) -> tuple[Score, ...]:
    """Return how the scores of a study came about, in the order of their keys."""
    names = ("detector", "source", "asked", "maker", "scanned")
    return tuple(
        Score(s.key, s.source_key, *(str(s.info.get(n, "")) for n in names))
        for s in sorted(stacks, key=lambda stack: stack.key)
    )


def recall(task: Task, outputs: Outputs, privacy: Privacy) -> list[StackResult]:
    """Read the results of a study that earlier scans have made and that stay.

    Thumbnails that this scan would not keep are left out.

    Raises
    ------
    DiskError
        If the results are damaged since they were checked.
    """
    asked = {score.asked for score in task.earlier.kept}
    part = outputs.parts / f"{task.study.key}.h5"
    try:
        stacks = results.read_stacks(part, outputs.out, task.study.key, asked)
    except DamagedError as error:
        raise DiskError(str(error)) from error
    return [_disclosed(stack, privacy) for stack in stacks]


def _disclosed(stack: StackResult, privacy: Privacy) -> StackResult:
    info = stack.info
    textual = info["modality"] in TEXTUAL or BURNED_IN in info["notes"]
    textual = textual or info["kind"] == str(Kind.PICTURE)
    if not len(stack.thumbnail) or (privacy.thumbnails and (privacy.burned_in or not textual)):
        return stack
    why = "withheld: may carry burned-in text" if privacy.thumbnails else "not asked for"
    return replace(
        stack,
        info=info | {"thumbnails": why},
        thumbnail=np.zeros((0, *stack.thumbnail.shape[1:]), np.uint8),
        thumbnail_index=np.zeros(0, np.int32),
    )


def with_kept(stacks: Sequence[StackResult], kept: Sequence[StackResult]) -> list[StackResult]:
    """Return both, sorted by key; a kept stack makes way for a new one of its key."""
    taken = {stack.key for stack in stacks}
    moved = [
        replace(s, key=f"{s.source_key}-{s.info['detector_hash'][:8]}") if s.key in taken else s
        for s in kept
    ]
    return sorted([*stacks, *moved], key=lambda stack: stack.key)
