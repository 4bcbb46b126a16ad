"""What is already known and done, in SQLite beside the results file; one process writes it.

- `headers`: what was read of a file, by root, path, size and mtime.
- `work`: a study's latest finished work: its work key, the root it was found below, the tools it
  was read with, and what became of each of its files.
- `meta`: the key of the pseudonyms.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medscan.archive import ArchiveFile
from medscan.errors import DiskError

SCHEMA = """
CREATE TABLE IF NOT EXISTS headers (
    root TEXT, path TEXT, size INTEGER, mtime_ns INTEGER, header TEXT,
    PRIMARY KEY (root, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS work (
    study TEXT PRIMARY KEY, work_key TEXT NOT NULL, root TEXT NOT NULL, tools TEXT NOT NULL,
    outcomes TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """A study's finished work.

    Parameters
    ----------
    work_key : str
        See `medscan.scan.plan.Task`.
    root : str
        Archive root that its files were found below.
    tools : str
        What files were read with: a study with failures is tried again with other tools.
    outcomes : list of [path, reason, detail]
    """

    work_key: str
    root: str
    tools: str
    outcomes: list[list[str]]


class Ledger:
    """An open ledger. It serves `medscan.archive.index` as its cache of headers.

    Parameters
    ----------
    path : Path
        Made when missing, with mode 0600, for it holds the pseudonym key.

    Raises
    ------
    DiskError
        It cannot be opened, or is no ledger.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise DiskError(f"ledger {path} cannot be written: {error.strerror}") from error
        self._base = sqlite3.connect(path)
        with self._telling():
            # No WAL: it does not work on network file systems, where archives often lie.
            self._base.execute("PRAGMA journal_mode = DELETE")
            self._base.executescript(SCHEMA)

    def close(self) -> None:
        """Close; what was not committed is lost."""
        self._base.close()

    # --- headers ------------------------------------------------------------------------------

    def get(self, file: ArchiveFile) -> dict[str, Any] | None:
        """What was read of an unchanged file."""
        rows = self._all(
            "SELECT header FROM headers WHERE root = ? AND path = ? AND size = ? AND mtime_ns = ?",
            (_safe(str(file.root)), _safe(file.path), file.size, file.mtime_ns),
        )
        found: dict[str, Any] | None = json.loads(rows[0][0]) if rows else None
        return found

    def put(self, file: ArchiveFile, header: dict[str, Any]) -> None:
        """Remember what was read of a file; kept at the next `commit`."""
        self._run(
            "INSERT OR REPLACE INTO headers VALUES (?, ?, ?, ?, ?)",
            (
                _safe(str(file.root)),
                _safe(file.path),
                file.size,
                file.mtime_ns,
                json.dumps(header),
            ),
        )

    def commit(self) -> None:
        """Keep what was put."""
        with self._telling():
            self._base.commit()

    # --- work ---------------------------------------------------------------------------------

    def work(self) -> dict[str, Finished]:
        """Finished work by study key."""
        query = "SELECT study, work_key, root, tools, outcomes FROM work"
        return {
            study: Finished(key, root, tools, json.loads(outcomes))
            for study, key, root, tools, outcomes in self._all(query)
        }

    def finish(self, study: str, done: Finished) -> None:
        """Record a study whose part file is complete."""
        values = (study, done.work_key, done.root, done.tools, json.dumps(done.outcomes))
        self._run("INSERT OR REPLACE INTO work VALUES (?, ?, ?, ?, ?)", values)
        self.commit()

    # --- meta ---------------------------------------------------------------------------------

    def pseudonym_key(self) -> bytes:
        """32 random bytes, made once; without them a pseudonym leads nowhere."""
        rows = self._all("SELECT value FROM meta WHERE name = 'pseudonym'")
        if rows:
            return bytes(rows[0][0])
        key = secrets.token_bytes(32)
        self._run("INSERT INTO meta VALUES ('pseudonym', ?)", (key,))
        self.commit()
        return key

    # --- SQLite -------------------------------------------------------------------------------

    def _run(self, query: str, values: tuple[Any, ...] = ()) -> None:
        with self._telling():
            self._base.execute(query, values).close()

    def _all(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._telling(), closing(self._base.execute(query, values)) as rows:
            return rows.fetchall()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn SQLite's errors into one line."""
        try:
            yield
        except sqlite3.Error as error:
            raise DiskError(
                f"ledger {self.path} cannot be used ({error}); if it is damaged, move it away and "
                "the next scan makes a new one"
            ) from error


def _safe(text: str) -> str:
    """A path as SQLite text: surrogates escaped, one to one."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
