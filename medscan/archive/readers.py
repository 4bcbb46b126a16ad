"""Headers read in worker processes, so that a file that hangs or kills its reader costs itself."""

from __future__ import annotations

import gc
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from medscan.archive.header import Record, from_json, to_json
from medscan.archive.pseudonyms import Pseudonyms
from medscan.archive.read import read_header
from medscan.archive.types import ArchiveFile, Outcome, Reason
from medscan.choices import FILE_TIMEOUT_S
from medscan.errors import DecoderError, MedscanError
from medscan.worker import Worker, announce, bound_memory, dismiss, hire, wait_for

_log = logging.getLogger("medscan.archive")
HEADER_BYTES = 1 << 28
"""A worker may hold four times as many, for a header and what is made of it, and 1 GiB."""
MANY = 1024
"""Files from which on more than one worker reads: each takes a second to start."""
_MAX_FALSE_STARTS = 3
"""Workers that may end before they read anything, until no more are started."""


class ReadFile(NamedTuple):
    """Record of a file, and its JSON text; none of a file that was given up."""

    record: Record
    text: str = ""


@dataclass(slots=True, eq=False)
class HeaderJob:
    """Files that one worker reads in one go.

    Parameters
    ----------
    files : list of ArchiveFile
        In the order in which their records are wanted.
    whole : bool
        Read the pixels of each file too, for `Header.content`.
    read : dict
        What became of each file, by its index in `files`.
    """

    files: Sequence[ArchiveFile]
    whole: bool = False
    read: dict[int, ReadFile] = field(default_factory=dict)

    @property
    def left(self) -> list[int]:
        """Indices of the files that have not been read."""
        return [index for index in range(len(self.files)) if index not in self.read]

    @property
    def done(self) -> bool:
        """Whether all files have been read."""
        return len(self.read) == len(self.files)


class Readers:
    """Reads headers in worker processes, never in this one.

    Parameters
    ----------
    workers : int
        Most processes; at least one reads.
    pseudonyms : Pseudonyms or None
        Replaces identities in headers.
    file_timeout_s : float
        Seconds after which a file is given up.
    waiting : callable
        Called again and again while workers read; an error that it raises ends the reading.
    """

    def __init__(
        self,
        workers: int,
        pseudonyms: Pseudonyms | None = None,
        file_timeout_s: float = FILE_TIMEOUT_S,
        waiting: Callable[[], object] = lambda: None,
    ) -> None:
        self.most, self.pseudonyms, self.file_timeout_s = (
            max(1, workers),
            pseudonyms,
            file_timeout_s,
        )
        self.waiting = waiting
        self.submitted = self.false_starts = 0
        self.queued: deque[HeaderJob] = deque()
        self.idle: list[Worker] = []
        self.busy: dict[Worker, HeaderJob] = {}

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self.idle, *self.busy):
            dismiss(worker)

    def submit(self, files: Sequence[ArchiveFile], *, whole: bool = False) -> HeaderJob:
        """Queue files for the workers; pass the job to `result`."""
        job = HeaderJob(files, whole)
        self.submitted += len(files)
        if files:
            self.queued.append(job)
            self._feed()
        return job

    def result(self, job: HeaderJob) -> list[ReadFile]:
        """Wait for a job, and return what became of its files, in their order.

        Raises
        ------
        MedscanError
            If worker processes end before they read anything, or are of another version.
        """
        while not job.done:
            self._collect()
        return [job.read[index] for index in range(len(job.files))]

    def _feed(self) -> None:
        """Give queued jobs to idle workers, and to new ones while these are few."""
        most = self.most if self.submitted > MANY else 1
        while self.queued and (self.idle or len(self.busy) < most):
            worker = self.idle.pop() if self.idle else hire(read_texts)
            job = self.queued.popleft()
            self.busy[worker] = job
            rows = _rows([job.files[index] for index in job.left])
            worker.start(self.file_timeout_s, read_texts, rows, self.pseudonyms, job.whole)

    def _collect(self) -> None:
        """Wait a little for the workers, and take their answers."""
        wait_for(list(self.busy))
        self.waiting()
        for worker, job in list(self.busy.items()):
            lost = worker.lost  # asked first: an answer sent just before it died still counts
            answer = worker.answer()
            if answer is None and not lost:
                continue
            del self.busy[worker]
            if answer is None:
                self._blame(worker, job)
                continue
            self.idle.append(worker)
            self._feed()  # it reads on while its answer is parsed
            texts: list[str] = answer.get()
            for index, text in zip(job.left, texts, strict=True):
                record = from_json(job.files[index], json.loads(text))
                if record is None:  # a worker that began later runs what was installed since
                    raise MedscanError("medscan was replaced while it ran; run it again")
                job.read[index] = ReadFile(record, text)

    def _blame(self, worker: Worker, job: HeaderJob) -> None:
        """Give up the file that a lost worker was reading, and have the others read again."""
        left, number = job.left, worker.reading
        error = worker.error()
        if number is None:
            self.false_starts += 1
            if self.false_starts >= _MAX_FALSE_STARTS:
                raise MedscanError(f"no process can be started to read headers: {error}")
        else:
            job.read[left[number]] = _given_up(job.files[left[number]], error)
        if not job.done:
            self.queued.appendleft(job)
        self._feed()


def _given_up(file: ArchiveFile, error: DecoderError) -> ReadFile:
    why = f"header: {error}"
    _log.warning(why)
    return ReadFile(Outcome(file, Reason(error.reason), why))


def read_texts(
    rows: Sequence[tuple[object, ...]], pseudonyms: Pseudonyms | None, whole: bool
) -> list[str]:
    """Read headers in a worker: from the fields of each `ArchiveFile` to the JSON of its record."""
    bound_memory(HEADER_BYTES)
    gc.set_threshold(100_000, 50, 100)  # headers leave little garbage, and much to search
    identify = pseudonyms is not None and pseudonyms.identify
    texts = []
    for number, row in enumerate(rows):
        announce(number)
        file, alive = ArchiveFile(*row), partial(announce, number)  # type: ignore[arg-type]
        record = read_header(file, identify=identify, alive=alive if whole else None)
        record = record if pseudonyms is None else pseudonyms.record(record)
        texts.append(json.dumps(to_json(record)))
    return texts


def _rows(files: Sequence[ArchiveFile]) -> list[tuple[object, ...]]:
    """Fields of files: tuples are pickled several times faster."""
    return [(f.path, f.root, f.size, f.mtime_ns) for f in files]
