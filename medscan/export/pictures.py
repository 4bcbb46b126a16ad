"""Key slices with their map laid over them as PNG, for slides and papers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medscan.choices import MAX_FILE_BYTES
from medscan.errors import ExportError, FileError
from medscan.export.job import ExportJob, Left, each_stack, key_slices
from medscan.export.overlay import window_of
from medscan.imaging import render
from medscan.report import Scale, medscan_exif
from medscan.results import StackResult, StudyResult, replacing

KEPT = "kept"
SMALLEST, LARGEST = 256, 1024


def export(job: ExportJob) -> Iterator[Path | Left]:
    """Write key slices as `<study key>_<stack key>_<slice, from 1>.png`, turned for display.

    With sources they are drawn anew at the size of the source; else the thumbnails are taken, and
    of the key slices only those that have one. Pictures that may carry burned-in text are left out.
    """
    return each_stack(job, _write)


def _write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    scale = job.scale(stack)
    if stack.info["thumbnails"].startswith("withheld"):
        raise ExportError(f"its pictures are {stack.info['thumbnails']}")
    found = _from_thumbnails(stack) if job.sources is None else _from_sources(job, study, stack)
    for at, picture in found:
        path = job.out / f"{study.key}_{stack.key}_{at + 1:04d}.png"
        _save(path, scale, stack, at, picture)
        yield path


def _save(
    path: Path, scale: Scale, stack: StackResult, at: int, picture: NDArray[np.uint8]
) -> None:
    with replacing(path) as aside:
        Image.fromarray(scale.overlay(picture, stack.heatmap[at])).save(
            aside, "PNG", exif=medscan_exif()
        )


def _from_thumbnails(stack: StackResult) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    if stack.info["thumbnails"] != KEPT:
        raise ExportError("the scan kept no thumbnails: name its archive with --archive")
    wanted = set(key_slices(stack))
    for at, picture in zip(stack.thumbnail_index.tolist(), stack.thumbnail, strict=True):
        if at in wanted:
            yield at, picture


def _from_sources(
    job: ExportJob, study: StudyResult, stack: StackResult
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    whole = job.archive.stack(study, stack)
    side = min(max(whole.rows, whole.columns, SMALLEST), LARGEST)
    places = key_slices(stack)
    drawn = render(
        whole,
        [whole.frames[at] for at in places],
        side,
        window_of(job, stack, whole),
        MAX_FILE_BYTES,
    )
    for at, picture in zip(places, drawn, strict=True):
        if isinstance(picture, FileError):
            raise picture
        yield at, np.rint(picture.image.transpose(1, 2, 0) * 255).astype(np.uint8)
