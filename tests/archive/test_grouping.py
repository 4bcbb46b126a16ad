from __future__ import annotations

import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medscan.archive import Pseudonyms, Reason, group, index, key_of, read_header, walk

from .conftest import stacks_of, write


def order(stack):
    return [f.file.path.rpartition("/")[2] for f in stack.frames]


def test_slices_are_ordered_by_position_not_number_or_name(series):
    (stack,) = stacks_of(series([3, 1, 2, 10, 9, 8, 7, 6, 5, 4, 11]))
    assert order(stack) == ["I1", "I2", "I0", "I9", "I8", "I7", "I6", "I5", "I4", "I3", "I10"]
    assert stack.slice_spacing == 1
    assert stack.origin == (0, 0, 1)
    assert (stack.plane, stack.notes, stack.key) == ("axial", (), key_of("1.2.3.4"))


def test_the_catalogue_does_not_depend_on_the_order_of_files(series):
    root = series([0, 2, 4])
    series([0, 2, 4], "b", TemporalPositionIdentifier=2)
    series([1], "c", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    headers = [read_header(f) for f in walk(root)]
    expected = group(headers)
    assert len(expected.studies[0].series[0].stacks) == 3
    for seed in range(10):
        random.Random(seed).shuffle(headers)
        assert group(headers) == expected


def test_keys_do_not_depend_on_folders_or_neighbours(series, tmp_path):
    root = series([0, 2, 4])
    series([0, 2, 4], "b", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    before = {s.frames[0].sop_instance_uid: s.key for s in stacks_of(root)}
    (root / "a").rename(root / "z")
    (root / "b").rename(root / "y")
    write(root / "0" / "other", StudyInstanceUID="9.9", SeriesInstanceUID="9.9.9")
    after = {s.frames[0].sop_instance_uid: s.key for s in stacks_of(root)}
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": 3, "Columns": 8},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"FrameOfReferenceUID": "1.9"},
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"EchoTime": "80"},
        {"EchoNumbers": 2},
        {"PixelSpacing": [1, 1]},
        {"ImagePositionPatient": None},
    ],
)
def test_what_does_not_belong_together_is_kept_apart(series, tags):
    root = series([0, 1, 2])
    series([3, 4, 5], "b", **tags)
    assert sorted(len(s.frames) for s in stacks_of(root)) == [3, 3]


def test_orientation_noise_does_not_split(series):
    root = series([0, 1])
    series([2, 3], "b", ImageOrientationPatient=[0.999999, 0.001, 0, -0.001, 0.999999, 0])
    assert [len(s.frames) for s in stacks_of(root)] == [4]


@pytest.mark.parametrize("echoes", [("2.4499", "2.4501"), ("4.65", "4.649999"), ("80", "80.4")])
def test_echo_times_that_differ_by_rounding_share_a_stack(series, echoes):
    root = series([0, 2, 4], EchoTime=echoes[0])
    series([1, 3, 5], "b", EchoTime=echoes[1])
    assert [(len(s.frames), s.slice_spacing) for s in stacks_of(root)] == [(6, 1)]


@pytest.mark.parametrize("echoes", [("0.03", "0.04"), ("2.3", "2.4"), ("80", "82"), (None, "80")])
def test_echoes_are_kept_apart_however_near(series, echoes):
    root = series([0, 2, 4], EchoTime=echoes[0])
    series([1, 3, 5], "b", EchoTime=echoes[1])
    assert [(len(s.frames), s.slice_spacing) for s in stacks_of(root)] == [(3, 2), (3, 2)]


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_frame_of_reference_for_each_slice_is_noted_and_does_not_divide(tmp_path, repeats):
    for n in range(6 * repeats):
        write(
            tmp_path / f"I{n}",
            SOPInstanceUID=f"1.2.{n + 1}",
            InstanceNumber=n,
            FrameOfReferenceUID=f"1.9.{n + 1}",
            ImagePositionPatient=[0, 0, n % 6],
        )
    stacks = stacks_of(tmp_path)
    assert [len(s.frames) for s in stacks] == [6] * repeats
    assert {s.notes for s in stacks} == {("frame of reference differs from slice to slice",)}
    assert {s.frame_of_reference for s in stacks} == {""}


