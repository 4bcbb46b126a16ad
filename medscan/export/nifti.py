"""Anomaly maps as NIfTI volumes aligned with their source images."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from medscan.archive import MAKER, Stack
from medscan.choices import Grid
from medscan.errors import ExportError, FileError
from medscan.export.job import ExportJob, LeftOut, each_stack
from medscan.export.upright import UprightGrid
from medscan.reading import read_plane
from medscan.results import (
    StackResult,
    State,
    StudyResult,
    affine_of,
    affine_on,
    is_even,
    on_frame,
    replacing,
    spacing_of,
)

_INT16_MAX = 32767
_PERPENDICULAR = 1e-4
"""Largest cosine between axes that still count as perpendicular."""
_MOST_GAPS = 4
"""Layers per slice at most, so that one stray position cannot make a volume huge."""

SliceValues = Callable[[int], NDArray[Any]]
"""Gives the values of a slice (rows, columns) by its index."""


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write the anomaly map of every scored stack as `<study key>_<stack key>_map.nii.gz`.

    Each map is a float32 volume (columns, rows, slices) on the pixels of its source: patch scores,
    interpolated between patch centres; or, with `Grid.MODEL`, on the patches. Slices without a
    score are 0. Its affine maps voxel indices to millimetres (RAS). Unevenly spaced slices are put
    on the nearest layer of a grid of their median spacing, and layers without a slice are 0. If the
    source's geometry is unknown (pictures), voxels are 1 mm, and the header's description says so.
    With `with_source`, the rescaled source is written as `<study key>_<stack key>_source.nii.gz`.
    What ITK cannot open, because the stack is tilted, is written a second time as
    `..._upright.nii.gz`, on a grid with perpendicular axes.
    """
    return each_stack(job, _write)


def _write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
    stem = f"{study.key}_{stack.key}"
    source = job.source(study, stack) if job.with_source else None
    yield from write_map(stack, job.grid, *_paths(job.out, f"{stem}_map"))
    if source is not None:
        values = _source_values(stack, source)
        yield from _volumes(
            stack, Grid.SOURCE, values, "source", *_paths(job.out, f"{stem}_source")
        )


def _paths(folder: Path, stem: str) -> tuple[Path, Path]:
    """Paths of a volume, and of the upright one beside it."""
    return folder / f"{stem}.nii.gz", folder / f"{stem}_upright.nii.gz"


def write_map(stack: StackResult, grid: Grid, path: Path, upright: Path) -> Iterator[Path]:
    """Write the anomaly map of a stack as `export` describes it, and yield the path of each file.

    Parameters
    ----------
    stack : StackResult
    grid : Grid
    path : Path
    upright : Path
        Written too if the stack is tilted.
    """
    return _volumes(stack, grid, _map_values(stack, grid), "anomaly map", path, upright)


def _map_values(stack: StackResult, grid: Grid) -> SliceValues:
    def values(index: int) -> NDArray[Any]:
        if stack.state[index] != State.SCORED:
            return np.zeros(_size(stack, grid), np.float32)
        if grid is Grid.MODEL:
            return np.asarray(stack.heatmap[index])
        return on_frame(stack.heatmap[index], stack.grid_to_pixel[index], *_size(stack, grid))

    return values


def _source_values(stack: StackResult, source: Stack) -> SliceValues:
    """Values of the source; 0 for a slice that the scan could not read either.

    Raises
    ------
    ExportError
        If the source is in colour.
    FileError
        If a slice that the scan read cannot be read.
    """

    def values(index: int) -> NDArray[Any]:
        plane = read_plane(source, source.frames[index])
        if isinstance(plane, FileError):
            if stack.state[index] == State.FAILED:
                return np.zeros(_size(stack, Grid.SOURCE), np.float32)
            raise plane
        if plane.colour:
            raise ExportError("its source is in colour")
        return plane.pixels

    return values


def _size(stack: StackResult, grid: Grid) -> tuple[int, int]:
    """Rows and columns of a slice on a grid."""
    if grid is Grid.MODEL:
        return stack.heatmap.shape[1], stack.heatmap.shape[2]
    return int(stack.info["rows"]), int(stack.info["columns"])


