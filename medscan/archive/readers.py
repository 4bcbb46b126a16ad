"""Headers read in worker processes, so that a library that crashes costs one file."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from medscan.archive.header import Header, from_json, to_json
from medscan.archive.read import read_header
from medscan.archive.types import ArchiveFile, Outcome, Reason

_log = logging.getLogger("medscan.archive")
SMALL = 1024
"""Files that are read in this process before others are started for the rest."""
_DIED = "the process that read its header died"

Found = tuple[Header | Outcome, str]
"""What a file is, and the JSON text of that where a worker has made it."""
Job = Future[list[str]] | None


class Readers:
    """Reads headers, in worker processes once there are many and the processes are up.

    Parameters
    ----------
    workers : int
        Processes; with fewer than two, this one reads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.asked = 0
        self._pool: ProcessPoolExecutor | None = None
        self._up: Future[int] | None = None

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def submit(self, files: Sequence[ArchiveFile]) -> Job:
        """Begin to read headers, if workers do it; `result` takes what this returns."""
        self.asked += len(files)
        if self.workers < 2 or self.asked <= SMALL or not files:
            return None
        if self._pool is None or self._up is None:
            self._pool = _new_pool(self.workers)
            self._up = self._pool.submit(os.getpid)
        if not self._up.done():
            return None
        try:
            return self._pool.submit(read_texts, _rows(files))
        except BrokenProcessPool:  # `result` finds out which file it was
            self._end()
            return None

    def result(self, files: Sequence[ArchiveFile], job: Job) -> list[Found]:
        """Headers of the files that were submitted, in their order."""
        if job is None:
            return [(read_header(file), "") for file in files]
        try:
            return _parsed(files, job.result())
        except BrokenProcessPool:
            return _one_by_one(files)

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = self._up = None


def read_texts(rows: Sequence[tuple[object, ...]]) -> list[str]:
    """What a worker does: the headers of files, given by the fields of `ArchiveFile`, as JSON."""
    return [json.dumps(to_json(read_header(ArchiveFile(*row)))) for row in rows]  # type: ignore[arg-type]


def _rows(files: Sequence[ArchiveFile]) -> list[tuple[object, ...]]:
    """Fields of files: tuples are pickled several times faster."""
    return [(f.path, f.root, f.size, f.mtime_ns) for f in files]


def _parsed(files: Sequence[ArchiveFile], texts: Sequence[str]) -> list[Found]:
    found = (from_json(f, json.loads(text)) for f, text in zip(files, texts, strict=True))
    return [(f, text) for f, text in zip(found, texts, strict=True) if f is not None]


def _one_by_one(files: Sequence[ArchiveFile]) -> list[Found]:
    """Read files in a process of their own: one of them killed its process before."""
    found: list[Found] = []
    while len(found) < len(files):
        with _new_pool(1) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                _log.warning("no worker process can be started: headers are read in this one")
                return found + [(read_header(file), "") for file in files[len(found) :]]
            found += _until_one_kills(pool, files[len(found) :])
    return found


def _until_one_kills(pool: ProcessPoolExecutor, files: Sequence[ArchiveFile]) -> list[Found]:
    found: list[Found] = []
    for file in files:
        try:
            found += _parsed([file], pool.submit(read_texts, _rows([file])).result())
        except BrokenProcessPool:
            _log.warning("%s: %s", _DIED, file.path)
            return [*found, (Outcome(file, Reason.DECODER_DIED, _DIED), "")]
    return found


def _new_pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)


def _begin() -> None:
    """A worker leaves signals to its parent, and ends when that does, however it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
