"""Sending to services that lie, cut short and refuse."""

import json

import pydicom
import pytest

from medscan.errors import LoginError
from medscan.pacs import Login, Web, find_objects, opened, patience, web_address
from medscan.sending import TABLES, ledger_beside, run, send
from tests.pacs.stand_in import StandIn

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
REFERENCED, FAILED, UID = "00081199", "00081198", "00081155"
REASON, JSON = "00081197", "application/dicom+json"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(run, "LOOKS_S", (0.0, 0.0))


def an_object(folder, number, study="1.2.1", patient="P1", maker="medscan", size=16):
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.3.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.9"
    ds.PatientID, ds.Manufacturer, ds.PixelData = patient, maker, bytes(size)
    ds["PixelData"].VR = "OB"
    folder.mkdir(exist_ok=True)
    ds.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder / f"{number}.dcm"


@pytest.fixture
def objects(tmp_path):
    for number in range(3):
        an_object(tmp_path / "objects", number)
    return tmp_path / "objects"


class Storing(StandIn):
    """Stores what it is sent, if it is in `takes`, and answers what it is told to."""

    takes = ("1.3.0", "1.3.1", "1.3.2")

    def store(self, body):
        for part in body.split(b"--" + body[2:].split(b"\r\n")[0])[1:-1]:
            data = part.partition(b"\r\n\r\n")[2][:-2]
            if pydicom.dcmread(pydicom.filebase.DicomBytesIO(data)).SOPInstanceUID in self.takes:
                self.put(data)


@pytest.fixture
def server(tmp_path):
    with Storing() as stand_in:
        stand_in.put(an_object(tmp_path / "image", 77).read_bytes())
        yield stand_in


def said(*uids, failed=()):
    answer = {REFERENCED: {"vr": "SQ", "Value": [{UID: {"vr": "UI", "Value": [u]}} for u in uids]}}
    items = [
        {UID: {"vr": "UI", "Value": [u]}, REASON: {"vr": "US", "Value": [code]}}
        for u, code in failed
    ]
    return json.dumps(answer | {FAILED: {"vr": "SQ", "Value": items}}).encode()


ALL = said("1.3.0", "1.3.1", "1.3.2")


NOBODY = Login()


def sent(server, folder, login=NOBODY, **words):
    target = Web(web_address(server.url, login), login, 5.0)
    try:
        with opened(folder.with_name("ledger"), TABLES) as ledger:
            return send(find_objects([folder]), target, server.url, ledger, **words)
    finally:
        target.close()


def test_what_is_said_and_there_is_stored(server, objects):
    server.answers = [(200, JSON, ALL)]
    done = sent(server, objects)
    assert (done.stored, done.refused, done.problems) == (3, 0, [])
    assert sent(server, objects).kept == 3
    assert len(server.stored) == 1


def test_progress_is_told_of_each_object(server, objects):
    an_object(objects, 3, study="1.2.2")  # which is not there
    server.answers = [(200, JSON, ALL)]
    told = []
    sent(server, objects, watch=lambda *state: told.append(state))
    assert told == [
        *[(0, 2, counted, 0) for counted in (1, 2, 3)],
        (1, 2, 3, 0),
        (1, 2, 4, 1),
        (2, 2, 4, 1),
    ]


def test_success_is_not_believed(server, objects):
    """As Orthanc answers on a full disk, or drops what it calls a duplicate."""
    server.takes = ("1.3.0",)
    server.answers = [(200, JSON, ALL)]
    done = sent(server, objects)
    assert (done.stored, done.refused) == (1, 2)
    assert all("said to be stored, but not there" in problem for problem in done.problems)
    server.takes = Storing.takes
    server.answers = [(200, JSON, said("1.3.1", "1.3.2"))]
    assert sent(server, objects).stored == 2


def test_one_that_is_refused_costs_no_other(server, objects):
    """Some services refuse a request as a whole for one object that they cannot read."""
    server.takes = ("1.3.1", "1.3.2")
    refused = (400, JSON, b"")
    server.answers = [refused, refused, (200, JSON, said("1.3.1")), (200, JSON, said("1.3.2"))]
    done = sent(server, objects)
    assert (done.stored, done.refused, len(done.problems)) == (2, 1, 1)
    assert "0.dcm" in done.problems[0]
    assert "status 400" in done.problems[0]


@pytest.mark.parametrize("content", [b"", b"no object", b"\0" * 400])
def test_what_cannot_be_read_is_another_object(server, objects, content):
    server.objects["1.2.1", "1.2.1.9", "1.3.0"] = content
    server.more["1.3.0"] = {}
    server.answers = [(200, JSON, ALL)]
    done = sent(server, objects)
    assert (done.stored, done.refused) == (2, 1)
    assert done.problems[0].endswith("another object has its UID there")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b"\xff", b'{"00081199": 3}'])
