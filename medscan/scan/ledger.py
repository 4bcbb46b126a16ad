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
from collections.abc import Iterable, Iterator, Sequence
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

_KNOWN = "SELECT path, size, mtime_ns, header FROM headers WHERE root = ? AND path IN ({})"


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

    def get(self, files: Sequence[ArchiveFile]) -> list[str | None]:
        """What was put for each file, None where it is not known or has changed since."""
        names = [(_safe(str(file.root)), _safe(file.path)) for file in files]
        known: dict[tuple[str, str], tuple[int, int, str]] = {}
        for root in {root for root, _ in names}:
            paths = [path for home, path in names if home == root]
            query = _KNOWN.format(", ".join("?" * len(paths)))
            known |= {(root, row[0]): row[1:] for row in self._all(query, (root, *paths))}
        found = zip(files, (known.get(name) for name in names), strict=True)
        return [r[2] if r and r[:2] == (f.size, f.mtime_ns) else None for f, r in found]

    def put(self, headers: Iterable[tuple[ArchiveFile, str]]) -> None:
        """Remember what was read of files; kept at the next `commit`."""
        rows = [
            (_safe(str(file.root)), _safe(file.path), file.size, file.mtime_ns, header)
            for file, header in headers
        ]
        with self._telling():
            self._base.executemany("INSERT OR REPLACE INTO headers VALUES (?, ?, ?, ?, ?)", rows)

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
