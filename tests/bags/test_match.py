"""Rows of a table and the studies of an archive: which are meant, and whose they are."""

import numpy as np
import pytest

from medscan.archive import index
from medscan.bags.draw import slots_of_bag
from medscan.bags.labels import read_labels
from medscan.bags.match import match
from medscan.errors import UsageError
from tests import tiny

from .conftest import uid, write_labels, write_study


@pytest.fixture
def matched(tmp_path, catalogue):
    def match_rows(rows, head="StudyInstanceUID,label", where=None):
        labels = read_labels(write_labels(tmp_path / "labels.csv", rows, head))
        return match(labels, where or catalogue)

    return match_rows


def uids(found):
    return [[place.study.uid for place in bag.places] for bag in found.bags]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("StudyInstanceUID", "1.2.3.2"),
        ("AccessionNumber", "002"),
        ("path", "s2"),
        ("path", "s2/0003"),
        ("path", "./s2/"),
    ],
)
def test_a_study_is_found_by_any_of_its_names(matched, head, name):
    found = matched(f"{name},normal\n", f"{head},label")
    assert uids(found) == [["1.2.3.2"]]


def test_an_absolute_path_and_one_that_names_several_studies(matched, archive):
    assert uids(matched(f"{archive}/s3,normal\n", "path,label")) == [["1.2.3.3"]]
    every = matched(f"{archive},normal\n", "path,label")
    assert sorted(uids(every)[0]) == [uid(n) for n in range(1, 9)]


def test_leading_zeros_of_an_accession_number_count(matched):
    with pytest.raises(UsageError, match=r"none of the 1 rows .* \(lines 2\)"):
        matched("2,normal\n", "AccessionNumber,label")


def test_rows_that_match_nothing_are_counted_and_named(matched):
    rows = "".join(f"9.{n},normal\n" for n in range(5))
    found = matched(f"{rows}{uid(1)},normal\n")
    assert found.notes() == ["5 rows that match nothing in the archive (lines 2, 3, 4, ...)"]


def test_subjects_and_sessions_of_a_bids_data_set(matched, tmp_path):
    root = tmp_path / "bids"
    for subject, session in (("01", "a"), ("01", "b"), ("02", "a")):
        name = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_FLAIR.nii.gz"
        tiny.write_nifti(root / name, tiny.head_volume(1))
    where = index([root])
    head = "participant_id,session_id,label"
    found = matched("sub-01,ses-b,normal\n02,,abnormal\n", head, where)
    files = [bag.places[0].study.files()[0].path for bag in found.bags]
    assert [path.split("/")[:2] for path in files] == [["sub-01", "ses-b"], ["sub-02", "ses-a"]]
    assert len({bag.patient for bag in found.bags}) == 2
    both = matched("01,a,normal\n01,b,normal\n", head, where)
    assert len({bag.patient for bag in both.bags}) == 1


@pytest.mark.parametrize(
    ("rows", "head", "why"),
    [
        (
            f"{uid(1)},normal\n{uid(2)},normal\n{uid(1)},abnormal\n",
            "study,label",
            "lines 2 and 4: study 1.2.3.1 is labelled normal and abnormal",
        ),
        (
            f"{uid(1)},,normal\n,001,abnormal\n",
            "study,accession,label",
            "lines 2 and 3: study 1.2.3.1 is labelled normal and abnormal",
        ),
        (
            f"{uid(1)},3,abnormal\n{uid(1)},,normal\n",
            "study,slice,label",
            "lines 2 and 3: study 1.2.3.1 is labelled abnormal and normal",
        ),
        (
            f"{uid(1)},normal,train\n{uid(1)},normal,test\n",
            "study,label,split",
            "1 patients are in both splits",
        ),
    ],
)
def test_contradictions_are_refused_with_their_lines(matched, rows, head, why):
    with pytest.raises(UsageError, match=why):
        matched(rows, head)


@pytest.fixture
def several(tmp_path):
    """A study of two series, numbers 1 and 2; returns its catalogue and their UIDs."""
    root = tmp_path / "several"
    for number in (1, 2):
        volume = tiny.head_volume(number)
        tiny.write_series(root / str(number), volume, study=uid(1), SeriesNumber=str(number))
    (study,) = index([root]).studies
    assert [series.number for series in study.series] == [1, 2]
    return index([root]), [series.uid for series in study.series]


