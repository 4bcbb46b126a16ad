"""Only what a scan is done with goes from the folder."""

import pytest

from medscan.archive import key_of
from medscan.errors import UsageError
from medscan.fetching import forget, opened_spool
from medscan.fetching.spool import Held
from medscan.planning import Ledger
from medscan.results import Work
from tests import tiny
from tests.report import make

STUDY = "1.2.1"


@pytest.fixture
def results(tmp_path):
    """Results, without a ledger."""
    return make.results(tmp_path, [make.study("aaa", [make.stack("s1", n=3)])]).path


@pytest.fixture
def spool(tmp_path):
    """A folder with a study of four images."""
    source = tiny.write_series(tmp_path / "in", tiny.head_volume(1, 4, 16), study=STUDY)
    with opened_spool(tmp_path / "spool") as opened:
        for number, path in enumerate(sorted(source.iterdir())):
            place = opened.place(STUDY, "1.2.1.1", f"1.2.1.1.{number}")
            place.write_bytes(path.read_bytes())
            held = Held("1.2.1.1", f"1.2.1.1.{number}", place.stat().st_size, "", forgotten=False)
            opened.note_object(STUDY, held)
        opened.deliver(STUDY)
        yield opened


def scanned(results, reasons, *, published=True):
    """A ledger by which a scan has these outcomes of the study."""
    ledger = Ledger(results.with_name(f"{results.name}.ledger"))
    outcomes = [[str(number), reason, ""] for number, reason in enumerate(reasons)]
    ledger.finish(key_of(STUDY), Work("content", "maker", "root", "tools", outcomes))
    if published:
        ledger.published("stamp", {})
    ledger.close()


@pytest.mark.parametrize(
    "reasons",
    [["scanned"] * 4, ["out-of-scope"] * 4, ["scanned", "scanned", "corrupt", "background"]],
)
def test_what_a_scan_has_an_outcome_of_goes(spool, results, reasons):
    scanned(results, reasons)
    assert forget(spool, results) == (1, 4)
    assert list(spool.folder.iterdir()) == []
    assert spool.studies() == []
    assert all(held.forgotten for held in spool.objects(STUDY).values())
    assert spool.bytes == 0
    assert forget(spool, results) == (0, 0)


@pytest.mark.parametrize(
    ("reasons", "published"),
    [
        (["scanned"] * 4, False),
        (["scanned"] * 3, True),  # it has grown since
        (["scanned", "scanned", "scanned", "timed-out"], True),
        (["arriving"] * 4, True),
    ],
)
def test_what_a_scan_is_not_done_with_stays(spool, results, reasons, published):
    scanned(results, reasons, published=published)
    assert forget(spool, results) == (0, 0)
    assert len([p for p in spool.folder.rglob("*") if p.is_file()]) == 4
    assert spool.studies() == [STUDY]


def test_what_no_scan_has_seen_stays(spool, results):
    Ledger(results.with_name(f"{results.name}.ledger")).close()
    assert forget(spool, results) == (0, 0)


def test_results_without_a_ledger_tell_nothing(spool, results):
    with pytest.raises(UsageError, match="there is no ledger"):
        forget(spool, results)


def test_a_study_that_is_remembered_is_fetched_whole(spool, results):
    scanned(results, ["scanned"] * 4)
    forget(spool, results)
    spool.remember(STUDY)
    assert spool.objects(STUDY) == {}


def test_a_kill_between_ledger_and_disk_is_made_good(spool, results, tmp_path):
    scanned(results, ["scanned"] * 4)
    spool._remove = lambda _: None
    forget(spool, results)
    assert list(spool.folder.iterdir()) != []
    del spool._remove
    spool.remove_forgotten()
    assert list(spool.folder.iterdir()) == []
