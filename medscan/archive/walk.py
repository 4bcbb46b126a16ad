"""Walk a folder: each entry once, in a fixed order, following no link and opening no file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from medscan.archive.types import ArchiveFile, Entry, Outcome, Reason

_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_DELETED = re.compile(r"\.nfs[0-9a-f]{16,}", re.ASCII)
"""Name that NFS gives to a file which is deleted while a program has it open."""


def walk(root: Path) -> Iterator[Entry]:
    """Yield every file below `root`, sorted by name within each folder.

    Symbolic links are reported but not followed: a target below the root is met there anyway.

    Parameters
    ----------
    root : Path
        A folder, or a single file.

    Yields
    ------
    ArchiveFile
        A regular file.
    Outcome
        Anything else: links, FIFOs, devices, and folders that could not be listed.
    """
    top = root.resolve()
    try:
        status = top.stat()
    except OSError as error:
        yield _unreadable(top.name, top.parent, error)
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _walk_folders(top)
    else:
        yield _file_entry(top.name, top.parent, status)


def _walk_folders(top: Path) -> Iterator[Entry]:
    seen: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            status = (top / folder).lstat()
            with os.scandir(top / folder) as scan:
                entries = sorted(scan, key=lambda e: e.name)
        except OSError as error:
            yield _unreadable(folder or ".", top, error)
            continue
        if (status.st_dev, status.st_ino) in seen:  # a bind mount can loop where no link does
            continue
        seen.add((status.st_dev, status.st_ino))
        deeper: list[str] = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if _is_folder(entry):
                deeper.append(path)
            else:
                yield _entry(entry, path, top)
        pending.extend(reversed(deeper))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; false where the file system cannot say."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _entry(entry: os.DirEntry[str], path: str, top: Path) -> Entry:
    try:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return _link(path, top)
    except OSError as error:
        return _unreadable(path, top, error)
    return _file_entry(path, top, status)


def _file_entry(path: str, top: Path, status: os.stat_result) -> Entry:
    file = ArchiveFile(path, top, status.st_size, status.st_mtime_ns)
    if stat.S_ISREG(status.st_mode) and _DELETED.fullmatch(path.rpartition("/")[2]):
        return Outcome(file, Reason.NOT_AN_IMAGE, "deleted: NFS keeps it until it is closed")
    if stat.S_ISREG(status.st_mode):
        return file
    kind = _SPECIAL.get(stat.S_IFMT(status.st_mode), "not a regular file")
    return Outcome(file, Reason.NOT_AN_IMAGE, kind)


def _link(path: str, top: Path) -> Outcome:
    file = ArchiveFile(path, top, 0, 0)
    try:
        target = (top / path).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return Outcome(file, Reason.UNREADABLE, "a symbolic link that leads nowhere")
    if target.is_relative_to(top):
        return Outcome(file, Reason.DUPLICATE, "a symbolic link within the archive")
    return Outcome(file, Reason.LINKED, "a symbolic link out of the archive")


def _unreadable(path: str, top: Path, error: OSError) -> Outcome:
    return Outcome(
        ArchiveFile(path, top, 0, 0), Reason.UNREADABLE, error.strerror or type(error).__name__
    )
