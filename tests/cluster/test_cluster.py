"""A scan on two local Ray nodes is the local one, whatever of them is lost on the way."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from medscan import detector, results
from medscan.choices import EngineName
from medscan.cli.scan import _engine
from medscan.cluster import engine
from medscan.errors import UsageError
from medscan.scanning import scan
from tests import tiny
from tests.cluster import ray_nodes, ray_scan
from tests.content import content
from tests.options import scan_options

STUDIES, SLICES = 12, 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def worse(counts):
    """What a first scan writes to standard error."""
    listed = "to list every file, scan again with --accounting files.csv"
    return f"medscan: files or folders that fail now: {counts}; {listed}\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("ray") / "root"
    for number in range(STUDIES):
        volume = tiny.head_volume(number, slices=SLICES, side=32)
        tiny.write_series(root / f"patient{number}", volume, study=f"1.{number}")
    broken = root / "patient1" / "0002"
    broken.write_bytes(broken.read_bytes()[:-500])
    return root


@pytest.fixture(scope="module")
def openvino(graphs_of_session):
    """Scanners that begin in a second: without PyTorch, each by the graph that is in the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSCAN_RUNTIME", "openvino")
        patch.setenv("XDG_CACHE_HOME", str(graphs_of_session))
        yield


@pytest.fixture(scope="module")
def environment(openvino):
    path = os.pathsep.join(p for p in sys.path if p)
    # Short: the paths of Ray's sockets may have no more than 107 bytes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        told = {"HOME": home, "RAY_TMPDIR": home, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled"}
        yield os.environ | told


@pytest.fixture(scope="module")
def expected(archive, detector_file, openvino):
    """What a local scan finds."""
    out = archive.parent / "local.h5"
    (archive.parent / "key").write_text("5a" * 32)
    found = (detector_file, detector.read(detector_file))
    summary = scan(
        scan_options(
            roots=(archive,),
            out=out,
            detectors=(found,),
            named=True,
            device="cpu",
            batch_size=4,
            key_file=archive.parent / "key",
        )
    )
    assert (summary.scanned, summary.files["failed"]) == (STUDIES, 1)
    return content(out)


