"""Reading and drawing slices in worker processes that may die.

A decoder can hang, crash or abort its process. Each worker therefore has a pipe of its own, works
on one job at a time and names each file before it opens it; when it dies or overstays, it is
replaced and its job is repeated frame by frame, so that only the frame that killed it is lost.
Results come in the order of the jobs, whatever the number of workers.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from medscan import imaging
from medscan.archive import ArchiveFile, Frame, Stack
from medscan.errors import DecoderError, FileError, TooLargeError, UnreadableError
from medscan.imaging import Slice, Window
from medscan.imaging.quiet import no_stderr

log = logging.getLogger("medscan.scan")

CHUNK = 16
"""Frames of a job."""
READY = "ready"
PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""
PATIENCE = 2
"""Workers that one file may kill, once it is known to be dangerous, before it is given up."""
COPIES = 4
"""A file as read, unpacked, decoded and in floating point may be in memory at once."""
SPARE = 1 << 30
"""Bytes for everything else that a worker holds."""
STEP_S = 1.0
"""Longest single wait for a worker."""
STARTUP_S = 300.0
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
        Bytes that a file may be, unpack to or need decoded; a worker may hold `COPIES` times that.
    study : str
        Key of the study.
    companions : tuple of ArchiveFile
        Where the voxels of its files are, if not in these.
    """

    stack: Stack
    first: int
    frames: tuple[Frame, ...]
    size: int
    rule: str
    modality: str
    limit: int
    study: str = ""
    companions: tuple[ArchiveFile, ...] = ()


Drawn = list[Slice | FileError]


def draw(job: Job, windows: dict[Any, Window]) -> Drawn:
    """Do a job in this process; `windows` keeps the last stack's window."""
    found = _drawn(job, windows)
    error = UnreadableError("it has changed since the archive was indexed")
    if any(map(_has_changed, job.companions)):
        return [error] * len(found)
    changed = {f.file for f in job.frames if _has_changed(f.file)}
    pairs = zip(job.frames, found, strict=True)
    return [error if frame.file in changed else item for frame, item in pairs]


def _has_changed(file: ArchiveFile) -> bool:
    """Whether another file was put in its place, or it was written to; one that is gone has not."""
    try:
        status = file.full.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns)


def _drawn(job: Job, windows: dict[Any, Window]) -> Drawn:
    known = (job.stack.frames[0].file.full, job.stack.key, job.rule, job.modality)
    try:
        if known not in windows:
            windows.clear()
            windows[known] = imaging.measure(job.stack, job.rule, job.modality, job.limit)
        return imaging.render(job.stack, job.frames, job.size, windows[known], job.limit)
    except FileError as error:
        return [error] * len(job.frames)
    except MemoryError:
        if len(job.frames) == 1:
            return [TooLargeError("does not fit into memory; see --max-file-gib")]
    return [item for single in _singles(job) for item in _drawn(single, windows)]


def _singles(job: Job) -> Iterator[Job]:
    """The job frame by frame."""
    for offset, frame in enumerate(job.frames):
        yield replace(job, first=job.first + offset, frames=(frame,))


def decode(
    jobs: Iterable[Job], workers: int, timeout_s: float
) -> Generator[tuple[Job, Drawn], None, None]:
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


def _serve(connection: Connection, parent: int) -> None:
    """What a worker process does: jobs in, slices out, until the pipe closes."""
    _die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):  # the scan decides when to stop
        signal.signal(number, signal.SIG_IGN)
    windows: dict[Any, Window] = {}
    imaging.watch(connection.send)
    ended = (EOFError, BrokenPipeError, ConnectionResetError)
    with no_stderr(), suppress(*ended):  # what a decoder writes as it dies, the scan says itself
        connection.send(READY)
        while True:
            job = connection.recv()
            _bound_memory(job.limit)
            connection.send(draw(job, windows))


