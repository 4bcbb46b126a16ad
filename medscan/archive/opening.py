"""Open files of an archive without leaving it, whatever has taken their place since the walk."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from medscan.errors import UnreadableError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting on a FIFO that replaced it.

    Raises
    ------
    OSError
        If it cannot be opened.
    UnreadableError
        If it is no longer a regular file.
    """
    return _stream_of(os.open(path, _FILE))


def open_below(root: Path, path: str) -> BinaryIO:
    """Open a regular file below a folder; follow no symbolic link on the way from there.

    Each folder is opened from the one before it, so that none can be exchanged meanwhile.

    Parameters
    ----------
    root : Path
        The archive folder; links that lead to it are followed.
    path : str
        POSIX path below `root`, without `..`.

    Raises
    ------
    OSError
        If a part of the path does not exist, or is a link.
    UnreadableError
        If it leads upwards, or to anything but a regular file.
    """
    *folders, name = PurePosixPath(path).parts or ("",)
    if ".." in (*folders, name) or path.startswith("/"):
        raise UnreadableError("its path leads out of the archive")
    at = os.open(root, _FOLDER)
    try:
        for folder in folders:
            deeper = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = deeper
        file = os.open(name, _FILE, dir_fd=at)
    finally:
        os.close(at)
    return _stream_of(file)


def _stream_of(file: int) -> BinaryIO:
    """Stream of an open file; refuse anything but a regular one."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UnreadableError("it is no longer a regular file")
    return os.fdopen(file, "rb")
