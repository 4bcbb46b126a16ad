"""Archives, names and files that mean harm."""

import csv
import os
import stat
from pathlib import Path

import pydicom
import pytest
from pydicom.config import IGNORE, settings

from medscan import results
from tests import tiny

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
SCRIPT = "<script>alert(1)</script>"
FORMULA = "=cmd|' /C calc'!A0"


@pytest.fixture
def scan(detector_file, tmp_path):
    """Words of a scan of `archive`, in this process."""
    return ("scan", tmp_path / "archive", "--detector", detector_file, "--workers", 0)


def write(folder, **tags):
    """A series whose tags say anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "writing_validation_mode", IGNORE)
        patch.setattr(settings, "reading_validation_mode", IGNORE)
        tiny.write_series(folder, tiny.head_volume(1, slices=2))
        for path in folder.iterdir():
            data = pydicom.dcmread(path)
            for name, value in tags.items():
                setattr(data, name, value)
            data.save_as(path)


def test_what_files_say_leads_nowhere_and_runs_nowhere(inside, scan, tmp_path):
    evil = "../../../escaped"
    write(tmp_path / "archive" / "a", StudyInstanceUID=evil, SeriesInstanceUID=f"{evil}/b")
    write(tmp_path / "archive" / "b", StudyInstanceUID=FORMULA, PatientID=FORMULA)
    write(
        tmp_path / "archive" / f"c{SCRIPT.replace('/', '_')}",
        StudyInstanceUID=SCRIPT,
        SeriesDescription=f"{SCRIPT}{ESCAPE} FLAIR",
        PatientID=f"{SCRIPT}{ESCAPE}",
    )
    (tmp_path / "archive" / f"{FORMULA.replace('/', '_')}{ESCAPE}").write_text("no image")
    before = {path for path in tmp_path.rglob("*") if "work" not in path.parts}
    code, out, err = inside(
        *scan, "--identify", "--accounting", "files.csv", "--log-file", "log.jsonl"
    )
    assert (code, err) == (0, "")
    assert inside("report", "results.h5", "--out", "again")[0] == 0
    assert inside("export", "results.h5", "--to", "nifti", "--out", "maps")[0] == 0
    assert inside("export", "results.h5", "--to", "csv", "--out", "maps")[0] == 0
    assert {path for path in tmp_path.rglob("*") if "work" not in path.parts} == before
    assert not list(tmp_path.parent.glob("escaped*"))
    assert len(results.open("results.h5").keys()) == 3
    texts = [p for p in Path.cwd().rglob("*") if p.suffix in (".csv", ".html", ".jsonl", ".json")]
    assert len(texts) >= 5
    for path in texts:
        data = path.read_text("utf-8")
        assert "\x1b" not in data, path
        assert "\x07" not in data, path
        if path.suffix == ".html":
            assert "<script>alert" not in data, path
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as stream:
                cells = [cell for row in csv.reader(stream) for cell in row]
            assert not [cell for cell in cells if cell.startswith("=")], path
    assert "\x1b" not in out


def test_no_output_is_written_through_a_link(inside, scan, tmp_path):
    write(tmp_path / "archive")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    refused = {
        "results.h5": (),
        "results.h5.ledger": (),
        "results.h5.key": (),
        "results.h5.lock": (),
        "files.csv": ("--accounting", "files.csv"),
        "log.jsonl": ("--log-file", "log.jsonl"),
    }
    for name, words in refused.items():
        Path(name).symlink_to(victim)
        code, _, err = inside(*scan, *words)
        assert code in (1, 2), name
        assert len(err.splitlines()) == 1, name
        assert victim.read_text() == "precious", name
        Path(name).unlink()
    for name in ("results.csv", "results.html"):
        Path(name).symlink_to(victim)
    assert inside(*scan)[0] == 0
    assert victim.read_text() == "precious"


def test_parts_are_not_kept_behind_a_link(inside, scan, tmp_path):
    write(tmp_path / "archive")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "others.h5").write_bytes(b"precious")
    Path("results.h5.parts").symlink_to(tmp_path / "elsewhere")
    code, _, err = inside(*scan)
    assert (code, "is not a folder" in err) == (2, True)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["others.h5"]


def test_the_umask_holds_for_every_output(inside, scan, tmp_path):
    write(tmp_path / "archive")
    before = os.umask(0o027)
    try:
        assert inside(*scan, "--accounting", "files.csv", "--log-file", "log.jsonl")[0] == 0
        assert inside("export", "results.h5", "--to", "nifti", "--out", "maps")[0] == 0
        assert inside("report", "results.h5", "--out", "again")[0] == 0
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in Path.cwd().rglob("*") if p.is_file()}
    assert modes.pop("results.h5.ledger") == modes.pop("results.h5.key") == 0o600
    assert set(modes.values()) == {0o640}, modes
    folders = [p for p in Path.cwd().rglob("*") if p.is_dir()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in folders} == {0o750}


def test_detectors_that_are_pickles_are_refused_and_not_opened(inside, scan, tmp_path):
    write(tmp_path / "archive")
    opened = tmp_path / "opened"
    pickled = f"cos\nsystem\n(S'touch {opened}'\ntR.".encode()
    for data in (pickled, b"\x80\x04\x95" + pickled, b"PK\x03\x04" + pickled):
        Path("evil.safetensors").write_bytes(data)
        code, _, err = inside("scan", tmp_path / "archive", "--detector", "evil.safetensors")
        assert (code, "is not a detector file" in err) == (2, True)
    assert not opened.exists()


def test_a_tampered_detector_is_another_one(inside, scan, detector_file, tmp_path):
    write(tmp_path / "archive")
    assert inside(*scan)[0] == 0
    data = bytearray(detector_file.read_bytes())
    data[-1] ^= 1
    Path("tampered.safetensors").write_bytes(data)
    words = ("verify", "results.h5", "--archive", tmp_path / "archive")
    assert inside(*words, "--detector", detector_file)[0] == 0
    code, out, _ = inside(*words, "--detector", "tampered.safetensors")
    assert (code, "is not here" in out) == (1, True)


def test_errors_cannot_steer_a_terminal(inside):
    code, _, err = inside("scan", f"nowhere{ESCAPE}\nmedscan: all is well")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "\x1b" not in err
    assert "\\x1b]0;owned\\x07" in err
