"""One scan at a time, ended cleanly by signals."""

from __future__ import annotations

import datetime
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from medscan.errors import DiskError, LockedError


class Stop:
    """Set by a signal: the study in hand is finished, then the scan publishes and ends."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a clean stop; a second one ends at once."""
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.signal = number

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _locked_file(path: Path, out: Path) -> TextIO:
    """Open and lock the lock file; one that its owner has just removed is opened anew."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DiskError(f"{path} cannot be written: {error.strerror}") from error
        stream = os.fdopen(handle, "r+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = stream.read().strip()
            stream.close()
            raise LockedError(f"{out} is in use by {owner}") from error
        with suppress(FileNotFoundError):
            if os.fstat(stream.fileno()).st_ino == path.stat().st_ino:
                return stream
        stream.close()


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the results file against other scans; the system frees it if this process dies.

    Raises
    ------
    LockedError
        Another scan holds it.
    """
    path = out.with_name(out.name + ".lock")
    with _locked_file(path, out) as stream:
        stream.truncate(0)
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        stream.write(f"process {os.getpid()} on {socket.gethostname()} since {started}\n")
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
