"""Pictures of all slices, drawn again from the archive as the model saw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from medscan.archive import Stack
from medscan.choices import FILE_TIMEOUT_S, MAX_FILE_BYTES
from medscan.errors import FileError, SourceError
from medscan.reading import CHUNK, DrawJob, Sources, decode
from medscan.report.cards import Cards, card_of
from medscan.report.content import ReportOptions
from medscan.report.worklist import Row
from medscan.results import StackResult, State

LARGEST = 512
"""Side of a picture in pixels; smaller sources keep their own, but for the model's square."""

Keep = Callable[[str, str, int, NDArray[np.uint8]], None]
"""`keep(study key, stack key, place, picture)`."""


def draw_slices(
    options: ReportOptions, rows: Sequence[Row], cards: Cards, keep: Keep, most: int | None = None
) -> int:
    """Draw the slices of the studies given that the archives still hold.

    Stacks whose pictures were withheld because they may carry burned-in text stay without, and so
    do stacks of which a file is missing or has changed.

    Parameters
    ----------
    options : ReportOptions
        Where the archives lie, what names their files, and how many processes decode: one that a
        file kills, or that hangs, costs the pictures of that file.
    rows : sequence of Row
    cards : dict
    keep : callable
        Given each picture, uint8 (S, S, 1) or (S, S, 3).
    most : int, optional
        Slices of a stack, those with the highest scores; None: all.

    Returns
    -------
    int
        Number of pictures.
    """
    drawn, jobs = 0, _jobs(_found(options, rows), cards, most)
    for job, slices in decode(jobs, options.workers, FILE_TIMEOUT_S):
        for at, item in enumerate(slices, job.first):
            if not isinstance(item, FileError):
                picture = np.round(item.image.transpose(1, 2, 0) * 255).astype(np.uint8)
                keep(job.study, job.stack.key, at, picture)
                drawn += 1
    return drawn


def _found(options: ReportOptions, rows: Sequence[Row]) -> list[tuple[str, StackResult, Stack]]:
    """Study, result and source of each stack that there may be pictures of."""
    wanted = [(row.study, s) for row in rows for s in row.study.stacks if _allowed(s)]
    names = {path for _, result in wanted for path in result.path}
    sources = Sources(options.archives, options.keys, names, options.workers)
    found = []
    for study, result in wanted:
        with suppress(SourceError):
            found.append((study.key, result, sources.stack(study, result)))
    return found


def _allowed(stack: StackResult) -> bool:
    return not str(stack.info.get("thumbnails", "withheld")).startswith("withheld")


def _jobs(
    found: Sequence[tuple[str, StackResult, Stack]], cards: Cards, most: int | None
) -> Iterator[DrawJob]:
    for study, result, stack in found:
        card = card_of(result, cards)
        side = max(int(result.info["size"]), min(LARGEST, max(stack.rows, stack.columns)))
        rule = str(card.facts["window"]) if card else "auto"
        modality = str(result.info["modality"])
        for first, count in _runs(result, most):
            frames = stack.frames[first : first + count]
            yield DrawJob(stack, first, frames, side, rule, modality, MAX_FILE_BYTES, study)


def _runs(result: StackResult, most: int | None) -> list[tuple[int, int]]:
    """Slices to be drawn, as the first and the number of slices in a row."""
    if most is None:
        return [(first, CHUNK) for first in range(0, len(result.state), CHUNK)]
    score = np.where(result.state == State.SCORED, result.slice_score, -np.inf)
    worst = np.argsort(-score, kind="stable")[: min(most, int(np.isfinite(score).sum()))]
    return [(at, 1) for at in sorted(worst.tolist())]
