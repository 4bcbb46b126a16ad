"""Every file found has one row, whatever it is, whenever it is asked for."""

import csv
import io
import os
import signal

import numpy as np
import pydicom
import pytest

from medscan import report, results
from medscan.errors import DiskError, UsageError
from medscan.inspect import forecast_scan
from medscan.planning.ledger import Ledger
from medscan.report.accounting import COLUMNS
from medscan.scanning import scan
from tests import tiny
from tests.options import changed


@pytest.fixture
def options(options, tmp_path):
    """A scan that is asked for every file, also when nothing has changed."""
    return changed(options, accounting=tmp_path / "table.csv")


@pytest.fixture
def messy(root):
    """A study, a CT, a volume with its voxels apart, a copy, a broken file, junk."""
    tiny.write_series(root / "mr", tiny.head_volume(0), study="1.2.3")
    tiny.write_series(
        root / "ct", tiny.head_volume(8), study="1.2.9", Modality="CT", BodyPartExamined="CHEST"
    )
    (root / "mr" / "copy").write_bytes((root / "mr" / "0001").read_bytes())
    (root / "ct" / "0002").write_bytes((root / "ct" / "0002").read_bytes()[:-600])
    tiny.write_nifti(root / "pair" / "head.hdr", tiny.head_volume(3))
    (root / "notes.txt").write_text("no image")
    return root


