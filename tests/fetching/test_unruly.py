"""Fetching from services that lie, leave out, cut short, stall and refuse."""

import datetime
import os
import re
import time

import pytest

from medscan.archive import key_of
from medscan.errors import PacsError, UnavailableError
from medscan.fetching import Wish, fetch, opened_spool, spool
from medscan.pacs import Login, Web, patience, web, web_address
from tests import tiny
from tests.pacs.stand_in import StandIn

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "WAITS_S", (0.0, 0.0))


@pytest.fixture
def server(tmp_path):
    """Two studies of one series with four objects each."""
    for number in range(2):
        folder = tmp_path / "in" / str(number)
        tiny.write_series(folder, tiny.head_volume(number, 4, 8), study=f"1.2.{number}")
    with StandIn() as stand_in:
        stand_in.add(tmp_path / "in")
        yield stand_in


def fetched(server, into, wish=None, limit=None, timeout_s=5.0):
    source = Web(web_address(server.url, Login()), Login(), timeout_s)
    try:
        with opened_spool(into) as spool:
            return fetch(source, spool, wish or Wish(), limit)
    finally:
        source.close()


def test_how_far_it_is_is_told_after_each_object(server, tmp_path):
    server.refused = {next(uid for study, _, uid in server.objects if study == "1.2.0")}
    server.left_out = server.refused
    source, told = Web(web_address(server.url, Login()), Login(), 5.0), []
    with opened_spool(tmp_path / "spool") as spool:
        fetch(source, spool, Wish(), watch=lambda *counts: told.append(counts))
    source.close()
    studies, listed, objects, problems = zip(*told, strict=True)
    assert set(listed) == {2}
    assert set(objects) == set(range(8)), "one of eight is missing"
    for counts in (studies, objects, problems):
        assert list(counts) == sorted(counts)
    assert told[-1] == (2, 2, 7, 1)


def contents(folder):
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("left", [3, 20, 700, 4000])
def test_an_answer_that_was_cut_short_is_asked_for_again(server, tmp_path, left):
    study, series, _ = next(iter(server.objects))
    server.cut = [len(server.answer([study, series])) - left]
    done = fetched(server, tmp_path / "spool")
    assert contents(tmp_path / "spool") == contents(tmp_path / "in")
    assert (done.studies, done.fetched, done.problems) == (2, 8, [])
    assert sum("GET" in line and "?" not in line for line in server.asked) > 2  # it was noticed


def test_one_that_is_always_cut_short_leaves_its_study_out_of_the_folder(server, tmp_path):
    server.cut = [1500] * 3
    done = fetched(server, tmp_path / "spool")
    assert (done.studies, done.stopped) == (1, "")
    assert [p.name for p in (tmp_path / "spool").iterdir()] == [key_of("1.2.1")]
    assert "cut short" in done.problems[0]
    assert fetched(server, tmp_path / "spool").studies == 2
    assert contents(tmp_path / "spool") == contents(tmp_path / "in")


def test_what_is_half_there_and_not_wanted_any_more_goes(server, tmp_path):
    study, series, _ = next(iter(server.objects))
    server.cut = [len(server.answer([study, series])) - 500, 700, 700]
    server.refused = {uid for _, _, uid in server.objects}
    assert fetched(server, tmp_path / "spool").studies == 1
    partial = tmp_path / "spool.fetch" / "partial"
    assert len(contents(partial)) == 3
    fetched(server, tmp_path / "spool", Wish(studies=("1.2.1",)))
    assert list(partial.iterdir()) == []
    with opened_spool(tmp_path / "spool") as spool:
        assert spool.studies() == ["1.2.1"]
        assert spool.bytes == sum(map(len, contents(tmp_path / "spool")))


def test_what_a_series_lacks_is_asked_for_by_name(server, tmp_path):
    """As Orthanc leaves out what comes behind an object that it cannot convert."""
    uids = sorted(uid for study, _, uid in server.objects if study == "1.2.0")
    server.left_out = set(uids[1:])
    server.refused = {uids[3]}
    done = fetched(server, tmp_path / "spool")
    assert (done.studies, done.fetched, done.missing) == (1, 7, 1)
    assert done.problems == [f"study {key_of('1.2.0')}: 1 objects are missing; "
                             "left for the next fetch"]  # fmt: skip
    server.refused = set()
    assert fetched(server, tmp_path / "spool").fetched == 1


