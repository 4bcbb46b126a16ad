"""Reading and drawing slices in worker processes that may die.

A decoder can hang, crash or abort its process. Each worker therefore has a pipe of its own, works
on one job at a time and names each file before it opens it; when it dies or overstays, it is
replaced and its job is repeated frame by frame, so that only the frame that killed it is lost.
Results come in the order of the jobs, whatever the number of workers.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import Self

from medscan.archive import ArchiveFile
from medscan.errors import DecoderError
from medscan.imaging import Window
from medscan.profile import DECODE, Clock
from medscan.reading.jobs import DrawJob, Drawn, StackMemory, draw_job
from medscan.reading.worker import Answer, Worker, wait_for

log = logging.getLogger("medscan.scan")

PATIENCE = 2
"""Workers that one file may kill, once it is known to be dangerous, before it is given up."""
WINDOWS = 256
"""Stacks whose window is remembered for jobs to come."""


def decode(
    jobs: Iterable[DrawJob], workers: int, file_timeout_s: float
) -> Generator[tuple[DrawJob, Drawn], None, None]:
    """Draw jobs, in their order, by `Decoders` of their own."""
    with Decoders(workers, file_timeout_s) as decoders:
        yield from decoders.draw(jobs)


class Decoders:
    """Worker processes that read and draw slices; they start at once.

    Parameters
    ----------
    workers : int
        Processes; 0 draws in this one, without protection from decoders that die.
    file_timeout_s : float
        Longest time for one file.
    clock : Clock, optional
        Is told how long the workers worked, and how long they were waited for.
    """

    def __init__(self, workers: int, file_timeout_s: float, clock: Clock | None = None) -> None:
        self.file_timeout_s, self.clock = file_timeout_s, clock or Clock()
        self.workers = [Worker() for _ in range(workers)]
        self.ahead = 2 * workers + 2
        self.pending: OrderedDict[int, DrawJob] = OrderedDict()
        self.done: dict[int, Drawn] = {}
        self.windows: OrderedDict[tuple[object, ...], Window] = OrderedDict()
        self.deaths: Counter[ArchiveFile] = Counter()
        self.given_up: dict[ArchiveFile, str] = {}
        self.unmeasured: set[ArchiveFile] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def draw(self, jobs: Iterable[DrawJob]) -> Generator[tuple[DrawJob, Drawn], None, None]:
        """Draw jobs, in their order; they are taken only as fast as they are worked on."""
        return self._draw_there(iter(jobs)) if self.workers else self._draw_here(jobs)

    def _draw_here(self, jobs: Iterable[DrawJob]) -> Generator[tuple[DrawJob, Drawn], None, None]:
        memory = StackMemory()
        for job in jobs:
            with self.clock.busy(DECODE):
                drawn = draw_job(job, memory)
            yield job, drawn

    def _draw_there(self, jobs: Iterator[DrawJob]) -> Generator[tuple[DrawJob, Drawn], None, None]:
        waiting: OrderedDict[int, DrawJob] = OrderedDict()
        taken = 0
        while True:
            taken = self._supply(jobs, waiting, taken)
            if not waiting:
                return
            first = next(iter(waiting))
            while first not in self.done:
                self._collect()
                taken = self._supply(jobs, waiting, taken)
            yield waiting.pop(first), self.done.pop(first)

    def _supply(
        self, jobs: Iterator[DrawJob], waiting: OrderedDict[int, DrawJob], taken: int
    ) -> int:
        """Keep all workers busy, but stay at most `ahead` of the consumer; how many were taken."""
        while len(waiting) < self.ahead:
            job = next(jobs, None)
            if job is None:
                break
            waiting[taken] = self.pending[taken] = job
            taken += 1
        for worker in self.workers:
            while worker.job is None and self.pending:
                self._hand_out(worker)
        return taken

    def _hand_out(self, worker: Worker) -> None:
        """Give an idle worker the job that costs least; one of a file given up is done at once."""
        number = min(self.pending, key=lambda n: (self._rank(worker, self.pending[n]), n))
        job = self.pending.pop(number)
        if any(frame.file in self.given_up for frame in job.frames):
            self.done[number] = self._one_by_one(self.workers.index(worker), job)
        else:
            worker.start(number, self._measurable(job), self.file_timeout_s)

    def _rank(self, worker: Worker, job: DrawJob) -> int:
        """How much a worker would do twice: it may have planes of the stack, or another has."""
        if job.measured == worker.stack:
            return 0
        if all(job.measured != other.stack for other in self.workers):
            return 1
        return 2 if job.measured in self.windows else 3

    def _collect(self) -> None:
        """Wait for a worker to answer, die or overstay, and take what it did."""
        busy = [w for w in self.workers if w.job is not None]
        with self.clock.waiting(DECODE):
            wait_for(busy)
        for worker in busy:
            self._take(worker)

    def _take(self, worker: Worker) -> None:
        lost = worker.lost  # before the last look: what it sent before it died counts
        found = worker.answer()
        if worker.job is None or (found is None and not lost):
            return
        number, job = worker.job
        worker.job = None
        if found is None:
            place = self.workers.index(worker)
            self._replace(place)
            self.done[number] = self._one_by_one(place, job)
        else:
            self.done[number] = self._learnt(job, found)

    def _learnt(self, job: DrawJob, found: Answer) -> Drawn:
        """What was drawn; the window is remembered for other jobs of the stack."""
        self.clock.add(DECODE, found.seconds)
        if found.window is not None:
            self.windows[job.measured] = found.window
            if len(self.windows) > WINDOWS:
                self.windows.popitem(last=False)
        return found.drawn

    def _one_by_one(self, place: int, job: DrawJob) -> Drawn:
        """Repeat a job that killed its worker frame by frame; the guilty frame fails."""
        return [item for single in job.singles() for item in self._single(place, single)]

    def _single(self, place: int, job: DrawJob) -> Drawn:
        """Draw one frame. A file that killed `PATIENCE` more workers is given up altogether.

        So is one that kills while the window of the stack is measured, which is then done without
        it.
        """
        (frame,) = job.frames
        while frame.file not in self.given_up:
            worker = self.workers[place]
            worker.start(0, self._measurable(job), self.file_timeout_s)
            found = worker.finish()
            if found is not None:
                return self._learnt(job, found)
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

    def _measurable(self, job: DrawJob) -> DrawJob:
        """The job with its stack's window, or else with a stack whose window can be measured."""
        window = job.window or self.windows.get(job.measured)
        if window is not None or not self.unmeasured:
            return replace(job, window=window)
        frames = tuple(f for f in job.stack.frames if f.file not in self.unmeasured)
        return replace(job, stack=replace(job.stack, frames=frames))

    def _replace(self, place: int) -> str:
        """Put a new worker in a dead or hanging one's place; says what became of the old."""
        why = self.workers[place].cause()
        self.workers[place].stop()
        self.workers[place] = Worker()
        return why

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.stop()