def test_a_series_is_one_by_its_number_and_by_its_uid(matched, several):
    where, (one, two) = several
    head = "study,series,label"
    for names in ((1, one), (one, 1)):
        rows = "".join(
            f"{uid(1)},{n},{w}\n" for n, w in zip(names, ("normal", "abnormal"), strict=True)
        )
        with pytest.raises(UsageError, match=r"lines 2 and 3: study 1\.2\.3\.1 is labelled"):
            matched(rows, head, where)
    found = matched(f"{uid(1)},1,normal\n{uid(1)},{one},normal\n", head, where)
    assert [[place.series.uid for place in bag.places] for bag in found.bags] == [[one]]
    found = matched(f"{uid(1)},1,normal\n{uid(1)},{two},abnormal\n", head, where)
    assert [[place.series.uid for place in bag.places] for bag in found.bags] == [[one], [two]]


def test_a_slice_of_a_series_that_is_normal_by_another_name_is_refused(matched, several):
    where, (one, _) = several
    rows = f"{uid(1)},{one},3,abnormal\n{uid(1)},1,,normal\n"
    with pytest.raises(UsageError, match="labelled abnormal and normal"):
        matched(rows, "study,series,slice,label", where)


def test_the_only_series_of_a_study_is_the_study(matched, catalogue):
    (only,) = next(study.series for study in catalogue.studies if study.uid == uid(1))
    with pytest.raises(UsageError, match=r"lines 2 and 3: .* labelled abnormal and normal"):
        matched(f"{uid(1)},,abnormal\n{uid(1)},{only.uid},normal\n", "study,series,label")


def test_rows_that_say_the_same_twice_are_one(matched):
    found = matched(f"{uid(1)},normal\n{uid(1)},normal\n")
    assert uids(found) == [[uid(1)]]


def test_slices_may_be_named_of_a_study(matched):
    found = matched(f"{uid(5)},4,abnormal\n{uid(5)},2,normal\n", "study,slice,label")
    (bag,) = found.bags
    assert (bag.label, bag.slices) == (1, {4: 1, 2: 0})
    assert [(slot.item.name[-2:], slot.item.label) for slot in slots_of_bag(bag)] == [
        ("#2", 0),
        ("#4", 1),
    ]


def test_a_patient_is_that_of_the_file_or_else_of_the_table(matched, tmp_path):
    root = tmp_path / "more"
    for number, patient in ((1, "A"), (2, "A"), (3, ""), (4, ""), (5, "")):
        write_study(root, number, lesion=False, PatientID=patient)
    where = index([root])
    rows = f"{uid(1)},\n{uid(2)},x\n{uid(3)},x\n{uid(4)},y\n{uid(5)},\n".replace(",", ",normal,")
    found = matched(rows, "study,label,patient", where)
    one, two, three, four, five = (
        bag.patient for bag in sorted(found.bags, key=lambda b: b.row.line)
    )
    assert one == two == three
    assert len({one, four, five}) == 3
    assert not any(word in one for word in ("A", "x"))


def test_one_patient_cannot_be_listed_as_two(matched, tmp_path):
    root = tmp_path / "two"
    for number in (1, 2):
        write_study(root, number, lesion=False, PatientID="A")
    with pytest.raises(UsageError, match="lines 2 and 3: one patient by the PatientID"):
        matched(f"{uid(1)},normal,x\n{uid(2)},normal,y\n", "study,label,patient", index([root]))


def test_studies_that_share_an_id_of_nobody_may_be_listed_as_of_two(matched, tmp_path):
    root = tmp_path / "anonymous"
    for number in (1, 2, 3):
        write_study(root, number, lesion=False, PatientID="UNKNOWN")
    rows = f"{uid(1)},normal,x\n{uid(2)},normal,y\n{uid(3)},normal,x\n"
    found = matched(rows, "study,label,patient", index([root]))
    one, two, three = (bag.patient for bag in sorted(found.bags, key=lambda b: b.row.line))
    assert one == three != two


def test_a_series_is_meant_by_its_number_or_uid(matched, tmp_path):
    root = tmp_path / "series"
    for number in (1, 2):
        volume = np.zeros((16, 16, 3), np.int16)
        tiny.write_series(root / str(number), volume, study="1.9", SeriesNumber=number)
    where = index([root])
    numbers = [series.number for study in where.studies for series in study.series]
    assert numbers == [1, 2]
    found = matched("1.9,normal,2\n", "study,label,series", where)
    assert [p.series.number for p in found.bags[0].places] == [2]
    second = where.studies[0].series[1].uid
    found = matched(f"1.9,normal,{second}\n", "study,label,series", where)
    assert [p.series.number for p in found.bags[0].places] == [2]
    with pytest.raises(UsageError, match="none of the 1 rows"):
        matched("1.9,normal,7\n", "study,label,series", where)
