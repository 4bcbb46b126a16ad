"""Archives and detectors change: what is scanned again, marked, kept and dropped."""

import os
import shutil
from dataclasses import replace

import pydicom
import pytest

from medscan import detector, results
from medscan.choices import Rescan
from medscan.errors import DeviceError
from medscan.inspect import forecast_scan
from medscan.results import Mark
from medscan.scanning import engine, scan
from tests import tiny
from tests.options import changed

DAY = 86400.0


@pytest.fixture
def two(root):
    for name in "ab":
        volume = tiny.head_volume(ord(name), slices=2)
        tiny.write_series(root / name, volume, study=f"1.{ord(name)}")
    return root


@pytest.fixture
def refitted(options, tmp_path, backbone):
    """The same detector by name, in another version."""
    path, old = options.inputs.detectors[0]
    method = old.load_method(path, backbone)
    (tmp_path / "new").mkdir()
    at = tmp_path / "new" / path.name
    replace(old, seed=old.seed + 1).save(at, method)
    return changed(options, detectors=((at, detector.read(at)),))


def marks(options):
    found = results.open(options.outputs.out).studies()
    return {study.info["path"]: study.mark for study in found}


def test_what_is_gone_is_marked_and_what_comes_back_is_not(options, two, tmp_path):
    scan(options)
    shutil.move(two / "a", tmp_path / "away")
    summary = scan(options)
    assert (summary.scanned, summary.absent) == (0, 1)
    assert "1 of absent studies" in summary.line()
    since = marks(options)["a"].absent
    assert since
    assert marks(options)["b"] == Mark()
    published = options.outputs.out.read_bytes()
    assert scan(options).absent == 1
    assert options.outputs.out.read_bytes() == published
    shutil.move(tmp_path / "away", two / "a")
    summary = scan(options)
    assert (summary.scanned, summary.unchanged, summary.absent) == (0, 2, 0)
    assert marks(options)["a"] == Mark()


def test_an_archive_that_is_not_mounted_is_not_an_emptied_one(options, two, tmp_path):
    scan(options)
    for name in "ab":
        shutil.move(two / name, tmp_path / f"away-{name}")
    summary = scan(changed(options, prune_s=0.0))
    assert (summary.absent, summary.pruned) == (0, 0)
    assert marks(options) == {"a": Mark(), "b": Mark()}


def test_another_archive_says_nothing_about_the_first(options, two, tmp_path):
    scan(options)
    tiny.write_series(tmp_path / "other" / "c", tiny.head_volume(3, slices=2), study="1.3")
    scan(changed(options, roots=(tmp_path / "other",), prune_s=0.0))
    assert set(marks(options)) == {"a", "b", "c"}
    assert set(marks(options).values()) == {Mark()}


def test_a_folder_that_cannot_be_listed_is_not_empty(options, two, monkeypatch):
    scan(options)
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        summary = scan(options)
    assert (summary.absent, summary.reasons["unreadable"]) == (0, 1)
    shutil.rmtree(two / "a")
    assert scan(options).absent == 1


def test_a_file_that_is_there_but_broken_is_not_absent(options, two):
    tiny.write_nifti(two / "c.nii", tiny.head_volume(1, slices=2))
    scan(options)
    (two / "c.nii").write_bytes(b"no longer an image")
    scan(options)
    assert marks(options)["c.nii"] == Mark()


def test_results_are_dropped_only_when_asked_and_when_absent_for_long(options, two):
    scan(options)
    shutil.rmtree(two / "a")
    first = scan(changed(options, prune_s=0.0))
    assert (first.pruned, first.absent) == (0, 1)  # only what an earlier scan missed too
    later = scan(changed(options, prune_s=30 * DAY))
    assert (later.pruned, later.absent) == (0, 1)
    last = scan(changed(options, prune_s=0.0))
    assert (last.pruned, last.absent) == (1, 0)
    assert "1 dropped" in last.line()
    assert set(marks(options)) == {"b"}
    options.outputs.ledger_path.unlink()
    assert scan(options).unchanged == 1


def test_marks_outlive_the_ledger(options, two, refitted):
    scan(options)
    shutil.rmtree(two / "a")
    scan(refitted)
    before = marks(options)
    assert before["a"].absent
    assert before["b"] == Mark(stale=True)
    options.outputs.ledger_path.unlink()
    summary = scan(refitted)
    assert (summary.stale, summary.absent) == (1, 1)
    assert marks(options) == before


