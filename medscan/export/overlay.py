"""Key slices overlaid with their map, in the colours of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medscan.errors import FileError
from medscan.export.job import ExportJob
from medscan.imaging import PixelPlane, Window, show
from medscan.reading import read_plane
from medscan.report import Scale
from medscan.results import StackResult, StudyResult, on_frame


def overlays(
    job: ExportJob, study: StudyResult, result: StackResult, indices: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield slice indices, and their stored frames overlaid with their maps.

    Yields
    ------
    (int, ndarray)
        Index, and uint8 (rows, columns, 3).

    Raises
    ------
    ExportError
        If the detector is not calibrated, or a file is not in the archive.
    FileError
        If a file cannot be read.
    """
    scale = job.scale(result)
    source = job.archive.stack(study, result)
    window = job.window(result, source)
    for index in indices:
        plane = read_plane(source, source.frames[index])
        if isinstance(plane, FileError):
            raise plane
        yield index, _paint(scale, result, index, plane, window)


def _paint(
    scale: Scale, result: StackResult, index: int, plane: PixelPlane, window: Window
) -> NDArray[np.uint8]:
    shown, _, _ = show(plane, window)
    values = on_frame(result.heatmap[index], result.grid_to_pixel[index], *shown.shape[:2])
    return scale.paint(np.atleast_3d(shown) * 255, values)
