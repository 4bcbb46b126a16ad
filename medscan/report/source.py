"""Pictures of all slices, drawn again from the archive as the model saw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from medscan import archive
from medscan.archive import Plane, Stack
from medscan.errors import FileError
from medscan.report.cards import Cards, card_of
from medscan.report.content import ReportOptions
from medscan.report.worklist import Row
from medscan.results import StackResult, State
from medscan.scan.decode import CHUNK, Job, decode

LARGEST = 512
"""Side of a picture in pixels; smaller sources keep their own, but for the model's square."""
FILE_BYTES = 8 << 30
FILE_SECONDS = 120.0

Print = tuple[str, int, int, tuple[str, ...], tuple[int, ...]]
"""Key of the study, rows, columns, SOP instances and frames."""
Keep = Callable[[str, str, int, NDArray[np.uint8]], None]
"""`keep(study key, stack key, place, picture)`."""


def draw(
    options: ReportOptions, rows: Sequence[Row], cards: Cards, keep: Keep, most: int | None = None
) -> int:
    """Draw the slices of the studies given that the archives still hold.

    Stacks whose pictures were withheld because they may carry burned-in text stay without.

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
    wanted = [(row.study.key, s) for row in rows for s in row.study.stacks if _allowed(s)]
    stacks = _found(wanted, options)
    jobs = _jobs(wanted, stacks, cards, most)
    drawn = 0
    for job, slices in decode(jobs, options.workers, FILE_SECONDS):
        for at, item in enumerate(slices, job.first):
            if not isinstance(item, FileError):
                picture = np.round(item.image.transpose(1, 2, 0) * 255).astype(np.uint8)
                keep(job.study, job.stack.key, at, picture)
                drawn += 1
    return drawn


def _allowed(stack: StackResult) -> bool:
    return not str(stack.info.get("thumbnails", "withheld")).startswith("withheld")


def _found(wanted: Sequence[tuple[str, StackResult]], options: ReportOptions) -> dict[Print, Stack]:
    """Stacks of the archives that hold the same slices as those wanted, in the same order."""
    prints = {_print(key, result) for key, result in wanted}
    found = {}
    for plane, key in product({_plane(result) for _, result in wanted}, set(options.keys)):
        catalogue = archive.index(
            options.archives, plane=plane, workers=options.workers, pseudonyms=key
        )
        for study in catalogue.studies:
            for stack in (stack for series in study.series for stack in series.stacks):
                uids = tuple(frame.sop_instance_uid for frame in stack.frames)
                frames = tuple(frame.index for frame in stack.frames)
                known = (study.key, stack.rows, stack.columns, uids, frames)
                if known in prints:
                    found[known] = stack
    return found


def _print(study: str, result: StackResult) -> Print:
    """What tells a stack from all others, and from what it has become since."""
    info, frames = result.info, tuple(int(index) for index in result.frame)
    return study, int(info["rows"]), int(info["columns"]), tuple(result.sop_instance_uid), frames


def _plane(stack: StackResult) -> Plane | None:
    """The plane that a volume was cut in; None for files that hold slices already."""
    cut = stack.info["kind"] in ("nifti", "itk")
    return Plane(stack.info["plane"]) if cut and stack.info["plane"] else None


def _jobs(
    wanted: Sequence[tuple[str, StackResult]],
    stacks: dict[Print, Stack],
    cards: Cards,
    most: int | None,
) -> Iterator[Job]:
    for key, result in wanted:
        found, card = stacks.get(_print(key, result)), card_of(result, cards)
        if found is None:
            continue
        stack = replace(found, key=result.key)
        side = max(int(result.info["size"]), min(LARGEST, max(stack.rows, stack.columns)))
        rule = str(card.facts["window"]) if card else "auto"
        modality = str(result.info["modality"])
        for first, count in _runs(result, most):
            frames = stack.frames[first : first + count]
            yield Job(stack, first, frames, side, rule, modality, FILE_BYTES, key)


def _runs(result: StackResult, most: int | None) -> list[tuple[int, int]]:
    """Slices to be drawn, as the first and the number of slices in a row."""
    if most is None:
        return [(first, CHUNK) for first in range(0, len(result.state), CHUNK)]
    score = np.where(result.state == State.SCORED, result.slice_score, -np.inf)
    worst = np.argsort(-score, kind="stable")[: min(most, int(np.isfinite(score).sum()))]
    return [(at, 1) for at in sorted(worst.tolist())]
