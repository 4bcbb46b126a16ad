"""`medscan fetch` and `medscan send` as a user sees them, beside a stand-in for a PACS."""

import json

import pytest

from medscan.archive import key_of
from medscan.pacs import libraries, patience
from tests import tiny
from tests.sending.test_unruly import JSON, Storing, an_object, said

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PATIENT = {"PatientName": "Quixote^R", "PatientID": "PID-77"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "WAITS_S", ())


@pytest.fixture
def server(tmp_path):
    """A study with a series of four FLAIR images, and one of CT."""
    for modality in ("MR", "CT"):
        folder = tmp_path / "in" / modality
        volume = tiny.head_volume(1, 4, 8)
        tiny.write_series(folder, volume, study="1.2.77", Modality=modality, **PATIENT)
    with Storing() as stand_in:
        stand_in.add(tmp_path / "in")
        yield stand_in


@pytest.fixture
def fetch(inside, server):
    def run(*words, url=None):
        to = ("--into", "spool", "--detector", "brain-flair")
        code, out, err = inside("fetch", url or server.url, *to, *words)
        assert not any(word in out + err for word in ("Quixote", "PID-77", "1.2.77"))
        return code, out, err

    return run


def test_a_fetch_says_what_came_and_what_did_not(fetch):
    code, out, err = fetch("--modality", "mr", "--description", "*flair*", "--since", "2024-01-02")
    assert (code, err) == (0, "")
    assert out.startswith("1 of 1 studies whole: 4 objects fetched (")
    assert out.endswith(", 0 there before, 0 not wanted, 0 missing\n")
    code, out, _ = fetch("--json")
    told = json.loads(out)
    assert (code, told["fetched"], told["kept"], told["missing"]) == (0, 0, 4, 0)
    assert fetch("--until", "2024-01-01")[1].startswith("0 of 0 studies whole")


def test_before_the_first_scan_nothing_is_forgotten(fetch):
    code, out, err = fetch("--forget", "night.h5")
    assert (code, err) == (0, "")
    told = "0 studies with 0 objects forgotten: there is no night.h5 yet\n"
    assert out.startswith(told)


def test_what_is_missing_is_named_by_its_key(fetch, server):
    server.refused = server.left_out = {list(server.objects)[-1][2]}
    code, out, err = fetch()
    assert code == 3
    assert "1 missing" in out
    study = f"medscan: study {key_of('1.2.77')}"
    assert err == f"{study}: 1 objects are missing; left for the next fetch\n"


def test_a_study_that_is_not_there_is_named_by_its_key(fetch):
    code, out, err = fetch("--study", "1.2.78")
    assert code == 3
    assert out.startswith("0 of 0 studies whole")
    assert err == f"medscan: study {key_of('1.2.78')}: the PACS has no such study\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--since", "soon"), "soon is no day"),
        (("--modality", "MR*"), "--modality MR*"),
        (("--study", "../x"), "--study ../x"),
        (("--login", "/nowhere"), "/nowhere cannot be read"),
        (("--max-gib", "0"), "--max-gib 0"),
    ],
)
def test_what_cannot_work_is_refused(fetch, server, words, told):
    code, out, err = fetch(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert server.asked == []


def test_a_pacs_that_does_not_answer_is_status_75(fetch, inside, tmp_path):
    code, _, err = fetch(url="http://127.0.0.1:9/dicom-web")
    assert (code, err) == (75, "medscan: 127.0.0.1:9 does not answer: connection refused\n")
    an_object(tmp_path / "work" / "objects", 0)
    code, out, err = inside("send", "objects", "--to", "http://127.0.0.1:9/dicom-web")
    assert (code, "0 objects stored" in out) == (3, True)
    assert err.endswith("does not answer: connection refused\n")


def test_a_folder_that_is_full_is_status_75(fetch, server, tmp_path):
    assert fetch()[0] == 0
    tiny.write_series(tmp_path / "more", tiny.head_volume(2, 4, 8), study="1.2.78")
    server.add(tmp_path / "more")
    code, _, err = fetch("--max-gib", "0.000005")
    assert code == 75
    assert "spool holds as much as it may: scan, then" in err


def test_a_password_on_the_command_line_is_refused_and_not_repeated(fetch, server):
    code, _, err = fetch(url=server.url.replace("//", "//ms:correct-horse@"))
    assert code == 2
    assert "correct-horse" not in err
    assert "see --login" in err


def test_a_secret_is_in_no_word_and_no_file(fetch, server, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSCAN_PACS_TOKEN", "correct-horse")
    server.status = [401]
    code, out, err = fetch()
    assert (code, "refuses this login" in err) == (1, True)
    assert fetch()[0] == 0
    assert {head["Authorization"] for head in server.heads} == {"Bearer correct-horse"}
    assert "correct-horse" not in out + err
    files = (path for path in (tmp_path / "work").rglob("*") if path.is_file())
    assert not any(b"correct-horse" in path.read_bytes() for path in files)


def test_what_is_fetched_is_for_its_owner_alone(fetch, tmp_path):
    fetch()
    for path in (tmp_path / "work").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_terminal_shows_the_progress_of_sending(inside, server, tmp_path, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    an_object(tmp_path / "work" / "objects", 0, study="1.2.77", patient="PID-77")
    server.answers = [(200, JSON, said("1.3.0"))]
    code, _, err = inside("send", "objects", "--to", server.url)
    assert code == 0
    assert "1/1" in err
    assert "objects/s, 0 problems" in err


def test_what_is_sent_is_said_and_sent_once(inside, server, tmp_path):
    an_object(tmp_path / "work" / "objects", 0, study="1.2.77", patient="PID-77")
    words = ("send", "objects", "--to", server.url)
    server.takes = ()
    server.answers = [(200, JSON, said(failed=[("1.3.0", 0xA700)])), (200, JSON, said("1.3.0"))]
    code, out, err = inside(*words)
    assert code == 3
    assert out == "0 objects stored, 0 there before, 1 not stored, 0 files not to be sent\n"
    named = f"medscan: picture 0.dcm of study {key_of('1.2.77')}"
    assert err == f"{named}: out of resources (0xA700)\n"
    server.takes = ("1.3.0",)
    assert inside(*words)[0] == 0
    code, out, _ = inside(*words, "--json")
    told = json.loads(out)
    assert (code, told["stored"], told["kept"]) == (0, 0, 1)
    assert sum(uids[2] == "1.3.0" for uids in server.objects) == 1


def test_what_cannot_be_sent_is_refused(inside, tmp_path):
    assert "nowhere does not exist" in inside("send", "nowhere", "--to", "A@b:1")[2]
    for folder in ("a", "b"):
        an_object(tmp_path / "work" / folder, 0)
    code, _, err = inside("send", "a", "b", "--to", "A@b:1")
    assert (code, "name a --ledger" in err) == (2, True)
    assert "write AET@host:port" in inside("send", "a", "--to", "pacs")[2]


@pytest.mark.parametrize(
    "words", [("fetch", "http://p/d", "--into", "s"), ("send", "o", "--to", "A@b:1")]
)
def test_libraries_that_are_missing_are_named(inside, tmp_path, monkeypatch, words):
    an_object(tmp_path / "work" / "o", 0)
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    code, _, err = inside(*words)
    assert (code, "pip install 'medscan[pacs]'" in err) == (2, True)
