"""Pictures of all slices, drawn from the archive as the model saw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from medscan.archive import Stack
from medscan.errors import FileError, SourceError
from medscan.imaging import Packed
from medscan.reading import CHUNK, DrawJob, Sources, decode
from medscan.report.beside import EarlierSlices
from medscan.report.cards import Cards, card_of
from medscan.report.options import ReportOptions
from medscan.report.pixels import full_slices, highest
from medscan.report.worklist import Row
from medscan.results import StackResult, StudyResult

LARGEST = 512
"""Largest side of a picture in pixels; it is at least that of the model's square."""
MAX_FILE_BYTES = 8 << 30
FILE_TIMEOUT_S = 120.0
"""Limits on decoding a file: its size, and the time it may take."""

FULL_BYTES = 64 << 20
"""Pixels that a job packs, in bytes before they are compressed."""

Keep = Callable[[str, str, int, NDArray[np.uint8], Packed | None], None]
"""`keep(study key, stack key, slice index, picture, its own pixels)`."""


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


NOTHING_EARLIER = EarlierSlices()


def draw_slices(
    options: ReportOptions,
    rows: Sequence[Row],
    cards: Cards,
    keep: Keep,
    most: int | None = None,
    earlier: EarlierSlices = NOTHING_EARLIER,
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
        Called with each picture, uint8 (S, S, 1) or (S, S, 3), and of the slices that the options
        name with their own pixels. Only where all slices are drawn.
    most : int, optional
        Slices of a stack, those with the highest scores; None: all.
    earlier : EarlierSlices
        Drawn too, where the archives still hold them, as far as they are seen beside those of
        `rows`; they are missed nowhere.

    Returns
    -------
    Drawn
    """
    located, missing = _locate(options, rows, earlier)
    count, jobs = 0, _jobs(options, located, cards, most, earlier)
    for job, slices in decode(jobs, options.workers, FILE_TIMEOUT_S):
        for slice_index, item in enumerate(slices, job.first):
            if not isinstance(item, FileError):
                picture = np.round(item.image.transpose(1, 2, 0) * 255).astype(np.uint8)
                keep(job.study, job.stack.key, slice_index, picture, item.packed)
                count += 1
    asked = {row.study.key for row in rows}
    return Drawn(count, len({study for study, _, _ in located} & asked), missing)


def _locate(
    options: ReportOptions, rows: Sequence[Row], earlier: EarlierSlices
) -> tuple[list[tuple[str, StackResult, Stack]], int]:
    """Study key, result and source of each stack that may be shown and is in the archives.

    Also the number of studies with such stacks of which no stack is there, but for earlier ones.
    """
    asked, hoped = _showable(rows), _showable(earlier.rows)
    names, more = ({path for _, s in found for path in s.path} for found in (asked, hoped))
    sources = Sources(options.archives, options.keys, names, options.workers, more)
    located = []
    for study, result in (*asked, *hoped):
        with suppress(SourceError):
            located.append((study.key, result, sources.stack(study, result)))
    return located, len({study.key for study, _ in asked} - {study for study, _, _ in located})


def _showable(rows: Sequence[Row]) -> list[tuple[StudyResult, StackResult]]:
    return [(row.study, s) for row in rows for s in row.study.stacks if _may_show(s)]


def _may_show(stack: StackResult) -> bool:
    return not str(stack.info.get("thumbnails", "withheld")).startswith("withheld")


def _jobs(
    options: ReportOptions,
    located: Sequence[tuple[str, StackResult, Stack]],
    cards: Cards,
    most: int | None,
    earlier: EarlierSlices,
) -> Iterator[DrawJob]:
    others = {row.study.key for row in earlier.rows}
    for study, result, stack in located:
        card = card_of(result, cards)
        side = max(int(result.info["size"]), min(LARGEST, max(stack.rows, stack.columns)))
        rule = options.window_of(result) or (str(card.facts["window"]) if card else "auto")
        modality = str(result.info["modality"])
        job = DrawJob(stack, 0, (), side, rule, modality, MAX_FILE_BYTES, study)
        beside = earlier.slices.get((study, result.key), set())
        if most is None:
            every = set(range(len(result.state)))
            drawn = earlier.seen[study, result.key] if study in others else every
            packed = full_slices(result, options.full) | beside
        else:
            drawn = beside | (set() if study in others else highest(result, most))
            packed = set()
        for first, count, packs in _runs(drawn, packed, stack):
            frames = stack.frames[first : first + count]
            yield replace(job, first=first, frames=frames, packs=packs)


def _runs(drawn: Set[int], packed: Set[int], stack: Stack) -> Iterator[tuple[int, int, bool]]:
    """Slices to draw: index of the first, number of consecutive ones, whether they are packed."""
    few = max(1, min(CHUNK, FULL_BYTES // max(1, 2 * stack.rows * stack.columns)))
    places = enumerate(sorted(drawn))
    # Indices that follow one another are as far ahead of their places.
    for (_, packs), run in groupby(places, lambda at: (at[1] - at[0], at[1] in packed)):
        indices, size = [index for _, index in run], few if packs else CHUNK
        for at in range(0, len(indices), size):
            yield indices[at], len(indices[at : at + size]), packs
