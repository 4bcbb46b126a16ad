"""Headers read in worker processes, so that a library that crashes costs one file."""

from __future__ import annotations

import faulthandler
import json
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from medscan.archive.header import Record, from_json, to_json
from medscan.archive.pseudonyms import Pseudonyms
from medscan.archive.read import read_header
from medscan.archive.types import ArchiveFile, Outcome, Reason
from medscan.choices import FILE_TIMEOUT_S

_log = logging.getLogger("medscan.archive")
SMALL = 1024
"""Files that this process reads itself before it starts workers for the rest."""
_EXTRA_FILE_S = 1.0
"""Seconds more for each further file that a worker reads in one go."""
_DIED = "reading its header crashed or timed out"
_LATE = "its header could not be read in time"


class ReadFile(NamedTuple):
    """Record of a file that was read, and its JSON text where a worker made one."""

    record: Record
    text: str = ""


HeaderJob = Future[list[str]] | None
"""Headers that a worker reads; None where this process reads them itself."""


class Readers:
    """Reads headers: in this process at first, in workers once there are many files.

    Parameters
    ----------
    workers : int
        Processes; with fewer than two, this process reads everything.
    pseudonyms : Pseudonyms or None
        Replaces identities in headers.
    file_timeout_s : float
        Seconds after which a file is given up.
    """

    def __init__(
        self,
        workers: int,
        pseudonyms: Pseudonyms | None = None,
        file_timeout_s: float = FILE_TIMEOUT_S,
    ) -> None:
        self.workers, self.pseudonyms, self.file_timeout_s = workers, pseudonyms, file_timeout_s
        self.submitted = 0
        self._pool: ProcessPoolExecutor | None = None
        self._first_start: Future[int] | None = None

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def submit(self, files: Sequence[ArchiveFile]) -> HeaderJob:
        """Start to read headers in a worker, if one is up; pass the job to `result`."""
        self.submitted += len(files)
        if self.workers < 2 or self.submitted <= SMALL or not files:
            return None
        if self._pool is None or self._first_start is None:
            self._pool = _new_pool(self.workers)
            self._first_start = self._pool.submit(os.getpid)
        if not self._first_start.done():  # starting takes seconds: this process reads meanwhile
            return None
        try:
            return self._pool.submit(read_texts, _rows(files), self.pseudonyms, self.file_timeout_s)
        except BrokenProcessPool:  # the job that broke it learns in `result` which file it was
            self._end()
            return None

    def result(self, files: Sequence[ArchiveFile], job: HeaderJob) -> list[ReadFile]:
        """Records of the files that were submitted, in their order."""
        if job is None:
            return _read_here(files, self.pseudonyms, self.file_timeout_s)
        try:
            return _parsed(files, job.result())
        except BrokenProcessPool:
            return _read_one_by_one(files, self.pseudonyms, self.file_timeout_s)

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = self._first_start = None


def read_texts(
    rows: Sequence[tuple[object, ...]], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[str]:
    """Read headers in a worker: from the fields of each `ArchiveFile` to the JSON of its record.

    Files that take too long end the process, wherever it hangs: in C code no exception reaches it.
    """
    files = (ArchiveFile(*row) for row in rows)  # type: ignore[arg-type]
    with Path(os.devnull).open("w") as nowhere:
        allowed_s = file_timeout_s + _EXTRA_FILE_S * (len(rows) - 1)
        faulthandler.dump_traceback_later(allowed_s, exit=True, file=nowhere)
        try:
            return [json.dumps(to_json(_read(file, pseudonyms))) for file in files]
        finally:
            faulthandler.cancel_dump_traceback_later()


def _read_here(
    files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[ReadFile]:
    """Read files in this process."""
    results: list[ReadFile] = []
    while len(results) < len(files):
        results += _read_until_one_hangs(files[len(results) :], pseudonyms, file_timeout_s)
    return results


def _read_until_one_hangs(
    files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[ReadFile]:
    """Read files in a thread, which is abandoned if a file hangs in it."""
    results: list[ReadFile] = []
    count = -1
    thread = threading.Thread(target=_read_into, args=(results, files, pseudonyms), daemon=True)
    thread.start()
    # A whole wait in which no further file was read means that the file in hand hangs.
    while thread.is_alive() and count < len(results):
        count = len(results)
        thread.join(file_timeout_s)
    if not thread.is_alive():
        # All are read, unless an error ended the thread: reading that file here raises it again.
        return results + [ReadFile(_read(file, pseudonyms)) for file in files[len(results) :]]
    late = files[count]
    _log.warning(_LATE, extra={"file": late})
    return [*results[:count], ReadFile(Outcome(late, Reason.DECODER_DIED, _LATE))]


def _read_into(
    results: list[ReadFile], files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None
) -> None:
    for file in files:
        results.append(ReadFile(_read(file, pseudonyms)))  # noqa: PERF401 - watched while it grows


def _read(file: ArchiveFile, pseudonyms: Pseudonyms | None) -> Record:
    record = read_header(file)
    return record if pseudonyms is None else pseudonyms.record(record)


def _rows(files: Sequence[ArchiveFile]) -> list[tuple[object, ...]]:
    """Fields of files: tuples are pickled several times faster."""
    return [(f.path, f.root, f.size, f.mtime_ns) for f in files]


def _parsed(files: Sequence[ArchiveFile], texts: Sequence[str]) -> list[ReadFile]:
    records = (from_json(f, json.loads(text)) for f, text in zip(files, texts, strict=True))
    return [ReadFile(r, text) for r, text in zip(records, texts, strict=True) if r is not None]


def _read_one_by_one(
    files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[ReadFile]:
    """Read files again after one of them killed its worker: one by one, in a pool of one."""
    results: list[ReadFile] = []
    while len(results) < len(files):
        with _new_pool(1) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                _log.warning("no worker process can be started: headers are read in this one")
                return results + _read_here(files[len(results) :], pseudonyms, file_timeout_s)
            rest = files[len(results) :]
            results += _read_until_one_kills(pool, rest, pseudonyms, file_timeout_s)
    return results


def _read_until_one_kills(
    pool: ProcessPoolExecutor,
    files: Sequence[ArchiveFile],
    pseudonyms: Pseudonyms | None,
    file_timeout_s: float,
) -> list[ReadFile]:
    results: list[ReadFile] = []
    for file in files:
        try:
            texts = pool.submit(read_texts, _rows([file]), pseudonyms, file_timeout_s).result()
            results += _parsed([file], texts)
        except BrokenProcessPool:
            _log.warning(_DIED)
            return [*results, ReadFile(Outcome(file, Reason.DECODER_DIED, _DIED))]
    return results


def _new_pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)


def _prepare_worker() -> None:
    """Leave signals to the parent, and end with it, however it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
