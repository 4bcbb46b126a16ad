"""Fetching from a real Orthanc and sending to it, and what goes wrong there without an error."""

import datetime

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medscan.errors import PacsError
from medscan.fetching import Wish
from medscan.pacs import Login
from tests import tiny
from tests.export.make import exported, scanned, single
from tests.pacs import calls, inside

KINDS = ("dicom-pm", "dicom-seg", "dicom-sc", "dicom-sr")


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def contents(folder):
    return sorted(path.read_bytes() for path in files(folder))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study, and one object of each kind made from it."""
    folder = tmp_path_factory.mktemp("made")
    source = scanned(single(folder / "in", TimezoneOffsetFromUTC="+0100"))
    for kind in KINDS:
        (_,), left = exported(kind, source.job(folder / "objects"))
        assert left == []
    return folder


@pytest.fixture
def objects(made, tmp_path):
    """A copy of the objects, whose ledger is not there yet."""
    (tmp_path / "objects").mkdir()
    for path in (made / "objects").iterdir():
        (tmp_path / "objects" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "objects"


def test_a_night_from_pacs_to_pacs(pacs, tmp_path):
    """Query, fetch, scan, export, send, query again, while both are killed."""
    told = pacs(calls.night, tmp_path)
    assert told.startswith("3 studies whole, 6 objects stored once, no patient named")


@pytest.mark.parametrize("mixed", [False, True])
def test_objects_come_in_the_syntax_that_they_are_stored_in(pacs, tmp_path, mixed):
    tiny.write_series(tmp_path / "in", tiny.head_volume(1, 4, 64), study="1.2.1")
    syntaxes = [JPEG2000Lossless, RLELossless, JPEGLSLossless]
    for path, syntax in zip(sorted((tmp_path / "in").iterdir())[mixed:], syntaxes, strict=False):
        ds = pydicom.dcmread(path)
        ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(path)
    pacs(inside.fill, tmp_path / "in")
    assert pacs(calls.fetched, tmp_path / "spool").problems == []
    assert contents(tmp_path / "spool") == contents(tmp_path / "in")


def test_a_pacs_without_dicomweb_sends_what_it_is_asked_for(pacs, tmp_path):
    """Compressed objects and parametric maps too, which C-GET and plain contexts lose."""
    for modality, side in (("MR", 64), ("CT", 16)):
        folder = tmp_path / "in" / modality
        volume = tiny.head_volume(1, 3, side)
        tiny.write_series(folder, volume, study="1.2.1", Modality=modality)
    for path, syntax in zip(
        sorted((tmp_path / "in" / "MR").iterdir()), (JPEG2000Lossless, RLELossless), strict=False
    ):
        ds = pydicom.dcmread(path)
        ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(path)
    pacs(inside.fill, tmp_path / "in")
    wish = Wish(datetime.date(2024, 1, 1), modalities=("MR",))
    done = pacs(calls.fetched_by_dicom, tmp_path / "spool", wish)
    assert (done.studies, done.fetched, done.unwanted) == (1, 3, {"modality CT": 3})
    came = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, files(tmp_path / "spool"))}
    for path in (tmp_path / "in" / "MR").iterdir():
        ds = pydicom.dcmread(path)
        assert came[ds.SOPInstanceUID] == ds
        assert came[ds.SOPInstanceUID].file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
    assert [p.name for p in (tmp_path / "spool.fetch").glob("arriving*")] == []
    assert pacs(calls.fetched_by_dicom, tmp_path / "spool", wish).kept == 3


def test_a_pacs_that_does_not_know_medscan_sends_nothing(pacs, tmp_path):
    tiny.write_series(tmp_path / "in", tiny.head_volume(1, 2, 16), study="1.2.1")
    pacs(inside.fill, tmp_path / "in")
    with pytest.raises(PacsError, match="does it know the AE title STRANGER") as raised:
        pacs(calls.fetched_by_a_stranger, tmp_path / "spool")
    assert raised.value.exit_code == 1


def test_a_server_killed_while_it_answers_leaves_no_half_study(pacs, tmp_path):
    noise = np.random.default_rng(1).integers(0, 1000, (512, 512, 32), np.int16)
    tiny.write_series(tmp_path / "in", noise, study="1.2.1")
    pacs(inside.fill, tmp_path / "in")
    done, asked = pacs(calls.fetched_from_one_that_dies, tmp_path / "spool")
    assert asked > 1  # what had arrived was not all
    assert (done.studies, done.fetched, done.missing) == (1, 32, 0)
    assert contents(tmp_path / "spool") == contents(tmp_path / "in")


def test_a_description_of_any_characters_is_matched(pacs, tmp_path):
    for name, description in (("a", "AX*FLAIR^3 mm"), ("b", "AX FLAIR"), ("c", "Fläche")):
        volume = tiny.head_volume(1, 2, 16)
        tags = {"SpecificCharacterSet": "ISO_IR 192", "study": f"1.2.{ord(name)}"}
        tiny.write_series(tmp_path / "in" / name, volume, description=description, **tags)
    pacs(inside.fill, tmp_path / "in")
    for pattern, found in (("ax[*]flair^3 mm", 2), ("*FLAIR*", 4), ("FLÄCHE", 2), ("*", 6)):
        into = tmp_path / f"spool{found}{len(pattern)}"
        assert pacs(calls.fetched, into, Wish(descriptions=(pattern,))).fetched == found


def test_what_was_made_is_stored_once_with_its_time_zone(pacs, made, objects):
    pacs(inside.fill, made / "in")
    done = pacs(calls.sent, objects, new_studies=False)
    assert (done.stored, done.refused, done.problems) == (4, 0, [])
    stored = pacs(calls.stored)
    for path in objects.iterdir():
        assert stored[path.stem] == path.read_bytes()
        assert pydicom.dcmread(path).TimezoneOffsetFromUTC == "+0100"
    assert pacs(calls.sent, objects).kept == 4
    objects.with_name("objects.sent").unlink()  # as after a kill before it was written
    assert pacs(calls.sent, objects).there == 4


def test_images_of_patients_are_never_sent(pacs, made, tmp_path):
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "0.dcm").write_bytes((made / "in" / "0.dcm").read_bytes())
    (tmp_path / "objects" / "note.txt").write_text("no object")
    done = pacs(calls.sent, tmp_path / "objects")
    assert (done.stored, done.left_out) == (0, 2)


def test_nothing_goes_to_a_study_of_another_patient_or_to_none(pacs, made, objects, tmp_path):
    done = pacs(calls.sent, objects, new_studies=False)
    assert (done.stored, done.refused) == (0, 4)
    assert all(problem.endswith("its study is not there") for problem in done.problems)
    other = pydicom.dcmread(made / "in" / "0.dcm")
    other.PatientID = "P2"
    other.save_as(tmp_path / "other.dcm")
    pacs(inside.fill, tmp_path / "other.dcm")
    done = pacs(calls.sent, objects, new_studies=False)
    assert all("that of another patient" in problem for problem in done.problems)
    assert "P1" not in " ".join(done.problems)
    assert len(pacs(calls.stored)) == 1


def test_another_object_of_the_same_uid_is_not_taken_for_ours(pacs, made, objects):
    pacs(inside.fill, made / "in")
    picture = next(p for p in objects.iterdir() if pydicom.dcmread(p).Modality == "OT")
    changed_one = pydicom.dcmread(picture)
    changed_one.SeriesDescription = "something else"
    changed_one.save_as(picture)
    pacs(inside.fill, picture)
    picture.write_bytes((made / "objects" / picture.name).read_bytes())
    done = pacs(calls.sent, objects)
    assert (done.stored, done.refused) == (3, 1)
    assert "another object has its UID there" in done.problems[0]


def test_a_good_object_beside_a_bad_one_is_stored_and_the_bad_one_named(pacs, made, objects):
    pacs(inside.fill, made / "in")
    bad = sorted(objects.iterdir())[0]
    whole = bad.read_bytes()
    done = pacs(calls.sent_with_one_that_is_cut, objects, bad)
    assert (done.stored, done.refused) == (3, 1), done.problems
    assert bad.name in done.problems[0]
    bad.write_bytes(whole)
    assert pacs(calls.sent, objects).stored == 1


def test_a_server_killed_while_it_is_sent_something_has_each_object_once(pacs, made, objects):
    pacs(inside.fill, made / "in")
    done = pacs(calls.sent_to_one_that_dies, objects)
    assert (done.stored + done.there, done.refused) == (4, 0), done.problems
    stored = pacs(calls.stored)
    assert all(stored[path.stem] == path.read_bytes() for path in objects.iterdir())


def test_a_full_disk_is_no_success(pacs, made, objects):
    pacs(inside.fill, made / "in")
    large = enlarged(objects)
    pacs(calls.fill_the_disk, large.stat().st_size // 2)
    try:
        done = pacs(calls.sent, objects)
    finally:
        pacs(calls.restart)
    assert done.refused >= 1
    assert any(large.name in problem for problem in done.problems)
    assert pacs(calls.sent, objects).refused == 0
    stored = pacs(calls.stored)
    assert sorted(map(len, stored.values()))[-1] == large.stat().st_size


def enlarged(objects):
    """One more picture, of 3 MB."""
    path = next(p for p in objects.iterdir() if pydicom.dcmread(p).Modality == "OT")
    ds = pydicom.dcmread(path)
    ds.Rows = ds.Columns = 1024
    ds.PixelData = bytes(3 * 1024 * 1024)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    ds.save_as(objects / "large.dcm")
    return objects / "large.dcm"


def compressed(objects):
    """One more picture, compressed."""
    path = next(p for p in objects.iterdir() if pydicom.dcmread(p).Modality == "OT")
    ds = pydicom.dcmread(path)
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=True)
    ds.save_as(objects / "compressed.dcm")
    return ds.SOPInstanceUID


def test_an_application_entity_is_sent_each_syntax_as_it_is(pacs, made, objects):
    """pynetdicom's own contexts lack parametric maps, and all compressed syntaxes."""
    pacs(inside.fill, made / "in")
    uid = compressed(objects)
    done = pacs(calls.sent, objects, inside.PEER, new_studies=False)
    assert (done.stored, done.problems) == (5, [])
    stored = pacs(calls.stored)
    assert (
        pydicom.dcmread(pydicom.filebase.DicomBytesIO(stored[uid]))
        .file_meta["TransferSyntaxUID"]
        .value
        == RLELossless
    )
    assert pacs(calls.sent, objects, inside.PEER).kept == 5
    objects.with_name("objects.sent").unlink()  # as after a kill before it was written
    assert pacs(calls.sent, objects, inside.PEER).there == 5


