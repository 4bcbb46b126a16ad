"""Reading and drawing slices in worker processes that may die.

A decoder can hang, crash or abort its process. Each worker therefore has a pipe of its own and
works on one job at a time; when it dies or overstays, it is replaced and its job is repeated
frame by frame, so that only the frame that killed it is lost. Results come in the order of the
jobs, whatever the number of workers.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from medscan import imaging
from medscan.archive import ArchiveFile, Frame, Stack
from medscan.errors import DecoderError, FileError
from medscan.imaging import Slice, Window

log = logging.getLogger("medscan.scan")

CHUNK = 16
"""Frames of a job."""
READY = "ready"
PATIENCE = 2
"""Workers that one file may kill, once it is known to be dangerous, before it is given up."""
STARTUP_S = 60.0
"""A worker's imports do not count as time spent on a file, but do not take for ever either."""


@dataclass(frozen=True, slots=True)
class Job:
    """Some frames of one stack to be drawn.

    Parameters
    ----------
    stack : Stack
    first : int
        Place of the first frame in `stack.frames`.
    frames : tuple of Frame
    size : int
        Side of the model's square, pixels.
    rule : str
        Of the window; see `medscan.imaging.parse_rule`.
    modality : str
    limit : int
        Bytes that a file may need decoded.
    study : str
        Key of the study.
    """

    stack: Stack
    first: int
    frames: tuple[Frame, ...]
    size: int
    rule: str
    modality: str
    limit: int
    study: str = ""


Drawn = list[Slice | FileError]


def draw(job: Job, windows: dict[Any, Window]) -> Drawn:
    """Do a job in this process; `windows` keeps the last stack's window."""
    known = (job.stack.frames[0].file.full, job.stack.key, job.rule, job.modality)
    try:
        if known not in windows:
            windows.clear()
            windows[known] = imaging.measure(job.stack, job.rule, job.modality, job.limit)
        return imaging.render(job.stack, job.frames, job.size, windows[known], job.limit)
    except FileError as error:
        return [error] * len(job.frames)


def decode(jobs: Iterable[Job], workers: int, timeout_s: float) -> Iterator[tuple[Job, Drawn]]:
    """Draw jobs, in their order.

    Parameters
    ----------
    jobs : iterable of Job
        Taken only as fast as they are worked on.
    workers : int
        Processes; 0 draws in this one, without protection from decoders that die.
    timeout_s : float
        Longest time for one file.
    """
    if workers == 0:
        windows: dict[Any, Window] = {}
        for job in jobs:
            yield job, draw(job, windows)
        return
    pool = _Pool(workers, timeout_s)
    try:
        yield from pool.run(iter(jobs))
    finally:
        pool.close()


# --- the workers -------------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    """What a worker process does: jobs in, slices out, until the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the scan decides when to stop
        signal.signal(number, signal.SIG_IGN)
    windows: dict[Any, Window] = {}
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(READY)
        while True:
            connection.send(draw(connection.recv(), windows))


class _Worker:
    """A process with its pipe and the job it has in hand."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there,), daemon=True)
        self.process.start()
        there.close()
        self.job: tuple[int, Job] | None = None
        self.deadline = 0.0
        self.ready = False

    def start(self, number: int, job: Job, timeout_s: float) -> None:
        """Send a job; a worker that died idle is noticed when its answer is waited for."""
        with suppress(EOFError, OSError):
            if not self.ready and self.connection.poll(STARTUP_S):
                self.ready = self.connection.recv() == READY
        files = len({frame.file for frame in job.frames})
        self.job, self.deadline = (number, job), time.monotonic() + timeout_s * max(1, files)
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(job)

    def answer(self) -> Drawn | None:
        """The slices, or None when the process is dead or has overstayed."""
        try:
            if self.connection.poll():
                found: Drawn = self.connection.recv()
                return found
        except (EOFError, OSError):
            pass
        return None

    def stop(self) -> None:
        """End the process whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    def __init__(self, workers: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.workers = [_Worker() for _ in range(workers)]
        self.ahead = 2 * workers + 2
        self.done: dict[int, Drawn] = {}
        self.deaths: Counter[ArchiveFile] = Counter()

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, Drawn]]:
        waiting: deque[tuple[int, Job]] = deque()
        number = 0
        while True:
            number = self._hand_out(jobs, waiting, number)
            if not waiting:
                return
            first, job = waiting[0]
            while first not in self.done:
                self._collect()
                number = self._hand_out(jobs, waiting, number)
            waiting.popleft()
            yield job, self.done.pop(first)

    def _hand_out(self, jobs: Iterator[Job], waiting: deque[tuple[int, Job]], number: int) -> int:
        """Give idle workers jobs, but stay at most `ahead` of the consumer."""
        for worker in self.workers:
            if worker.job is None and len(waiting) < self.ahead:
                job = next(jobs, None)
                if job is None:
                    break
                waiting.append((number, job))
                if any(self.deaths[frame.file] >= PATIENCE for frame in job.frames):
                    self.done[number] = self._one_by_one(self.workers.index(worker), job)
                else:
                    worker.start(number, job, self.timeout_s)
                number += 1
        return number

    def _collect(self) -> None:
        """Wait for a worker to answer, die or overstay, and take what it did."""
        busy = [w for w in self.workers if w.job is not None]
        left = min(w.deadline for w in busy) - time.monotonic()
        handles: list[Any] = [w.connection for w in busy] + [w.process.sentinel for w in busy]
        ready = wait(handles, timeout=max(0.0, left))
        for worker in busy:
            ended = worker.process.sentinel in ready or worker.deadline <= time.monotonic()
            if worker.connection in ready or ended:
                self._take(worker)

    def _take(self, worker: _Worker) -> None:
        found = worker.answer()
        number, job = worker.job or (0, None)
        worker.job = None
        if job is None:
            return
        if found is None:
            place = self.workers.index(worker)
            self._replace(place)
            found = self._one_by_one(place, job)
        self.done[number] = found

    def _one_by_one(self, place: int, job: Job) -> Drawn:
        """Repeat a job that killed its worker frame by frame; the guilty frame fails.

        A file that killed `PATIENCE` more workers is given up with all its frames.
        """
        found: Drawn = []
        for offset, frame in enumerate(job.frames):
            if self.deaths[frame.file] >= PATIENCE:
                found.append(DecoderError("its decoder died or hung before; it is given up"))
                continue
            single = replace(job, first=job.first + offset, frames=(frame,))
            worker = self.workers[place]
            worker.start(0, single, self.timeout_s)
            wait([worker.connection, worker.process.sentinel], timeout=self.timeout_s)
            answer = worker.answer()
            worker.job = None
            if answer is None:
                why = self._replace(place)
                self.deaths[frame.file] += 1
                log.warning("a decoder %s: %s", why, frame.file.path)
                answer = [DecoderError(f"its decoder {why}")]
            found += answer
        return found

    def _replace(self, place: int) -> str:
        """Put a new worker in a dead or hanging one's place; says what became of the old."""
        why = _cause(self.workers[place])
        self.workers[place].stop()
        self.workers[place] = _Worker()
        return why

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.stop()


def _cause(worker: _Worker) -> str:
    """Why a worker did not answer."""
    worker.process.join(timeout=0.2)
    code = worker.process.exitcode
    if code is None:
        return "did not finish in time"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
