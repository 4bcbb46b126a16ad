"""Write files that are complete or do not exist at all."""

from __future__ import annotations

import io
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medscan.errors import DiskError, MedscanError

OPEN_FILES = 64
"""Files and pipes that a command may have to open at a time, with a few processes."""


@contextmanager
def replacing(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path` in one rename.

    The new file has the permissions and the group of the old one.

    Parameters
    ----------
    path : Path
    synced : bool
        Whether the file must survive a power cut; False is faster, for files that can be made
        again.

    Raises
    ------
    DiskError
        If it cannot be written; `path` is unchanged.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.unlink(missing_ok=True)
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        mode = _copy_access(path, aside)
        yield aside
        if mode is not None:
            aside.chmod(mode)
        if synced:
            with aside.open("rb+") as stream:
                os.fsync(stream.fileno())
        aside.replace(path)
        if synced:
            sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
        raise DiskError(f"{path} could not be written: {reason}") from error
    finally:
        with suppress(OSError):  # removing may fail for the same reason as writing
            aside.unlink(missing_ok=True)


def _copy_access(path: Path, new: Path) -> int | None:
    """Give a new, empty file the group and permissions of an old one, and the right to write to it.

    Returns
    -------
    int or None
        The permissions of the old file; None without one.
    """
    try:
        old = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(old.st_mode):
        return None
    with suppress(PermissionError):  # only members may give a file to a group
        os.chown(new, -1, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    new.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)
    return mode


@contextmanager
def private_files(private: bool) -> Iterator[None]:
    """Let nobody but the owner read new files, if `private`; older files keep their permissions."""
    before = os.umask(0o077) if private else None
    try:
        yield
    finally:
        if before is not None:
            os.umask(before)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents unless they exist.

    Raises
    ------
    DiskError
        If it cannot be created, or something else has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{folder} could not be made: {error.strerror}") from error


def remove(path: Path) -> None:
    """Remove a file if it exists.

    Raises
    ------
    DiskError
        If it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"{path} could not be removed: {error.strerror}") from error


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that a folder lies on.

    Raises
    ------
    DiskError
        If they cannot be determined.
    """
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise DiskError(f"free space of {folder} is unknown: {error.strerror}") from error


def make_room(folder: Path, most: int) -> None:
    """Remove the files of a cache that were not used for longest until `most` bytes are left."""
    with os.scandir(folder) as entries:
        files = [(entry.stat(follow_symlinks=False), entry.path) for entry in entries]
    files.sort(key=lambda file: file[0].st_mtime)
    excess = sum(status.st_size for status, _ in files) - most
    for status, path in files:
        if excess <= 0:
            break
        Path(path).unlink(missing_ok=True)
        excess -= status.st_size


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Forgiving(io.FileIO):
    """Reports success for every write, and keeps the first error."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextmanager
def forgiving(path: Path) -> Iterator[io.FileIO]:
    """Open a file for a library, such as HDF5, that crashes if a write fails.

    Raises
    ------
    OSError
        On exit, if any write failed: the first error.
    """
    with _Forgiving(path, "r+") as stream:
        try:
            yield stream
        except Exception as error:
            if stream.error is None:
                raise
            raise stream.error from error
        if stream.error is not None:
            raise stream.error


def check_open_files() -> None:
    """Refuse a limit that does not leave room for the files and pipes that a scan opens.

    Raises
    ------
    MedscanError
        If fewer than `OPEN_FILES` may be open at a time.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < OPEN_FILES:  # RLIM_INFINITY is -1
        raise MedscanError(
            f"this process may open only {limit} files at a time, and needs {OPEN_FILES}: raise "
            f"the limit, such as by `ulimit -n {OPEN_FILES}`"
        )
