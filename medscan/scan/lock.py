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
"""What `flock` says where it works and another process holds the lock."""
BEAT_S = 60.0
DEAD_S = 600.0
"""A scan on another host that has not touched its lock for so long is dead."""
_OWNER = re.compile(r"process (\d+) on (\S+) since (\S+)")


@contextmanager
def locked(out: Path) -> Iterator[str]:
    """Hold a results file against other scans.

    The lock file names its owner: process, host and start. The system frees its lock when that
    process dies. Not every network file system has locks, or locks for all hosts: the owner
    therefore touches the file every minute, and the lock of another host counts while it does.

    Yields
    ------
    str
        The owner whose lock was taken over, since it is dead; empty when there was none.

    Raises
    ------
    LockedError
        Another scan holds it.
    DiskError
        The lock file cannot be written.
    """
    path = out.with_name(out.name + ".lock")
    stream, taken = _acquire(path, out)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(stream.fileno(), over), daemon=True)
    with stream:
        try:
            beat.start()
            yield taken
        finally:
            over.set()
            beat.join()
            with suppress(OSError):  # free it is all the same
                path.unlink()


def _beat(handle: int, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        with suppress(OSError):
            os.utime(handle)


def _acquire(path: Path, out: Path) -> tuple[TextIO, str]:
    """The lock file, open and ours, and its dead owner."""
    stream, alone = _open_locked(path, out)
    try:
        owner = stream.read(1000).strip()
        _check_dead(owner, os.fstat(stream.fileno()).st_mtime, out, alone=alone)
        me = _sign(stream.fileno())
        if not alone:
            _check_alone(path, out, me)
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
    """The open lock file, and whether the system vouches that nobody else on this host holds it.

    One that its owner has just removed is opened anew.
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
            if error.errno not in BUSY:  # no locks on this file system
                return stream, False
            owner = stream.read(1000).strip()
            stream.close()
            raise LockedError(f"{out} is in use by {owner or 'another scan'}") from error
        with suppress(FileNotFoundError):
            if os.fstat(stream.fileno()).st_ino == path.stat().st_ino:
                return stream, True
        stream.close()


def _sign(handle: int) -> str:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    me = f"process {os.getpid()} on {socket.gethostname()} since {started}"
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{me}\n".encode(), 0)
    os.fsync(handle)
    return me


def _check_alone(path: Path, out: Path, me: str) -> None:
    """Without locks two scans may sign at once: the last one stays."""
    time.sleep(0.5)
    owner = path.read_text("utf-8", "replace").strip()
    if owner != me:
        raise LockedError(f"{out} is in use by {owner}")


def _check_dead(owner: str, beaten: float, out: Path, *, alone: bool) -> None:
    """Raise LockedError if the scan that signed the lock, and touched it then, may be running."""
    found = _OWNER.fullmatch(owner)
    if found is None:
        return
    if found[2] != socket.gethostname():
        lives = time.time() - beaten < DEAD_S
    else:
        lives = not alone and _lives(int(found[1]), found[3])
    if lives:
        raise LockedError(f"{out} is in use by {owner}")


def _lives(process: int, since: str) -> bool:
    """Whether a process of this host that ran at that time still does."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return _started(process) <= datetime.datetime.fromisoformat(since).timestamp() + 1
    except (OSError, ValueError, IndexError):
        return True


def _started(process: int) -> float:
    """When a process started, seconds since the epoch."""
    stat = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    ticks = int(stat.rpartition(")")[2].split()[19])
    boot = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    )
    return boot + ticks / os.sysconf("SC_CLK_TCK")
