"""Sending to application entities that refuse, answer nothing and go away."""

import pydicom
import pytest

from medscan.errors import UnavailableError
from medscan.pacs import Login, Node, find_objects, opened, peer
from medscan.sending import TABLES, send
from tests.pacs.entity import Entity
from tests.sending.test_unruly import an_object

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.usefixtures("impatient")]


@pytest.fixture
def entity(tmp_path):
    """One that has the study of the objects."""
    made = Entity()
    made.objects.append(pydicom.dcmread(an_object(tmp_path / "image", 77)))
    return made


@pytest.fixture
def objects(tmp_path):
    for number in range(3):
        an_object(tmp_path / "objects", number)
    return tmp_path / "objects"


def sent(entity, folder, kind=Node):
    target = kind(peer(entity.address), "MEDSCAN", Login(), 5.0)
    with opened(folder.with_name("ledger"), TABLES) as ledger:
        return send(find_objects([folder]), target, entity.address, ledger)


@pytest.mark.parametrize(
    ("status", "words", "tries"),
    [
        (0xA700, "cannot answer now: out of resources (0xA700)", 2),
        (0xC001, "refuses what it is asked: not understood (0xC001)", 1),
    ],
)
def test_whose_a_study_is_must_be_known(entity, objects, status, words, tries):
    entity.status = status
    with entity:
        done = sent(entity, objects)
    assert (done.stored, done.refused, len(entity.asked)) == (0, 3, tries)
    assert all(problem.endswith(words) for problem in done.problems)
    assert len(entity.objects) == 1


@pytest.mark.parametrize("status", [None, 0x0122])
def test_a_router_is_not_asked_whose_a_study_is(entity, objects, status):
    entity.answers_queries, entity.status = status is not None, status
    with entity:
        assert sent(entity, objects).stored == 3
    assert len(entity.objects) == 4


def test_what_is_there_although_the_ledger_does_not_say_so_is_not_sent_again(entity, objects):
    with entity:
        assert sent(entity, objects).stored == 3
        objects.with_name("ledger").unlink()
        an_object(objects, 3)
        done = sent(entity, objects)
    assert (done.stored, done.there, done.problems) == (1, 3, [])
    assert len(entity.objects) == 5


def test_one_that_went_away_is_asked_what_it_has(entity, objects):
    class Gone(Node):
        tries = 0

        def store(self, objects):
            self.tries += 1
            if self.tries > 1:
                return super().store(objects)
            super().store(objects[:2])
            raise UnavailableError("it does not answer")

    with entity:
        done = sent(entity, objects, Gone)
    assert (done.stored, done.problems) == (3, [])
    assert len(entity.objects) == 4
