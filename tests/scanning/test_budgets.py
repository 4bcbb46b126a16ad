"""How long a scan may take, and what it does first."""

import datetime
import os
import signal
import time
from zoneinfo import ZoneInfo

import pytest

from medscan import results
from medscan.choices import Order, Rescan
from medscan.errors import UsageError
from medscan.scanning import scan
from medscan.scanning.guard import Stop, seconds_until, stopping
from tests import tiny
from tests.options import changed

HOUR = 3600


@pytest.fixture
def four(root):
    """Studies with dates that are not in the order of their paths, and one without."""
    for name, date in (("a", "20240103"), ("b", ""), ("c", "20240105"), ("d", "20240101")):
        volume = tiny.head_volume(ord(name), slices=2)
        tiny.write_series(root / name, volume, study=f"1.{ord(name)}", StudyDate=date)
    return root


def done(options):
    return {study.info["path"] for study in results.open(options.outputs.out).studies()}


@pytest.mark.parametrize(
    ("order", "first"), [(Order.PATH, "ab"), (Order.NEWEST, "ca"), (Order.OLDEST, "da")]
)
def test_the_first_nights_do_the_first_studies(options, four, order, first):
    options = changed(options, max_studies=2, order=order)
    summary = scan(options)
    assert (summary.scanned, summary.left, summary.stopped) == (2, 2, "--max-studies 2")
    assert "2 left over (--max-studies 2)" in summary.line()
    assert done(options) == set(first)
    assert summary.reasons["left-over"] == 4
    again = scan(options)
    assert (again.scanned, again.left, again.stopped) == (2, 0, "")
    assert done(options) == set("abcd")


def test_a_time_ends_the_night_after_a_study(options, four, monkeypatch):
    for number in range(8):  # the decoder is a few studies ahead
        tiny.write_series(four / f"e{number}", tiny.head_volume(number, 2), study=f"1.3.{number}")
    monotonic, ahead = time.monotonic, []
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + sum(ahead))

    def watch(*_):
        ahead[:] = ahead or [seconds_until(datetime.time(6)) + 1]

    summary = scan(changed(options, until=datetime.time(6)), watch)
    assert summary.stopped == "--until 06:00"
    assert (summary.scanned > 0, summary.left > 0) == (True, True)
    assert summary.failure == ""
    assert scan(options).scanned == summary.left


def test_a_clock_that_is_set_back_changes_nothing(monkeypatch):
    started = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: started)
    stop = Stop(datetime.time(6))
    limit = seconds_until(datetime.time(6))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: started + limit + 120)
    assert stop.reason == "--until 06:00"


@pytest.mark.parametrize(
    ("now", "until", "hours"),
    [
        ("2026-11-22 22:00", 6, 8),
        ("2026-11-22 05:59", 6, 1 / 60),
        ("2026-11-22 06:00", 6, 24),
        ("2026-03-28 22:00", 6, 7),  # the night that is an hour shorter
        ("2026-10-24 22:00", 6, 9),  # and the one that is longer
    ],
)
def test_until_is_the_next_time_that_the_clock_shows_it(now, until, hours, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        moment = datetime.datetime.fromisoformat(now).replace(tzinfo=ZoneInfo("Europe/Berlin"))
        assert seconds_until(datetime.time(until), moment) == pytest.approx(hours * HOUR)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_budgets_that_are_none_are_refused(options, four):
    with pytest.raises(UsageError, match="--max-studies"):
        scan(changed(options, max_studies=0))
    assert not os.path.exists(options.outputs.ledger_path)  # noqa: PTH110 - one word


def test_a_scan_that_is_stopped_while_it_reads_headers_goes_on_there(options, four, monkeypatch):
    from medscan.archive import indexing

    read, opened = indexing.Readers.result, []

    def counted(self, job):
        records = read(self, job)
        opened.extend(job.files)
        return records

    monkeypatch.setattr(indexing.Readers, "result", counted)
    monkeypatch.setattr(indexing, "CHUNK", 2)
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "reason", property(lambda _: "SIGTERM" * (len(opened) > 3)))
        summary = scan(options)
    assert summary.stopped == "SIGTERM"
    assert summary.line().startswith("stopped (SIGTERM) while the archive was read")
    assert not options.outputs.out.exists()
    first = len(opened)
    assert 0 < first < 8
    assert scan(options).scanned == 4
    assert len(opened) == 8


def test_a_budget_reaches_what_is_new_before_what_is_done_once_more(options, four):
    tiny.write_series(four / "z", tiny.head_volume(1, slices=2), study="1.200")
    (four / "z").rename(four.parent / "z")
    scan(options)
    (four.parent / "z").rename(four / "z")
    again = changed(options, rescan=Rescan.ALL, max_studies=1)
    assert scan(again).left == 4
    assert "z" in done(options)


def test_a_second_signal_ends_at_once_by_its_own_number():
    with stopping() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop.at_once
        with pytest.raises(SystemExit, match="143"):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.at_once
