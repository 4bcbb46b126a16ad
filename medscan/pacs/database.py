"""The ledgers of this room: SQLite files that their owner alone may read, with a lock beside."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medscan.errors import DiskError
from medscan.scanning import locked

BUSY_S = 30.0
"""Longest wait for another process that is writing."""


class Database:
    """A ledger of one process at a time; each `run` is whole or has not happened.

    Parameters
    ----------
    path : Path
        Created with mode 0600 if missing: it holds UIDs.
    tables : str
        SQL that makes the tables which are missing.

    Raises
    ------
    DiskError
        If it cannot be opened, or is no ledger.
    """

    def __init__(self, path: Path, tables: str) -> None:
        self.path = path
        with self._errors():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._sqlite = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            self._sqlite.execute("PRAGMA synchronous = NORMAL")
            self._sqlite.execute("PRAGMA journal_mode = WAL")
            self._sqlite.executescript(tables)

    def close(self) -> None:
        """Close the file."""
        self._sqlite.close()

    def all(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        with self._errors():
            return self._sqlite.execute(query, values).fetchall()

    def run(self, query: str, *rows: tuple[Any, ...]) -> None:
        """Run a statement for each row of values, all of them or none."""
        with self._errors():
            self._sqlite.execute("BEGIN")
            try:
                self._sqlite.executemany(query, rows)
            except BaseException:
                self._sqlite.execute("ROLLBACK")
                raise
            self._sqlite.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DiskError(f"ledger {self.path}: {error}") from error


@contextmanager
def opened(path: Path, tables: str) -> Iterator[Database]:
    """Open a ledger while no other process uses it.

    Raises
    ------
    LockedError
        If another one does.
    DiskError
        If it cannot be opened.
    """
    with locked(path):
        database = Database(path, tables)
        try:
            yield database
        finally:
            database.close()
