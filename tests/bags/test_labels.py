"""Tables of labels: what rows say, and what is wrong with them, by line."""

import pytest

from medscan.bags.labels import read_labels
from medscan.errors import UsageError

from .conftest import write_labels


def read(tmp_path, rows, head="StudyInstanceUID,label", **values):
    return read_labels(write_labels(tmp_path / "labels.csv", rows, head), **values)


def test_a_row_names_a_study_and_may_name_a_part_of_it(tmp_path):
    head = "Accession Number;Label;Series Number;Slice;Patient ID;split"
    found = read(tmp_path, "007;Abnormal;3;12.0;P;train\n008;0;;;;\n009;1;;;;test\n", head)
    first, second = found.train
    assert (first.line, first.names, first.label) == (2, {"accession": "007"}, 1)
    assert (first.series, first.slice, first.patient) == ("3", 12, "P")
    assert (second.names, second.label, second.slice) == ({"accession": "008"}, 0, 0)
    assert [row.line for row in found.withheld] == [4]


def test_a_site_says_what_its_own_labels_mean(tmp_path):
    rows = "1.1,ICH\n1.2,o.B.\n1.3,SAH\n1.4,\n1.5,unklar\n1.6,normal\n"
    found = read(tmp_path, rows, normal=["o.b."], abnormal=["ICH", "sah"])
    assert [row.label for row in found.train] == [1, 0, 1, 0]
    assert found.notes() == ["1 rows without a label", "1 rows with other labels (unklar)"]


@pytest.mark.parametrize(
    ("rows", "head", "why"),
    [
        ("1.1,ill\n", "study,label", "line 2: label 'ill' is not normal or abnormal; say what"),
        ("a\n", "label", "row 1: it must have a column label, and StudyInstanceUID"),
        ("1.1\n", "study", "row 1: it must have a column label"),
        (",normal\n", "study,label", "line 2: it has a label, but names no study"),
        ("1,normal,0\n", "study,label,slice", "line 2: slice '0': number slices from 1"),
        ("1,normal,b\n", "study,label,slice", "line 2: slice 'b'"),
        ("1,normal,valid\n", "study,label,split", "line 2: split 'valid' is not train or test"),
        ("1,\n", "study,label", "labels no study for training: 1 rows without a label"),
        (f"{'1' * 2000},normal\n", "study,label", "line 2: study has more than 1024 characters"),
        ("1,normal,x\n", "study,label,Study UID", "row 1: it must have a column label"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, rows, head, why):
    with pytest.raises(UsageError, match=why):
        read(tmp_path, rows, head).for_fitting()


def test_a_value_cannot_mean_both(tmp_path):
    with pytest.raises(UsageError, match="'X' cannot be both --normal and --abnormal"):
        read(tmp_path, "1.1,x\n", normal=["x"], abnormal=["X"])
    with pytest.raises(UsageError, match="cannot be both"):
        read(tmp_path, "1.1,x\n", abnormal=["normal"], normal=["NORMAL"])


def test_the_usual_words_may_be_given_another_meaning(tmp_path):
    found = read(tmp_path, "1.1,0\n1.2,1\n", normal=["1"], abnormal=["0"])
    assert [row.label for row in found.train] == [1, 0]


def test_a_test_of_a_detector_takes_the_split_test_if_there_is_one(tmp_path):
    found = read(tmp_path, "1,normal,train\n2,normal,test\n", "study,label,split")
    assert [row.line for row in found.for_fitting().train] == [2]
    assert [row.line for row in found.for_testing().train] == [3]
    assert [row.line for row in found.for_testing().withheld] == [2]
    alone = read(tmp_path, "1,normal\n2,abnormal\n", "study,label")
    assert len(alone.for_testing().train) == 2
    with pytest.raises(UsageError, match="labels no study: 1 rows without a label"):
        read(tmp_path, "1,\n", "study,label").for_testing()
