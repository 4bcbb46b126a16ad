"""What got worse since the last scan is reported once, and only then."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from medscan import archive
from medscan.archive import ArchiveFile, Outcome, Reason
from medscan.errors import DiskError
from medscan.nights import compare_with_last, expect_removal, remember_night
from medscan.planning import FileEntry, Ledger
from medscan.scanning import scan
from tests import tiny

WITH_LIST = "; to list every file, scan again with --accounting files.csv"


def worse(options):
    return scan(options).worse


def test_a_sound_archive_is_never_reported(options, three):
    assert worse(options) == []
    assert worse(options) == []
    tiny.write_series(three / "new", tiny.head_volume(5, slices=3), study="1.5")
    assert worse(options) == []


def test_a_file_that_fails_is_reported_in_its_first_night(options, three):
    broken = sorted((three / "0").iterdir())[0]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-300])
    assert worse(options) == ["files or folders that fail now: 1 truncated"]
    summary = scan(options)
    assert (summary.worse, summary.files["failed"]) == ([], 1)
    assert summary.faults() == []
    assert summary.faults(strict=True) == [f"files that fail, in all: 1{WITH_LIST}"]
    broken.write_bytes(whole)
    assert worse(options) == []
    broken.write_bytes(whole[:-300])
    assert worse(options) == ["files or folders that fail now: 1 truncated"]


def truncate_one(folder):
    broken = min(folder.iterdir())
    broken.write_bytes(broken.read_bytes()[:-300])


def refuses(error):
    """A worklist that cannot be written."""

    def publish(*_paths):
        raise error

    return publish


FAILED = "files or folders that fail now: 1 truncated"


def test_what_an_error_kept_from_being_told_is_told_by_the_next_scan(options, three):
    truncate_one(three / "0")
    with pytest.raises(RecursionError):
        scan(options, publish=refuses(RecursionError()))
    assert worse(options) == [FAILED]
    assert worse(options) == []


def test_a_worklist_that_cannot_be_written_hides_nothing(options, three):
    truncate_one(three / "0")
    summary = scan(options, publish=refuses(DiskError("night.html: full")))
    assert summary.problems == ["night.html: full"]
    assert summary.faults() == ["night.html: full", FAILED + WITH_LIST]
    assert scan(options).faults() == []


def entries_of(**reasons):
    files = {name: ArchiveFile(name, Path("/archive"), 1, 1) for name in reasons}
    return [FileEntry(Outcome(files[name], Reason(reason))) for name, reason in reasons.items()]


@pytest.mark.parametrize("undecided", ["left-over", "arriving"])
def test_a_failed_file_that_a_scan_did_not_reach_is_not_news_later(undecided, tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    nights = ("corrupt", undecided, "corrupt", "scanned", undecided, "corrupt")
    said = []
    for reason in nights:
        night, lines = compare_with_last(ledger, entries_of(a=reason, b="scanned"), {})
        remember_night(ledger, night)
        said.append(lines)
    ledger.close()
    failing = ["files or folders that fail now: 1 corrupt"]
    assert said == [failing, [], [], [], [], failing]


def test_files_that_lost_their_detector_are_reported(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    remember_night(
        ledger, compare_with_last(ledger, entries_of(a="scanned", b="out-of-scope"), {})[0]
    )
    for lost, lines in (
        ("left-over", []),
        ("out-of-scope", ["files without a detector: 2, 1 in the last scan"]),
    ):
        assert compare_with_last(ledger, entries_of(a=lost, b="out-of-scope"), {})[1] == lines
    ledger.close()


def test_a_folder_that_lost_its_permissions_is_reported_once(options, three, monkeypatch):
    assert worse(options) == []
    real = os.scandir

    def scandir(path):
        if str(os.fsdecode(path)).endswith("/1"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert worse(options) == [
        "files or folders that fail now: 1 unreadable",
        "files found: 7, 9 in the last scan",
    ]
    assert worse(options) == []


def test_studies_that_are_gone_are_reported_once(options, three):
    assert worse(options) == []
    shutil.rmtree(three / "1")
    summary = scan(options)
    assert summary.worse == [
        "studies gone from the archive: 1",
        "files found: 6, 9 in the last scan",
    ]
    assert summary.absent == 1
    assert worse(options) == []


def test_studies_that_were_removed_on_purpose_are_not_missed(options, three):
    assert worse(options) == []
    ledger = Ledger(options.outputs.ledger_path)
    expect_removal(ledger, [archive.key_of("1.0"), archive.key_of("1.1")])
    ledger.close()
    for gone in "01":
        shutil.rmtree(three / gone)
    shutil.move(three / "2", three.parent / "2")
    assert worse(options) == ["files found: 0, 3 in the last scan"]  # the two are not counted
    shutil.move(three.parent / "2", three / "2")
    summary = scan(options)
    assert (summary.worse, summary.absent) == ([], 2)
    shutil.rmtree(three / "2")
    tiny.write_series(three / "3", tiny.head_volume(3, slices=3), study="1.3")
    assert worse(options) == ["studies gone from the archive: 1"]


def test_an_archive_that_is_not_mounted_is_reported(options, three):
    assert worse(options) == []
    for folder in list(three.iterdir()):
        shutil.rmtree(folder)
    assert worse(options) == ["files found: 0, 9 in the last scan"]


def test_images_of_a_kind_without_a_detector_are_reported_when_first_seen(options, three):
    assert worse(options) == []
    volume = tiny.head_volume(8, slices=2)
    tiny.write_series(three / "ct", volume, study="1.8", Modality="CT", BodyPartExamined="CHEST")
    named = "images that have no detector, not seen before: CT CHEST"
    assert worse(options) == [named]
    tiny.write_series(three / "ct2", volume, study="1.9", Modality="CT", BodyPartExamined="CHEST")
    assert worse(options) == []


def test_a_failure_of_the_scan_itself_is_no_measure_for_the_next(options, three):
    summary = scan(options)
    summary.failure, summary.left = "disk full", 2
    assert summary.faults(strict=True) == ["disk full; 2 studies are left over"]
