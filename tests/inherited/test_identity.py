"""What an exported object says of patient and study, whatever its source says."""

from __future__ import annotations

import io
import struct

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from medscan.inherited import IDENTITY, copy_identity
from tests.export.make import exported, scanned, single

DATED = {"StudyDate": "20240131", "StudyTime": "101112"}


def copied(**tags) -> Dataset:
    """What an object holds after the header of a file was copied; first all was empty."""
    tags = {"StudyInstanceUID": b"1.2.3"} | tags
    header = pydicom.dcmread(io.BytesIO(explicit(tags)), force=True)
    instance = Dataset()
    for keyword in IDENTITY:
        setattr(instance, keyword, "")
    copy_identity(instance, header)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, instance, implicit_vr=False, little_endian=True)
    return pydicom.dcmread(io.BytesIO(stream.getvalue()), force=True)


def explicit(tags) -> bytes:
    """Elements by keyword as explicit little endian, their bytes as they are given."""
    encoded = b""
    for tag, value in sorted((tag_for_keyword(k), v) for k, v in tags.items()):
        value = value if isinstance(value, bytes) else value.encode()
        value += b" " * (len(value) % 2)
        vr = dictionary_VR(tag).encode()
        encoded += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    return encoded


NAMES = (
    ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 192", "山田^太郎".encode(), "ISO_IR 192", "山田^太郎"),
    ("GB18030", "王^小东".encode("gb18030"), "GB18030", "王^小东"),
    # No character set stated: UTF-8 where the bytes are, else Latin 1.
    (None, "Müller^Jörg".encode("latin-1"), "ISO_IR 192", "Müller^Jörg"),
    (None, "Müller^Jörg".encode(), "ISO_IR 192", "Müller^Jörg"),
    (None, b"Doe^Jane", None, "Doe^Jane"),
    # Stated, but no name that DICOM knows.
    ("ISO IR 192", "山田^太郎".encode(), "ISO_IR 192", "山田^太郎"),
    ("ISO_IR 999", b"Doe^Jane", None, "Doe^Jane"),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("stated", "name", "written", "text"), NAMES)
def test_a_name_keeps_its_letters(stated, name, written, text):
    tags = {} if stated is None else {"SpecificCharacterSet": stated}
    instance = copied(**tags, PatientName=name)
    assert instance.get("SpecificCharacterSet") == written
    assert str(instance.PatientName) == text


def test_a_name_in_several_character_sets_keeps_all_of_them():
    kanji = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    instance = copied(SpecificCharacterSet=r"\ISO 2022 IR 87", PatientName=kanji)
    assert list(instance.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]
    assert str(instance.PatientName) == "Yamada^Tarou=山田^太郎"


@pytest.mark.filterwarnings("ignore")
def test_a_text_that_its_character_set_cannot_hold_is_written_in_utf_8():
    # These bytes mean nothing in Greek: each becomes a mark that says so.
    instance = copied(SpecificCharacterSet="ISO_IR 126", PatientName=b"\xff\xd2^X")
    assert instance.SpecificCharacterSet == "ISO_IR 192"
    assert str(instance.PatientName) == "\ufffd\ufffd^X"


INVALID = (
    ("StudyID", "A" * 17),
    ("AccessionNumber", "B" * 17),
    ("PatientID", "C" * 65),
    ("PatientID", r"one\two"),
    ("PatientID", "line\nbreak"),
    ("PatientName", "D" * 65),
    ("StudyDescription", "E" * 65),
    ("PatientSex", "W"),
    ("PatientAge", b"45"),
    ("PatientWeight", b"75,5"),
    ("StudyDate", b"20240131-20240201"),
    ("StudyDate", b"20241331"),
    ("PatientBirthDate", b"19"),
    ("StudyTime", b"2570"),
    ("TimezoneOffsetFromUTC", "Z"),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("keyword", "value"), INVALID)
def test_a_value_that_breaks_its_type_is_left_out_and_not_cut(keyword, value):
    # A part of an accession number is the number of another order.
    assert not copied(**{keyword: value}).get(keyword)


@pytest.mark.filterwarnings("ignore")
def test_dates_of_the_standard_before_dicom_are_written_as_todays():
    instance = copied(StudyDate=b"2024.01.31", StudyTime=b"10:11:12")
    assert {k: instance[k].value for k in DATED} == DATED


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("uid", ["1.2.840.01.5", "1.2.3 ", "1.2.x", "1." + "2" * 70])
@pytest.mark.parametrize("name", ["dicom-pm", "dicom-seg", "dicom-sc", "dicom-sr"])
def test_an_object_belongs_to_its_study_however_odd_its_uids_are(tmp_path, uid, name):
    tags = {"StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid.strip()}.7"}
    source = single(tmp_path / "in", **tags)
    (path,), left = exported(name, scanned(source).job(tmp_path / "out"))
    assert left == []
    assert pydicom.dcmread(path).StudyInstanceUID == uid.strip()


@pytest.mark.parametrize("offset", ["+0100", None])
def test_the_offset_of_local_time_goes_with_date_and_time(tmp_path, offset):
    source = scanned(single(tmp_path / "in", TimezoneOffsetFromUTC=offset))
    for name in ("dicom-pm", "dicom-seg", "dicom-sc", "dicom-sr"):
        (path,), _ = exported(name, source.job(tmp_path / name))
        instance = pydicom.dcmread(path)
        stated = instance.ContentDate, instance.get("TimezoneOffsetFromUTC")
        assert stated == ("20240131", offset), "none is made up for a source without"
