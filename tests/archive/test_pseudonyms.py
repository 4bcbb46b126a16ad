"""What identifies a patient is replaced where it is read; what routing needs stays."""

import json
import string
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.archive import ArchiveFile, Header, Kind, Outcome, Pseudonyms, Reason, to_json
from medscan.archive.header import Layer
from medscan.archive.patients import names_nobody

KEY = b"k" * 32
NAME = "DOE^JANE"
HIDING = Pseudonyms(KEY, ("BRAIN", "FLAIR", "STIR"), "(FLAIR|T2)")
FILE = ArchiveFile(f"{NAME}/scan one/{NAME}.dcm", Path(f"/archive/{NAME}"), 1, 2)


def header(**changes):
    found = Header(
        file=FILE,
        kind=Kind.DICOM,
        layers=(
            Layer(
                *(4, 4),
                label=("1.2.3", NAME),
                phase=(12.5,),
                frame_of_reference=NAME,
                facts={"DiffusionBValue": "1000", "ImageType": f"DERIVED\\{NAME}"},
            ),
        ),
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        sop_instance_uid="1.2.3.4.5",
        date="20240102",
        patient_id="4711",
        facts={
            "Modality": "MR",
            "BodyPartExamined": "BRAIN",
            "SeriesDescription": "AX T2 FLAIR Doe, Jane",
            "ProtocolName": "Doe, Jane | *fl2d",
            "ImageType": f"ORIGINAL\\PRIMARY\\{NAME}\\PROJECTION IMAGE",
            "EchoTime": "92.5",
            "RepetitionTime": NAME,
            "ContrastBolusAgent": "11 ml for Jane",
            "PatientComments": NAME,
        },
    )
    facts = found.facts | {k: changes.pop(k) for k in list(changes) if k[0].isupper()}
    return replace(found, facts=facts, **changes)


def test_a_header_loses_its_patient_and_keeps_what_is_needed():
    found = HIDING.record(header())
    assert found.patient_id == HIDING.patient("4711") != "4711"
    assert found.description == "FLAIR | T2"
    assert dict(found.facts) == {
        "Modality": "MR",
        "BodyPartExamined": "BRAIN",
        "SeriesDescription": "FLAIR | T2",
        "ImageType": "ORIGINAL\\PRIMARY\\OTHER\\PROJECTION IMAGE",
        "EchoTime": "92.5",
        "ContrastBolusAgent": "OTHER",
    }
    assert found.layers[0].facts == {"DiffusionBValue": "1000", "ImageType": "DERIVED\\OTHER"}
    assert (found.modality, found.body_part, found.date) == ("MR", "BRAIN", "20240102")
    assert (found.study_uid, found.series_uid) == ("1.2.3", "1.2.3.4")
    assert (found.layers[0].label[0], found.layers[0].phase) == ("1.2.3", (12.5,))
    text = json.dumps(to_json(found)).upper()
    assert not [word for word in ("DOE", "JANE", "4711") if word in text]
    assert HIDING.record(header(accession_number="A1")).accession_number == ""
    assert HIDING.record(found).patient_id != found.patient_id  # never twice


def test_what_is_no_term_and_no_uid_is_replaced():
    odd = header(
        Modality=NAME,
        BodyPartExamined=f"{NAME} HEAD",
        study_uid=NAME,
        series_uid="4711x",
        patient_id=" ",
    )
    found = HIDING.record(odd)
    assert (found.modality, found.body_part, found.patient_id) == ("OT", "OTHER", "")
    assert NAME not in found.study_uid
    assert "4711" not in found.series_uid
    outcome = HIDING.record(Outcome(FILE, Reason.DERIVED, "", NAME, "1.2"))
    assert (NAME in outcome.study, outcome.series) == (False, "1.2")
    assert HIDING.record(header(BodyPartExamined="LSPINE")).body_part == "LSPINE"
    assert HIDING.record(header(BodyPartExamined="Upper leg")).body_part == "Upper leg"
    assert HIDING.record(header(Modality="", BodyPartExamined="")).modality == ""


