"""Results opened from Python: studies in the worklist's order, tables, and maps where they lie."""

import csv
import math

import nibabel
import numpy as np
import pytest

import medscan
from medscan import api, export, report
from medscan.errors import UsageError
from medscan.results import on_frame
from tests.report import make

N = 6


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    studies = [
        make.study("aaa", [make.stack("s1", 0.4, N)]),
        make.study("bbb", [make.stack("s1", 0.5, N), make.stack("s2", 0.9, N)]),
        make.study("ccc", []),
    ]
    return make.results(tmp_path_factory.mktemp("results"), studies)


@pytest.fixture(scope="module")
def opened(stored):
    return medscan.open_results(stored.path)


def scores(**changes):
    """A stack with some of its info changed, or some arrays."""
    info = {n: v for n, v in changes.items() if n != "position_mm"}
    stack = make.stack("s1", 0.9, N, **info)
    for name in changes.keys() - info.keys():
        object.__setattr__(stack, name, changes[name])
    return api.Scores(stack)


def test_studies_come_most_abnormal_first(opened):
    assert [(s.key, s.rank, s.flagged) for s in opened] == [
        ("bbb", 1, True),
        ("aaa", 2, False),
        ("ccc", None, False),
    ]
    assert len(opened) == 3
    first, *_, last = opened
    assert [stack.key for stack in first.series] == ["s1", "s2"]
    assert first.score == max(stack.score for stack in first.series)
    assert first.percentile == 80.0
    assert math.isnan(last.score)
    assert math.isnan(last.percentile)
    assert "bbb" in repr(first)
    assert "not scored" in repr(last)


def test_a_study_gives_the_earlier_ones_of_its_patient(tmp_path):
    days = {"now": "20240131", "last": "20230602", "first": "20220310", "other": "20230101"}
    studies = [
        make.study(
            key,
            [make.stack("s1", 0.9 if key == "now" else 0.4, N)],
            date=day,
            patient="p-2" if key == "other" else "p-1",
        )
        for key, day in days.items()
    ]
    results = medscan.open_results(make.results(tmp_path, studies).path)
    now = results.study("now")
    assert [study.key for study in now.earlier] == ["last", "first"]
    assert [study.key for study in now.earlier[0].earlier] == ["first"]
    assert results.study("first").earlier == results.study("other").earlier == ()
    (then,) = now.earlier[0].series
    assert then.maps().shape == results.study("last").series[0].maps().shape
    assert [study.rank for study in now.earlier] == [results.study(k).rank for k in days][1:3]


def test_a_study_is_found_by_key_and_uid(opened):
    study = opened.study("aaa")
    assert study.key == "aaa"
    if study.uid:
        assert opened.study(study.uid).key == "aaa"
    for name in ("ddd", ""):
        with pytest.raises(UsageError, match="no study"):
            opened.study(name)


@pytest.mark.parametrize("name", ["results", "series", "slices"])
def test_a_table_has_the_rows_of_the_csv_file(name, opened, stored, tmp_path):
    report.write_csv([stored], tmp_path / "table.csv", name)
    with (tmp_path / "table.csv").open(newline="") as stream:
        expected = list(csv.DictReader(stream))
    found = opened.table(name)
    assert [list(row) for row in found] == [list(row) for row in expected]
    for row, other in zip(found, expected, strict=True):
        for column, value in row.items():
            text = other[column]
            assert (value is None) == (text == ""), column
            assert value is None or isinstance(value, str) or math.isclose(value, float(text))
    assert len(found) == {"results": 3, "series": 3, "slices": 3 * N}[name]


def test_there_are_no_other_tables(opened):
    with pytest.raises(UsageError, match="results, series, slices"):
        opened.table("pixels")
    for ask in (opened.table, opened.study):
        with pytest.raises(UsageError, match="not of type str"):
            ask(["pixels"])


def test_several_files_are_read_as_one(stored, tmp_path):
    other = make.results(tmp_path, [make.study("ddd", [make.stack("s1", 0.95, N)])])
    both = medscan.open_results(stored.path, str(other.path))
    assert [study.key for study in both] == ["ddd", "bbb", "aaa", "ccc"]
    assert [d["name"] for d in both.detectors] == ["brain-flair"]
    assert both.damaged == []
    with pytest.raises(UsageError, match="name a results file"):
        medscan.open_results()
    with pytest.raises(UsageError):
        medscan.open_results(tmp_path / "nothing.h5")


def test_damaged_studies_are_named(stored, tmp_path):
    data = bytearray(stored.path.read_bytes())
    heat = np.ascontiguousarray(make.stack("s1", 0.4, N).slice_score).tobytes()
    data[data.index(heat)] ^= 1
    (tmp_path / "damaged.h5").write_bytes(data)
    opened = medscan.open_results(tmp_path / "damaged.h5")
    assert [study.key for study in opened] == ["bbb", "ccc"]
    (line,) = opened.damaged
    assert "aaa" in line


