"""Maps of a detector with tiles lie where those of others do: a marker is followed to each output.

The square is 160 pixels wide, with 3 tiles of 64 along a side. The frames are oblong, their pixels
too, and the marker is nearer to a corner than to the middle.
"""

import highdicom
import nibabel
import numpy as np
import pytest
from PIL import Image

import medscan
from medscan.choices import Grid, SegType
from medscan.export import ExportJob
from medscan.imaging import Letterbox
from medscan.reading import Sources
from medscan.report.colours import Scale
from medscan.report.placing import square_of
from medscan.results import Results
from medscan.scoring import TILES_IDLE
from tests import tiny
from tests.export.make import exported
from tests.export.test_dicom import brightest

SHAPE, SPACING = (150, 90, 3), (1.2, 0.6)
"""Columns, rows and slices; millimetres between rows and between columns."""
X, Y, SLICE = 117, 27, 1
PLACE = np.array([X * SPACING[1], Y * SPACING[0], SLICE])
"""The middle of the marker: column, row, slice, and LPS millimetres."""
PATCH = 16
PATCH_MM = PATCH / 160 * max(SHAPE[0] * SPACING[1], SHAPE[1] * SPACING[0])


@pytest.fixture(scope="module")
def detector(backbone_folder, tmp_path_factory):
    """A memory of dark noise, in which a marker is what it has not seen."""
    folder, noise = tmp_path_factory.mktemp("tiled"), np.random.default_rng(0)
    (folder / "data" / "normal").mkdir(parents=True)
    for number in range(4):
        picture = Image.fromarray(noise.integers(60, 90, (90, 150), np.uint8))
        picture.save(folder / "data" / "normal" / f"{number}.png")
    asked = {"method": "patchcore", "shots": 3, "tiles": 3, "folds": 2}
    name, path = f"local-dir:{backbone_folder}", folder / "tiled.safetensors"
    fixed = "window:0,1000"
    medscan.fit(folder / "data", path, backbone=name, window=fixed, device="cpu", **asked)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    volume = np.random.default_rng(1).integers(60, 90, SHAPE).astype(np.int16)
    volume[X - 6 : X + 7, Y - 3 : Y + 4, SLICE] = 1000
    folder = tmp_path_factory.mktemp("archive")
    tags = {"PixelSpacing": list(SPACING), "FrameOfReferenceUID": "1.2.9", "PatientName": "A"}
    tiny.write_series(folder / "series", volume, **tags)
    return folder


@pytest.fixture(scope="module")
def results(detector, archive, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "results.h5"
    medscan.scan(archive, out, detector=detector, device="cpu", batch_size=2, workers=0)
    return out


@pytest.fixture
def job(results, archive, tmp_path):
    def made(**options):
        return ExportJob([Results(results)], tmp_path, Sources([archive]), **options)

    return made


def stack_of(results):
    ((stack,),) = [study.stacks for study in Results(results).studies()]
    return stack


def peak(values):
    """Column and row of the middle of what is brightest."""
    return np.argwhere(values == values.max()).mean(axis=0)[::-1]


def test_the_map_of_a_slice_is_brightest_at_the_marker(results):
    ((series,),) = [study.series for study in medscan.open_results(results)]
    assert series.slice_scores.argmax() == SLICE
    assert series.patch_maps.shape == (3, 10, 10)
    away = (peak(series.map(SLICE)) - (X, Y)) * SPACING[::-1]
    assert np.abs(away).max() < PATCH_MM


@pytest.mark.parametrize("grid", Grid)
def test_so_are_a_volume_and_a_parametric_map(results, job, grid):
    (path,), _ = exported("nifti", job(grid=grid))
    image = nibabel.load(path)
    at = np.unravel_index(image.get_fdata().argmax(), image.shape)
    away = nibabel.affines.apply_affine(image.affine, at) * (-1, -1, 1) - PLACE
    assert np.abs(away).max() < PATCH_MM
    (path,), _ = exported("dicom-pm", job(grid=grid))
    assert np.abs(brightest(path) - PLACE).max() < PATCH_MM


def test_a_segmentation_marks_what_the_map_does(results, job, monkeypatch):
    ((series,),) = [study.series for study in medscan.open_results(results)]
    scores = series.map(SLICE)
    scale = Scale(float(np.median(scores)), 0.95 * float(scores.max()))
    monkeypatch.setattr(ExportJob, "scale", lambda *_: scale)
    (path,), _ = exported("dicom-seg", job(seg_type=SegType.FRACTIONAL))
    seg = highdicom.seg.segread(path)
    found = seg.pixel_array.reshape(-1, SHAPE[1], SHAPE[0]) / seg.MaximumFractionalValue
    wanted = scale.position(scores)
    assert np.abs(found - wanted).max(axis=(1, 2)).min() < 1 / 255
    assert wanted.max() > 0.5 > wanted.min()


def test_pages_paint_it_and_say_where_it_is(results):
    stack = stack_of(results)
    box = Letterbox(SHAPE[1], SHAPE[0], 160, aspect=SPACING[0] / SPACING[1])
    place = box.to_square @ (X, Y, 1)
    assert stack.thumbnail_index[0] == SLICE
    assert stack.thumbnail.shape[1:3] == (160, 160)
    assert np.abs(peak(stack.thumbnail[0, ..., 0]) - place).max() <= 1
    plain, high = stack.thumbnail[0], float(stack.heatmap[SLICE].max())
    painted = Scale(0.7 * high, 0.9 * high).overlay(plain, stack.heatmap[SLICE])
    assert np.abs(peak(np.abs(painted.astype(int) - plain).sum(axis=2)) - place).max() < PATCH
    square = square_of(stack)
    u, v = (place + 0.5) / 160
    told = square.origins[SLICE] + u * square.across + v * square.down
    np.testing.assert_allclose(told, PLACE, atol=0.1)


def test_a_slice_has_the_same_bits_alone_and_in_a_scan(detector, archive, results):
    stack = stack_of(results)
    loaded = medscan.Detector.load(detector, device="cpu", batch_size=2, workers=0)
    alone = loaded.score(archive)
    assert np.array_equal(alone.patch_maps, stack.heatmap)
    assert np.array_equal(alone.slice_scores, stack.slice_score)


def test_pages_say_that_an_image_is_too_small_for_tiles(detector, results, tmp_path):
    volume = np.random.default_rng(2).integers(60, 90, (64, 50, 2)).astype(np.int16)
    tiny.write_series(tmp_path / "small", volume)
    out = tmp_path / "small.h5"
    medscan.scan(tmp_path / "small", out, detector=detector, device="cpu", workers=0)
    assert TILES_IDLE in out.with_suffix(".html").read_text()
    assert TILES_IDLE not in results.with_suffix(".html").read_text()
