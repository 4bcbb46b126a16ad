"""A process that draws jobs one at a time, and may die of them.

Pebble's process pool (5.2.3) was tried in its place and not taken. Its workers share one pipe, so
that losing one can cost the answers of the others. It times whole jobs, where here each file has
its own time, and it hands a job to any worker, where here a stack stays with the worker that
measured its window. Drawing the same slices with two workers, it was no faster.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from medscan import imaging
from medscan.archive import ArchiveFile
from medscan.imaging import Window, no_stderr
from medscan.reading.jobs import DrawJob, Drawn, StackMemory, draw_job

READY = "ready"
PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal to get when the parent dies."""
COPIES = 4
"""A file may be in memory as read, unpacked, decoded and in floating point at once."""
SPARE = 1 << 30
"""Bytes for everything else that a worker has in memory."""
STEP_S = 1.0
"""Longest single wait for a worker."""
STARTUP_S = 300.0
"""Longest time for a worker's imports, which do not count as time spent on a file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer to a job.

    Parameters
    ----------
    drawn : list of Slice or FileError
        One for each frame.
    window : Window or None
        The stack's window; None if it could not be measured.
    seconds : float
        Time that the worker spent on the job.
    """

    drawn: Drawn
    window: Window | None
    seconds: float


# --- in the worker process ----------------------------------------------------------------------


def serve(connection: Connection, parent: int) -> None:
    """Draw the jobs that come through the pipe and send slices back, until the pipe closes.

    A slice of 240 x 240 takes 0.4 ms through the pipe, and would take 0.2 ms in shared memory;
    reading, windowing and drawing it takes ten times as long, so that the pipe is good enough.
    """
    _die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to workers too
        signal.signal(number, signal.SIG_IGN)
    memory = StackMemory()
    imaging.watch(connection.send)
    pipe_closed = (EOFError, BrokenPipeError, ConnectionResetError)
    with no_stderr(), suppress(*pipe_closed):  # the scan itself reports a decoder that dies
        connection.send(READY)
        while True:
            job = connection.recv()
            _bound_memory(job.max_file_bytes)
            started = time.perf_counter()
            drawn = draw_job(job, memory)
            connection.send(Answer(drawn, memory.window, time.perf_counter() - started))


def _die_with(parent: int) -> None:
    """Make sure that a hanging decoder does not outlive a scan that was killed."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before prctl was called
        os._exit(1)


@lru_cache(maxsize=1)
def _bound_memory(max_file_bytes: int) -> None:
    """Allow this process `COPIES` times `max_file_bytes` in addition to what it has now."""
    # Each thread reserves address space, which counts; decoding is spread over processes instead.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    with suppress(OSError, ValueError):  # systems without /proc, or that refuse the limit
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        most = pages * resource.getpagesize() + COPIES * max_file_bytes + SPARE
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


# --- in the scan's process ----------------------------------------------------------------------


class Worker:
    """A worker process as the scan sees it: its pipe, and the job that it works on."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, worker_end = context.Pipe()
        self.process = context.Process(target=serve, args=(worker_end, os.getpid()), daemon=True)
        self.process.start()
        worker_end.close()
        self.job: tuple[int, DrawJob] | None = None
        self.window_key: tuple[object, ...] = ()
        self.reading: ArchiveFile | None = None
        self.file_timeout_s = self.left_s = 0.0
        self.ready = self.gone = False

    def start(self, number: int, job: DrawJob, file_timeout_s: float) -> None:
        """Send a job; a worker that died while idle is found dead when it is waited for."""
        with suppress(EOFError, OSError):
            if not self.ready and self.connection.poll(STARTUP_S):
                self.ready = self.connection.recv() == READY
        self.job, self.reading, self.file_timeout_s = (number, job), None, file_timeout_s
        self.left_s, self.window_key = file_timeout_s, job.window_key
        with suppress(BrokenPipeError, ConnectionResetError), self._bounded():
            self.connection.send(job)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Kill a process that stops in the middle of a message: the pipe would block for ever."""
        timer = threading.Timer(self.file_timeout_s, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def answer(self) -> Answer | None:
        """Return the worker's answer, or None while there is none.

        A worker names each file that it opens; each file then has the full time.
        """
        try:
            while self.connection.poll():
                with self._bounded():
                    message: Any = self.connection.recv()
                if isinstance(message, Answer):
                    return message
                if message == READY:  # later than `start` waited for it
                    self.ready = True
                else:
                    self.reading, self.left_s = message, self.file_timeout_s
        except (EOFError, OSError):
            self.gone = True
        return None

    @property
    def lost(self) -> bool:
        """Whether no answer will come: the process is dead or out of time."""
        return self.gone or self.left_s <= 0 or not self.process.is_alive()

    def finish(self) -> Answer | None:
        """Wait for the answer; None if the process dies or runs out of time."""
        while True:
            lost = self.lost  # asked first: an answer sent just before it died still counts
            answer = self.answer()
            if answer is not None or lost:
                self.job = None
                return answer
            wait_for([self])

    def cause(self) -> str:
        """Say how the process ended, or that it did not."""
        self.process.join(timeout=2.0)
        code = self.process.exitcode
        if code is None:
            return "did not finish in time"
        return (
            f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        )

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def wait_for(workers: list[Worker]) -> None:
    """Wait a little for one of the workers to answer or die, and take that from their time.

    Only time spent waiting counts: while this process was stopped or busy, an answer may have been
    ready all along.
    """
    step = min(STEP_S, *(w.left_s for w in workers))
    handles: list[Any] = [w.connection for w in workers] + [w.process.sentinel for w in workers]
    started = time.monotonic()
    wait(handles, timeout=step)
    spent = min(step, time.monotonic() - started)
    for worker in workers:
        worker.left_s -= spent
