import gzip
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medscan.archive.geometry import cut_geometry
from medscan.choices import Grid, Plane
from medscan.errors import DiskError
from medscan.export import FORMATS, ExportJob, exporter
from medscan.export.nifti import affine_of, layers_of
from medscan.results import State
from tests.report import make

HOT = (5, 7, 3)  # column, row, slice of the hot patch
LPS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (0.8, 0.6, 0.0, -0.36, 0.48, -0.8),
}


def export_nifti(results, out, **options):
    return list(exporter("nifti")(ExportJob([results], out, **options)))


def hot_stack(orientation, spacing=(0.7, 0.9), step=2.5, origin=(-31.0, 17.0, 5.0), to_pixel=None):
    """A stack whose map is 0 but for one patch."""
    stack = make.stack("s1", n=8, pictures=0)
    heatmap = np.zeros_like(stack.heatmap)
    heatmap[HOT[2], HOT[1], HOT[0]] = 1
    info = stack.info | {
        "orientation": list(orientation),
        "pixel_spacing": list(spacing),
        "origin": list(origin),
        "slice_spacing": step,
    }
    if to_pixel is None:
        to_pixel = stack.grid_to_pixel[0]
    return replace(
        stack,
        info=info,
        heatmap=heatmap,
        state=np.full(8, State.SCORED, np.uint8),
        position_mm=step * np.arange(8),
        grid_to_pixel=np.repeat(np.asarray(to_pixel, float)[None], 8, 0),
    )


def exported(tmp_path, stack):
    results = make.results(tmp_path, [make.study("aaa", [stack])])
    (path,) = export_nifti(results, tmp_path / "out")
    return nibabel.load(path)


def hottest_mm(image):
    """Centre of the map's maximum in RAS mm, weighted over the top of the bump."""
    data = image.get_fdata()
    at = np.argwhere(data > 0.8 * data.max())
    weight = data[tuple(at.T)]
    return nibabel.affines.apply_affine(image.affine, (at * weight[:, None]).sum(0) / weight.sum())


@pytest.mark.parametrize("name", LPS)
@pytest.mark.parametrize("turned", [False, True])
def test_hot_patch_lies_at_its_patient_coordinates(tmp_path, name, turned):
    step = 192 / make.GRID
    to_pixel = np.array([[step, 0, step / 2 - 16.5], [0, step, step / 2 - 0.5]])
    if turned:  # the model saw the frame transposed and mirrored
        to_pixel = np.array([[0, step, step / 2 - 16.5], [-step, 0, 191.5 - step / 2]])
    stack = hot_stack(LPS[name], to_pixel=to_pixel)
    x, y = to_pixel @ (HOT[0], HOT[1], 1)
    row, column = np.reshape(LPS[name], (2, 3))
    lps = np.array((-31.0, 17.0, 5.0)) + row * 0.9 * x + column * 0.7 * y
    lps = lps + np.cross(row, column) * 2.5 * HOT[2]
    image = exported(tmp_path, stack)
    assert image.shape == (160, 192, 8)
    assert image.get_data_dtype() == np.float32
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-3)
    assert np.abs(hottest_mm(image) - lps * (-1, -1, 1)).max() < 0.35
    assert np.isfinite(image.get_fdata()).all()


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("flip", [1, -1])
def test_map_of_a_volume_lies_on_the_volume(tmp_path, plane, flip):
    turn = nibabel.eulerangles.euler2mat(0.1, 0.05, -0.08)
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.9 * flip, 1.1, 2.5)
    affine[:3, 3] = (-40, -60, -30)
    shape = (72, 80, 30)
    cut = cut_geometry(affine, shape, plane)
    step = max(cut.rows, cut.columns) / make.GRID
    to_pixel = np.array([[step, 0, step / 2 - 0.5], [0, step, step / 2 - 0.5]])
    to_pixel[0, 2] -= (make.GRID * step - cut.columns) / 2
    to_pixel[1, 2] -= (make.GRID * step - cut.rows) / 2
    normal = np.cross(*np.reshape(cut.orientation, (2, 3)))
    first, last = np.dot(normal, cut.origin), np.dot(normal, cut.last)
    count = cut.frames
    base = make.stack("s1", n=count, pictures=0)
    heatmap = np.zeros_like(base.heatmap)
    heatmap[count // 3, 6, 5] = 1
    stack = replace(
        base,
        heatmap=heatmap,
        state=np.full(count, State.SCORED, np.uint8),
        position_mm=np.linspace(first, last, count),
        grid_to_pixel=np.repeat(to_pixel[None], count, 0),
        info=base.info
        | {
            "rows": cut.rows,
            "columns": cut.columns,
            "orientation": list(cut.orientation),
            "pixel_spacing": list(cut.pixel_spacing),
            "origin": list(cut.origin),
            "slice_spacing": (last - first) / (count - 1),
        },
    )
    x, y = to_pixel @ (5, 6, 1)
    index = list(cut.order())[count // 3]
    corners = [
        cut.voxel(index, int(np.floor(x)) + a, int(np.floor(y)) + b)
        for a, b in ((0, 0), (1, 0), (0, 1))
    ]
    voxel = np.array(corners[0], float)
    voxel += (x % 1) * (np.array(corners[1]) - corners[0])
    voxel += (y % 1) * (np.array(corners[2]) - corners[0])
    expected = nibabel.affines.apply_affine(affine, voxel)
    image = exported(tmp_path, stack)
    assert np.linalg.norm(hottest_mm(image) - expected) < 0.5 * min(cut.pixel_spacing)


def test_unknown_geometry_is_said_so(tmp_path):
    info = {"orientation": [], "pixel_spacing": [], "origin": [], "slice_spacing": float("nan")}
    stack = make.stack("s1", n=1, pictures=0, **info)
    image = exported(tmp_path, replace(stack, position_mm=np.array([np.nan])))
    assert b"geometry unknown" in image.header["descrip"].item()
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    np.testing.assert_array_equal(image.header.get_zooms(), 1)


def test_gaps_stay_empty_and_later_slices_keep_their_place():
    stack = make.stack("s1", n=6)
    stack = replace(stack, position_mm=np.array([0, 3.0, 6, 15, 18.2, 21]))
    assert layers_of(stack) == [0, 1, 2, -1, -1, 3, 4, 5]


def test_two_slices_on_one_layer_keep_the_higher_score_then_the_nearer():
    stack = replace(make.stack("s1", n=4), position_mm=np.array([0, 3.0, 3.9, 6]))

    def layers(*scores, states=(0, 0, 0, 0)):
        changed = {"slice_score": np.array(scores, np.float32), "state": np.array(states, np.uint8)}
        return layers_of(replace(stack, **changed))

    assert layers(0.1, 0.2, 0.9, 0.1) == [0, 2, 3]
    assert layers(0.1, 0.9, 0.2, 0.1) == [0, 1, 3]
    assert layers(0.1, 0.2, 0.2, 0.1) == [0, 1, 3]
    assert layers(0.1, np.nan, 0.2, 0.1, states=(0, 1, 0, 0)) == [0, 2, 3]


def test_a_stray_position_does_not_blow_the_volume_up():
    stack = make.stack("s1", n=4)
    assert layers_of(replace(stack, position_mm=np.array([0, 3.0, 6, 1e9]))) == [0, 1, 2, 3]
    assert layers_of(replace(stack, position_mm=np.array([9, 6.0, 3, 0]))) == [0, 1, 2, 3]


@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=30),
    st.floats(0.01, 50) | st.just(float("nan")),
)
@settings(deadline=None, max_examples=50)
def test_layers_hold_each_slice_at_most_once(positions, step):
    stack = make.stack("s1", n=len(positions), pictures=0, slice_spacing=step)
    layers = layers_of(replace(stack, position_mm=np.sort(positions)))
    used = [at for at in layers if at >= 0]
    assert len(set(used)) == len(used)
    assert len(layers) <= 4 * len(positions) + 1
    assert affine_of(stack).shape == (4, 4)


