"""What a header says of a patient beside the PatientID: who cannot be the same person."""

from dataclasses import replace

import pytest

from medscan.archive import Kind, Pseudonyms, contradict, index
from medscan.archive.header import Header
from medscan.archive.types import ArchiveFile
from tests import tiny

HIDING = Pseudonyms(b"k" * 32)


def study_of(folder, pseudonyms=None, **tags):
    """The one study of a series with these tags."""
    tiny.write_series(folder, tiny.head_volume(0, 2), **tags)
    (study,) = index([folder], pseudonyms=pseudonyms).studies
    return study


@pytest.mark.parametrize(
    ("tags", "person"),
    [
        ({"PatientBirthDate": "19600131", "PatientSex": "F"}, "19600131/F/"),
        ({"PatientSex": "m "}, "/M/"),
        ({"IssuerOfPatientID": "Site/A "}, "//SITE A"),
        ({"PatientBirthDate": "19600131", "PatientSex": "O"}, "19600131//"),
        ({"PatientBirthDate": "19600231"}, ""),
        ({"PatientBirthDate": "19000101"}, ""),
        ({}, ""),
    ],
)
def test_a_header_says_what_tells_people_with_one_number_apart(tmp_path, tags, person):
    assert study_of(tmp_path, **tags).person == person


@pytest.mark.parametrize("pseudonyms", [None, HIDING])
def test_of_a_study_the_header_counts_that_says_most(tmp_path, pseudonyms):
    whole = {"StudyInstanceUID": "1.2", "PatientBirthDate": "19600131", "PatientSex": "F"}
    wanted = study_of(tmp_path / "whole", pseudonyms, **whole).person
    for less in ("PatientSex", "PatientBirthDate"):
        tiny.write_series(tmp_path / less, tiny.head_volume(1, 2), **whole | {less: ""})
    (study,) = index([tmp_path], pseudonyms=pseudonyms).studies
    assert len(study.series) == 3
    assert study.person == wanted


def test_pseudonyms_of_a_person_compare_within_one_patient_only(tmp_path):
    tags = {"PatientID": "4711", "PatientBirthDate": "19600131", "PatientSex": "F"}
    one = study_of(tmp_path / "one", HIDING, **tags)
    assert "1960" not in one.person
    assert "F" not in one.person
    assert [len(part) for part in one.person.split("/")] == [8, 8, 0]
    assert one.person == study_of(tmp_path / "two", HIDING, **tags).person
    assert one.person == HIDING.person_of("4711", one.person)
    assert one.person == replace(HIDING, identify=True).person_of("4711", "19600131/F/")
    other = study_of(tmp_path / "other", HIDING, **tags | {"PatientID": "4712"})
    assert set(one.person.split("/")) & set(other.person.split("/")) == {""}
    nobody = Header(ArchiveFile("a", tmp_path, 1, 2), Kind.DICOM, person="19600131/F/")
    assert HIDING.record(nobody).person == ""


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("19600131/F", "19600131/F", False),
        ("19600131/F", "19600131/M", True),
        ("19600131/F", "19610131/F", True),
        ("19600131//", "/F/", False),
        ("//HERE", "//THERE", True),
        ("19600131/F/HERE", "19600131/F", False),
        ("19600131/F", "", False),
        ("", "", False),
    ],
)
def test_only_what_both_state_tells_two_people_apart(one, other, apart):
    assert contradict(one, other) == contradict(other, one) == apart
