"""Nights that go wrong, as cron sees them: real processes, exit codes, one line each."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from medscan import results
from medscan.planning.ledger import Ledger
from medscan.results import Work
from medscan.scanning.lock import locked
from tests import processes, tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def archive(tmp_path):
    for number in range(6):
        volume = tiny.head_volume(number, slices=3)
        tiny.write_series(tmp_path / "archive" / str(number), volume, study=f"1.{number}")
    return tmp_path / "archive"


@pytest.fixture
def words(archive, detector_file):
    return ("scan", "archive", "--detector", str(detector_file), "--batch-size", "1")


def told(done, code):
    """What went wrong, in one line for a person."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("medscan: ")
    return line


def left(tmp_path):
    names = {path.name for path in tmp_path.rglob("*")}
    return {name for name in names if name.endswith((".part", ".parts", ".lock", "-journal"))}


def children(process):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(path.parent.name))
    return found


def command(process):
    """Its command line; nothing once it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def begun(process, folder, timeout=120):
    """Wait until a scan has finished its first study."""
    for _ in range(timeout * 50):
        if process.ended() or any(folder.glob("results.h5.parts/*.h5")):
            return
        time.sleep(0.02)
    raise AssertionError("the scan did not begin")


@pytest.fixture
def start(environment, tmp_path, words):
    """Starts a scan; ends it with the test."""
    started = []

    def go(*more):
        started.append(processes.Command([*words, *more], environment, tmp_path))
        return started[-1]

    yield go
    for process in started:
        process.kill()


def test_budgets_end_with_0_and_say_what_is_left(medscan, words, tmp_path):
    done = medscan(*words, "--max-studies", 2, "--order", "newest", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["scanned"], summary["left"]) == (2, 4)
    done = medscan(*words, "--until", "25:00")
    assert "--until 25:00: a time of day" in told(done, 2)
    done = medscan(*words)
    assert done.returncode == 0
    assert "4 studies scanned" in done.stdout
    assert left(tmp_path) == set()


def test_a_second_scan_exits_75_and_names_the_first(medscan, words, tmp_path):
    with locked(tmp_path / "results.h5"):
        line = told(medscan(*words), 75)
        assert f"in use by process {os.getpid()} on {os.uname().nodename} since " in line
    assert not (tmp_path / "results.h5").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_study_in_hand_and_publishes(start, tmp_path, number, code):
    process = start()
    begun(process, tmp_path)
    process.signal(number)
    done = process.wait()
    assert done.stderr == ""
    kept = len(results.open(tmp_path / "results.h5").keys())
    assert f"{kept} studies scanned" in done.stdout
    assert done.returncode == code
    assert left(tmp_path) == set()


def test_a_scan_that_is_stopped_and_continued_loses_no_file(start, tmp_path):
    process = start("--file-timeout", "2")
    begun(process, tmp_path)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(3)
    os.killpg(process.pid, signal.SIGCONT)
    done = process.wait()
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 failed" in done.stdout


def test_a_worker_that_is_killed_costs_nothing(start, tmp_path):
    process = start()
    begun(process, tmp_path)
    workers = [child for child in children(process.pid) if b"spawn_main" in command(child)]
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    done = process.wait()
    assert done.returncode == 0
    assert "0 failed" in done.stdout
    assert len(results.open(tmp_path / "results.h5").keys()) == 6


def test_no_process_outlives_a_scan_that_is_killed(start, medscan, words, tmp_path):
    process = start()
    begun(process, tmp_path)
    started = children(process.pid)
    assert started
    process.kill()
    for _ in range(300):
        if not any(map(command, started)):
            break
        time.sleep(0.1)
    assert [command(child) for child in started] == [b""] * len(started)
    done = medscan(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the lock of process {process.pid} on" in done.stdout
    assert "was taken over" in done.stdout
    assert left(tmp_path) == set()


def test_results_that_cannot_be_written_are_one_line(medscan, words, tmp_path):
    folder = tmp_path / "readonly"
    folder.mkdir()
    if os.geteuid() == 0:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)],
            capture_output=True,
            check=False,
        )
        if made.returncode:
            pytest.skip("root writes anywhere, and may not mount here")
    else:
        folder.chmod(0o500)
    try:
        line = told(medscan(*words, "--out", "readonly/results.h5"), 1)
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(folder)], check=True)
    assert "cannot be written" in line


def test_the_ledger_is_shown_and_changed(medscan, tmp_path):
    ledger = Ledger(tmp_path / "results.h5.ledger")
    work = Work("c", "m", "r", "t", [["a", "decoder-died", ""]])
    for _ in range(3):
        ledger.finish("bad", work, "its decoder died of SIGSEGV")
    ledger.finish("odd", work, "its decoder did not finish in time")
    ledger.close()
    shown = medscan("ledger", "show", "results.h5")
    assert shown.stdout.splitlines() == [
        "2 studies done, 0 of them stale, 0 absent",
        "3 quarantined bad its decoder died of SIGSEGV",
        "1 tried again odd its decoder did not finish in time",
    ]
    assert medscan("ledger", "retry", "results.h5").stdout == "1 studies will be tried again\n"
    done = medscan("ledger", "forget", "results.h5", "odd", "none")
    assert done.stdout == "1 studies will be scanned again\n"
    assert "knows nothing of 'none'" in told(done, 2)
    found = json.loads(medscan("ledger", "show", "results.h5", "--json").stdout)
    assert found == {"studies": 1, "stale": 0, "absent": 0, "trouble": []}
    with locked(tmp_path / "results.h5"):
        assert "in use by" in told(medscan("ledger", "retry", "results.h5"), 75)
    assert "there is no ledger" in told(medscan("ledger", "show", "none.h5"), 2)
