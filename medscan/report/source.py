"""Pictures of all slices, drawn from the archive as the model saw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medscan.archive import Stack
from medscan.errors import FileError, SourceError
from medscan.reading import CHUNK, DrawJob, Sources, decode
from medscan.report.cards import Cards, card_of
from medscan.report.options import ReportOptions
from medscan.report.worklist import Row
from medscan.results import StackResult, State

LARGEST = 512
"""Largest side of a picture in pixels; it is at least that of the model's square."""
MAX_FILE_BYTES = 8 << 30
FILE_TIMEOUT_S = 120.0
"""Limits on decoding a file: its size, and the time it may take."""

Keep = Callable[[str, str, int, NDArray[np.uint8]], None]
"""`keep(study key, stack key, slice index, picture)`."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn from the archives.

    Parameters
    ----------
    slices, studies : int
    missing : int
        Studies that should have been drawn, but are not in the archives or have changed there.
    """

    slices: int = 0
    studies: int = 0
    missing: int = 0


def draw_slices(
    options: ReportOptions, rows: Sequence[Row], cards: Cards, keep: Keep, most: int | None = None
) -> Drawn:
    """Draw the slices of studies that the archives still hold.

    Stacks whose pictures were withheld because they may carry burned-in text are left out, and so
    are stacks with a file that is missing or has changed.

    Parameters
    ----------
    options : ReportOptions
        Where the archives lie, what names their files, and how many processes decode. A file that
        kills its process, or that takes too long, gets no picture.
    rows : sequence of Row
    cards : dict
    keep : callable
        Called with each picture, uint8 (S, S, 1) or (S, S, 3).
    most : int, optional
        Slices of a stack, those with the highest scores; None: all.

    Returns
    -------
    Drawn
    """
    located, missing = _locate(options, rows)
    count, jobs = 0, _jobs(options, located, cards, most)
    for job, slices in decode(jobs, options.workers, FILE_TIMEOUT_S):
        for slice_index, item in enumerate(slices, job.first):
            if not isinstance(item, FileError):
                picture = np.round(item.image.transpose(1, 2, 0) * 255).astype(np.uint8)
                keep(job.study, job.stack.key, slice_index, picture)
                count += 1
    return Drawn(count, len({study for study, _, _ in located}), missing)


def _locate(
    options: ReportOptions, rows: Sequence[Row]
) -> tuple[list[tuple[str, StackResult, Stack]], int]:
    """Study key, result and source of each stack that may be shown and is in the archives.

    Also the number of studies with such stacks of which no stack is there.
    """
    showable = [(row.study, s) for row in rows for s in row.study.stacks if _may_show(s)]
    names = {path for _, result in showable for path in result.path}
    sources = Sources(options.archives, options.keys, names, options.workers)
    located = []
    for study, result in showable:
        with suppress(SourceError):
            located.append((study.key, result, sources.stack(study, result)))
    asked = {study.key for study, _ in showable}
    return located, len(asked - {study for study, _, _ in located})


def _may_show(stack: StackResult) -> bool:
    return not str(stack.info.get("thumbnails", "withheld")).startswith("withheld")


def _jobs(
    options: ReportOptions,
    located: Sequence[tuple[str, StackResult, Stack]],
    cards: Cards,
    most: int | None,
) -> Iterator[DrawJob]:
    for study, result, stack in located:
        card = card_of(result, cards)
        side = max(int(result.info["size"]), min(LARGEST, max(stack.rows, stack.columns)))
        rule = options.window_of(result) or (str(card.facts["window"]) if card else "auto")
        modality = str(result.info["modality"])
        for first, count in _runs(result, most):
            frames = stack.frames[first : first + count]
            yield DrawJob(stack, first, frames, side, rule, modality, MAX_FILE_BYTES, study)


def _runs(result: StackResult, most: int | None) -> list[tuple[int, int]]:
    """Slices to draw, as the index of the first and the number of consecutive ones."""
    if most is None:
        return [(first, CHUNK) for first in range(0, len(result.state), CHUNK)]
    score = np.where(result.state == State.SCORED, result.slice_score, -np.inf)
    worst = np.argsort(-score, kind="stable")[: min(most, int(np.isfinite(score).sum()))]
    return [(slice_index, 1) for slice_index in sorted(worst.tolist())]