def test_results_of_a_refitted_detector_are_stale_until_they_are_asked_for(options, two, refitted):
    scan(options)
    summary = scan(refitted)
    assert (summary.scanned, summary.stale) == (0, 2)
    assert "2 stale" in summary.line()
    assert marks(options) == {"a": Mark(stale=True), "b": Mark(stale=True)}
    tiny.write_series(two / "c", tiny.head_volume(5, slices=2), study="1.5")
    assert scan(refitted).scanned == 1
    again = changed(refitted, rescan=Rescan.STALE)
    assert forecast_scan(again).slices == 4
    assert scan(changed(again, max_studies=1)).stale == 1
    assert scan(again).scanned == 1
    assert set(marks(options).values()) == {Mark()}
    stacks = [s for study in results.open(options.outputs.out).studies() for s in study.stacks]
    assert {s.info["detector_hash"] for s in stacks} == {refitted.inputs.detectors[0][1].digest}
    assert scan(again).scanned == 0


def test_a_new_detector_scans_what_it_fits(options, two, refitted, tmp_path):
    path, old = options.inputs.detectors[0]
    tiny.write_series(
        two / "ct", tiny.head_volume(4, slices=2), study="1.4", Modality="CT", BodyPartExamined="X"
    )
    assert scan(options).scanned == 3
    assert scan(options).reasons["out-of-scope"] == 2
    method = old.load_method(path, refitted.inputs.detectors[0][1].load_backbone(**CPU))
    at = tmp_path / "ct.safetensors"
    replace(old, name="ct", domain=detector.Domain("CT", "", "", "")).save(at, method)
    both = changed(options, detectors=(*options.inputs.detectors, (at, detector.read(at))))
    summary = scan(both)
    assert (summary.scanned, summary.unchanged) == (1, 2)
    assert "out-of-scope" not in summary.reasons


CPU = {"device": "cpu", "precision": "fp32"}


def test_all_and_failed_are_scanned_again_on_request(options, two):
    broken = sorted((two / "b").iterdir())[1]
    data = pydicom.dcmread(broken)
    data.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    data.PixelData = pydicom.encaps.encapsulate([b"\xff" * 80])
    data["PixelData"].VR = "OB"
    data.save_as(broken)
    assert scan(options).reasons["corrupt"] == 1
    assert scan(options).scanned == 0
    assert scan(changed(options, rescan=Rescan.FAILED)).scanned == 1
    assert scan(changed(options, rescan=Rescan.ALL)).scanned == 2


def test_a_result_of_what_was_left_over_is_stale(options, two):
    scan(options)
    for name in "ab":
        tiny.write_series(two / f"{name}2", tiny.head_volume(1, slices=2), study=f"1.{ord(name)}")
    summary = scan(changed(options, max_studies=1))
    assert (summary.scanned, summary.left, summary.stale) == (1, 1, 1)
    assert scan(options).stale == 0


def test_the_paranoid_read_every_file(options, two):
    scan(options)
    victim = sorted((two / "a").iterdir())[0]
    status, data = victim.stat(), bytearray(victim.read_bytes())
    data[-100:] = bytes(100)
    victim.write_bytes(data)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scan(options).scanned == 0
    sure = changed(options, paranoid=True)
    assert scan(sure).scanned == 2  # known by content from now on
    os.utime(victim)
    assert scan(sure).scanned == 0
    data[-100:] = b"\x01" * 100
    victim.write_bytes(data)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scan(sure).scanned == 1


def test_a_study_that_is_seen_in_part_keeps_its_result(options, two, monkeypatch):
    tiny.write_series(two / "a2", tiny.head_volume(3, slices=2), study="1.97")  # as that of a
    assert scan(options).scanned == 2
    published = {s.key: s.info["slices"] for s in results.open(options.outputs.out).studies()}
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("/a2"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        assert forecast_scan(options).arriving == 1
        summary = scan(options)
    assert (summary.scanned, summary.unchanged, summary.arriving) == (0, 1, 1)
    assert (summary.stale, summary.absent) == (0, 0)
    found = results.open(options.outputs.out)
    assert {s.key: s.info["slices"] for s in found.studies()} == published
    assert scan(options).unchanged == 2


def test_a_part_that_waited_is_marked_when_it_is_published(options, two, monkeypatch, tmp_path):
    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            scan(options)
    shutil.move(two / "a", tmp_path / "away")
    assert scan(options).absent == 1
    assert marks(options)["a"].absent
    assert marks(options)["b"] == Mark()


def test_what_was_not_dropped_is_not_said_to_be(options, two, monkeypatch):
    scan(options)
    shutil.rmtree(two / "a")
    scan(options)
    tiny.write_series(two / "c", tiny.head_volume(3, slices=2), study="1.3")

    def fail(*_):
        raise DeviceError("the GPU is lost")

    monkeypatch.setattr(engine, "loaded_scorers", fail)
    summary = scan(changed(options, prune_s=0.0))
    assert (summary.failure, summary.pruned, summary.absent) == ("the GPU is lost", 0, 1)
    assert set(marks(options)) == {"a", "b"}