def test_filters_that_are_ignored_are_applied_here(server, tmp_path):
    server.more["1.2.1"]["StudyDate"] = "20240103"
    server.ignores = {"filters"}
    day = datetime.date(2024, 1, 3)
    assert fetched(server, tmp_path / "one", Wish(since=day)).listed == 1
    assert fetched(server, tmp_path / "two", Wish(studies=("1.2.0",))).listed == 1
    del server.more["1.2.1"]["StudyDate"]
    assert fetched(server, tmp_path / "three", Wish(until=day)).listed == 1


def test_a_study_that_is_asked_for_and_not_there_is_told(server, tmp_path):
    done = fetched(server, tmp_path / "spool", Wish(studies=("1.2.0", "1.2.9", "1.2.9")))
    assert (done.studies, done.listed) == (1, 1)
    assert done.problems == [f"study {key_of('1.2.9')}: the PACS has no such study"]
    day = Wish(since=datetime.date(2025, 1, 1), modalities=("MR",), studies=("1.2.0",))
    (told,) = fetched(server, tmp_path / "spool", day).problems
    assert told.endswith("the PACS has no such study of the dates and modalities asked for")


@pytest.mark.parametrize("ignores", [set(), {"offset"}, {"limit"}, {"limit", "offset"}])
def test_pages_are_asked_for_until_one_brings_nothing_new(server, monkeypatch, ignores):
    monkeypatch.setattr(web, "PAGE", 3)
    server.ignores, server.page = ignores, 2 if "limit" in ignores else 1000
    series = next(series for study, series, _ in server.objects if study == "1.2.0")
    source = Web(web_address(server.url, Login()), Login())
    found = source.instances("1.2.0", series)
    whole = 4 if "offset" not in ignores else server.page if "limit" in ignores else 3
    assert len(found) == len(set(found)) == whole


def test_a_list_that_is_shorter_than_the_count_is_not_believed(server, tmp_path):
    for study, series, _ in server.objects:
        server.more[series]["NumberOfSeriesRelatedInstances"] = 4 + (study == "1.2.0")
    done = fetched(server, tmp_path / "spool")
    assert done.studies == 1
    assert "4 of the 5 objects of a series are listed" in done.problems[0]


def test_a_study_without_a_valid_uid_stops_no_other(server, tmp_path, caplog):
    uids = next(uids for uids in server.objects if uids[0] == "1.2.0")
    server.objects["../1.2", *uids[1:]] = server.objects[uids]
    server.more["../1.2"] = {}
    assert fetched(server, tmp_path / "spool").studies == 2
    assert caplog.messages == [f"127.0.0.1:{server.url.split(':')[2].split('/')[0]} lists "
                               "something without a valid UID"]  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"<html>", b"3", b"[3]", b'[{"0020000D": 3}]', b"[" * 9999])
def test_what_is_no_answer_of_dicomweb_is_told(server, tmp_path, body):
    server.listing = body
    if body:
        with pytest.raises(PacsError, match="does not answer as DICOMweb does"):
            fetched(server, tmp_path / "spool")
    else:
        assert fetched(server, tmp_path / "spool").listed == 0


def test_an_object_of_another_study_is_not_taken(server, tmp_path):
    (one, other) = (next(u for u in server.objects if u[0] == f"1.2.{n}") for n in range(2))
    server.objects[one] = server.objects[other]
    done = fetched(server, tmp_path / "spool")
    assert (done.studies, done.missing) == (1, 1)


def test_a_server_that_stalls_is_not_waited_for(server, tmp_path):
    server.stall_s = 0.6
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="does not answer: time-out"):
        fetched(server, tmp_path / "spool", timeout_s=0.1)
    assert time.monotonic() - begun < 3


def test_a_port_that_is_closed_is_tried_as_often_as_we_say(server, tmp_path, monkeypatch):
    address = web_address("http://127.0.0.1:9/dicom-web", Login())
    waited = []
    monkeypatch.setattr(patience.time, "sleep", waited.append)
    with opened_spool(tmp_path / "spool") as spool, pytest.raises(UnavailableError) as raised:
        fetch(Web(address, Login()), spool, Wish())
    assert str(raised.value) == "127.0.0.1:9 does not answer: connection refused"
    assert waited == list(patience.WAITS_S)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, PacsError, "refuses this login"),
        (503, UnavailableError, "cannot answer now"),
        (307, UnavailableError, "redirects to another address"),
        (400, PacsError, "refuses what it is asked"),
    ],
)
def test_a_refusal_is_told_in_words(server, tmp_path, status, error, words):
    server.status = [status] * 3
    with pytest.raises(error, match=words):
        fetched(server, tmp_path / "spool")


