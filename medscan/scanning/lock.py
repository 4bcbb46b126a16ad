"""One scan at a time for each results file."""

from __future__ import annotations

import datetime
import errno
import fcntl
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from medscan.errors import DiskError, LockedError

BUSY = (errno.EWOULDBLOCK, errno.EACCES)
"""Errors of `flock` if another process holds the lock; others mean that it does not work here."""
BEAT_S = 60.0
"""Seconds between touches of the lock file by its owner."""
DEAD_S = 600.0
"""Seconds after which a lock that its owner on another host has not touched counts as dead."""
_OWNER = re.compile(r"process (\d+) on (\S+) since (\S+)")


@contextmanager
def locked(out: Path) -> Iterator[str]:
    """Lock a results file against other scans.

    The lock file names its owner: process, host and start. The system releases the `flock` when
    that process dies. Some network file systems have no locks, or none across hosts: the owner
    therefore also touches the file every minute, and an owner on another host counts as alive as
    long as it does.

    Yields
    ------
    str
        The dead owner whose lock was taken over; empty if there was none.

    Raises
    ------
    LockedError
        If another scan holds the lock.
    DiskError
        If the lock file cannot be written.
    """
    path = out.with_name(out.name + ".lock")
    stream, dead_owner = _acquire(path, out)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(stream.fileno(), over), daemon=True)
    with stream:
        try:
            beat.start()
            yield dead_owner
        finally:
            over.set()
            beat.join()
            with suppress(OSError):  # closing the file releases the lock even if it stays
                path.unlink()


def _beat(handle: int, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        with suppress(OSError):
            os.utime(handle)


def _acquire(path: Path, out: Path) -> tuple[TextIO, str]:
    """Open and sign the lock file; return it with its dead owner, if there was one."""
    stream, flocked = _open_locked(path, out)
    try:
        owner = stream.read(1000).strip()
        _check_dead(owner, os.fstat(stream.fileno()).st_mtime, out, flocked=flocked)
        signature = _sign(stream.fileno())
        if not flocked:
            _check_last_signature(path, out, signature)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        stream.close()
        raise DiskError(f"{path} cannot be written: {error.strerror}") from error
    except LockedError:
        stream.close()
        raise
    return stream, owner


def _open_locked(path: Path, out: Path) -> tuple[TextIO, bool]:
    """Open and lock the lock file; return it, and whether `flock` works on this file system.

    If the owner removes the file in between, it is opened again.
    """
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DiskError(f"{path} cannot be written: {error.strerror}") from error
        stream = os.fdopen(handle, "r+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in BUSY:  # this file system has no locks
                return stream, False
            owner = stream.read(1000).strip()
            stream.close()
            raise LockedError(f"{out} is in use by {owner or 'another scan'}") from error
        # A lock on a file that has been removed would keep nobody out: compare inodes.
        with suppress(FileNotFoundError):
            if os.fstat(stream.fileno()).st_ino == path.stat().st_ino:
                return stream, True
        stream.close()


def _sign(handle: int) -> str:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    signature = f"process {os.getpid()} on {socket.gethostname()} since {started}"
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{signature}\n".encode(), 0)
    os.fsync(handle)
    return signature


def _check_last_signature(path: Path, out: Path, signature: str) -> None:
    """Raise LockedError if another scan signed after this one.

    Without `flock`, two scans may sign at the same time: the last signature wins.
    """
    time.sleep(0.5)
    owner = path.read_text("utf-8", "replace").strip()
    if owner != signature:
        raise LockedError(f"{out} is in use by {owner}")


def _check_dead(owner: str, touched: float, out: Path, *, flocked: bool) -> None:
    """Raise LockedError if the owner of the lock may still be running.

    With `flocked`, the system says that no process of this host holds the lock.
    """
    match = _OWNER.fullmatch(owner)
    if match is None:
        return
    process, host, since = match.groups()
    if host != socket.gethostname():
        is_alive = time.time() - touched < DEAD_S
    else:
        is_alive = not flocked and _is_running(int(process), since)
    if is_alive:
        raise LockedError(f"{out} is in use by {owner}")


def _is_running(process: int, since: str) -> bool:
    """Whether a process of this host that was running at that time is still running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A process that started later only has the same number.
    try:
        return _started(process) <= datetime.datetime.fromisoformat(since).timestamp() + 1
    except (OSError, ValueError, IndexError):
        return True


def _started(process: int) -> float:
    """Return when a process started, in seconds since the epoch."""
    stat = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    ticks = int(stat.rpartition(")")[2].split()[19])
    boot = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    )
    return boot + ticks / os.sysconf("SC_CLK_TCK")
