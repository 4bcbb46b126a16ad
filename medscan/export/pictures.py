"""Key slices overlaid with their map as PNG, for slides and papers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medscan.errors import ExportError, FileError
from medscan.export.job import ExportJob, LeftOut, each_stack, key_slices
from medscan.reading import render
from medscan.report import Scale, medscan_exif
from medscan.results import StackResult, StudyResult, replacing

KEPT = "kept"
SMALLEST, LARGEST = 256, 1024
"""Sides of a picture in pixels."""


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write key slices as `<study key>_<stack key>_<slice, from 1>.png`, turned for display.

    With sources they are drawn at the size of the source; without, from thumbnails, which not every
    key slice has: the others are counted at the end. Pictures that may carry burned-in text are
    left out.
    """
    without: list[int] = []
    yield from each_stack(job, partial(_write, without=without))
    if lost := sum(without):
        why = "the scan kept no thumbnails of them: name its archive with --archive"
        yield LeftOut(f"key slices left out: {lost}, of {len(without)} stacks", why)


def _write(
    job: ExportJob, study: StudyResult, stack: StackResult, without: list[int]
) -> Iterator[Path]:
    """Write a stack; `without` is given the number of its key slices that have no picture."""
    scale = job.scale(stack)
    if stack.info["thumbnails"].startswith("withheld"):
        raise ExportError(f"its pictures are {stack.info['thumbnails']}")
    pictures = _from_thumbnails(stack) if job.sources is None else _from_sources(job, study, stack)
    written = 0
    for index, picture in pictures:
        path = job.out / f"{study.key}_{stack.key}_{index + 1:04d}.png"
        _save(path, scale, stack, index, picture)
        written += 1
        yield path
    if lost := len(key_slices(stack)) - written:
        without.append(lost)


def _save(
    path: Path, scale: Scale, stack: StackResult, index: int, picture: NDArray[np.uint8]
) -> None:
    with replacing(path) as aside:
        Image.fromarray(scale.overlay(picture, stack.heatmap[index])).save(
            aside, "PNG", exif=medscan_exif()
        )


def _from_thumbnails(stack: StackResult) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    if stack.info["thumbnails"] != KEPT:
        raise ExportError("the scan kept no thumbnails: name its archive with --archive")
    wanted = set(key_slices(stack))
    for index, picture in zip(stack.thumbnail_index.tolist(), stack.thumbnail, strict=True):
        if index in wanted:
            yield index, picture


def _from_sources(
    job: ExportJob, study: StudyResult, stack: StackResult
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    source = job.source(study, stack)
    side = min(max(source.rows, source.columns, SMALLEST), LARGEST)
    indices, window = key_slices(stack), job.window(stack, source)
    slices = render(source, [source.frames[i] for i in indices], side, window)
    for index, item in zip(indices, slices, strict=True):
        if isinstance(item, FileError):
            raise item
        yield index, np.rint(item.image.transpose(1, 2, 0) * 255).astype(np.uint8)
