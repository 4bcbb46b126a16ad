"""Worker processes and their owner: messages in pieces, and files named while they are read."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from medscan.errors import TimedOutError
from medscan.worker import _LENGTH, Worker, _Messages, announce, call


def test_messages_are_taken_whole_and_nobody_waits_for_the_rest():
    ours, theirs = multiprocessing.Pipe()
    messages = _Messages(ours)
    assert messages.take() == []
    sent = b"".join(_LENGTH.pack(len(text)) + text for text in (b"one", b"", b"three"))
    for cut in (5, 11, 19, len(sent) - 1):
        os.write(theirs.fileno(), sent[:cut])
        first = messages.take()
        os.write(theirs.fileno(), sent[cut:])
        assert [*first, *messages.take()] == [b"one", b"", b"three"], cut
    os.write(theirs.fileno(), sent[:-1])
    theirs.close()
    assert (messages.take(), messages.ended) == ([b"one", b""], True)


def test_a_call_and_its_answer_may_be_larger_than_a_pipe():
    text = "x" * 3_000_000
    assert call(str.upper, text) == text.upper()


def name_and_wait(count: int) -> None:
    for number in range(count):
        announce(number)
    time.sleep(600)


def test_the_last_of_thousands_of_named_files_is_to_blame():
    worker = Worker(name_and_wait)
    worker.start(2.0, name_and_wait, 10_000)
    assert worker.finish() is None
    assert worker.reading == 9_999
    assert isinstance(worker.error(), TimedOutError)


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_worker_that_is_stopped_is_late_and_nothing_more(size):
    worker = Worker(len)
    worker.start(60.0, len, b"")
    assert worker.finish().get() == 0
    os.kill(worker.process.pid, signal.SIGSTOP)
    worker.start(1.0, len, bytes(size))  # the longer does not even pass through the pipe
    assert worker.finish() is None
    assert isinstance(worker.error(), TimedOutError)


def test_errors_that_cannot_be_sent_are_named():
    with pytest.raises(RuntimeError, match="Stubborn in a worker process"):
        call(raise_stubborn)


class Stubborn(Exception):  # noqa: N818 - it is no error of anybody
    def __reduce__(self) -> tuple[object, ...]:
        raise pickle.PicklingError


def raise_stubborn() -> None:
    raise Stubborn


def test_a_script_without_a_guard_is_not_run_again(tmp_path, environment):
    """A worker of another process would import the main module, and so run the script."""
    script = tmp_path / "script.py"
    script.write_text("from medscan.worker import call\nprint('run')\nprint(call(len, [1, 2]))\n")
    words = [sys.executable, script]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "run\n2\n")
