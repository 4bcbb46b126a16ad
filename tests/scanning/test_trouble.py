"""Decoders that die night after night, files that change, devices and archives that go away."""

import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch

from medscan import archive, results
from medscan.choices import Rescan
from medscan.errors import DiskError
from medscan.planning.ledger import Ledger
from medscan.reading.decoders import decode
from medscan.reading.jobs import DrawJob
from medscan.runtimes import TorchModel
from medscan.scanning import scan
from medscan.scanning.guard import Watchdog
from medscan.scoring.stacks import StackBuilder
from medscan.worker import serve
from tests import tiny
from tests.options import changed
from tests.reading.killers import serve_killing


def stack_of(folder):
    (study,) = archive.index([folder]).studies
    return study.series[0].stacks[0]


def scores(options):
    return {s.info["path"]: s.score for s in results.open(options.outputs.out).studies()}


def troubles(options):
    ledger = Ledger(options.outputs.ledger_path)
    found = ledger.troubles()
    ledger.close()
    return found


def test_a_study_that_kills_its_decoder_three_times_is_left_alone(
    options, three, monkeypatch, serve_with
):
    frame = stack_of(three / "1").frames[1]
    monkeypatch.setenv("KILLER", frame.sop_instance_uid)
    dangerous = changed(options, workers=1)
    serve_with(serve_killing)
    for night in (1, 2, 3):
        summary = scan(dangerous)
        assert summary.scanned == (3 if night == 1 else 1)
        assert summary.quarantined == (night == 3)
        assert summary.reasons["decoder-died"] == 1
        (trouble,) = troubles(options)
        assert trouble.failures == night
    assert trouble.why == "its decoder died of SIGABRT"
    last = scan(dangerous)
    serve_with(serve)
    assert (last.scanned, last.unchanged, last.quarantined) == (0, 3, 1)
    assert "1 studies in quarantine" in last.line()
    assert last.reasons["decoder-died"] == 1
    assert scan(changed(options, rescan=Rescan.FAILED)).scanned == 0
    ledger = Ledger(options.outputs.ledger_path)
    assert ledger.retry(trouble.study)
    ledger.close()
    healed = scan(options)
    assert (healed.scanned, healed.quarantined, healed.files["failed"]) == (1, 0, 0)
    assert troubles(options) == []


def test_a_study_in_quarantine_that_has_changed_is_tried_again(options, three, monkeypatch):
    scan(options)
    (study,) = [s.key for s in results.open(options.outputs.out).studies() if s.info["path"] == "1"]
    ledger = Ledger(options.outputs.ledger_path)
    work = ledger.work(study)
    broken = replace(work, outcomes=[[p, "decoder-died", ""] for p, _, _ in work.outcomes])
    for _ in range(3):
        ledger.finish(study, broken, "its decoder died")
    ledger.published(ledger.meta("results"), {})
    ledger.note("unchanged", "")
    ledger.close()
    assert scan(options).quarantined == 1
    tiny.write_series(three / "1b", tiny.head_volume(5, slices=2), study="1.1")
    summary = scan(options)
    assert (summary.scanned, summary.quarantined) == (1, 0)


def test_a_file_replaced_during_the_scan_is_not_taken_for_the_old_one(options, three):
    stack = stack_of(three / "2")
    victim = stack.frames[1].file.full
    other = (three / "0" / "0001").read_bytes()

    def swap(done, *_):
        if done == 0:
            victim.write_bytes(other)
            os.utime(victim, (1, 1))

    summary = scan(changed(options, batch_size=1), swap)
    assert summary.reasons["unreadable"] == 1
    (entry,) = [e for e in summary.entries if str(e.bucket) == "failed"]
    assert entry.outcome.detail == "it has changed since the archive was indexed"
    again = scan(options)
    assert (again.scanned, again.reasons["duplicate"]) == (1, 1)


def test_an_archive_that_goes_away_ends_the_scan_and_harms_nothing(options, three, tmp_path):
    scan(options)
    before = scores(options)
    for number in range(3):
        tiny.write_series(
            three / f"{number}b", tiny.head_volume(9, slices=3), study=f"1.{number}", Modality="MR"
        )
    gone = []

    def unmount(_done, _studies, slices, *_):
        if slices > 6 and not gone:  # so few that the third study has not been read
            gone.append(shutil.move(three, tmp_path / "away"))
            three.mkdir()

    summary = scan(changed(options, batch_size=1), unmount)
    assert "is gone, or empty" in summary.failure
    assert summary.scanned in (1, 2)  # the second may have been read by then
    assert summary.scanned + summary.left == 3
    after = scores(options)
    assert sum(before.get(name) == score for name, score in after.items()) == summary.left
    three.rmdir()
    shutil.move(gone[0], three)
    assert scan(options).scanned == summary.left


