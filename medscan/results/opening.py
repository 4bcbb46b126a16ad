"""Open results files: whole ones as they are, damaged ones without what is damaged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from medscan.errors import DamagedError, UsageError
from medscan.results.seal import Check, Intact, check, was_ours

SCHEMA = 2
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError,
          ArithmeticError, MemoryError)  # fmt: skip
"""What HDF5, and code that uses its values, raise if a file is damaged."""

# Files are opened without locks, which network file systems may lack: a results file is only ever
# replaced as a whole, so that a reader never sees a file being written.


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a results file for reading; of a damaged one, what is damaged raises OSError.

    Raises
    ------
    UsageError
        If it is missing, not a results file, or of another version.
    DamagedError
        If it is damaged so that no study can be read; so do errors inside.
    """
    found = _checked(path)
    try:
        with _hdf5(path, found) as file:
            _check_schema(file, path)
            yield file
    except DAMAGE as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedError(f"{path} is damaged ({why}); the next scan replaces it") from error


@contextmanager
def _hdf5(path: Path, found: Check) -> Iterator[Any]:
    with ExitStack() as opening:
        file = None
        if not found.damaged:
            # HDF5 opens no file in two ways: this process may have it open with locks.
            with suppress(OSError):
                file = opening.enter_context(h5py.File(path, "r", locking=False))
        if file is None:
            stream = opening.enter_context(Intact(path, found.seal))
            file = opening.enter_context(h5py.File(stream, "r"))
        yield file


def _checked(path: Path) -> Check:
    try:
        found = check(path)
        ours = found is not None or was_ours(path)
    except FileNotFoundError as error:
        hint = "name a results file that `medscan scan` wrote"
        raise UsageError(f"{path} does not exist; {hint}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if found is not None:
        return found
    if ours:
        raise DamagedError(f"{path} is damaged, and no study in it can be read; "
                           "the next scan replaces it")  # fmt: skip
    raise UsageError(f"{path} is not a results file of this medscan, which ends in checksums; "
                     "name one that `medscan scan` wrote")  # fmt: skip


def _check_schema(file: Any, path: Path) -> None:
    version = int(file.attrs["schema_version"])
    if version > SCHEMA:
        raise UsageError(f"{path} has schema {version}; this medscan reads up to {SCHEMA}")


def is_damaged(path: Path) -> bool:
    """Whether any byte of a results file has changed since it was written."""
    return _checked(path).damaged


def damaged_studies(path: Path) -> frozenset[str]:
    """Return the keys of the studies of a results file that cannot be read as they were written.

    Raises
    ------
    UsageError
        As `opened` does.
    """
    if not is_damaged(path):
        return frozenset()
    status = path.stat()
    return _damaged_studies(path, status.st_dev, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _damaged_studies(path: Path, *_state: int) -> frozenset[str]:
    with opened(path) as file:
        studies = file["studies"]
        return frozenset(key for key in studies if not _is_intact(studies, key))


def _is_intact(studies: Any, key: str) -> bool:
    """Whether a study can be copied, which reads all of it and checks each block."""
    with h5py.File(io.BytesIO(), "w") as memory:
        try:
            studies.copy(studies[key], memory)
        except DAMAGE:
            return False
    return True
