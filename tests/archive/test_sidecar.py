"""What files state of images beside them is read within bounds, and only what it may be."""

import json

import pytest

from medscan.archive import Outcome, Pseudonyms, Reason, Sidecar, from_json, read_header, to_json
from medscan.archive.sidecar import DOMAIN
from tests.archive.volumes import archived

DCM2NIIX = {
    "Modality": "MR",
    "BodyPart": "BRAIN",
    "SeriesDescription": "Head_t1_mprage_sag",
    "ScanningSequence": "GR_IR",
    "SequenceVariant": "SP_MP_OSP",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "norm"],
    "EchoTime": 0.00244,
    "RepetitionTime": 1.9,
    "InversionTime": 0.9,
    "FlipAngle": 9,
    "MagneticFieldStrength": 3,
    "Manufacturer": "Siemens",
    "ContrastBolusIngredient": "GADOLINIUM",
    "ConversionSoftware": "dcm2niix",
}
IDENTITY = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "InstitutionName": "Saint Elsewhere",
    "SeriesDescription": "FLAIR for Doe",
    "Modality": "DOE",
    "BodyPartExamined": "Jane's head",
    "ContrastBolusAgent": "Doe",
    "Manufacturer": "Doe Medical Systems",
    "ImageType": ["ORIGINAL", "DOE"],
}


def read(folder, text, name="v.json"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_header(archived(path))


def test_facts_are_those_of_a_dicom_header_times_in_milliseconds(tmp_path):
    found = read(tmp_path, json.dumps(DCM2NIIX))
    assert found.stated.facts == {
        "Modality": "MR",
        "BodyPartExamined": "BRAIN",
        "SeriesDescription": "Head_t1_mprage_sag",
        "ImageType": "ORIGINAL\\PRIMARY\\M\\NORM",
        "ScanningSequence": "GR\\IR",
        "SequenceVariant": "SP\\MP\\OSP",
        "EchoTime": "2.44",
        "InversionTime": "900",
        "RepetitionTime": "1900",
        "FlipAngle": "9",
        "ContrastBolusAgent": "GADOLINIUM",
        "MagneticFieldStrength": "3",
        "Manufacturer": "SIEMENS",
    }
    assert found.outcome().reason is Reason.NOT_AN_IMAGE
    assert from_json(found.file, json.loads(json.dumps(to_json(found)))) == found


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"EchoTime": 90}, None),  # milliseconds: of seconds that is no echo
        ({"EchoTime": "0.09"}, None),
        ({"EchoTime": True}, None),
        ({"EchoTime": -1}, None),
        ({"EchoTime": [0.09]}, None),
        ({"EchoTime": 1e400}, None),
        ({"EchoTime": None}, None),
        ({"Modality": {"a": 1}}, None),
        ({"Modality": ["MR", 1]}, None),
        ({"Modality": ""}, None),
        ({"Modality": "pet"}, {"Modality": "PT"}),
        ({"ContrastBolusAgent": "none"}, None),
        ({"BodyPart": "Spine", "BodyPartExamined": "Brain"}, {"BodyPartExamined": "Brain"}),
        ({"ProtocolName": "x" * 999}, {"ProtocolName": "x" * 256}),
        (["Modality"], None),
        ("Modality", None),
    ],
)
def test_values_that_cannot_be_true_are_not_stated(tmp_path, said, wanted):
    found = read(tmp_path, json.dumps(said))
    assert (found.stated.facts if isinstance(found, Sidecar) else None) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"Modality": "MR", "x": ' + "9" * 5000 + "}",
        b'\xff\xfe{"Modality": "MR"}',
        '{"Modality": "MR", "x": "' + "y" * (1 << 20) + '"}',
    ],
    ids=["cut", "deep", "deeper", "digits", "encoding", "large"],
)
def test_hostile_json_is_just_no_image(tmp_path, text):
    found = read(tmp_path, text)
    assert isinstance(found, Outcome)
    assert found.reason is Reason.NOT_AN_IMAGE
    assert found.detail == "json, not readable"


def test_what_names_a_patient_is_never_kept(tmp_path):
    found = Pseudonyms(b"key", ("FLAIR",)).record(read(tmp_path, json.dumps(IDENTITY)))
    assert found.stated.facts == {
        "Modality": "OT",
        "BodyPartExamined": "OTHER",
        "SeriesDescription": "FLAIR",
        "ImageType": "ORIGINAL\\OTHER",
        "ContrastBolusAgent": "OTHER",
        "Manufacturer": "OTHER",
    }
    text = json.dumps(to_json(found)).upper()
    assert not any(word in text for word in ("DOE", "JANE", "4711", "ELSEWHERE"))


def test_people_are_read_but_kept_only_if_identities_are(tmp_path):
    table = "participant_id\tage\tsex\tgroup\nsub-01\t34.5\tF\tx\nsub-02\tn/a\tmale\n\nsub-03\n"
    found = read(tmp_path, table, "participants.tsv")
    assert found.people == {
        "sub-01": {"PatientAge": "034Y", "PatientSex": "F"},
        "sub-02": {"PatientSex": "M"},
    }
    assert Pseudonyms(b"key").record(found).people == {}
    assert Pseudonyms(b"key", identify=True).record(found) == found
    assert isinstance(read(tmp_path, "a\tb\n1\t2\n", "participants.tsv"), Outcome)
    assert isinstance(read(tmp_path, "", "participants.tsv"), Outcome)


@pytest.mark.parametrize(
    ("said", "derived"),
    [
        ({"Name": "x", "BIDSVersion": "1.8.0"}, False),
        ({"DatasetType": "raw"}, False),
        ({"DatasetType": "derivative"}, True),
        ({"PipelineDescription": {"Name": "x"}}, True),
    ],
)
def test_a_data_set_says_whether_it_is_of_derivatives(tmp_path, said, derived):
    assert read(tmp_path, json.dumps(said), "dataset_description.json").derived is derived


def test_a_domain_is_stated(tmp_path):
    text = '[domain]\nmodality = "us"\nbody_part = "Breast"\nview = "PA"\nplane = "axial"\n'
    text += 'age = "Adults"\n'
    found = read(tmp_path, text, DOMAIN)
    facts = {"Modality": "US", "BodyPartExamined": "BREAST", "ViewPosition": "PA"}
    facts["PatientAge"] = "ADULTS"
    assert (found.stated.facts, found.stated.plane) == (facts, "axial")
    assert found.detail == "it states the domain of images beside it"


def test_what_a_domain_misspells_is_named(tmp_path):
    text = '[domain]\nmodalty = "US"\nplane = "up"\nview = 3\nage = "old"\n[scan]\nout = "x"\n'
    detail = read(tmp_path, text, DOMAIN).detail
    expected = ("modalty: none of modality,", "plane up: axial,", "view: a text", "age old: adults")
    for said in (*expected, "scan: only"):
        assert said in detail


@pytest.mark.parametrize(
    "text",
    ["", "domain", "[domian]\n", "domain = 1\n", b"\xff", "x = " + "[" * 9000, "#" * (1 << 17)],
)
def test_a_domain_that_cannot_be_read_is_a_failure(tmp_path, text):
    found = read(tmp_path, text, DOMAIN)
    assert found.reason is Reason.CORRUPT
    assert found.detail.startswith(DOMAIN)


def test_another_file_of_such_a_name_is_what_it_is(tmp_path):
    assert read(tmp_path, b"\x89PNG\r\n\x1a\n", "v.json").reason is Reason.CORRUPT
    assert read(tmp_path, b"PK\x03\x04", "participants.tsv").detail == "a zip archive"