LOST = [RuntimeError("CUDA error: unspecified launch failure\nmore")]
if hasattr(torch, "AcceleratorError"):
    LOST.append(torch.AcceleratorError("CUDA error: device-side assert triggered"))


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_lost_gpu_ends_the_scan_after_publishing(options, three, monkeypatch, error):
    real, calls = TorchModel.run, []

    def run(self, batch, clock):
        calls.append(1)
        if len(calls) > 4:
            raise error
        return real(self, batch, clock)

    with monkeypatch.context() as patch:
        patch.setattr(TorchModel, "run", run)
        summary = scan(changed(options, batch_size=1))
    assert summary.failure.startswith("the GPU is lost (CUDA error")
    assert (summary.scanned, summary.left) == (1, 2)
    assert len(results.open(options.outputs.out).keys()) == 1
    assert scan(options).scanned == 2


def test_memory_that_runs_out_costs_no_study(options, three, monkeypatch):
    real = TorchModel.run

    def run(self, batch, clock):
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("full")
        return real(self, batch, clock)

    with monkeypatch.context() as patch:
        patch.setattr(TorchModel, "run", run)
        assert scan(changed(options, batch_size=8)).scanned == 3
        patch.setattr(TorchModel, "run", lambda *_: run(None, range(9), None))
        summary = scan(changed(options, rescan=Rescan.ALL))
    assert "too small for one slice" in summary.failure
    assert len(results.open(options.outputs.out).keys()) == 3


@pytest.mark.parametrize("where", ["result", "__post_init__"])
def test_a_mistake_with_one_study_costs_that_one(options, three, monkeypatch, caplog, where):
    real = getattr(StackBuilder, where)

    def wrong(self, *args):
        if self.stack.frames[0].file.path.startswith("1/"):
            raise ZeroDivisionError("a bug")
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StackBuilder, where, wrong)
        summary = scan(options)
        assert (summary.scanned, summary.left) == (3, 0)
        assert summary.files == {"scanned": 6, "skipped": 0, "failed": 3}
        assert scan(options).scanned == 0
    (told,) = [r for r in caplog.records if r.getMessage() == "study given up"]
    assert told.exc_info[0] is ZeroDivisionError
    assert [name for name, score in scores(options).items() if score != score] == ["1"]
    assert scan(changed(options, rescan=Rescan.FAILED)).files["failed"] == 0


def test_a_bug_elsewhere_is_not_called_a_lost_gpu(options, three, monkeypatch):
    def run(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(TorchModel, "run", run)
    with pytest.raises(RuntimeError, match="shapes"):
        scan(options)


def test_the_watchdog_tells_a_stall_once(caplog):
    with caplog.at_level(logging.WARNING), Watchdog(0.05) as watchdog:
        watchdog.feed("slices are decoded")
        time.sleep(0.5)
        assert [r.getMessage() for r in caplog.records] == [
            "no progress for 0 s while slices are decoded"
        ]
        watchdog.feed("results are published")
        time.sleep(0.5)
    assert len(caplog.records) == 2
    assert threading.active_count() == 1 or "watchdog" not in str(threading.enumerate())


def test_time_in_which_this_process_was_stopped_is_charged_to_nobody(three, monkeypatch):
    """SIGSTOP of a scan for longer than --file-timeout: its decoder was not given that time."""
    stack = stack_of(three / "0")
    clock = [0.0]

    def monotonic():
        clock[0] += 1000.0
        return clock[0]

    monkeypatch.setattr(time, "monotonic", monotonic)
    jobs = [DrawJob(stack, 0, stack.frames, 32, "auto", "MR", 1 << 30)]
    ((_, drawn),) = decode(iter(jobs), 1, 200.0)
    assert not [item for item in drawn if isinstance(item, Exception)]


def test_a_worker_that_is_stopped_is_replaced(three, serve_with):
    """A process that neither works nor ends is killed, and what it had in hand is done again."""
    stack = stack_of(three / "0")
    serve_with(serve)  # ends all that are idle

    def jobs():
        for number in range(8):
            first = number % 3
            yield DrawJob(stack, first, stack.frames[first : first + 1], 32, "auto", "MR", 1 << 30)
            if number == 5:  # so far ahead of the first, which it has answered by now
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGSTOP)

    drawn = [item for _, part in decode(jobs(), 1, 3.0) for item in part]
    assert len(drawn) == 8
    assert not [item for item in drawn if isinstance(item, Exception)]


def test_a_mistake_that_ends_the_scan_publishes_what_is_finished(options, three, monkeypatch):
    real, calls = TorchModel.run, []

    def run(self, batch, clock):
        calls.append(batch)
        if len(calls) > 4:
            raise RuntimeError("a mistake")
        return real(self, batch, clock)

    monkeypatch.setattr(TorchModel, "run", run)
    with pytest.raises(RuntimeError, match="a mistake"):
        scan(changed(options, batch_size=1))
    assert len(results.open(options.outputs.out).keys()) == 1
    assert not options.outputs.parts.exists()
    monkeypatch.undo()
    summary = scan(options)
    assert (summary.scanned, summary.unchanged) == (2, 1)


def test_a_folder_that_cannot_be_made_is_one_line(options, three, monkeypatch):
    def mkdir(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(options.outputs.parts), "mkdir", mkdir)
    with pytest.raises(DiskError, match="parts could not be made: Permission denied"):
        scan(options)