@pytest.mark.parametrize(
    ("stated", "kept"), [("1.9.7", "1.9.7"), ("DOE^JANE", ""), ("20240131", ""), (None, "")]
)
@pytest.mark.parametrize("names", [None, Pseudonyms(b"key")])
def test_only_a_uid_is_a_frame_of_reference(series, names, stated, kept):
    root = series([0, 1, 2], FrameOfReferenceUID=stated)
    (study,) = index([root], pseudonyms=names).studies
    assert [s.frame_of_reference for s in study.series[0].stacks] == [kept]


@pytest.mark.parametrize("step", [0.001, 0.009, 0.0125, 0.5, 5])
@pytest.mark.parametrize("pixels", [0.2, 1, 4])
def test_positions_are_told_apart_at_any_scale(series, step, pixels):
    spacing = [step * pixels] * 2
    positions = [0, step, 2 * step, 4 * step]
    (stack,) = stacks_of(series(positions, PixelSpacing=spacing))
    assert stack.slice_spacing == pytest.approx(step)
    assert stack.notes == ("missing slices",)


@pytest.mark.parametrize("tag", ["TemporalPositionIdentifier", "AcquisitionNumber", None])
def test_time_series_are_divided(tmp_path, tag):
    number = 0
    for t in range(3):
        for z in range(4):
            number += 1
            write(
                tmp_path / f"I{number}",
                SOPInstanceUID=f"1.2.{number}",
                InstanceNumber=number,
                ImagePositionPatient=[0, 0, z + 1e-4 * t],
                **({tag: t + 1} if tag else {}),
            )
    stacks = stacks_of(tmp_path)
    assert [order(s) for s in stacks] == [[f"I{4 * t + z + 1}" for z in range(4)] for t in range(3)]
    assert [s.key[16:] for s in stacks] == ["", "-2", "-3"]


def test_a_tag_that_counts_slices_does_not_tear_volumes_apart(tmp_path):
    for number in range(8):
        write(
            tmp_path / f"I{number}",
            SOPInstanceUID=f"1.2.{number + 1}",
            InstanceNumber=number,
            AcquisitionNumber=number + 1,
            ImagePositionPatient=[0, 0, number % 4],
        )
    assert [len(s.frames) for s in stacks_of(tmp_path)] == [4, 4]


@pytest.mark.parametrize(
    ("positions", "notes"),
    [
        ([0, 1, 2, 3.01], ()),
        ([0, 5, 10, 20], ("missing slices",)),
        ([0, 5, 10, 13], ("uneven spacing",)),
        ([0, 0.0001, 0.0002], ("repeated position",)),
        ([7], ()),
    ],
)
def test_notes_say_what_is_odd(series, positions, notes):
    (stack,) = stacks_of(series(positions))
    assert stack.notes == notes


def test_gantry_tilt_is_kept_and_noted(tmp_path):
    c, s = np.cos(np.deg2rad(14)), np.sin(np.deg2rad(14))
    for n in range(4):
        write(
            tmp_path / f"I{n}",
            SOPInstanceUID=f"1.2.{n + 1}",
            ImageOrientationPatient=[1, 0, 0, 0, c, -s],
            ImagePositionPatient=[0, 0, 5 * n],
        )
    (stack,) = stacks_of(tmp_path)
    assert stack.notes == ("tilted",)
    assert stack.slice_spacing == pytest.approx(5 * c)


def test_without_positions_number_then_path_decide(series):
    (stack,) = stacks_of(series([0, 0, 0], ImagePositionPatient=None))
    assert order(stack) == ["I2", "I1", "I0"]
    assert stack.notes == ("no position",)
    assert stack.frames[0].position_mm is None
    root = series([0, 0, 0], ImagePositionPatient=None, InstanceNumber=1)
    (stack,) = stacks_of(root)
    assert order(stack) == ["I0", "I1", "I2"]


def code(value):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, "SRT"
    return item


def test_views_of_a_mammogram_never_share_a_stack(tmp_path):
    views = [(side, view) for side in "RL" for view in ("CC", "MLO")]
    for n, (side, view) in enumerate(views):
        for folder, tags in (
            ("named", {"ViewPosition": view}),
            ("coded", {"ViewCodeSequence": [code({"CC": "R-10242", "MLO": "R-10226"}[view])]}),
        ):
            write(
                tmp_path / folder / f"{n}",
                SeriesInstanceUID=f"1.{len(folder)}.{folder == 'coded':d}",
                SOPInstanceUID=f"1.2.{n + 1}",
                InstanceNumber=n,
                Modality="MG",
                ImagePositionPatient=None,
                ImageOrientationPatient=None,
                ImageLaterality=side,
                **tags,
            )
    stacks = stacks_of(tmp_path)
    assert sorted(f.file.path for s in stacks for f in s.frames) == sorted(
        f"{folder}/{n}" for folder in ("named", "coded") for n in range(4)
    )
    assert {len(s.frames) for s in stacks} == {1}