def test_slices_that_were_not_scored_are_zero(tmp_path):
    stack = make.stack("s1", 0.9, 12)
    odd = stack.heatmap.copy()
    odd[0] = np.float16(0.7)  # says background, holds values
    odd[1, 0, 0] = np.float16("nan")
    data = exported(tmp_path, replace(stack, heatmap=odd)).get_fdata()
    assert not data[..., 0].any()
    assert np.isfinite(data).all()
    assert data[..., 6].max() > 0.5


def test_same_results_give_the_same_bytes_and_a_link_is_not_followed(tmp_path):
    results = make.results(tmp_path, [make.study("aaa", [make.stack("s1", n=3)])])
    (path,) = export_nifti(results, tmp_path / "out")
    first = path.read_bytes()
    secret = tmp_path / "secret"
    secret.write_text("kept")
    path.unlink()
    path.symlink_to(secret)
    export_nifti(results, tmp_path / "out")
    assert secret.read_text() == "kept"
    assert path.read_bytes() == first
    assert not path.is_symlink()
    assert len(gzip.decompress(first)) == 352 + 4 * 160 * 192 * 3
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["aaa_s1_map.nii.gz"]


def test_unscored_stacks_give_no_file(tmp_path):
    stack = make.stack("s1", n=3)
    stack = replace(stack, state=np.full(3, State.BACKGROUND, np.uint8), score=float("nan"))
    results = make.results(tmp_path, [make.study("aaa", [stack]), make.study("bbb")])
    assert export_nifti(results, tmp_path / "out") == []


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_file_in_the_way_is_a_disk_error(tmp_path, name):
    results = make.results(tmp_path, [make.study("aaa", [make.stack("s1", n=3)])])
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DiskError, match="out"):
        list(exporter(name)(ExportJob([results], tmp_path / "out")))


def test_large_frames_become_nifti_2(tmp_path):
    stack = make.stack("s1", n=1, pictures=0, rows=2, columns=33000)
    assert isinstance(exported(tmp_path, stack), nibabel.Nifti2Image)


@pytest.mark.parametrize("plane", sorted(LPS))
def test_the_model_grid_lies_where_the_source_does(tmp_path, plane):
    stack = hot_stack(LPS[plane])
    results = make.results(tmp_path, [make.study("aaa", [stack])])
    fine = nibabel.load(export_nifti(results, tmp_path / "a")[0])
    (path,) = export_nifti(results, tmp_path / "b", grid=Grid.MODEL)
    coarse = nibabel.load(path)
    assert coarse.shape == (make.GRID, make.GRID, 8)
    assert coarse.get_fdata()[HOT] == 1
    place = nibabel.affines.apply_affine(coarse.affine, HOT)
    np.testing.assert_allclose(place, hottest_mm(fine), atol=0.46)
