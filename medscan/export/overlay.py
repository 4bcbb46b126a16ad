"""Key slices with their map laid over them, in the colours of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medscan.archive import Stack
from medscan.choices import MAX_FILE_BYTES
from medscan.errors import FileError
from medscan.export.job import ExportJob
from medscan.imaging import PixelPlane, Window, measure, read_planes, show
from medscan.report import Scale
from medscan.results import StackResult, StudyResult, on_frame


def window_of(job: ExportJob, result: StackResult, stack: Stack) -> Window:
    """The window that the stack was scanned with, measured again on these frames."""
    return measure(stack, job.detector(result)["window"], result.info["modality"], MAX_FILE_BYTES)


def overlays(
    job: ExportJob, study: StudyResult, result: StackResult, places: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Place, and the slice's stored frame with its map over it, uint8 (rows, columns, 3).

    Raises
    ------
    ExportError
        The detector is not calibrated, or a file is not in the archive.
    FileError
        One cannot be read.
    """
    scale = job.scale(result)
    whole = job.archive.stack(study, result)
    window = window_of(job, result, whole)
    frames = [whole.frames[at] for at in places]
    for at, plane in zip(places, read_planes(whole, frames, MAX_FILE_BYTES), strict=True):
        if isinstance(plane, FileError):
            raise plane
        yield at, _painted(scale, result, at, plane, window)


def _painted(
    scale: Scale, result: StackResult, at: int, plane: PixelPlane, window: Window
) -> NDArray[np.uint8]:
    shown, _, _ = show(plane, window)
    values = on_frame(result.heatmap[at], result.grid_to_pixel[at], *shown.shape[:2])
    return scale.paint(np.atleast_3d(shown) * 255, values)
