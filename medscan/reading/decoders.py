"""Reading and drawing slices in worker processes that may die.

A decoder can hang, crash or abort its process. Each worker therefore has a pipe of its own, works
on one job at a time and names each file before it opens it. When a worker dies or runs out of time,
it is replaced and its job is repeated frame by frame, so that only the frame that killed it is
lost. Results come in the order of the jobs, with any number of workers.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Self

from medscan.archive import ArchiveFile
from medscan.errors import DecoderError
from medscan.imaging import Window
from medscan.profile import DECODE, Clock
from medscan.reading.jobs import DrawJob, Drawn, draw
from medscan.worker import Answer, Worker, dismiss, hire, wait_for

log = logging.getLogger("medscan.scan")

MAX_DEATHS = 2
"""Workers that one suspected file may kill before its other frames are failed without a try."""
WINDOWS_KEPT = 256
"""Stacks whose window is kept for their later jobs."""
_sessions = count()


def decode(
    jobs: Iterable[DrawJob], workers: int, file_timeout_s: float
) -> Generator[tuple[DrawJob, Drawn], None, None]:
    """Draw jobs in their order, with `Decoders` that end with the generator."""
    with Decoders(workers, file_timeout_s) as decoders:
        yield from decoders.draw(jobs)


class Decoders:
    """Worker processes that read and draw slices; they start at once.

    Parameters
    ----------
    workers : int
        Processes; at least one draws.
    file_timeout_s : float
        Longest time for one file.
    clock : Clock, optional
        Counts the time that workers work, and that this process waits for them.
    waiting : callable
        Called again and again while workers draw; an error that it raises ends the drawing.
    """

    def __init__(
        self,
        workers: int,
        file_timeout_s: float,
        clock: Clock | None = None,
        waiting: Callable[[], object] = lambda: None,
    ) -> None:
        self.file_timeout_s, self.clock, self.waiting = file_timeout_s, clock or Clock(), waiting
        self.session = next(_sessions)
        self.workers = [hire(draw) for _ in range(max(1, workers))]
        self.jobs: dict[Worker, tuple[int, DrawJob]] = {}
        self.window_keys: dict[Worker, tuple[object, ...]] = {}
        self.ahead = 2 * len(self.workers) + 2
        self.queued: OrderedDict[int, DrawJob] = OrderedDict()
        self.finished: dict[int, Drawn] = {}
        self.windows: OrderedDict[tuple[object, ...], Window] = OrderedDict()
        self.deaths: Counter[ArchiveFile] = Counter()
        self.given_up: dict[ArchiveFile, DecoderError] = {}
        self.unmeasured: set[ArchiveFile] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def draw(self, jobs: Iterable[DrawJob]) -> Generator[tuple[DrawJob, Drawn], None, None]:
        """Draw jobs in their order; each is taken only shortly before a worker needs it."""
        jobs = iter(jobs)
        # Workers finish in any order. Jobs are numbered as they are taken, and each waits here
        # until those before it have been yielded: that alone keeps the order.
        in_flight: OrderedDict[int, DrawJob] = OrderedDict()
        taken = 0
        while True:
            taken = self._supply(jobs, in_flight, taken)
            if not in_flight:
                return
            first = next(iter(in_flight))
            while first not in self.finished:
                self._collect()
                taken = self._supply(jobs, in_flight, taken)
            yield in_flight.pop(first), self.finished.pop(first)

    def _supply(
        self, jobs: Iterator[DrawJob], in_flight: OrderedDict[int, DrawJob], taken: int
    ) -> int:
        """Keep all workers busy, at most `ahead` jobs before the consumer; return jobs taken."""
        while len(in_flight) < self.ahead:
            job = next(jobs, None)
            if job is None:
                break
            in_flight[taken] = self.queued[taken] = job
            taken += 1
        for worker in self.workers:
            # A job with a file given up ends at once and leaves the worker free for another.
            while worker not in self.jobs and self.queued:
                self._assign_job(worker)
        return taken

    def _assign_job(self, worker: Worker) -> None:
        """Give an idle worker the queued job that repeats least work."""
        number = min(self.queued, key=lambda n: (self._repeated_work(worker, self.queued[n]), n))
        job = self.queued.pop(number)
        if any(frame.file in self.given_up for frame in job.frames):
            self.finished[number] = self._draw_singly(self.workers.index(worker), job)
        else:
            self._start(worker, number, job)

    def _start(self, worker: Worker, number: int, job: DrawJob) -> None:
        self.jobs[worker], self.window_keys[worker] = (number, job), job.window_key
        worker.start(self.file_timeout_s, draw, self._with_window(job), self.session)

    def _repeated_work(self, worker: Worker, job: DrawJob) -> int:
        """Rank the work that a worker would repeat for a job, from 0, none, to 3, most.

        The worker that measured a stack's window still has planes of the stack in memory.
        """
        if job.window_key == self.window_keys.get(worker):
            return 0
        if job.window_key not in self.window_keys.values():
            return 1
        return 2 if job.window_key in self.windows else 3

    def _collect(self) -> None:
        """Wait until a worker answers, dies or runs out of time, and take the answers."""
        with self.clock.waiting(DECODE):
            wait_for(list(self.jobs))
        self.waiting()
        for worker in list(self.jobs):
            self._take_answer(worker)

    def _take_answer(self, worker: Worker) -> None:
        # Asked before the pipe is read: an answer sent just before the worker died still counts.
        lost = worker.lost
        answer = worker.answer()
        if answer is None and not lost:
            return
        number, job = self.jobs.pop(worker)
        if answer is None:
            index = self.workers.index(worker)
            self._replace_worker(index)
            # Nothing says yet which frame was to blame: none fails until it is drawn alone.
            self.finished[number] = self._draw_singly(index, job)
        else:
            self.finished[number] = self._accept(job, answer)

    def _accept(self, job: DrawJob, answer: Answer) -> Drawn:
        """Return what was drawn, and keep the window for other jobs of the stack."""
        self.clock.add(DECODE, answer.seconds)
        drawn: Drawn
        drawn, window = answer.get()
        if window is not None:
            self.windows[job.window_key] = window
            if len(self.windows) > WINDOWS_KEPT:
                self.windows.popitem(last=False)
        return drawn

    def _draw_singly(self, index: int, job: DrawJob) -> Drawn:
        """Repeat a job that killed its worker frame by frame; only the frame to blame fails."""
        return [item for single in job.singles() for item in self._draw_single(index, single)]

    def _draw_single(self, index: int, job: DrawJob) -> Drawn:
        """Draw one frame, in the worker of that index.

        The worker may die of another file than the frame's: to measure the window of the stack, it
        reads other files too. Such a file is given up at once, the window is measured without it,
        and the frame is tried again. A file that kills on its own frames fails each of them, and is
        given up after `MAX_DEATHS` workers.
        """
        (frame,) = job.frames
        while frame.file not in self.given_up:
            worker = self.workers[index]
            self._start(worker, 0, job)
            answer = worker.finish(self.waiting)
            del self.jobs[worker]
            if answer is not None:
                return self._accept(job, answer)
            culprit: ArchiveFile = worker.reading or frame.file
            error = self._replace_worker(index)
            log.warning(str(error))
            self.deaths[culprit] += 1
            if culprit != frame.file:
                self.unmeasured.add(culprit)
            if culprit in self.unmeasured or self.deaths[culprit] >= MAX_DEATHS:
                self.given_up[culprit] = error
            if culprit == frame.file:
                return [error]
        return [self.given_up[frame.file]]

    def _with_window(self, job: DrawJob) -> DrawJob:
        """Add the stack's window to a job or, until it is measured, drop files that killed."""
        window = job.window or self.windows.get(job.window_key)
        if window is not None or not self.unmeasured:
            return replace(job, window=window)
        frames = tuple(f for f in job.stack.frames if f.file not in self.unmeasured)
        return replace(job, stack=replace(job.stack, frames=frames))

    def _replace_worker(self, index: int) -> DecoderError:
        """Replace a dead or hanging worker by a new one; return the error of its file."""
        worker = self.workers[index]
        self.window_keys.pop(worker, None)
        error = worker.error()
        self.workers[index] = hire(draw)
        return error

    def close(self) -> None:
        """End all workers, but keep an idle one for later."""
        for worker in self.workers:
            dismiss(worker)