def test_addresses_are_our_own_and_objects_are_asked_for_as_they_are(server, tmp_path):
    """dicomweb-client asks without the port, so that what servers call RetrieveURL is wrong.

    They draw and divide objects in ways that fail for some, and convert them if not told to leave
    them as they are.
    """
    assert fetched(server, tmp_path / "spool").studies == 2
    asked = [line for line in server.asked if "?" not in line]
    assert all(re.fullmatch(r"GET /dicom-web/studies/[\d.]+/series/[\d.]+", a) for a in asked)
    accepted = {head["Accept"] for head in server.heads if "multipart" in head["Accept"]}
    assert accepted == {'multipart/related; type="application/dicom"; transfer-syntax=*'}


def test_a_full_folder_ends_the_fetch_and_keeps_what_is_whole(server, tmp_path):
    one = sum(len(d) for u, d in server.objects.items() if u[0] == "1.2.0")
    done = fetched(server, tmp_path / "spool", limit=one + 100)
    assert (done.studies, done.fetched, done.missing) == (1, 4, 4)
    assert done.bytes == one
    assert "holds as much as it may" in done.stopped
    assert len(contents(tmp_path / "spool")) == 4
    assert sum(map(len, contents(tmp_path / "spool.fetch" / "partial"))) == 0
    assert fetched(server, tmp_path / "spool").studies == 2


def test_a_study_larger_than_the_folder_may_be_does_not_stop_the_others(server, tmp_path):
    done = fetched(server, tmp_path / "spool", limit=1000)
    assert (done.studies, done.stopped, len(done.problems)) == (0, "", 2)
    assert (done.fetched, done.bytes, done.missing) == (0, 0, 8)
    assert done.seconds > 1e-4
    assert "larger than the room that the folder has" in done.problems[0]


def test_a_full_disk_is_told_from_a_full_folder(server, tmp_path, monkeypatch):
    there = Wish(studies=("1.2.0",))
    assert fetched(server, tmp_path / "spool", there).studies == 1
    monkeypatch.setattr(spool, "free_bytes", lambda _: spool.SPARE)
    done = fetched(server, tmp_path / "spool")
    assert (done.studies, done.kept, done.missing) == (1, 4, 4)
    told = f"the disk of {tmp_path}/spool is full, but for 256 MiB that stay free"
    assert done.stopped.startswith(told)


def test_each_object_is_counted_once_when_a_pacs_goes_away(server, tmp_path):
    study, series, _ = next(iter(server.objects))
    whole = len(server.answer([study, series]))
    server.cut = [whole - 500] * 3
    done = fetched(server, tmp_path / "spool")
    assert (done.studies, done.fetched, done.missing) == (1, 7, 1)


def test_a_study_that_grows_meanwhile_is_left_until_it_does_not(server, tmp_path):
    late = {u: server.objects.pop(u) for u in list(server.objects)[1:3]}
    grown = []

    class Source(Web):
        def retrieve(self, *uids):
            yield from super().retrieve(*uids)
            if late and uids[0] == "1.2.0":
                server.objects.update(dict([late.popitem()]))
                grown.append(uids)

    source = Source(web_address(server.url, Login()), Login())
    with opened_spool(tmp_path / "spool") as spool:
        done = fetch(source, spool, Wish())
    assert (len(grown), done.studies, done.fetched) == (2, 2, 8)
    assert contents(tmp_path / "spool") == contents(tmp_path / "in")


def test_names_in_the_folder_are_not_the_servers(server, tmp_path):
    fetched(server, tmp_path / "spool")
    names = [name for _, folders, files in os.walk(tmp_path / "spool") for name in folders + files]
    assert all(len(name.removesuffix(".dcm")) == 16 for name in names)
    assert (tmp_path / "spool.fetch" / "ledger").stat().st_mode & 0o777 == 0o600
