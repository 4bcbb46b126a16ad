"""A process that draws jobs, one at a time, and may die of them."""

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
"""Of prctl(2)."""
COPIES = 4
"""A file as read, unpacked, decoded and in floating point may be in memory at once."""
SPARE = 1 << 30
"""Bytes for everything else that a worker holds."""
STEP_S = 1.0
"""Longest single wait for a worker."""
STARTUP_S = 300.0
"""A worker's imports do not count as time spent on a file, but do not take for ever either."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a job.

    Parameters
    ----------
    drawn : list of Slice or FileError
        One for each frame.
    window : Window or None
        Of the stack; None when it could not be measured.
    seconds : float
        That the worker spent on it.
    """

    drawn: Drawn
    window: Window | None
    seconds: float


# --- in the process ----------------------------------------------------------------------------


def serve(connection: Connection, parent: int) -> None:
    """What a worker process does: jobs in, slices out, until the pipe closes.

    Slices go through the pipe: measured, that takes 0.4 ms a slice of 240 x 240, in shared memory
    0.2 ms; reading, windowing and drawing one takes ten times as long.
    """
    _die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):  # the scan decides when to stop
        signal.signal(number, signal.SIG_IGN)
    memory = StackMemory()
    imaging.watch(connection.send)
    ended = (EOFError, BrokenPipeError, ConnectionResetError)
    with no_stderr(), suppress(*ended):  # what a decoder writes as it dies, the scan says itself
        connection.send(READY)
        while True:
            job = connection.recv()
            _bound_memory(job.max_file_bytes)
            started = time.perf_counter()
            drawn = draw_job(job, memory)
            connection.send(Answer(drawn, memory.window, time.perf_counter() - started))


def _die_with(parent: int) -> None:
    """Let no decoder that hangs outlive a scan that was killed."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@lru_cache(maxsize=1)
def _bound_memory(max_file_bytes: int) -> None:
    """Let this process have no more than `COPIES` times `max_file_bytes` beyond what it has now."""
    # Threads cost address space by the core, and decoding is spread over processes instead.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    with suppress(OSError, ValueError):  # a system that does not tell, or does not let
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        most = pages * resource.getpagesize() + COPIES * max_file_bytes + SPARE
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


# --- seen from the scan ------------------------------------------------------------------------


class Worker:
    """A process with its pipe and the job it has in hand."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=serve, args=(there, os.getpid()), daemon=True)
        self.process.start()
        there.close()
        self.job: tuple[int, DrawJob] | None = None
        self.stack: tuple[object, ...] = ()
        self.reading: ArchiveFile | None = None
        self.file_timeout_s = self.left_s = 0.0
        self.ready = self.gone = False

    def start(self, number: int, job: DrawJob, file_timeout_s: float) -> None:
        """Send a job; a worker that died idle is noticed when its answer is waited for."""
        with suppress(EOFError, OSError):
            if not self.ready and self.connection.poll(STARTUP_S):
                self.ready = self.connection.recv() == READY
        self.job, self.reading, self.file_timeout_s = (number, job), None, file_timeout_s
        self.left_s, self.stack = file_timeout_s, job.measured
        with suppress(BrokenPipeError, ConnectionResetError), self._bounded():
            self.connection.send(job)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Kill a process that stops in the middle of a message, for its end is waited for."""
        timer = threading.Timer(self.file_timeout_s, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def answer(self) -> Answer | None:
        """What it made of the job, once it is there; each file that it opens gets its own time."""
        try:
            while self.connection.poll():
                with self._bounded():
                    found: Any = self.connection.recv()
                if isinstance(found, Answer):
                    return found
                if found == READY:  # it came later than it was waited for
                    self.ready = True
                else:
                    self.reading, self.left_s = found, self.file_timeout_s
        except (EOFError, OSError):
            self.gone = True
        return None

    @property
    def lost(self) -> bool:
        """Whether no answer will come: the process is dead or has overstayed."""
        return self.gone or self.left_s <= 0 or not self.process.is_alive()

    def finish(self) -> Answer | None:
        """Wait for the answer; None when the process dies or overstays."""
        while True:
            lost = self.lost  # before the last look: what it sent before it died counts
            found = self.answer()
            if found is not None or lost:
                self.job = None
                return found
            wait_for([self])

    def cause(self) -> str:
        """Why it did not answer."""
        self.process.join(timeout=2.0)
        code = self.process.exitcode
        if code is None:
            return "did not finish in time"
        return (
            f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        )

    def stop(self) -> None:
        """End the process whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def wait_for(workers: list[Worker]) -> None:
    """Wait a little for one of them to answer or die, and charge them for it.

    Only time that was spent waiting counts: while this process was stopped, or busy, an answer may
    have been there all along.
    """
    step = min(STEP_S, *(w.left_s for w in workers))
    handles: list[Any] = [w.connection for w in workers] + [w.process.sentinel for w in workers]
    started = time.monotonic()
    wait(handles, timeout=step)
    spent = min(step, time.monotonic() - started)
    for worker in workers:
        worker.left_s -= spent
