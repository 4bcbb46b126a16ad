"""Studies that are still arriving wait for the next scan."""

import os
import time

import pydicom
import pytest

from medscan import results
from medscan.archive import index
from medscan.inspect import forecast_scan
from medscan.planning.settle import hold_back_arriving
from medscan.scanning import scan
from tests import tiny
from tests.options import changed

NOW = 1_700_000_000


def age(path, seconds):
    """Let a file, or all in a folder, be that many seconds old at `NOW`."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        os.utime(file, ns=((NOW - seconds) * 10**9, (NOW - seconds) * 10**9))


def wait(root, settle=900.0):
    catalogue, waiting = hold_back_arriving(index([root]), settle, NOW * 10**9)
    reasons = {outcome.file.path: str(outcome.reason) for outcome in catalogue.set_aside}
    assert waiting <= len({path.split("/")[0] for path in reasons})
    return {study.uid for study in catalogue.studies}, reasons


@pytest.fixture
def two(root):
    for name, study in (("a", "1.1"), ("b", "1.2")):
        tiny.write_series(root / name, tiny.head_volume(1), study=study)
        age(root / name, 5000)
    return root


def test_one_young_file_holds_its_study_and_no_other(two):
    assert wait(two) == ({"1.1", "1.2"}, {})
    age(two / "a" / "0003", 899)
    studies, reasons = wait(two)
    assert studies == {"1.2"}
    assert reasons == {f"a/{n:04d}": "arriving" for n in range(6)}


def test_the_edge_and_none(two):
    age(two / "a" / "0003", 900)
    assert wait(two)[0] == {"1.1", "1.2"}
    age(two / "a" / "0003", 0)
    assert wait(two, 0)[0] == {"1.1", "1.2"}


def test_a_file_from_the_future_is_young(two):
    age(two / "a" / "0003", -(10**6))
    assert wait(two, 1.0)[0] == {"1.2"}


def test_a_young_copy_or_localizer_holds_its_study(two):
    (two / "copy").write_bytes((two / "a" / "0001").read_bytes())
    age(two / "copy", 10)
    studies, reasons = wait(two)
    assert studies == {"1.2"}
    assert reasons["copy"] == "arriving"
    (two / "copy").unlink()
    scout = pydicom.dcmread(two / "b" / "0000")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(two / "scout")
    age(two / "scout", 10)
    studies, reasons = wait(two)
    assert studies == {"1.1"}
    assert (reasons["scout"], reasons["b/0000"]) == ("arriving", "arriving")


def test_a_young_file_that_is_broken_is_half_written(two):
    broken = two / "b" / "0003"
    broken.write_bytes(broken.read_bytes()[:-600])
    age(broken, 10)
    studies, reasons = wait(two)
    assert studies == {"1.1"}
    assert set(reasons.values()) == {"arriving"}
    age(broken, 1000)
    studies, reasons = wait(two)
    assert "1.2" in studies
    assert reasons["b/0003"] == "truncated"


def test_voxels_that_are_still_written_hold_their_header(root):
    tiny.write_nifti(root / "head.hdr", tiny.head_volume(3))
    age(root / "head.hdr", 5000)
    age(root / "head.img", 10)
    assert wait(root) == (set(), {"head.hdr": "arriving"})
    whole = (root / "head.img").read_bytes()
    (root / "head.img").write_bytes(whole[:100])
    age(root / "head.img", 10)
    assert wait(root) == (set(), {"head.hdr": "arriving"})
    age(root / "head.img", 5000)
    assert wait(root) == (set(), {"head.hdr": "truncated"})


def test_junk_is_junk_however_young(two):
    (two / "notes.txt").write_text("no image")
    assert wait(two) == ({"1.1", "1.2"}, {"notes.txt": "not-an-image"})


def test_what_waits_is_scanned_when_it_has_settled(options, two):
    options = changed(options, settle_s=900.0)
    now = time.time_ns()
    os.utime(two / "a" / "0003", ns=(now, now))
    forecast = forecast_scan(options)
    assert (forecast.studies, forecast.arriving) == (1, 1)
    assert "1 more are still arriving" in forecast.text()
    first = scan(options)
    assert (first.scanned, first.arriving, first.files["skipped"]) == (1, 1, 6)
    assert first.reasons["arriving"] == 6
    assert "1 studies still arriving" in first.line()
    assert len(results.open(options.outputs.out).keys()) == 1
    places = {(e.outcome.study, e.stack, e.index) for e in first.entries if e.bucket == "skipped"}
    assert places == {("1.1", "", None)}
    assert scan(options).scanned == 0
    os.utime(two / "a" / "0003", ns=(now - 10**12, now - 10**12))
    again = scan(options)
    assert (again.scanned, again.unchanged, again.arriving) == (1, 1, 0)
    assert len(results.open(options.outputs.out).keys()) == 2
    assert results.open(options.outputs.out).run().skipped == []


def test_a_finished_study_that_grows_keeps_its_result_meanwhile(options, two):
    options = changed(options, settle_s=900.0)
    scan(options)
    before = results.open(options.outputs.out).keys()
    (two / "a" / "0005").touch()
    summary = scan(options)
    assert (summary.scanned, summary.unchanged, summary.arriving) == (0, 1, 1)
    assert results.open(options.outputs.out).keys() == before


def test_all_arriving_is_nothing_to_scan(options, root):
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    summary = scan(changed(options, settle_s=900.0))
    assert "none to scan yet" in summary.line()
    assert not options.outputs.out.exists()