def test_frames_that_differ_still_do_and_in_one_order_under_every_key():
    texts = ["", "1.2.3", "2.50", "ORIGINAL\\PRIMARY", "DERIVED", NAME]
    made = [
        p.record(header(layers=tuple(Layer(1, 1, label=(t,)) for t in texts)))
        for p in (HIDING, replace(HIDING, key=b"other"))
    ]
    labels = [[layer.label[0] for layer in one.layers] for one in made]
    assert labels[0] == labels[1]
    assert len(set(labels[0])) == len(texts)
    assert labels[0][:3] == texts[:3]


def test_asked_to_identify_it_changes_nothing():
    shown = replace(HIDING, identify=True, hash_paths=False)
    assert shown.record(header()) == header()
    assert shown.path(FILE.path) == FILE.path
    assert shown.file(FILE) == FILE
    assert (
        shown.patient_of("4711")
        == HIDING.patient("4711")
        == HIDING.patient_of(HIDING.patient("4711"))
    )


def test_paths_are_hashed_name_by_name():
    hidden = HIDING.file(FILE)
    folder, middle, name = hidden.path.split("/")
    assert len({folder, middle, name}) == 3
    assert set(folder + middle + name) <= set(string.hexdigits.lower())
    assert HIDING.path(f"{NAME}/other").startswith(f"{folder}/")
    assert HIDING.path(NAME) == folder
    assert (hidden.size, hidden.mtime_ns) == (FILE.size, FILE.mtime_ns)
    assert NAME not in str(hidden.root)
    assert replace(HIDING, key=b"other").path(FILE.path) != hidden.path
    assert HIDING.path(".") == "."


def test_details_name_other_files_by_their_pseudonyms():
    copy = Outcome(FILE, Reason.DUPLICATE, "of", other="a/b")
    assert HIDING.outcome(copy).detail == f"of {HIDING.path('a/b')}"
    assert replace(HIDING, hash_paths=False).outcome(copy).detail == "of a/b"
    assert HIDING.outcome(replace(copy, other="")).detail == "of"


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_any_name_has_a_pseudonym_of_its_own(one, other):
    if not (names_nobody(one) or names_nobody(other)):
        assert (HIDING.patient(one) == HIDING.patient(other)) == (one.strip() == other.strip())


@pytest.mark.parametrize(
    "shared", ["ANONYMOUS", " anonymized ", "Test Patient", "N/A", "000", "x-x"]
)
def test_an_id_that_many_patients_share_has_no_pseudonym(shared):
    assert HIDING.record(header(patient_id=shared)).patient_id == ""
    assert replace(HIDING, identify=True).patient_of(shared) == ""
    for own in (f"{shared}7", "4711", "100"):
        assert HIDING.patient(own)


def test_names_that_are_not_utf8_have_one_too():
    path = b"Jos\xe9/a".decode("utf-8", "surrogateescape")
    assert HIDING.path(path).isascii()
    assert HIDING.patient(b"Jos\xe9".decode("utf-8", "surrogateescape")).isalnum()


@pytest.mark.parametrize(
    "change", [{"key": b"x"}, {"words": ()}, {"pattern": "x"}, {"identify": True}]
)
def test_what_a_cache_holds_is_not_taken_for_that_of_another_rule(change):
    assert replace(HIDING, **change).rule != HIDING.rule
    assert replace(HIDING, hash_paths=False).rule == HIDING.rule


def test_the_key_is_not_shown():
    assert KEY.decode() not in repr(HIDING)
    assert "key" in asdict(HIDING)


def test_of_an_age_the_group_is_kept_that_detectors_are_chosen_by():
    found = HIDING.record(header(PatientAge="093Y"))
    assert found.facts["PatientAge"] == "ADULTS"
    assert HIDING.record(found).facts == found.facts
    assert "PatientAge" not in HIDING.record(header(PatientAge=NAME)).facts