def _die_with(parent: int) -> None:
    """Let no decoder that hangs outlive a scan that was killed."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@lru_cache(maxsize=1)
def _bound_memory(limit: int) -> None:
    """Let this process have no more than `COPIES` times `limit` bytes beyond what it has now."""
    # Threads cost address space by the core, and decoding is spread over processes instead.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    with suppress(OSError, ValueError):  # a system that does not tell, or does not let
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        most = pages * resource.getpagesize() + COPIES * limit + SPARE
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


class _Worker:
    """A process with its pipe and the job it has in hand."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, os.getpid()), daemon=True)
        self.process.start()
        there.close()
        self.job: tuple[int, Job] | None = None
        self.reading: ArchiveFile | None = None
        self.timeout_s = self.left_s = 0.0
        self.ready = self.gone = False

    def start(self, number: int, job: Job, timeout_s: float) -> None:
        """Send a job; a worker that died idle is noticed when its answer is waited for."""
        with suppress(EOFError, OSError):
            if not self.ready and self.connection.poll(STARTUP_S):
                self.ready = self.connection.recv() == READY
        self.job, self.reading, self.timeout_s = (number, job), None, timeout_s
        self.left_s = timeout_s
        with suppress(BrokenPipeError, ConnectionResetError), self._bounded():
            self.connection.send(job)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Kill a process that stops in the middle of a message, for its end is waited for."""
        timer = threading.Timer(self.timeout_s, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def answer(self) -> Drawn | None:
        """The slices, once they are there; each file that it opens gets time of its own."""
        try:
            while self.connection.poll():
                with self._bounded():
                    found: Any = self.connection.recv()
                if found == READY:  # it came later than it was waited for
                    self.ready = True
                    continue
                if not isinstance(found, ArchiveFile):
                    return cast("Drawn", found)
                self.reading, self.left_s = found, self.timeout_s
        except (EOFError, OSError):
            self.gone = True
        return None

    @property
    def lost(self) -> bool:
        """Whether no answer will come: the process is dead or has overstayed."""
        return self.gone or self.left_s <= 0 or not self.process.is_alive()

    def finish(self) -> Drawn | None:
        """Wait for the slices; None when the process dies or overstays."""
        while True:
            lost = self.lost  # before the last look: what it sent before it died counts
            found = self.answer()
            if found is not None or lost:
                self.job = None
                return found
            _wait_for([self])

    def stop(self) -> None:
        """End the process whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _wait_for(workers: list[_Worker]) -> None:
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


class _Pool:
    def __init__(self, workers: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.workers = [_Worker() for _ in range(workers)]
        self.ahead = 2 * workers + 2
        self.done: dict[int, Drawn] = {}
        self.deaths: Counter[ArchiveFile] = Counter()
        self.given_up: dict[ArchiveFile, str] = {}
        self.unmeasured: set[ArchiveFile] = set()

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
                if any(frame.file in self.given_up for frame in job.frames):
                    self.done[number] = self._one_by_one(self.workers.index(worker), job)
                else:
                    worker.start(number, self._measurable(job), self.timeout_s)
                number += 1
        return number

    def _collect(self) -> None:
        """Wait for a worker to answer, die or overstay, and take what it did."""
        busy = [w for w in self.workers if w.job is not None]
        _wait_for(busy)
        for worker in busy:
            self._take(worker)

    def _take(self, worker: _Worker) -> None:
        lost = worker.lost  # before the last look: what it sent before it died counts
        found = worker.answer()
        if worker.job is None or (found is None and not lost):
            return
        number, job = worker.job
        worker.job = None
        if found is None:
            place = self.workers.index(worker)
            self._replace(place)
            found = self._one_by_one(place, job)
        self.done[number] = found

    def _one_by_one(self, place: int, job: Job) -> Drawn:
        """Repeat a job that killed its worker frame by frame; the guilty frame fails."""
        return [item for single in _singles(job) for item in self._single(place, single)]

    def _single(self, place: int, job: Job) -> Drawn:
        """Draw one frame. A file that killed `PATIENCE` more workers is given up altogether.

        So is one that kills while the window of the stack is measured, which is then done without
        it.
        """
        (frame,) = job.frames
        while frame.file not in self.given_up:
            worker = self.workers[place]
            worker.start(0, self._measurable(job), self.timeout_s)
            found = worker.finish()
            if found is not None:
                return found
            guilty = worker.reading or frame.file
            why = f"its decoder {self._replace(place)}"
            log.warning(why)
            self.deaths[guilty] += 1
            if guilty != frame.file:
                self.unmeasured.add(guilty)
            if guilty in self.unmeasured or self.deaths[guilty] >= PATIENCE:
                self.given_up[guilty] = why
            if guilty == frame.file:
                return [DecoderError(why)]
        return [DecoderError(self.given_up[frame.file])]

    def _measurable(self, job: Job) -> Job:
        """The job, with a stack whose window can be measured."""
        if not self.unmeasured:
            return job
        frames = tuple(f for f in job.stack.frames if f.file not in self.unmeasured)
        return replace(job, stack=replace(job.stack, frames=frames))

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
    worker.process.join(timeout=2.0)
    code = worker.process.exitcode
    if code is None:
        return "did not finish in time"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
