"""NIfTI files that others made from series of a real archive: each voxel where medscan has it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medscan.archive import Kind, index
from medscan.imaging import read_planes

from .conftest import ARCHIVE, rows

MAX_FILE_BYTES = 2**28
MOST_FRAMES = 12
"""Of a stack, evenly spread: enough to see any turn, mirror or shift."""


def references():
    found = [row for row in rows("expected_series.csv") if row["reference_nifti"]]
    return [(row, name) for row in found for name in row["reference_nifti"].split("|")]


def stacks_of(row):
    """Stacks of a row's series, found by indexing the folder of its first file."""
    members = {name.partition("#")[0] for name in json.loads(row["slice_order"])}
    folder = ARCHIVE / "files" / Path(min(members)).parent
    names = {str((ARCHIVE / "files" / m).relative_to(folder)) for m in members}
    found = [k for s in index([folder]).studies for e in s.series for k in e.stacks]
    return [k for k in found if k.kind is Kind.DICOM and k.frames[0].file.path in names]


def millimetres(stack, frame):
    """RAS place of each pixel of a frame: (4, rows, columns)."""
    row, column = np.reshape(stack.orientation, (2, 3))
    along = frame.position_mm - stack.frames[0].position_mm
    first = np.array(stack.origin) + along * np.cross(row, column)
    y, x = np.mgrid[: stack.rows, : stack.columns]
    between_rows, between_columns = stack.pixel_spacing
    lps = first[:, None, None] + row[:, None, None] * x * between_columns
    lps = lps + column[:, None, None] * y * between_rows
    return np.concatenate([lps * np.array([-1, -1, 1])[:, None, None], np.ones((1, *x.shape))])


def values_of(image):
    """Voxels (ni, nj, nk, volumes, channels)."""
    data = np.asanyarray(image.dataobj)
    if data.dtype.names:
        data = np.stack([data[c] for c in "RGB"], axis=-1)[:, :, :, None]
    else:
        data = data[..., None]
    return data.reshape(*data.shape[:3], -1, data.shape[-1]).astype(np.float64)


def sampled(data, affine, places):
    """Voxels (rows, columns, volumes, channels) in these places; none may lie between two."""
    at = np.einsum("ij,jyx->iyx", np.linalg.inv(affine), places)[:3]
    nearest = np.rint(at).astype(int)
    assert np.abs(at - nearest).max() < 0.1
    assert (nearest >= 0).all()
    assert (nearest.max(axis=(1, 2)) < data.shape[:3]).all()
    return data[tuple(nearest)]


@pytest.mark.parametrize(("row", "name"), references(), ids=lambda v: v if type(v) is str else "")
def test_each_pixel_is_where_the_reference_has_it(row, name):
    image = nibabel.load(ARCHIVE / "files" / name)
    data = values_of(image)
    stacks = stacks_of(row)
    assert stacks
    for stack in stacks:
        step = -(-len(stack.frames) // MOST_FRAMES)
        frames = stack.frames[::step]
        planes = read_planes(stack, frames, MAX_FILE_BYTES)
        shown = [p.pixels.reshape(stack.rows, stack.columns, 1, -1) for p in planes]
        wanted = [sampled(data, image.affine, millimetres(stack, f)) for f in frames]
        scale = np.abs(data).max()
        away = np.abs(np.stack(wanted) - np.stack(shown)).max(axis=(0, 1, 2, 4))
        assert away.min() <= 1e-3 * scale, (stack.key, stack.notes, away / scale)
