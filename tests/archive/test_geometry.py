from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medscan.archive import cut_geometry, display_transform, nearest_plane, normal_of
from medscan.choices import Plane
from medscan.errors import CorruptError

from .conftest import rotation, stacks_of

SHAPE = (3, 4, 5)
FLIPS = list(itertools.product((1, -1), repeat=3))
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), FLIPS))


def affine_of(perm, signs, spacing=(1.0, 1.5, 3.0), turn=None):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, perm] * np.array(signs) * np.array(spacing)
    if turn is not None:
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (5, -7, 11)
    return affine


def small_turn(angles):
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [k for k in range(3) if k != axis]
        step = np.eye(3)
        step[i, i] = step[j, j] = c
        step[i, j], step[j, i] = -s, s
        turn = step @ turn
    return turn


def assert_in_place(cut, affine, volume):
    """Every displayed pixel shows the voxel whose own coordinate the geometry gives it."""
    row, column = np.array(cut.orientation[:3]), np.array(cut.orientation[3:])
    step = (np.array(cut.last) - cut.origin) / max(1, cut.frames - 1)
    for k, index in enumerate(cut.order()):
        shown = cut.frame(volume, index)
        assert shown.shape == (cut.rows, cut.columns)
        for y, x in np.ndindex(shown.shape):
            voxel = cut.voxel(index, x, y)
            assert shown[y, x] == volume[voxel]
            lps = (
                np.array(cut.origin)
                + k * step
                + x * cut.pixel_spacing[1] * row
                + y * cut.pixel_spacing[0] * column
            )
            ras = affine[:3, :3] @ voxel + affine[:3, 3]
            np.testing.assert_allclose(lps * (-1, -1, 1), ras, atol=1e-9)
    if cut.frames > 1:
        assert normal_of(cut.orientation) @ step > 0


@pytest.mark.parametrize("plane", [None, *Plane])
def test_every_pixel_is_in_place_for_all_48_orientations(plane):
    volume = np.arange(60).reshape(SHAPE)
    for perm, signs in ORIENTATIONS:
        affine = affine_of(perm, signs)
        cut = cut_geometry(affine, SHAPE, plane)
        assert_in_place(cut, affine, volume)
        assert plane in (None, cut.plane)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from([None, *Plane]),
    st.tuples(*[st.floats(-0.4, 0.4)] * 3),
)
def test_every_pixel_is_in_place_for_oblique_volumes(orientation, plane, angles):
    affine = affine_of(*orientation, turn=small_turn(angles))
    cut = cut_geometry(affine, SHAPE, plane)
    assert_in_place(cut, affine, np.arange(60).reshape(SHAPE))


@pytest.mark.parametrize(
    ("plane", "orientation"),
    [
        (Plane.AXIAL, (1, 0, 0, 0, 1, 0)),
        (Plane.CORONAL, (1, 0, 0, 0, 0, -1)),
        (Plane.SAGITTAL, (0, 1, 0, 0, 0, -1)),
    ],
)
def test_volumes_are_displayed_radiologically(plane, orientation):
    for perm, signs in ORIENTATIONS:
        cut = cut_geometry(affine_of(perm, signs), SHAPE, plane)
        assert cut.orientation == pytest.approx(orientation)
        assert nearest_plane(cut.orientation) is plane
        assert display_transform(cut.orientation) == (False, False, False)


def test_cut_equals_nibabels_closest_canonical():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=SHAPE)
    for perm, signs in ORIENTATIONS:
        affine = affine_of(perm, signs)
        canonical = nib.as_closest_canonical(nib.Nifti1Image(volume, affine)).get_fdata()
        for plane, axis in ((Plane.AXIAL, 2), (Plane.CORONAL, 1), (Plane.SAGITTAL, 0)):
            cut = cut_geometry(affine, SHAPE, plane)
            for k in range(cut.frames):
                expected = canonical.take(k, axis=axis)[::-1, ::-1].T
                np.testing.assert_array_equal(cut.frame(volume, k), expected)


@given(st.integers(0, 2**32 - 1))
def test_display_turns_any_dicom_frame_the_radiological_way(seed):
    turned = rotation(np.random.default_rng(seed))
    row, column = turned[0], turned[1]
    plane = nearest_plane((*row, *column))
    transpose, flip_x, flip_y = display_transform((*row, *column))
    if transpose:
        row, column = column, row
    row, column = (-row if flip_x else row), (-column if flip_y else column)
    right, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane.value]
    assert row[right] >= 0
    assert column[down] * (-1 if down == 2 else 1) >= 0
    assert abs(row[right]) + abs(column[down]) >= abs(row[down]) + abs(column[right]) - 2e-3