class Nodes:
    """Two nodes, with two cores each."""

    def __init__(self, environment):
        words = [sys.executable, ray_nodes.__file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(words, env=environment, **pipes)
        self.address, self.logs = self.process.stdout.readline().split()

    def remove(self):
        self.process.stdin.write("remove\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "removed\n"

    def kill(self, title):
        """Kill a process of Ray by its title; waits for one."""
        until = time.monotonic() + 400
        while time.monotonic() < until:
            for process in descendants(self.process.pid):
                if Path(f"/proc/{process}/cmdline").read_bytes().startswith(title.encode()):
                    os.kill(process, signal.SIGKILL)
                    return
            time.sleep(0.02)
        raise AssertionError(title)


def descendants(process):
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    for child in children:
        yield child and int(child)
        yield from descendants(int(child))


@pytest.fixture(scope="module")
def nodes(environment):
    found = Nodes(environment)
    yield found
    found.process.communicate(timeout=60)


@pytest.fixture
def begin(archive, detector_file, environment, tmp_path, expected):
    """Begins a scan into results.h5 of the test's folder, on a cluster."""

    running = []

    def started(kind, *words):
        scan = ("scan", archive, "--out", tmp_path / "results.h5", "--detector", detector_file)
        more = ("--batch-size", 4, "--key-file", archive.parent / "key", "--device", "cpu")
        told = [sys.executable, ray_scan.__file__, kind, *scan, *more, "--engine", "ray", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen([str(word) for word in told], env=environment, **pipes))
        return running[-1]

    yield started
    for process in running:
        process.kill()
        process.communicate()


def wait_for_parts(folder, count):
    until = time.monotonic() + 400
    while len(list((folder / "results.h5.parts").glob("*.h5"))) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def wait_for_lock(folder, process):
    until = time.monotonic() + 60
    while f"process {process} " not in (folder / "results.h5.lock").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_driver_that_is_killed_or_stopped_loses_nothing(begin, nodes, expected, tmp_path):
    scan = begin("slow", "--address", nodes.address)
    wait_for_parts(tmp_path, 2)
    scan.kill()
    scan.communicate()
    scan = begin("slow", "--address", nodes.address)
    wait_for_lock(tmp_path, scan.pid)  # scanners of the dead driver may still write a few parts
    wait_for_parts(tmp_path, 4)
    scan.terminate()
    told, _ = scan.communicate()
    assert (scan.returncode, "left over (SIGTERM)" in told) == (143, True), told
    done = len(results.open(tmp_path / "results.h5").keys())
    assert 4 <= done < STUDIES
    scan = begin("plain", "--address", nodes.address)
    assert f"{STUDIES - done} studies scanned" in scan.communicate()[0]
    assert content(tmp_path / "results.h5") == expected


def test_what_kills_a_decoder_costs_a_frame_and_what_kills_scanners_a_study(
    begin, nodes, expected, tmp_path
):
    scan = begin("deadly", "--address", nodes.address, "--json")
    told, errors = scan.communicate()
    assert (scan.returncode, errors) == (3, worse(f"{1 + SLICES} decoder-died, 1 truncated"))
    manifest = json.loads(told)
    counts = {"scanned": STUDIES * SLICES - 1 - (1 + SLICES), "skipped": 0, "failed": 2 + SLICES}
    assert (manifest["scanned"], manifest["files"]) == (STUDIES, counts)
    assert manifest["reasons"]["decoder-died"] == 1 + SLICES
    failures = results.open(tmp_path / "results.h5").run().failures
    why = Counter(message for *_, message in failures)
    assert why["its decoder died of SIGABRT"] == 1
    assert why["3 scanners were lost with its study"] == SLICES
    seen = content(tmp_path / "results.h5")
    changed = {
        name.split("@")[0].split("/")[0]
        for name in expected.keys() | seen.keys()
        if expected.get(name) != seen.get(name)
    }
    assert len(changed) == 2


def test_processes_and_a_node_that_are_lost_cost_a_retry(begin, nodes, expected, tmp_path):
    scan = begin("slow", "--address", nodes.address)
    wait_for_parts(tmp_path, 1)
    nodes.kill("ray::decode")
    nodes.kill("ray::Slow")
    wait_for_parts(tmp_path, 3)
    nodes.remove()
    told, errors = scan.communicate()
    assert (scan.returncode, errors) == (3, worse("1 truncated"))
    assert told.startswith(f"{STUDIES} studies scanned ({STUDIES * SLICES - 1} slices")
    assert content(tmp_path / "results.h5") == expected
    assert not (tmp_path / "results.h5.parts").exists()


def test_after_all_this_no_log_tells_of_a_patient(nodes):
    logs = [path for path in (Path(nodes.logs) / "logs").rglob("*") if path.is_file()]
    assert len(logs) > 5
    for log in logs:
        assert b"patient" not in log.read_bytes()
        assert b"5a5a5a5a" not in log.read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("--address 127.0.0.1:1", 75, "no Ray cluster answers at 127.0.0.1:1: Connection refused"),
        (
            "--address ray://there:1",
            2,
            "--address ray://there:1: give HOST:PORT of the head, auto or",
        ),
        ("--profile", 2, "--profile is of a scan on one machine, without --engine ray"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(begin, tmp_path, words, code, line):
    scan = begin("plain", *words.split())
    told, errors = scan.communicate()
    assert (scan.returncode, told) == (code, "")
    assert errors.startswith(f"medscan: {line}")
    assert errors.count("\n") == 1
    assert not (tmp_path / "results.h5").exists()


def test_what_cannot_be_asked_for_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="give --engine ray too"):
        _engine(EngineName.LOCAL, "h:1", profile=False)
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'medscan\[ray\]'"):
        _engine(EngineName.RAY, "h:1", profile=False)
