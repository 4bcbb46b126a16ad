"""`medscan scan --history` and `medscan monitor` as a user runs them."""

import json
import sqlite3
from pathlib import Path

import pytest

from medscan import results
from medscan.monitoring import History
from tests.monitoring.test_watch import site
from tests.report import make


@pytest.fixture
def history(inside):
    """A month of nights in which a scanner has changed."""
    with History(Path("site.history")) as opened:
        opened.put(site())
    return Path("site.history")


def test_an_alarm_is_said_written_and_exits_with_4(inside, history):
    code, out, err = inside("monitor", history)
    assert (code, err) == (4, "")
    assert out.startswith("alarm: brain-flair, ")
    assert "software XA30 for the first time (before: E11)" in out
    assert out.endswith("30 nights, 10 strata: open site.history.monitor.html\n")
    assert "alarms: stop" in Path("site.history.monitor.html").read_text()
    code, out, _ = inside("monitor", history, "--since", "2026-11-19", "--json", "--out", "p.html")
    assert code == 0
    assert json.loads(out)["alarms"] == []
    assert len(json.loads(out)["nights"]) == 12


def test_a_scan_adds_itself_and_no_identity(inside, detector_file, tmp_path):
    from tests import tiny

    facts = {"Manufacturer": "SIEMENS", "ManufacturerModelName": "Skyra Doe", "StationName": "MR7"}
    volume = tiny.head_volume(1, slices=3)
    tiny.write_series(
        tmp_path / "a", volume, study="1.2.3", SoftwareVersions="syngo MR E11", **facts
    )
    scan = ("scan", tmp_path / "a", "--detector", detector_file, "--device", "cpu", "--workers", 0)
    code, _, err = inside(*scan, "--out", "night.h5", "--history", "site.history")
    assert code == 0, err
    with History(Path("site.history")) as opened:
        (entry,) = opened.entries()
    assert (entry.manufacturer, entry.software) == ("SIEMENS", "syngo MR E11")
    assert entry.model.startswith("Skyra ")
    assert entry.protocol == "BRAIN FLAIR MR axial 1 mm"
    assert len(entry.scanner) == 8
    data = Path("site.history").read_bytes() + Path("night.h5").read_bytes()
    assert b"Doe" not in data
    assert b"MR7" not in data
    # Killed before it was added: the next scan, which finds nothing new, adds it.
    Path("site.history").unlink()
    assert inside(*scan, "--out", "night.h5", "--history", "site.history")[0] == 0
    code, out, _ = inside("monitor", "site.history")
    assert (code, out) == (
        0,
        "no alarm\n1 nights, 5 strata: open site.history.monitor.html\n",
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("none",), "none does not exist; scans write it with --history"),
        (("site.history", "--false-alarms", 1), "--false-alarms 1: a number between 0 and 1"),
        (("site.history", "--since", "today"), "--since today: a day, such as 2026-11-28"),
    ],
)
def test_mistakes_are_one_line(inside, history, words, why):
    assert inside("monitor", *words) == (2, "", f"medscan: {why}\n")


def test_a_scan_does_not_overwrite_another_file(inside, detector_file, tmp_path):
    make.results(tmp_path / "work", make.few_studies(), name="night.h5")
    before = results.open("night.h5").keys()
    scan = ("scan", tmp_path, "--detector", detector_file, "--out", "other.h5")
    code, _, err = inside(*scan, "--history", "other.h5")
    assert (code, err.count("\n")) == (2, 1)
    assert results.open("night.h5").keys() == before
    with sqlite3.connect("mine.sqlite") as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    code, _, err = inside("monitor", "mine.sqlite")
    assert (code, err) == (2, "medscan: mine.sqlite is no history of this version of medscan\n")
