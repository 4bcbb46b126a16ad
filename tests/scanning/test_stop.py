"""SIGTERM, SIGINT and --until end a scan in seconds, whatever it is doing."""

import math
import os
import signal
import time
from datetime import time as clock_time
from pathlib import Path

import pytest

from medscan import detector, results, worker
from medscan.archive import indexing, readers
from medscan.imaging import read
from medscan.results import store
from medscan.scanning import guard, scan
from medscan.scoring import lanes
from tests import tiny
from tests.options import changed
from tests.processes import warm

pytestmark = pytest.mark.slow

HOUR = 3600.0
SECONDS = 20.0
"""Ten, and as many for a busy machine."""
SLICES = 8
"""Of a study, a second each where a core is slow: more than there is time for."""
MARK = "MEDSCAN_TEST_MARK"


def slow(*_, **__):
    """Say that it has come so far, and take an hour."""
    Path(os.environ[MARK]).touch()
    for _ in range(int(HOUR)):
        time.sleep(1.0)


def serve_slow_headers(*args):
    readers.read_header = slow
    worker.serve(*args)


def serve_slow_pixels(*args):
    read.DicomFile = slow
    worker.serve(*args)


def while_headers_are_read():
    worker.serve = serve_slow_headers


def while_studies_are_grouped():
    indexing.group = slow


def while_a_model_is_loaded():
    detector.Detector.load_backbone = slow


def while_slices_are_decoded():
    worker.serve = serve_slow_pixels


def while_slices_are_scored():
    """A slow core: each block takes a second, and an hour is more than enough for all of them."""
    check = lanes.Lanes.check

    def slow_check(self):
        Path(os.environ[MARK]).touch()
        time.sleep(1.0)
        check(self)

    lanes.Lanes.check = slow_check


STAGES = [
    while_headers_are_read,
    while_studies_are_grouped,
    while_a_model_is_loaded,
    while_slices_are_decoded,
    while_slices_are_scored,
]


def while_results_are_written():
    """A slow disk: each part takes three seconds."""
    copy = store._copy_part

    def slow_copy(*args):
        Path(os.environ[MARK]).touch()
        time.sleep(3.0)
        return copy(*args)

    store._copy_part = slow_copy
    guard.PUBLISH_LIMIT_S = 1.0


def while_the_worklist_is_written():
    guard.PUBLISH_LIMIT_S = 1.0


def run_slowly(options, stage, mark):
    os.environ["OMP_NUM_THREADS"], os.environ[MARK] = "1", str(mark)
    guard.SIGNAL_GRACE_S = 0.5
    stage()
    if options.budget.until is not None:  # the time has come as soon as the scan is so far
        come = property(lambda _: 0.0 if mark.exists() else math.inf, lambda *_: None)
        guard.Stop._deadline = come
    summary = scan(options, publish=slow if stage is while_the_worklist_is_written else None)
    mark.with_suffix(".stopped").write_text(summary.stopped)


def started(options, stage, tmp_path):
    """A scan that has come to its slow stage."""
    mark = tmp_path / "mark"
    process = warm().Process(target=run_slowly, args=(options, stage, mark))
    process.start()
    give_up = time.monotonic() + 120
    while not mark.exists() and time.monotonic() < give_up:
        assert process.is_alive()
        time.sleep(0.05)
    assert mark.exists()
    return process, mark.with_suffix(".stopped")


@pytest.fixture
def many(options, root):
    """More studies than anything slow gets through."""
    write_studies(root, range(3))
    return changed(options, batch_size=1, file_timeout_s=HOUR)


def write_studies(root, numbers):
    for number in numbers:
        volume = tiny.head_volume(number, slices=SLICES, side=32)
        tiny.write_series(root / f"{number}", volume, study=f"1.{number}")


@pytest.mark.parametrize(
    ("stage", "number"),
    [*((stage, signal.SIGTERM) for stage in STAGES), (while_slices_are_decoded, signal.SIGINT)],
)
def test_a_signal_ends_a_scan_within_seconds(many, tmp_path, stage, number):
    process, stopped = started(many, stage, tmp_path)
    os.kill(process.pid, number)
    process.join(SECONDS)
    assert process.exitcode == 0, "it runs on"
    assert stopped.read_text() == signal.Signals(number).name
    assert not list(tmp_path.glob("*.parts/*"))
    done = 0
    if many.outputs.out.exists():
        kept = list(results.open(many.outputs.out).studies())
        assert all(len(stack.state) == SLICES for study in kept for stack in study.stacks)
        done = len(kept)
    assert done < 3
    again = scan(many)
    assert (again.scanned, again.stopped) == (3 - done, "")


@pytest.mark.parametrize(
    ("stage", "parts"), [(while_results_are_written, 3), (while_the_worklist_is_written, 0)]
)
def test_publication_ends_too_and_the_next_scan_does_the_rest(many, tmp_path, stage, parts):
    process, stopped = started(many, stage, tmp_path)
    os.kill(process.pid, signal.SIGTERM)
    process.join(SECONDS)
    assert process.exitcode == 0, "it runs on"
    assert stopped.read_text() == "SIGTERM"
    assert len(list(tmp_path.glob("*.parts/*"))) == parts
    assert not list(tmp_path.glob(".*.part"))
    assert many.outputs.out.exists() == (not parts)
    written = []
    again = scan(many, publish=lambda *paths: written.append(paths))
    assert (again.scanned, again.stopped, len(written)) == (0, "", 1)
    assert len(results.open(many.outputs.out).keys()) == 3


def test_a_time_ends_a_scan_although_a_file_takes_longer(many, tmp_path):
    options = changed(many, until=clock_time(6))
    process, stopped = started(options, while_slices_are_decoded, tmp_path)
    process.join(SECONDS)
    assert process.exitcode == 0, "it runs on"
    assert stopped.read_text() == "--until 06:00"
    assert not list(tmp_path.glob("*.parts/*"))


def test_the_seconds_for_studies_in_hand_and_for_publication_are_less_than_ten():
    assert guard.SIGNAL_GRACE_S < guard.PUBLISH_LIMIT_S < 10


def test_slices_of_a_study_that_is_dropped_do_not_count(options, root, monkeypatch):
    write_studies(root, range(3))
    monkeypatch.setattr(guard, "SIGNAL_GRACE_S", 0.0)

    def watch(done, studies, slices, failures):
        if done and not sent:
            sent.append(slices)
            signal.raise_signal(signal.SIGTERM)

    sent = []
    summary = scan(changed(options, batch_size=3), watch)  # no batch ends where a study does
    found = results.open(options.outputs.out)
    written = sum(s.count(results.State.SCORED) for study in found.studies() for s in study.stacks)
    assert 0 < summary.scanned < 3
    assert summary.slices == found.run().slices == written < sent[0]


def test_a_study_in_hand_is_finished_if_it_takes_only_moments(many, root):
    write_studies(root, range(3, 12))  # more than are in hand at once

    def watch(*_):
        if not sent:
            sent.append(1)
            signal.raise_signal(signal.SIGTERM)

    sent = []
    summary = scan(many, watch)
    assert summary.stopped == "SIGTERM"
    assert 0 < summary.scanned < 12
    assert len(results.open(many.outputs.out).keys()) == summary.scanned