def found_below(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def table(entries, tmp_path):
    report.write_accounting(entries, tmp_path / "files.csv")
    data = (tmp_path / "files.csv").read_bytes()
    with io.StringIO(data.decode("utf-8"), newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_a_file_with_its_place(options, messy, tmp_path):
    summary = scan(options)
    rows = table(summary.entries, tmp_path)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["path"] for row in rows] == found_below(messy)
    by_path = {row["path"]: row for row in rows}
    third = by_path["mr/0002"]
    assert (third["bucket"], third["reason"], third["index"]) == ("scanned", "", "2")
    assert (third["study"], third["detail"]) == ("1.2.3", "")
    header = pydicom.dcmread(messy / "mr" / "0002")
    assert third["series"] == header.SeriesInstanceUID
    studies = results.open(options.outputs.out).studies()
    (stack,) = next(s for s in studies if s.info["StudyInstanceUID"] == "1.2.3").stacks
    assert third["stack"] == stack.key
    assert stack.path[2] == "mr/0002"
    copy = by_path["mr/copy"]
    assert (copy["bucket"], copy["reason"], copy["stack"]) == ("skipped", "duplicate", "")
    assert (copy["study"], copy["detail"]) == ("1.2.3", "of mr/0001")
    assert by_path["ct/0002"]["reason"] == "truncated"
    assert by_path["ct/0002"]["bucket"] == "failed"
    assert by_path["ct/0002"]["study"] == "1.2.9"
    assert by_path["ct/0000"]["reason"] == "out-of-scope"
    assert by_path["ct/0000"]["stack"]
    pair, voxels = by_path["pair/head.hdr"], by_path["pair/head.img"]
    assert voxels["bucket"] == pair["bucket"] == "scanned"
    assert voxels["stack"] == pair["stack"]
    assert by_path["notes.txt"]["reason"] == "not-an-image"
    totals = {name: sum(r["bucket"] == name for r in rows) for name in summary.files}
    assert totals == summary.files
    assert results.open(options.outputs.out).run().counts == totals | {"files": len(rows)}


def test_a_second_scan_tells_the_same(options, messy, tmp_path):
    first = table(scan(options).entries, tmp_path)
    again = scan(options)
    assert again.scanned == 0
    assert table(again.entries, tmp_path) == first
    assert table(forecast_scan(options).entries, tmp_path) == first
    tiny.write_series(messy / "new", tiny.head_volume(5), study="1.2.4")
    later = table(scan(options).entries, tmp_path)
    assert [row for row in later if not row["path"].startswith("new/")] == first


def test_a_dry_run_foresees_what_a_scan_finds(options, messy, tmp_path):
    forecast = forecast_scan(options)
    foreseen = table(forecast.entries, tmp_path)
    assert [row["path"] for row in foreseen] == found_below(messy)
    assert sum(forecast.files.values()) == len(foreseen)
    assert sum(forecast.set_aside.values()) == len(foreseen) - forecast.files["scanned"]
    assert f"{len(foreseen)} files found: {forecast.files['scanned']} scanned" in forecast.text()
    assert foreseen == table(scan(options).entries, tmp_path)
    assert not options.outputs.ledger_path.with_suffix(".new").exists()


def test_a_stopped_scan_accounts_for_what_it_left(options, root, tmp_path):
    for number in range(12):  # some studies are drawn ahead
        tiny.write_series(root / str(number), tiny.head_volume(number), study=f"1.{number}")
    seen = []

    def stop(*_):
        if not seen:
            seen.append(1)
            signal.raise_signal(signal.SIGTERM)

    summary = scan(options, stop)
    assert summary.left > 0
    rows = table(summary.entries, tmp_path)
    assert sum(summary.files.values()) == len(rows) == 72
    left = [row for row in rows if row["reason"] == "left-over"]
    assert len(left) == 6 * summary.left
    assert all(row["study"] and row["bucket"] == "skipped" for row in left)
    assert {row["reason"] for row in table(scan(options).entries, tmp_path)} == {""}


def test_a_file_with_frames_in_several_stacks_has_one_row(options, root, tmp_path):
    vectors = np.stack([tiny.head_volume(1)] * 2, -1)[..., None, :]
    tiny.write_nifti(root / "vectors.nii.gz", vectors)
    rows = table(scan(options).entries, tmp_path)
    assert [row["path"] for row in rows] == ["vectors.nii.gz"]
    assert (rows[0]["bucket"], rows[0]["study"], rows[0]["series"]) == ("scanned", "", "")
    (study,) = results.open(options.outputs.out).studies()
    stack = next(s for s in study.stacks if s.key == rows[0]["stack"])
    assert stack.frame[int(rows[0]["index"])] == 0


HOSTILE = ["=cmd|'/c calc'!A1", "a\nb", "a\r\nb;=1", 'q"u,o\tte', "-1+1", "\u202egpj.x", "\x1b[2J"]


def test_hostile_names_are_one_harmless_line_each(options, root, tmp_path):
    volume = tiny.head_volume(1)
    for name in HOSTILE:
        tiny.write_series(root / name, volume, study="1.2", SeriesInstanceUID="=1+1\n")
    folder = root / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff\n.txt")).write_text("no image")
    entries = scan(options).entries
    rows = table(entries, tmp_path)
    assert len(rows) == len(entries) == 6 * len(HOSTILE) + 1
    text = (tmp_path / "files.csv").read_bytes().decode("utf-8")
    assert len(text.splitlines()) == len(rows) + 1
    assert all(c.isprintable() or c == "\n" for c in text)
    for row in rows:
        assert not any(value.startswith(("=", "+", "-", "@")) for value in row.values())
    assert "caf\\udce9/\\udcff\\n.txt" in {row["path"] for row in rows}
    assert table(scan(options).entries, tmp_path) == rows


def test_the_order_of_roots_and_folders_does_not_matter(options, messy, tmp_path):
    (tmp_path / "other").mkdir()
    tiny.write_nifti(tmp_path / "other" / "pair" / "head.hdr", tiny.head_volume(4))
    both = changed(options, roots=(messy, tmp_path / "other"), out=tmp_path / "a.h5")
    turned = changed(both, roots=both.inputs.roots[::-1], out=tmp_path / "b.h5")
    rows = table(scan(both).entries, tmp_path)
    assert rows == table(scan(turned).entries, tmp_path)
    assert len(rows) == len(found_below(messy)) + 2


def test_the_table_is_whole_or_as_it_was(options, messy, tmp_path):
    target = tmp_path / "files.csv"
    target.write_text("old")
    entries = scan(options).entries

    def broken():
        yield entries[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskError, match="No space left"):
        report.write_accounting(broken(), target)
    assert target.read_text() == "old"
    assert not list(tmp_path.glob(".files.csv*"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none/files.csv", "is not a folder"),
        ("files.txt", r"end it in \.csv"),
        ("results.csv", "itself writes"),
        ("link.csv", "not a regular file"),
    ],
)
def test_a_table_is_not_written_just_anywhere(options, messy, tmp_path, name, why):
    (tmp_path / "link.csv").symlink_to(messy / "notes.txt")
    wrong = changed(options, accounting=tmp_path / name)
    for run in (scan, forecast_scan):
        with pytest.raises(UsageError, match=why):
            run(wrong)
    assert not options.outputs.ledger_path.exists()


def test_a_table_inside_the_archive_is_not_part_of_it(options, messy):
    inside = changed(options, accounting=messy / "files.csv")
    first = scan(inside)
    report.write_accounting(first.entries, messy / "files.csv")
    (messy / ".files.csv.12.part").write_text("of a scan that was killed")
    assert scan(inside).files == first.files
    (messy / "files.csv.old").write_text("kept by somebody")
    assert sum(scan(inside).files.values()) == sum(first.files.values()) + 1


def test_a_study_below_two_roots_keeps_its_rows_apart(options, root, tmp_path):
    tiny.write_series(root / "s", tiny.head_volume(1), study="7.7")
    tiny.write_series(tmp_path / "second" / "s", tiny.head_volume(2), study="7.7")
    broken = tmp_path / "second" / "s" / "0003"
    data = pydicom.dcmread(broken)
    data.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    data.PixelData = pydicom.encaps.encapsulate([b"\xff" * 80])
    data["PixelData"].VR = "OB"
    data.save_as(broken)
    both = changed(options, roots=(root, tmp_path / "second"))
    first = scan(both).entries
    failed = [entry.file.full for entry in first if str(entry.bucket) == "failed"]
    assert failed == [broken]
    assert scan(both).entries == first
    ledger = Ledger(options.outputs.ledger_path)
    (study,) = results.open(options.outputs.out).keys()
    assert len(ledger.work(study).outcomes) == 12
    ledger.close()
