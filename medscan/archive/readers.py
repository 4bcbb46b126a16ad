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

from medscan.archive.header import Header, from_json, to_json
from medscan.archive.pseudonyms import Pseudonyms
from medscan.archive.read import read_header
from medscan.archive.types import ArchiveFile, Outcome, Reason
from medscan.choices import FILE_TIMEOUT_S

_log = logging.getLogger("medscan.archive")
SMALL = 1024
"""Files that are read in this process before others are started for the rest."""
_PATIENCE_S = 1.0
"""Seconds more for each further file that a worker reads in one go."""
_DIED = "the process that read its header died or ran out of time"
_LATE = "its header could not be read in time"

Found = tuple[Header | Outcome, str]
"""What a file is, and the JSON text of that where a worker has made it."""
Job = Future[list[str]] | None


class Readers:
    """Reads headers, in worker processes once there are many and the processes are up.

    Parameters
    ----------
    workers : int
        Processes; with fewer than two, this one reads.
    pseudonyms : Pseudonyms or None
        What identities in them are replaced by.
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
            return self._pool.submit(read_texts, _rows(files), self.pseudonyms, self.file_timeout_s)
        except BrokenProcessPool:  # `result` finds out which file it was
            self._end()
            return None

    def result(self, files: Sequence[ArchiveFile], job: Job) -> list[Found]:
        """Headers of the files that were submitted, in their order."""
        if job is None:
            return _here(files, self.pseudonyms, self.file_timeout_s)
        try:
            return _parsed(files, job.result())
        except BrokenProcessPool:
            return _one_by_one(files, self.pseudonyms, self.file_timeout_s)

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = self._up = None


def read_texts(
    rows: Sequence[tuple[object, ...]], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[str]:
    """What a worker does: the headers of files, given by the fields of `ArchiveFile`, as JSON.

    One that overstays ends its process, wherever it hangs.
    """
    files = (ArchiveFile(*row) for row in rows)  # type: ignore[arg-type]
    with Path(os.devnull).open("w") as nowhere:
        patience = file_timeout_s + _PATIENCE_S * (len(rows) - 1)
        faulthandler.dump_traceback_later(patience, exit=True, file=nowhere)
        try:
            return [json.dumps(to_json(_read(file, pseudonyms))) for file in files]
        finally:
            faulthandler.cancel_dump_traceback_later()


def _here(
    files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[Found]:
    """Read files in this process."""
    found: list[Found] = []
    while len(found) < len(files):
        found += _until_one_hangs(files[len(found) :], pseudonyms, file_timeout_s)
    return found


def _until_one_hangs(
    files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[Found]:
    """Read files in a thread, which is left behind when a file hangs in it."""
    found: list[Found] = []
    done = -1
    thread = threading.Thread(target=_read_into, args=(found, files, pseudonyms), daemon=True)
    thread.start()
    while thread.is_alive() and done < len(found):
        done = len(found)
        thread.join(file_timeout_s)
    if not thread.is_alive():
        # It has read all, but for one that it failed at: that fails here as it did there.
        return found + [(_read(file, pseudonyms), "") for file in files[len(found) :]]
    late = files[done]
    _log.warning(_LATE, extra={"file": late})
    return [*found[:done], (Outcome(late, Reason.DECODER_DIED, _LATE), "")]


def _read_into(
    found: list[Found], files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None
) -> None:
    for file in files:
        found.append((_read(file, pseudonyms), ""))  # noqa: PERF401 - watched while it grows


def _read(file: ArchiveFile, pseudonyms: Pseudonyms | None) -> Header | Outcome:
    found = read_header(file)
    return found if pseudonyms is None else pseudonyms.header(found)


def _rows(files: Sequence[ArchiveFile]) -> list[tuple[object, ...]]:
    """Fields of files: tuples are pickled several times faster."""
    return [(f.path, f.root, f.size, f.mtime_ns) for f in files]


def _parsed(files: Sequence[ArchiveFile], texts: Sequence[str]) -> list[Found]:
    found = (from_json(f, json.loads(text)) for f, text in zip(files, texts, strict=True))
    return [(f, text) for f, text in zip(found, texts, strict=True) if f is not None]


def _one_by_one(
    files: Sequence[ArchiveFile], pseudonyms: Pseudonyms | None, file_timeout_s: float
) -> list[Found]:
    """Read files in a process of their own: one of them killed its process before."""
    found: list[Found] = []
    while len(found) < len(files):
        with _new_pool(1) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                _log.warning("no worker process can be started: headers are read in this one")
                return found + _here(files[len(found) :], pseudonyms, file_timeout_s)
            found += _until_one_kills(pool, files[len(found) :], pseudonyms, file_timeout_s)
    return found


def _until_one_kills(
    pool: ProcessPoolExecutor,
    files: Sequence[ArchiveFile],
    pseudonyms: Pseudonyms | None,
    file_timeout_s: float,
) -> list[Found]:
    found: list[Found] = []
    for file in files:
        try:
            texts = pool.submit(read_texts, _rows([file]), pseudonyms, file_timeout_s).result()
            found += _parsed([file], texts)
        except BrokenProcessPool:
            _log.warning(_DIED)
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
