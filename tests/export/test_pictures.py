"""Overlays as PNG, and arrays."""

from __future__ import annotations

import numpy as np
from PIL import Image

from medscan.export import ExportJob
from medscan.export.job import key_slices
from tests.export.make import GRID, SLICE, exported, multiframe, scanned, single
from tests.report import make


def test_thumbnails_become_pictures(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    files, (left, few) = exported("png", ExportJob([results], tmp_path / "out"))
    assert left.what == "study bbb, stack s1"
    assert "withheld" in left.why
    lost = len(key_slices(results.study("aaa").stacks[0])) - 3
    assert lost > 0
    assert few.what == f"key slices left out: {lost}, of 1 stacks"
    assert few.why.endswith("name its archive with --archive")
    worst = key_slices(results.study("aaa").stacks[0])[0]
    assert f"aaa_s1_{worst + 1:04d}.png" in {path.name for path in files}
    image = np.asarray(Image.open(tmp_path / "out" / f"aaa_s1_{worst + 1:04d}.png"))
    assert image.shape == (make.SIZE, make.SIZE, 3)
    assert np.ptp(image.astype(int), axis=2).max() > 50


def test_sources_are_drawn_large_and_lit_at_the_marker(tmp_path):
    made = scanned(multiframe(tmp_path / "s"))
    (path,), left = exported("png", made.job(tmp_path / "out"))
    assert left == []
    assert path.stem.endswith(f"_{SLICE + 1:04d}")
    image = np.asarray(Image.open(path)).astype(int)
    assert image.shape == (256, 256, 3)
    stack = next(made.results.studies()).stacks[0]
    hot = np.argwhere(stack.heatmap[SLICE] == stack.heatmap[SLICE].max())[0]
    y, x = np.argwhere(np.ptp(image, axis=2) > 0.8 * np.ptp(image, axis=2).max()).mean(axis=0)
    assert np.abs(np.array([y, x]) / (256 / GRID) - 0.5 - hot).max() < 1


def test_a_picture_that_may_name_someone_is_left_out(tmp_path):
    made = scanned(single(tmp_path / "s"), thumbnails="withheld: may carry burned-in text")
    files, (left,) = exported("png", made.job(tmp_path / "out"))
    assert files == []
    assert "burned-in" in left.why


def test_arrays_of_a_study(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    files, left = exported("npz", ExportJob([results], tmp_path / "out"))
    assert [path.name for path in files] == ["aaa.npz", "bbb.npz", "ccc.npz", "ddd.npz"]
    assert left == []
    (stack, other) = results.study("aaa").stacks
    with np.load(files[0], allow_pickle=False) as found:
        assert np.array_equal(found["s1/heatmap"], stack.heatmap)
        assert np.array_equal(found["s2/slice_score"], other.slice_score, equal_nan=True)
        assert found["s1/score"] == stack.score
        corner = found["s1/affine"] @ (0, 0, 0, 1)
        np.testing.assert_allclose(corner[:3], [80, 96, -20])
        patch = found["s1/affine"] @ (*(stack.grid_to_pixel[0] @ (3, 5, 1)), 2, 1)
        np.testing.assert_allclose(found["s1/grid_affine"] @ (3, 5, 2, 1), patch)
    first = files[0].read_bytes()
    exported("npz", ExportJob([results], tmp_path / "out"))
    assert files[0].read_bytes() == first