def _volumes(
    stack: StackResult, grid: Grid, slice_values: SliceValues, what: str, path: Path, upright: Path
) -> Iterator[Path]:
    """Write a volume, and if ITK cannot open it because its axes are askew, an upright one."""
    layers, (rows, columns) = layers_of(stack), _size(stack, grid)

    def values(layer: int) -> NDArray[Any]:
        index = layers[layer]
        return slice_values(index) if index >= 0 else np.zeros((rows, columns), np.float32)

    header = _header(stack, grid, (columns, rows, len(layers)), what)
    yield _volume(path, header, values)
    if header["sform_code"] > 0 and header["qform_code"] == 0 and _is_askew(header.get_sform()):
        over = UprightGrid.over(header.get_sform(), (columns, rows, len(layers)))
        turned = _new_header((over.columns, over.rows, len(layers)), f"upright {what}")
        turned.set_qform(over.affine, code=int(header["sform_code"]))
        turned.set_sform(over.affine, code=int(header["sform_code"]))
        yield _volume(upright, turned, lambda layer: over.place(values(layer), layer))


def _is_askew(affine: NDArray[np.float64]) -> bool:
    """Whether ITK refuses the affine: the cosine between two of its axes is above 1e-4."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _PERPENDICULAR)


def _volume(path: Path, header: Any, values: SliceValues) -> Path:
    """Write a volume layer by layer, so that it is never in memory as a whole."""
    with (
        replacing(path) as aside,
        aside.open("wb") as file,
        # Without name and time in the gzip header the same results give the same bytes.
        gzip.GzipFile("", "wb", 6, file, mtime=0) as stream,
    ):
        header.write_to(stream)
        for index in range(header.get_data_shape()[2]):
            stream.write(np.nan_to_num(values(index)).astype("<f4").tobytes())
    return path


def _header(stack: StackResult, grid: Grid, shape: tuple[int, int, int], what: str) -> Any:
    affine = affine_of(stack, grid)
    header = _new_header(shape, _description(stack, affine, what))
    if affine is None:
        header.set_sform(np.eye(4), code=0)
    elif stack.info.get("form_codes"):
        _carry_forms(header, stack, grid, affine)
    else:
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1)
        # A qform holds only a rotation and spacings, and so cannot express a tilt.
        if not np.allclose(header.get_qform(), affine, atol=1e-2):
            header["qform_code"] = 0
    return header


def _new_header(shape: tuple[int, int, int], description: str) -> Any:
    header = (Nifti1Header if max(shape) <= _INT16_MAX else Nifti2Header)(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(np.float32)
    header.set_xyzt_units("mm")
    header["descrip"] = f"{MAKER} {description}".encode("ascii", "replace")[:79]
    return header


def _carry_forms(header: Any, stack: StackResult, grid: Grid, affine: NDArray[np.float64]) -> None:
    """Give a map both affines and both codes of its NIfTI source, composed for its own axes."""
    forms = (header.set_qform, "qform"), (header.set_sform, "sform")
    for (set_form, name), code in zip(forms, stack.info["form_codes"], strict=True):
        stated = stack.info[name]
        form = affine_on(np.reshape(stated, (4, 4)), stack, grid) if stated else affine
        set_form(form, code=int(code) if stated else 0)


def _description(stack: StackResult, affine: NDArray[np.float64] | None, what: str) -> str:
    if affine is None:
        return f"{what}; source geometry unknown: voxels taken as 1 mm"
    if math.isnan(spacing_of(stack)):
        return f"{what}; slice spacing unknown: taken as 1 mm"
    return what if is_even(stack) else f"{what}; uneven slices on a median grid"


def layers_of(stack: StackResult) -> list[int]:
    """Index of the slice on each layer of an even grid; -1 for a layer without a slice.

    The grid starts at the first slice and has the stack's median spacing. Each slice goes to the
    nearest layer; of slices that share a layer, the one with the highest score stays. Without
    positions each slice is a layer.
    """
    count, step = len(stack.state), spacing_of(stack)
    offset = (stack.position_mm - stack.position_mm[:1]) / step
    if not np.isfinite(offset).all() or _too_wide(offset, count):
        return list(range(count))
    nearest = np.rint(offset).astype(np.intp)
    layers = [-1] * (int(nearest[-1]) + 1)
    # Later slices overwrite earlier ones: the highest score comes last, of equal ones the nearest.
    score = np.where(stack.state == State.SCORED, stack.slice_score, -np.inf)
    for index in np.lexsort((-np.abs(offset - nearest), score)).tolist():
        layers[nearest[index]] = index
    return layers


def _too_wide(offset: NDArray[np.float64], count: int) -> bool:
    ascending = bool((np.diff(offset) >= 0).all())
    return not ascending or float(offset[-1]) > _MOST_GAPS * count