def test_scores_say_what_the_file_says(opened):
    stack = opened.study("bbb").series[1]
    assert len(stack) == N
    assert stack.states == ["background", *["scored"] * (N - 2), "background"]
    assert np.isnan(stack.slice_scores).tolist() == [True, *[False] * (N - 2), True]
    assert (stack.threshold, stack.slice_threshold, stack.provisional) == (0.6, 0.5, False)
    assert (stack.modality, stack.plane, stack.detector) == ("MR", "axial", "brain-flair")
    assert stack.patch_maps.shape == (N, make.GRID, make.GRID)
    assert (stack.shape, stack.frames.dtype) == ((192, 160), np.int32)
    assert len(stack.paths) == len(stack.sop_instance_uids) == len(stack.positions_mm) == N
    stack.slice_scores[:] = 0  # a copy
    assert stack.slice_scores[2] > 0
    assert "flagged" in repr(stack)


def test_maps_and_affine_are_those_of_an_exported_volume(opened, stored, tmp_path):
    stack = opened.study("aaa").series[0]
    job = export.ExportJob([stored], tmp_path)
    paths = [p for p in export.exporter("nifti")(job) if p.name.startswith("aaa")]
    volume = nibabel.load(paths[0])
    maps = stack.maps()
    assert maps.shape == (N, 192, 160)
    np.testing.assert_array_equal(
        np.nan_to_num(maps), np.asarray(volume.dataobj).transpose(2, 1, 0)
    )
    np.testing.assert_allclose(stack.affine(), volume.affine, atol=1e-5)
    np.testing.assert_array_equal(stack.map(-2), maps[N - 2])
    with pytest.raises(UsageError):
        stack.map(N)


@pytest.mark.parametrize("shape", [(96, 80), (384, 480), (1, 1)])
def test_a_map_of_any_size_covers_the_same_field(shape):
    stack = scores()
    affine, own = stack.affine(shape), stack.affine()
    rows, columns = shape
    corner, own_corner = [-0.5, -0.5, 2, 1], [-0.5, -0.5, 2, 1]
    np.testing.assert_allclose(affine @ corner, own @ own_corner, atol=1e-9)
    end, own_end = [columns - 0.5, rows - 0.5, 2, 1], [159.5, 191.5, 2, 1]
    np.testing.assert_allclose(affine @ end, own @ own_end, atol=1e-9)
    assert stack.maps(shape).shape == (N, *shape)


def test_a_smaller_map_holds_the_values_at_its_places():
    """The hot spot stays where it is in the patient."""
    stack = scores()
    places = []
    for shape in (None, (96, 80), (31, 47)):
        drawn = stack.map(3, shape)
        row, column = np.unravel_index(drawn.argmax(), drawn.shape)
        places.append((stack.slice_affine(3, shape) @ [column, row, 0, 1])[:3])
    np.testing.assert_allclose(places[1], places[0], atol=2.5)
    np.testing.assert_allclose(places[2], places[0], atol=5)
    for shape in ((0, 5), (5, -1)):
        with pytest.raises(UsageError, match="at least 1"):
            stack.map(3, shape)
    for index in (99, -99, "1", None):
        for place in (stack.map, stack.slice_affine):
            with pytest.raises(UsageError, match="index="):
                place(index)
    for shape in (7, "ab", (5,), (5.5, 5)):
        for drawn in (stack.maps, stack.affine):
            with pytest.raises(UsageError, match="shape="):
                drawn(shape)


def test_a_pixel_lies_where_dicom_says():
    """PS3.3 C.7.6.2.1.1, from LPS to RAS."""
    stack = scores(pixel_spacing=[2.0, 0.5], origin=[10.0, 20.0, -20.0])
    found = stack.affine() @ [4, 7, 2, 1]
    np.testing.assert_allclose(found, [-(10 + 4 * 0.5), -(20 + 7 * 2.0), -20 + 2 * 3.0, 1])
    np.testing.assert_allclose(stack.slice_affine(2) @ [4, 7, 0, 1], found)


def test_uneven_slices_have_an_affine_each():
    uneven = scores(position_mm=np.array([0.0, 3, 6, 12, 15, 18]))
    assert uneven.affine() is None
    assert [uneven.slice_affine(n)[2, 3] for n in (0, 3, -1)] == [-20.0, -8.0, -2.0]


def test_unknown_geometry_has_no_affine():
    unknown = scores(orientation=[], pixel_spacing=[], origin=[])
    assert unknown.affine() is None
    assert unknown.slice_affine(1) is None
    lost = scores(position_mm=np.full(N, np.nan), slice_spacing=math.nan)
    assert lost.affine() is None
    assert lost.slice_affine(1) is None


def test_maps_are_interpolated_between_patches():
    stack = make.stack("s1", 0.9, N)
    expected = on_frame(stack.heatmap[2], stack.grid_to_pixel[2], 192, 160)
    np.testing.assert_array_equal(api.Scores(stack).map(2), expected)
