"""Fetching from application entities that refuse, stall and end what they are asked."""

import pytest

from medscan.errors import PacsError, UnavailableError
from medscan.fetching import Wish, fetch, opened_spool
from medscan.pacs import Archive, Login, patience, peer
from tests import tiny
from tests.pacs.entity import Entity

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "WAITS_S", (0.0,))


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


def test_one_that_stalls_is_asked_again(entity, tmp_path):
    entity.stall_s = 0.5
    with entity, pytest.raises(UnavailableError, match="does not answer"):
        fetched(entity, tmp_path / "spool", timeout_s=0.1)
    assert entity.asked == ["STUDY", "STUDY"]
