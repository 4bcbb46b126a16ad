"""What is already known and done, in SQLite beside the results file; one process writes it.

- `headers`: what was read of a file, by root, path, size and mtime.
- `work`: a study's latest finished work: its work key, and what became of each of its files.
- `meta`: the key of the pseudonyms.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable
from contextlib import closing
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
    study TEXT PRIMARY KEY, work_key TEXT NOT NULL, outcomes TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
"""


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
            path.touch(mode=0o600, exist_ok=True)
            self._base = sqlite3.connect(path)
            # No WAL: it does not work on network file systems, where archives often lie.
            self._base.execute("PRAGMA journal_mode = DELETE")
            self._base.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DiskError(
                f"ledger {path} cannot be used ({error}); move it away and the next scan makes a "
                "new one"
            ) from error

    def close(self) -> None:
        """Commit and close."""
        self._base.commit()
        self._base.close()

    # --- headers ------------------------------------------------------------------------------

    def get(self, file: ArchiveFile) -> dict[str, Any] | None:
        """What was read of an unchanged file."""
        row = self._one(
            "SELECT header FROM headers WHERE root = ? AND path = ? AND size = ? AND mtime_ns = ?",
            (_safe(str(file.root)), _safe(file.path), file.size, file.mtime_ns),
        )
        found: dict[str, Any] | None = json.loads(row[0]) if row else None
        return found

    def put(self, file: ArchiveFile, header: dict[str, Any]) -> None:
        """Remember what was read of a file; kept at the next `commit`."""
        self._base.execute(
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
        self._base.commit()

    # --- work ---------------------------------------------------------------------------------

    def work(self) -> dict[str, tuple[str, list[list[str]]]]:
        """Study key -> work key and outcomes (path, reason, detail)."""
        with closing(self._base.execute("SELECT study, work_key, outcomes FROM work")) as rows:
            return {study: (key, json.loads(outcomes)) for study, key, outcomes in rows}

    def finish(self, study: str, work_key: str, outcomes: Iterable[list[str]]) -> None:
        """Record a study whose part file is complete."""
        self._base.execute(
            "INSERT OR REPLACE INTO work VALUES (?, ?, ?)",
            (study, work_key, json.dumps(list(outcomes))),
        )
        self._base.commit()

    # --- meta ---------------------------------------------------------------------------------

    def pseudonym_key(self) -> bytes:
        """32 random bytes, made once; without them a pseudonym leads nowhere."""
        row = self._one("SELECT value FROM meta WHERE name = 'pseudonym'", ())
        if row:
            return bytes(row[0])
        key = secrets.token_bytes(32)
        self._base.execute("INSERT INTO meta VALUES ('pseudonym', ?)", (key,))
        self._base.commit()
        return key

    def _one(self, query: str, values: tuple[Any, ...]) -> Any:
        with closing(self._base.execute(query, values)) as rows:
            return rows.fetchone()


def _safe(text: str) -> str:
    """A path as SQLite text: surrogates escaped, one to one."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
