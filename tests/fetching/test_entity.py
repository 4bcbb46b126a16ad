"""Fetching from application entities that refuse, stall and end what they are asked."""

import time
from itertools import count

import pytest

from medscan.errors import PacsError, UnavailableError
from medscan.fetching import Wish, fetch, opened_spool
from medscan.pacs import Archive, Login, peer
from tests import tiny
from tests.pacs.entity import Entity

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.usefixtures("impatient"),
    # pynetdicom's server leaves a socket open when both sides end an association at once.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture
def entity(tmp_path):
    """Two studies of one series with four objects each."""
    made = Entity()
    for number in range(2):
        folder = tmp_path / "in" / str(number)
        tiny.write_series(folder, tiny.head_volume(number, 4, 8), study=f"1.2.{number}")
    made.add(tmp_path / "in")
    return made


def fetched(entity, into, timeout_s=5.0, **words):
    with opened_spool(into) as spool:
        source = Archive(
            peer(entity.address), "MEDSCAN", Login(), timeout_s, entity.port, spool.aside
        )
        return fetch(source, spool, Wish(), **words)


def test_a_query_that_is_ended_asks_for_the_ae_title(entity, tmp_path):
    """As Orthanc does with who is not in its DicomModalities."""
    entity.aborts = True
    with entity, pytest.raises(PacsError) as raised:
        fetched(entity, tmp_path / "spool")
    told = "ended the query without an answer: does it know the AE title MEDSCAN (--aet)?"
    assert str(raised.value) == f"{entity.address} {told}"
    assert (raised.value.exit_code, entity.asked) == (1, ["STUDY"])


def test_one_that_stalls_does_not_answer(entity, tmp_path):
    entity.stall_s = 1.0
    with entity, pytest.raises(UnavailableError, match="does not answer"):
        fetched(entity, tmp_path / "spool", timeout_s=0.3)


def test_each_object_is_taken_before_all_have_come(entity, tmp_path):
    """So that a fetch that is killed has them."""
    partial, sent, taken = tmp_path / "spool.fetch" / "partial", count(), []

    def wait_for_those_before():
        expected = next(sent) % 4
        for _ in range(100):
            if len([*partial.rglob("*.dcm")]) == expected:
                break
            time.sleep(0.02)
        taken.append(len([*partial.rglob("*.dcm")]))

    entity.before_each = wait_for_those_before
    with entity:
        done = fetched(entity, tmp_path / "spool")
    assert (done.studies, done.fetched, done.problems) == (2, 8, [])
    assert taken == [0, 1, 2, 3] * 2


def test_no_more_is_asked_of_a_series_that_has_no_room(entity, tmp_path):
    entity.before_each = lambda: time.sleep(0.2)
    begun = time.monotonic()
    with entity:
        done = fetched(entity, tmp_path / "spool", timeout_s=30.0, limit=1000)
    assert (done.studies, len(done.problems)) == (0, 2)
    assert [*(tmp_path / "spool.fetch").glob("arriving-*")] == []
    assert len(entity.sent) < 8
    assert time.monotonic() - begun < 30, "it waits for no answer any more"
