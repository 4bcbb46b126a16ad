"""What is already known and done, in SQLite beside the results file; one process writes it.

- `headers`: what was read of a file, by root, path, size and mtime.
- `catalogue`: what these make up, for as long as no file changes.
- `work`: how each result came about, as results.h5 and the part files say it too: from them it is
  made again whenever it is lost, damaged, or not that of these results.
- `trouble`: studies whose decoder died or hung, and in how many scans running.
- `meta`: which results file `work` agrees with, and what the last scan found.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medscan.archive import ArchiveFile
from medscan.errors import DiskError, LedgerError
from medscan.results import Mark, Work

VERSION = 3
"""Of the tables; those of another version are dropped, for all in them can be made again."""
TABLES = {
    "headers": """
        root TEXT, path TEXT, size INTEGER, mtime_ns INTEGER, header TEXT,
        PRIMARY KEY (root, path)""",
    "catalogue": "name TEXT PRIMARY KEY, content BLOB NOT NULL",
    "work": """
        study TEXT PRIMARY KEY, content TEXT NOT NULL, maker TEXT NOT NULL, root TEXT NOT NULL,
        tools TEXT NOT NULL, outcomes TEXT NOT NULL, stale INTEGER NOT NULL, absent TEXT NOT NULL,
        published INTEGER NOT NULL
        """,
    "trouble": """
        study TEXT PRIMARY KEY, content TEXT NOT NULL, failures INTEGER NOT NULL, why TEXT NOT NULL
        """,
    "meta": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
}
STRIKES = 3
"""Scans running in which a study's decoder dies, after which the study is left alone."""
KEEP_S = 5.0
"""Seconds of reading headers that a scan which is killed may lose."""
BUSY_S = 30.0
"""Longest wait for a process that is writing."""
NO_MARK = Mark()
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_KNOWN = "SELECT path, size, mtime_ns, header FROM headers WHERE root = ? AND path IN ({})"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A study whose decoder died or hung.

    Parameters
    ----------
    study : str
        Key.
    content : str
        As of its `Work`: a study that has changed begins anew.
    failures : int
        Scans running.
    why : str
        What happened in the last one.
    """

    study: str
    content: str
    failures: int
    why: str

    @property
    def quarantined(self) -> bool:
        """Whether scans leave it alone."""
        return self.failures >= STRIKES


class Ledger:
    """An open ledger. It serves `medscan.archive.index` as its cache of headers.

    Parameters
    ----------
    path : Path or None
        Made when missing, with mode 0600; None: in memory.
    read_only : bool
        A scan may be using it: nothing is made, and what is put or remembered is not kept.

    Raises
    ------
    DiskError
        It cannot be opened.
    LedgerError
        It is none, or damaged.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path, self.read_only = path, read_only
        self._committed = time.monotonic()
        if path is not None and not read_only:
            _touch(path)
        with self._telling():
            self._base = _connected(path, read_only=read_only)
        try:
            with self._telling():
                self._prepare()
        except DiskError:
            self.close()
            raise

    def _prepare(self) -> None:
        with closing(self._base.execute("PRAGMA user_version")) as rows:
            known = rows.fetchone()[0] == VERSION
        if self.read_only:
            if not known:
                raise LedgerError(f"ledger {self.path} is of another version")
            return
        # No WAL: it does not work on network file systems, where archives often lie.
        self._base.execute("PRAGMA journal_mode = DELETE")
        if known:
            return
        with self._base:
            self._base.execute("BEGIN IMMEDIATE")
            for name, columns in TABLES.items():
                self._base.execute(f"DROP TABLE IF EXISTS {name}")
                self._base.execute(f"CREATE TABLE {name} ({columns}) WITHOUT ROWID")
            self._base.execute(f"PRAGMA user_version = {VERSION}")

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
        """Remember what was read of files; kept every few seconds, and at the next `commit`."""
        if self.read_only:
            return
        rows = [
            (_safe(str(file.root)), _safe(file.path), file.size, file.mtime_ns, header)
            for file, header in headers
        ]
        with self._telling():
            self._base.executemany("INSERT OR REPLACE INTO headers VALUES (?, ?, ?, ?, ?)", rows)
        if time.monotonic() - self._committed > KEEP_S:
            self.commit()

    def recall(self, name: str) -> bytes | None:
        """The catalogue of that name, if it is the one that was remembered last."""
        rows = self._all("SELECT content FROM catalogue WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def remember(self, name: str, catalogue: bytes) -> None:
        """Remember a catalogue in place of the last one; kept at the next `commit`."""
        if self.read_only:
            return
        with self._telling():
            self._base.execute("DELETE FROM catalogue")
            self._base.execute("INSERT INTO catalogue VALUES (?, ?)", (name, catalogue))

    def commit(self) -> None:
        """Keep what was put."""
        with self._telling():
            self._base.commit()
        self._committed = time.monotonic()

    # --- work ---------------------------------------------------------------------------------

    def work(self, study: str) -> Work | None:
        """How the result of a study came about; None when there is none."""
        query = "SELECT content, maker, root, tools, outcomes FROM work WHERE study = ?"
        rows = self._all(query, (study,))
        if not rows:
            return None
        content, maker, root, tools, outcomes = rows[0]
        with self._telling():
            return Work(content, maker, root, tools, json.loads(outcomes))

    def mark(self, study: str) -> Mark:
        """What later scans found out about a result."""
        rows = self._all("SELECT stale, absent FROM work WHERE study = ?", (study,))
        return Mark(bool(rows[0][0]), rows[0][1]) if rows else Mark()

    def below(self, root: str) -> list[str]:
        """Studies with work below an archive root."""
        return [r[0] for r in self._all("SELECT study FROM work WHERE root = ?", (root,))]

    def finish(self, study: str, done: Work, died: str = "") -> None:
        """Record a study whose part file is complete; `died`: what became of its decoder."""
        with self._transaction():
            self._put_work(study, done)
            if died:
                self._strike(study, done.content, died)
            else:
                self._base.execute("DELETE FROM trouble WHERE study = ?", (study,))

    def adopt(self, study: str, done: Work) -> None:
        """Record a study whose part file was found."""
        with self._transaction():
            self._put_work(study, done)

    def unpublished(self) -> list[str]:
        """Studies whose part file is all that there is of their result."""
        return [row[0] for row in self._all("SELECT study FROM work WHERE NOT published")]

    def restore(self, works: Iterable[tuple[str, Work, Mark]], stamp: str) -> None:
        """Put the work that results tell of in place of what was there."""
        with self._transaction():
            self._base.execute("DELETE FROM work")
            for study, work, mark in works:
                self._put_work(study, work, mark, published=True)
            self._put_meta("results", stamp)

    def published(self, stamp: str, changes: Mapping[str, Mark | None]) -> None:
        """Record that a results file holds all work, with these marks; None: no longer."""
        with self._transaction():
            for study, mark in changes.items():
                if mark is None:
                    self._base.execute("DELETE FROM work WHERE study = ?", (study,))
                    continue
                query = "UPDATE work SET stale = ?, absent = ? WHERE study = ?"
                self._base.execute(query, (mark.stale, mark.absent, study))
            self._base.execute("UPDATE work SET published = 1 WHERE NOT published")
            self._put_meta("results", stamp)

    def _put_work(
        self, study: str, work: Work, mark: Mark = NO_MARK, *, published: bool = False
    ) -> None:
        told = (work.content, work.maker, work.root, work.tools, json.dumps(work.outcomes))
        values = (study, *told, mark.stale, mark.absent, published)
        query = "INSERT OR REPLACE INTO work VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        self._base.execute(query, values)

    def counts(self) -> tuple[int, int, int]:
        """Numbers of results: all, stale ones, and those whose files are absent."""
        query = "SELECT count(*), total(stale), total(absent != '') FROM work"
        total, stale, absent = self._all(query)[0]
        return int(total), int(stale), int(absent)

    # --- trouble ------------------------------------------------------------------------------

    def trouble(self, study: str) -> Trouble | None:
        """What is known of a study whose decoder died or hung."""
        return next(iter(self._troubles("WHERE study = ?", (study,))), None)

    def troubles(self) -> list[Trouble]:
        """All of them, the worst first."""
        return self._troubles("ORDER BY failures DESC, study", ())

    def _troubles(self, which: str, values: tuple[Any, ...]) -> list[Trouble]:
        query = f"SELECT study, content, failures, why FROM trouble {which}"  # noqa: S608
        return [Trouble(*row) for row in self._all(query, values)]

    def _strike(self, study: str, content: str, why: str) -> None:
        query = """
            INSERT INTO trouble VALUES (:study, :content, 1, :why)
            ON CONFLICT (study) DO UPDATE SET content = :content, why = :why,
            failures = CASE content WHEN :content THEN failures + 1 ELSE 1 END
        """
        self._base.execute(query, {"study": study, "content": content, "why": why})

    def retry(self, study: str) -> bool:
        """Let the next scan try a study again; whether there was any trouble with it."""
        with self._transaction():
            self._base.execute("DELETE FROM meta WHERE name = 'unchanged'")
            done = self._base.execute("DELETE FROM trouble WHERE study = ?", (study,))
            return done.rowcount > 0

    def forget(self, study: str) -> bool:
        """Let the next scan do a study as if it were new; whether it was known."""
        known = self.retry(study)
        with self._transaction():
            done = self._base.execute("DELETE FROM work WHERE study = ?", (study,))
            return done.rowcount > 0 or known

    # --- meta ---------------------------------------------------------------------------------

    def meta(self, name: str) -> str:
        """What was noted under a name; empty when nothing was."""
        rows = self._all("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def note(self, name: str, value: str) -> None:
        """Note something for the next scan."""
        with self._transaction():
            self._put_meta(name, value)

    def _put_meta(self, name: str, value: str) -> None:
        self._base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # --- SQLite -------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self._telling(), self._base:
            yield

    def _all(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._telling(), closing(self._base.execute(query, values)) as rows:
            return rows.fetchall()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn SQLite's errors into one line."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
            kind = LedgerError if damaged else DiskError
            raise kind(f"ledger {self.path} cannot be used ({error})") from error
        except json.JSONDecodeError as error:
            raise LedgerError(f"ledger {self.path} is damaged") from error


def _connected(path: Path | None, *, read_only: bool) -> sqlite3.Connection:
    if path is None or not read_only:
        return sqlite3.connect(path or ":memory:", timeout=BUSY_S)
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=BUSY_S, uri=True)


def _touch(path: Path) -> None:
    """Make a file that only its owner may read, unless it is there; never through a link."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise DiskError(f"ledger {path} cannot be written: {error.strerror}") from error


def _safe(text: str) -> str:
    """A path as SQLite text: surrogates escaped, one to one."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