@pytest.mark.parametrize("given", [True, False])
@given(st.integers(0, 2**32 - 1), st.sampled_from(FLIPS))
def test_volumes_are_cut_as_the_dicom_they_were_made_of(given, seed, signs):
    """However oblique: no nearest axis is asked for twice, with two answers."""
    turn = rotation(np.random.default_rng(seed)) * signs
    affine = np.eye(4)
    affine[:3, :3] = turn * (1.0, 1.2, 3.0)
    row, column = turn[:, 0] * (-1, -1, 1), turn[:, 1] * (-1, -1, 1)
    plane = nearest_plane((*row, *column))
    transpose, flip_x, flip_y = display_transform((*row, *column))
    row, column = (column, row) if transpose else (row, column)
    cut = cut_geometry(affine, SHAPE, plane if given else None)
    assert (cut.plane, cut.axes[0]) == (plane, 2)
    shown = (*(-row if flip_x else row), *(-column if flip_y else column))
    np.testing.assert_allclose(cut.orientation, shown, atol=1e-9)
    assert_in_place(cut, affine, np.arange(60).reshape(SHAPE))


def test_unknown_orientation_is_left_as_it_is():
    assert display_transform(None) == (False, False, False)


def test_automatic_plane():
    def plane(spacing, shape=SHAPE):
        return cut_geometry(np.diag([*spacing, 1.0]), shape).plane

    assert plane((1, 1, 1.04)) is Plane.AXIAL
    assert plane((1.04, 1, 1)) is Plane.AXIAL
    assert plane((1.2, 1, 1)) is Plane.SAGITTAL
    assert plane((1, 1.2, 1)) is Plane.CORONAL
    assert plane((1, 1, 1), (1, 4, 5)) is Plane.SAGITTAL
    assert plane((1, 1, 1), (4, 5)) is Plane.AXIAL


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.diag([1, 1, 0, 1.0]), np.full((4, 4), np.nan)]
)
def test_affines_that_are_none_are_refused(affine):
    with pytest.raises(CorruptError):
        cut_geometry(affine, SHAPE)


def test_later_axes_are_volumes_counted_first_fastest():
    volume = np.arange(60 * 6).reshape(*SHAPE, 2, 3)
    cut = cut_geometry(np.eye(4), volume.shape, Plane.AXIAL)
    for b, a in itertools.product(range(3), range(2)):
        shown = cut.frame(volume, (a + 2 * b) * cut.frames + 1)
        np.testing.assert_array_equal(shown, cut.frame(volume[..., a, b], 1))


@pytest.mark.parametrize("plane", [None, *Plane])
def test_stack_of_a_nifti_file_tells_where_each_pixel_lies(tmp_path, plane):
    for n, (perm, signs) in enumerate(ORIENTATIONS[::5]):
        affine = affine_of(perm, signs, turn=small_turn((0.2, -0.1, 0.3)))
        volume = np.arange(120, dtype=np.int16).reshape(*SHAPE, 2)
        folder = tmp_path / str(n)
        folder.mkdir()
        nib.save(nib.Nifti1Image(volume, affine), folder / "v.nii.gz")
        affine = nib.load(folder / "v.nii.gz").affine
        stacks = stacks_of(folder, plane=plane)
        assert [len(s.key) for s in stacks] == [16, 18]
        assert stacks[1].key == stacks[0].key + "-2"
        for t, stack in enumerate(stacks):
            check_stack(stack, affine, volume, plane, t)


def check_stack(stack, affine, volume, plane, t):
    cut = cut_geometry(affine, volume.shape, plane)
    row, column = np.reshape(stack.orientation, (2, 3))
    normal = normal_of(stack.orientation)
    assert stack.plane is cut.plane
    positions = [f.position_mm for f in stack.frames]
    assert positions == sorted(positions)
    for frame in stack.frames:
        shown = cut.frame(volume, frame.index)
        number, index = divmod(frame.index, cut.frames)
        assert number == t
        y, x = stack.rows - 1, 1
        lps = (
            np.array(stack.origin)
            + (frame.position_mm - positions[0]) * normal
            + x * stack.pixel_spacing[1] * row
            + y * stack.pixel_spacing[0] * column
        )
        voxel = cut.voxel(index, x, y)
        assert shown[y, x] == volume[(*voxel, t)]
        ras = affine[:3, :3] @ voxel + affine[:3, 3]
        np.testing.assert_allclose(lps * (-1, -1, 1), ras, atol=1e-4)