def test_an_answer_that_says_nothing_is_no_success(server, objects, body):
    server.takes = ()
    server.answers = [(200, JSON, body)]
    done = sent(server, objects)
    assert (done.stored, done.refused) == (0, 3)
    assert all("nothing was said of it" in problem for problem in done.problems)


@pytest.mark.parametrize("kind", [JSON, "text/html", "application/dicom+xml"])
@pytest.mark.parametrize("status", [200, 202, 400, 409])
def test_each_refusal_has_the_servers_reason_whatever_the_status(server, objects, status, kind):
    server.takes = ("1.3.0",)
    refused = [("1.3.1", 0xA700), ("1.3.2", 0x0122)]
    server.answers = [(status, kind, said("1.3.0", failed=refused))]
    done = sent(server, objects)
    assert (done.stored, done.refused) == (1, 2)
    assert done.problems[0].endswith("out of resources (0xA700)")
    assert done.problems[1].endswith("SOP class not supported (0x0122)")


def test_a_request_that_was_cut_is_sent_again_whole(server, objects):
    """dicomweb-client would send what is left of the body, and call that a success."""
    server.cut = [100]
    server.answers = [(200, JSON, ALL)]
    done = sent(server, objects)
    assert (done.stored, done.refused) == (3, 0)
    lengths = [int(head["Content-Length"]) for head in server.heads if "Content-Length" in head]
    assert lengths == [len(body) for body in server.stored]


def test_a_second_try_sends_only_what_is_not_there(server, objects):
    for number in range(2):
        server.put((objects / f"{number}.dcm").read_bytes())
    server.answers = [(200, JSON, said("1.3.2"))]
    done = sent(server, objects)
    assert (done.stored, done.there) == (1, 2)
    assert b"1.3.0" not in server.stored[0]


def test_another_object_of_its_uid_is_told(server, objects, tmp_path):
    server.put(an_object(tmp_path / "other", 0, size=20).read_bytes())
    server.answers = [(200, JSON, said("1.3.1", "1.3.2"))]
    done = sent(server, objects)
    assert (done.stored, done.there, done.refused) == (2, 0, 1)


def test_a_patient_that_was_corrected_makes_no_other_object(server, objects, tmp_path):
    corrected = pydicom.dcmread(objects / "0.dcm")
    corrected.StudyDescription = "as the PACS has it"
    corrected.save_as(tmp_path / "corrected")
    server.put((tmp_path / "corrected").read_bytes())
    server.answers = [(200, JSON, said("1.3.1", "1.3.2"))]
    assert sent(server, objects).there == 1


def test_a_study_of_another_patient_gets_nothing(server, objects, tmp_path):
    an_object(objects, 3, study="1.2.2")
    server.put(an_object(tmp_path / "image", 78, study="1.2.2", patient="P9").read_bytes())
    server.answers = [(200, JSON, ALL)]
    done = sent(server, objects)
    assert (done.stored, done.refused) == (3, 1)
    assert "another patient" in done.problems[0]
    assert "P9" not in done.problems[0]
    assert all(b"1.3.3" not in body for body in server.stored)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_study_that_is_not_there_gets_objects_only_if_asked_for(server, tmp_path, allowed):
    an_object(tmp_path / "objects", 0, study="1.2.9")
    server.answers = [(200, JSON, said("1.3.0"))]
    done = sent(server, tmp_path / "objects", new_studies=allowed)
    assert (done.stored, done.refused) == (allowed, not allowed)


def test_only_what_medscan_made_is_sent(server, tmp_path):
    an_object(tmp_path / "objects", 0, maker="ACME")
    (tmp_path / "objects" / "empty").write_bytes(b"")
    done = sent(server, tmp_path / "objects")
    assert (done.left_out, server.stored) == (2, [])


def test_requests_are_small(server, objects, monkeypatch):
    monkeypatch.setattr(run, "BATCH", 2)
    server.answers = [(200, JSON, said("1.3.0", "1.3.1")), (200, JSON, said("1.3.2"))]
    assert sent(server, objects).stored == 3
    assert len(server.stored) == 2


def test_a_login_that_is_refused_ends_it(server, objects):
    server.status = [401]
    with pytest.raises(LoginError):
        sent(server, objects)


def test_who_medscan_is_goes_along_and_nowhere_else(server, objects):
    server.answers = [(200, JSON, ALL)]
    done = sent(server, objects, Login("ms", "correct-horse"))
    assert {head.get("Authorization") for head in server.heads} == {
        "Basic bXM6Y29ycmVjdC1ob3JzZQ=="
    }
    assert "correct-horse" not in json.dumps([server.asked, done.problems, done.line()])


def test_the_ledger_is_beside_the_folder_of_the_objects(tmp_path):
    objects = tmp_path / "objects"
    files = [an_object(objects, number) for number in range(2)]
    assert ledger_beside([objects]) == ledger_beside(files) == tmp_path / "objects.sent"
    assert ledger_beside([objects, tmp_path]) is None