def test_films_are_stacks_of_their_own_in_file_order(tmp_path):
    for n in (1, 2):
        write(
            tmp_path / f"I{n}",
            SOPInstanceUID=f"1.2.{n}",
            NumberOfFrames=3,
            PixelData=bytes(144),
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
        )
    assert [[(f.file.path, f.index) for f in s.frames] for s in stacks_of(tmp_path)] == [
        [("I1", 0), ("I1", 1), ("I1", 2)],
        [("I2", 0), ("I2", 1), ("I2", 2)],
    ]


def test_duplicates_are_set_aside_and_conflicts_named(tmp_path):
    write(tmp_path / "a")
    shutil.copy(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "c", StudyDate="20240101")
    write(tmp_path / "d", SeriesInstanceUID="1.2.9")
    catalogue = index([tmp_path])
    assert {o.file.path: (o.reason, o.detail, o.other) for o in catalogue.set_aside} == {
        "b": (Reason.DUPLICATE, "of", "a"),
        "c": (Reason.DUPLICATE, "conflicting with", "a"),
    }
    (study,) = catalogue.studies
    assert [f.path for f in study.files()] == ["a", "d"]


@pytest.mark.parametrize(
    "tags",
    [
        {"ImagePositionPatient": [0, 0, 5]},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"InstanceNumber": 2},
        {"AcquisitionTime": "101010"},
        {"EchoTime": "80"},
    ],
    ids=str,
)
def test_another_slice_of_the_same_instance_uid_fails_by_name(tmp_path, tags):
    write(tmp_path / "a")
    write(tmp_path / "b", **tags)
    (failed,) = index([tmp_path]).set_aside
    assert (failed.file.path, failed.reason, failed.other) == ("b", Reason.CORRUPT, "a")
    assert failed.detail == "it is another image with the SOP Instance UID of"
    assert (failed.study, failed.series) == ("1.2.3", "1.2.3.4")


def test_missing_uids_get_keys_of_their_own(tmp_path):
    for name in "ab":
        write(tmp_path / name, StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None)
    for name in "cd":
        write(tmp_path / name, StudyInstanceUID=None, SOPInstanceUID=None)
    studies = index([tmp_path]).studies
    assert sorted([f.path for f in s.files()] for s in studies) == [["a"], ["b"], ["c", "d"]]


def test_studies_and_series_in_one_folder_are_told_apart(tmp_path):
    for n, (study, series) in enumerate([("1", "1.1"), ("1", "1.2"), ("2", "2.1")]):
        write(
            tmp_path / f"I{n}",
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"3.{n}",
            SeriesNumber=10 - n,
            StudyDate="2001.02.03",
        )
    studies = index([tmp_path]).studies
    assert {(s.uid, tuple(e.uid for e in s.series)) for s in studies} == {
        ("1", ("1.2", "1.1")),
        ("2", ("2.1",)),
    }
    assert {s.date for s in studies} == {"20010203"}


@pytest.mark.parametrize("uid", ["../../etc", "a/b", "<script>", "=cmd()", "1.2\x1b[31m", "é"])
def test_keys_are_safe_whatever_the_uids(tmp_path, uid):
    write(tmp_path / "a", StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID="1.2.3")
    (header,) = [read_header(f) for f in walk(tmp_path)]
    (study,) = group([replace(header, study_uid=uid, series_uid=uid)]).studies
    assert study.key.isalnum()
    assert study.series[0].stacks[0].key.isalnum()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.integers(-300, 300), min_size=1, max_size=8, unique=True), st.booleans())
def test_position_order_holds_for_any_positions(tmp_path_factory, positions, flipped):
    root = tmp_path_factory.mktemp("s")
    orientation = [1, 0, 0, 0, -1 if flipped else 1, 0]
    for n, z in enumerate(positions):
        write(
            root / f"I{n}",
            SOPInstanceUID=f"1.2.{n + 1}",
            ImagePositionPatient=[0, 0, z],
            ImageOrientationPatient=orientation,
        )
    (stack,) = stacks_of(root)
    found = [positions[int(name[1:])] for name in order(stack)]
    assert found == sorted(positions, reverse=flipped)