@pytest.mark.skipif(not inside.STORESCP, reason="needs dcmtk's receiver")
def test_the_receiver_of_dcmtk_is_a_second_one(pacs, made, objects, tmp_path):
    compressed(objects)
    done = pacs(calls.received, tmp_path / "received", objects)
    assert (done.stored, done.problems) == (5, [])
    assert len(contents(tmp_path / "received")) == 5


@pytest.mark.skipif(not inside.STORESCP, reason="needs dcmtk's receiver")
def test_a_receiver_that_speaks_tls_must_show_a_certificate_that_is_trusted(
    pacs, made, objects, tmp_path, certificate
):
    ca, key = (str(certificate / name) for name in ("ca.pem", "key.pem"))
    speaks = ("+tls", key, ca, "+cf", ca)
    known = Login(ca=ca, certificate=ca, key=key)
    done = pacs(calls.received, tmp_path / "received", objects, speaks, known)
    assert (done.stored, done.problems) == (4, [])
    (tmp_path / "objects.sent").unlink()
    stranger = Login(certificate=ca, key=key)
    done = pacs(calls.received, tmp_path / "nothing", objects, speaks, stranger)
    assert (done.stored, done.refused) == (0, 4)


def test_a_class_that_is_not_accepted_is_refused_and_the_rest_goes(pacs, made, objects):
    pacs(inside.fill, made / "in")
    path = next(p for p in objects.iterdir() if pydicom.dcmread(p).Modality == "SEG")
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
    ds.save_as(path)
    done = pacs(calls.sent, objects, inside.PEER)
    assert (done.stored, done.refused) == (3, 1)
    assert "label map" in done.problems[0]
    assert "SOP class not supported (0x0122)" in done.problems[0]
    done = pacs(calls.sent, objects)  # by DICOMweb it takes one
    assert (done.stored, done.there, done.refused) == (1, 3, 0)


def test_more_syntaxes_than_an_association_takes_go_in_several(pacs, made, objects):
    pacs(inside.fill, made / "in")
    compressed(objects)
    done = pacs(calls.sent_with_few_contexts, objects)
    assert (done.stored, done.problems) == (5, [])


def test_an_entity_that_does_not_answer_is_told(pacs, objects):
    done = pacs(calls.sent_nowhere, objects)
    assert (done.stored, done.refused) == (0, 4)
    assert "NOBODY@127.0.0.1:9 does not answer" in done.problems[0]
