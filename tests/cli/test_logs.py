"""What a scan says, to whom, and where nobody looks."""

import datetime
import errno
import json
import logging
import os
import pty
import subprocess
from pathlib import Path

import pytest

from medscan.cli import logs
from tests import tiny
from tests.cli.conftest import MEDSCAN


@pytest.fixture
def scan(detector_file, tmp_path):
    tiny.write_series(tmp_path / "archive" / "a", tiny.head_volume(1), study="1.2")
    tiny.write_series(tmp_path / "archive" / "b", tiny.head_volume(2), study="1.3")
    broken = sorted((tmp_path / "archive" / "b").iterdir())[2]
    broken.write_bytes(broken.read_bytes()[:-500])
    return ("scan", tmp_path / "archive", "--detector", detector_file, "--workers", 0)


def events(path=Path("log.jsonl")):
    return [json.loads(line) for line in path.read_text().splitlines()]


FAULT = (
    "medscan: files or folders that fail now: 1 truncated; to list every file, scan again with "
    "--accounting files.csv\n"
)


def test_a_line_an_event_and_one_line_for_cron(inside, scan):
    code, out, err = inside(*scan, "--log-file", "log.jsonl")
    assert (code, err) == (3, FAULT)
    assert len(out.splitlines()) == 1
    found = events()
    assert [e["event"] for e in found if e["event"].startswith("scan")] == [
        "scan begins",
        "scan ends",
    ]
    for event in found:
        assert datetime.datetime.fromisoformat(event["time"]).utcoffset() == datetime.timedelta(0)
        assert event["level"] in ("info", "warning", "error")
    done = [e for e in found if e["event"] == "study scanned"]
    assert [(e["slices"], e["flagged"] in (True, False)) for e in done] == [(6, True), (5, True)]
    (failed,) = (e for e in found if e["event"] == "file failed")
    assert (failed["level"], failed["reason"]) == ("warning", "truncated")
    end = found[-1]
    assert (end["studies"], end["scanned"], end["files"], end["failed"]) == (2, 2, 12, 1)
    stages = [e["stage"] for e in found if e["event"] == "stage ended"]
    assert stages == ["walk", "index", "plan", "scan", "publish"]
    before = len(found)
    inside(*scan, "--log-file", "log.jsonl")
    assert events()[:before] == found  # it grows
    assert len(events()) > before


def test_the_manifest(inside, scan, detector_file):
    from medscan import detector

    code, out, err = inside(*scan, "--json")
    assert (code, err) == (3, FAULT)
    told = json.loads(out)
    assert told["worse"] == ["files or folders that fail now: 1 truncated"]
    assert told["files"] == {"scanned": 11, "skipped": 0, "failed": 1}
    assert told["reasons"] == {"scanned": 11, "truncated": 1}
    assert set(told["stages"]) == {"walk", "index", "plan", "scan", "publish"}
    assert sum(told["stages"].values()) <= told["seconds"] + 0.01
    assert told["versions"]["medscan"]
    found = detector.read(detector_file)
    assert told["detectors"] == [
        {
            "name": found.name,
            "hash": found.digest,
            "backbone": found.backbone,
            "backbone_hash": found.backbone_digest,
        }
    ]


@pytest.mark.parametrize("name", ["nowhere/log.jsonl", "."])
def test_a_log_that_cannot_be_is_refused_before_anything_is_written(inside, scan, name):
    code, out, err = inside(*scan, "--log-file", name)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["results.h5", "results.csv", "results.html", "results.h5.ledger", "results.h5.key", "a.csv"],
)
def test_a_log_over_another_output_is_refused(inside, scan, name):
    Path(name).write_bytes(b"as it was")
    code, out, err = inside(*scan, "--accounting", "a.csv", "--log-file", f"./{name}")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "--log-file" in err
    assert [(path.name, path.read_bytes()) for path in Path.cwd().iterdir()] == [
        (name, b"as it was")
    ]


def test_a_log_into_a_fifo_is_refused_and_not_waited_for(inside, scan):
    os.mkfifo("log.jsonl")
    code, _, err = inside(*scan, "--log-file", "log.jsonl")
    assert (code, "is not a regular file" in err) == (2, True)


def test_a_scan_that_fails_says_so_in_the_log_and_to_a_person(inside, scan):
    Path("results.h5").write_text("no results")
    code, _, err = inside(*scan, "--log-file", "log.jsonl")
    assert (code, len(err.splitlines())) == (2, 1)
    assert events()[-1] | {"time": ""} == {
        "time": "",
        "level": "error",
        "event": "command failed",
        "reason": "UsageError",
    }


def test_a_full_disk_costs_lines_and_not_the_scan(inside, scan, monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self):
            return None

        def close(self):
            return None

    monkeypatch.setattr(logs.LogFile, "_open", lambda self: Full())
    code, out, err = inside(*scan, "--log-file", "log.jsonl")
    assert code == 3
    assert "2 studies scanned" in out
    lost, fault = err.splitlines(keepends=True)
    assert "lines could not be written to log.jsonl" in lost
    assert fault == FAULT


def test_records_of_others_and_other_facts_stay_out(inside, scan, tmp_path, capfd):
    path = tmp_path / "log.jsonl"
    with logs.logging_to(path):
        logging.getLogger("nibabel").warning("Doe^Jane")
        logging.getLogger("medscan.scan").info("a", extra={"patient": "Doe^Jane", "study": "k"})
        try:
            int("Doe^Jane")
        except ValueError:
            logging.getLogger("medscan.scan").exception("b")
    assert "Jane" not in path.read_text()
    first, second = events(path)
    assert first["study"] == "k"
    assert second["error"] == "ValueError"
    assert second["at"][0].startswith("test_logs.py:")
    assert "Jane" not in capfd.readouterr().err


def test_a_terminal_shows_progress(without_torch, scan, tmp_path):
    here, there = pty.openpty()
    with subprocess.Popen(
        [*MEDSCAN, *map(str, scan)],
        env=without_torch | {"TERM": "xterm", "COLUMNS": "120"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=there,
    ) as process:
        os.close(there)
        shown = b""
        while True:
            try:
                data = os.read(here, 4096)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
        out = process.stdout.read().decode()
    os.close(here)
    assert process.returncode == 3
    assert len(out.splitlines()) == 1
    text = shown.decode()
    assert "slices/s" in text
    assert "1 failed" in text
    assert "2/2" in text
