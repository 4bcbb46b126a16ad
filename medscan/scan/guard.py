"""One scan at a time, ended cleanly by signals."""

from __future__ import annotations

import datetime
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from medscan.errors import LockedError


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


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the results file against other scans; the system frees it if this process dies.

    Raises
    ------
    LockedError
        Another scan holds it.
    """
    path = out.with_name(out.name + ".lock")
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.seek(0)
            raise LockedError(f"{out} is in use by {stream.read().strip()}") from error
        stream.truncate(0)
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        stream.write(f"process {os.getpid()} on {socket.gethostname()} since {started}\n")
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
