"""Maps and scores of a study as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medscan.choices import Grid
from medscan.export.job import ExportJob, LeftOut, scored_slices
from medscan.files import make_folder
from medscan.results import StackResult, affine_of, replacing


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write `<study key>.npz` for every study with a scored stack.

    Its arrays are named `<stack key>/<name>`: `heatmap`, `slice_score`, `state`, `position_mm`,
    `frame` and `grid_to_pixel` as in `StackResult`; `score` and `threshold` of the stack; `affine`
    and `grid_affine` (4, 4), which take (column, row, slice) of pixels and of patches to
    millimetres (RAS) if slices are evenly spaced; NaN if the geometry is unknown.
    """
    make_folder(job.out)
    for study in job.studies():
        arrays = {
            f"{stack.key}/{name}": array
            for stack in study.stacks
            if scored_slices(stack)
            for name, array in _arrays(stack).items()
        }
        if arrays:
            path = job.out / f"{study.key}.npz"
            with replacing(path) as aside, aside.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
            yield path


def _arrays(stack: StackResult) -> dict[str, Any]:
    unknown = np.full((4, 4), np.nan)
    affine, on_grid = affine_of(stack), affine_of(stack, Grid.MODEL)
    names = ("heatmap", "slice_score", "state", "position_mm", "frame", "grid_to_pixel")
    return {name: getattr(stack, name) for name in names} | {
        "score": np.float64(stack.score),
        "threshold": np.float64(stack.info["threshold"]),
        "affine": unknown if affine is None else affine,
        "grid_affine": unknown if on_grid is None else on_grid,
    }
